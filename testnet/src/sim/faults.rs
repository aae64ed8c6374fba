//! What goes wrong, when, and how long.

use super::chance::{Chance, Concern};
use super::plan::Fault;
use super::world::{Event, Node, World};
use starling_protocol::ids::RequestId;
use starling_protocol::input::Input;
use starling_protocol::member::Step;
use starling_protocol::request::Request;
use starling_protocol::time::{Duration, Time};
use std::collections::BTreeSet;

/// Requests of the operator, apart from those of clients.
pub const OPERATOR: u64 = 1 << 60;
/// How long faults last, in milliseconds.
pub const DOWN_MS: (u64, u64) = (10, 20_000);
pub const PAUSE_MS: (u64, u64) = (1, 10_000);
pub const CUT_MS: (u64, u64) = (50, 20_000);
const FLAP_MS: (u64, u64) = (50, 1_500);
const CLOG_MS: (u64, u64) = (50, 5_000);
const SLOW_MS: (u64, u64) = (500, 10_000);
const LOW_MS: (u64, u64) = (500, 20_000);
/// Most machines of one seed, those that are gone included: the ledger notes with a bit of each who has synced what.
const NODES_MAX: usize = 120;

/// The end of a fault.
pub enum Mend {
    Start(usize),
    Cut(BTreeSet<(usize, usize)>),
    Uncut(BTreeSet<(usize, usize)>),
    Crash(usize),
    /// An operator tells somebody that this peer will not come back.
    Forget(usize),
    /// Its disk has room again.
    Room(usize),
    /// Its clock is looked after again.
    SetClock(usize),
}

pub struct Faults {
    pub chance: Chance,
    pub clocks: Chance,
    pub stopped: bool,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        let (chance, clocks) = (Chance::new(seed, Concern::Faults), Chance::new(seed, Concern::Clocks));
        Self { chance, clocks, stopped: false }
    }
}

impl World {
    pub fn strike(&mut self) {
        if self.faults.stopped {
            return;
        }
        let after = self.faults.chance.span_ms((0, 2 * self.plan.fault_every_ms));
        self.schedule(after, Event::Fault);
        let total = self.plan.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.faults.chance.below(total);
        let weights = self.plan.weights.clone();
        let chosen = weights.into_iter().find(|(_, weight)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        if let Some((fault, _)) = chosen
            && self.inflict(fault)
        {
            self.befell(fault);
        }
    }

    pub fn befell(&mut self, fault: Fault) {
        *self.counts.faults.entry(fault).or_default() += 1;
    }

    /// False where it cannot be now, or comes later and is counted then.
    fn inflict(&mut self, fault: Fault) -> bool {
        let up = self.up();
        let Some(at) = self.faults.chance.pick(&up).copied() else { return false };
        match fault {
            Fault::Crash => self.crash_for_a_while(at),
            Fault::Pause => self.pause(at),
            Fault::Cut => return self.cut_in_two(true),
            Fault::OneWayCut => return self.cut_in_two(false),
            Fault::Flap => self.flap(at),
            Fault::Clog => return self.clog(at),
            Fault::SlowDisk => self.nodes[at].slow_until = self.now + self.faults.chance.span_ms(SLOW_MS),
            Fault::Wipe => return self.lose_disk(at, World::wipe),
            Fault::RollBack if self.nodes[at].copy.is_none() => {
                self.copy_disk(at);
                return false;
            }
            Fault::RollBack => return self.lose_disk(at, World::roll_back),
            Fault::ClockJump => self.clock_jumps(at),
            Fault::Join => return self.join(),
            Fault::Leave => return self.leave(at),
            Fault::Replay => return self.replay(at),
            Fault::DiskFails => {
                self.nodes[at].disk_fails = true;
                return false;
            }
            Fault::LowDisk => self.fill_disk(at),
            Fault::CrashTwice => self.crash_twice(at),
            Fault::LongPause => self.pause_long(at),
            Fault::Bridge => return self.bridge(at),
            Fault::HalfOpen => return self.half_open(at),
            Fault::Drift => self.clock_drifts(at),
            Fault::Clone => return self.join_from(at),
            Fault::Replace => return self.replace(at),
            Fault::JoinInHalves => return self.join_in_halves(),
            Fault::BitRot => {
                self.nodes[at].rots = true;
                return false;
            }
            Fault::Twin => return self.twin(at),
            Fault::Crowd => return self.crowd(),
            Fault::Absence => return self.go_away(at),
            Fault::PowerLoss => {
                self.tell(None, || "the power fails".into());
                up.into_iter().for_each(|index| self.crash_for_a_while(index));
            }
        }
        true
    }

    fn crash_for_a_while(&mut self, index: usize) {
        self.crash(index);
        self.start_later(index);
    }

    pub fn start_later(&mut self, index: usize) {
        let after = self.faults.chance.span_ms(DOWN_MS);
        self.schedule(after, Event::Mend(Mend::Start(index)));
    }

    fn pause(&mut self, index: usize) {
        let span = self.faults.chance.span_ms(PAUSE_MS);
        self.tell(Some(index), || format!("stands still for {span:?}"));
        self.nodes[index].paused_until = self.now + span;
    }

    fn cut_in_two(&mut self, both_ways: bool) -> bool {
        let sides = self.halves();
        self.cut_between(&sides, |from, _| both_ways || sides[from])
    }

    fn fill_disk(&mut self, index: usize) {
        let span = self.faults.chance.span_ms(LOW_MS);
        self.tell(Some(index), || format!("has hardly any room for {span:?}"));
        self.schedule_input(index, Duration::ZERO, Input::Room { is_low: true });
        self.schedule(span, Event::Mend(Mend::Room(index)));
    }

    fn make_room(&mut self, index: usize) {
        self.schedule_input(index, Duration::ZERO, Input::Room { is_low: false });
    }

    /// One peer is cut off again and again.
    fn flap(&mut self, index: usize) {
        let others = (0..self.nodes.len()).filter(|other| *other != index);
        let ways: BTreeSet<_> = others.flat_map(|other| [(index, other), (other, index)]).collect();
        let mut at = Duration::ZERO;
        for _ in 0..self.faults.chance.between((2, 8)) {
            self.schedule(at, Event::Mend(Mend::Cut(ways.clone())));
            at += self.faults.chance.span_ms(FLAP_MS);
            self.schedule(at, Event::Mend(Mend::Uncut(ways.clone())));
            at += self.faults.chance.span_ms(FLAP_MS);
        }
        self.tell(Some(index), || format!("its connections flap for {at:?}"));
    }

    fn clog(&mut self, from: usize) -> bool {
        let to = usize::try_from(self.faults.chance.below(self.nodes.len() as u64)).unwrap_or(0);
        let span = self.faults.chance.span_ms(CLOG_MS);
        self.tell(Some(from), || format!("nothing gets through to p{} for {span:?}", to + 1));
        self.links.clog(from, to, self.now + span);
        from != to
    }

    fn clock_jumps(&mut self, index: usize) {
        let most = self.plan.skew_ms.max(1_000);
        let skew = i64::try_from(self.faults.chance.below(2 * most)).unwrap_or(0);
        let skew_ms = skew - i64::try_from(most).unwrap_or(0);
        self.nodes[index].skew_ms = skew_ms;
        self.tell(Some(index), || format!("its clock is now {skew_ms} ms off"));
        self.clocks_go_wrong(index);
    }

    /// Only while every acknowledged event that is on this disk is on another one as well, and nobody else
    /// is being filled ("The exact promise" of the README: fewer than W disks are lost before repair).
    fn lose_disk(&mut self, index: usize, lose: impl Fn(&mut World, usize)) -> bool {
        if !self.can_lose(index) {
            return false;
        }
        self.crash(index);
        let can_lose = self.can_lose(index);
        if can_lose {
            lose(self, index);
        }
        self.start_later(index);
        can_lose
    }

    pub(super) fn can_lose(&self, index: usize) -> bool {
        if self.has_twins() {
            return false;
        }
        let others = || (0..self.nodes.len()).filter(|other| *other != index && !self.nodes[*other].is_gone);
        let filled = others().all(|other| self.step_of(other) == Some(Step::Member) && self.is_whole(other));
        let safe = self.nodes[index].durable.iter().all(|(partition, context)| {
            let mut rest = context.clone();
            let elsewhere = others().filter_map(|other| self.nodes[other].durable.get(partition));
            elsewhere.for_each(|held| rest.subtract(held));
            rest.is_empty()
        });
        filled && safe
    }

    /// Nothing that was damaged there waits to be given up, or to be filled again.
    pub fn is_whole(&self, index: usize) -> bool {
        let Node { replica, kept_damaged, .. } = &self.nodes[index];
        kept_damaged.is_none() && replica.as_ref().is_none_or(|replica| replica.given_up().is_empty())
    }

    /// Of a peer that runs, in its own eyes.
    pub fn step_of(&self, index: usize) -> Option<Step> {
        let node = &self.nodes[index];
        let mut members = node.peer.as_ref()?.members();
        members.find(|record| record.id == node.id).map(|record| record.standing.step)
    }

    pub(super) fn has_room(&self, for_peers: usize) -> bool {
        let here = self.nodes.iter().filter(|node| !node.is_gone).count();
        here + for_peers <= self.plan.peers_max && self.nodes.len() + for_peers <= NODES_MAX
    }

    fn join(&mut self) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let index = self.add();
        self.start(index);
        true
    }

    /// As many as are drawn: it is for the network to say how many may go. They go on when it has been healed.
    fn leave(&mut self, index: usize) -> bool {
        if self.has_twins() || self.step_of(index) != Some(Step::Member) {
            return false;
        }
        self.tell(Some(index), || "is asked to leave".into());
        self.nodes[index].is_to_leave = true;
        let request = Input::Request { id: RequestId(OPERATOR + index as u64), request: Request::Leave };
        self.schedule_input(index, Duration::ZERO, request);
        true
    }

    pub fn mend(&mut self, mend: Mend) {
        match mend {
            // An operator goes on.
            Mend::Forget(index) => self.forget(index),
            _ if self.faults.stopped => {}
            Mend::Start(index) => self.start(index),
            Mend::Crash(index) => self.crash_for_a_while(index),
            Mend::SetClock(index) => self.nodes[index].far_ms = 0,
            Mend::Room(index) => self.make_room(index),
            Mend::Cut(ways) => self.links.cut(&ways),
            Mend::Uncut(ways) => self.links.uncut(&ways),
        }
    }

    /// Everything works again, and goes on working; a pause under way ends by itself.
    pub fn heal(&mut self) {
        self.tell(None, || "everything is healed".into());
        (self.faults.stopped, self.clients.stopped) = (true, true);
        (self.plan.lost, self.plan.twice, self.plan.late) = (0, 0, 0);
        self.links.heal();
        if self.plan.freezes {
            self.freeze();
        }
        for index in 0..self.nodes.len() {
            (self.nodes[index].slow_until, self.nodes[index].disk_fails) = (Time(0), false);
            (self.nodes[index].rots, self.nodes[index].far_ms) = (false, 0);
            self.make_room(index);
            self.start(index);
        }
    }
}
