//! Faults that are made of others, or befall whole machines.

use super::faults::{CUT_MS, Mend, OPERATOR};
use super::plan::{ABSENCE, CROWD};
use super::world::{Event, World};
use starling_protocol::ids::RequestId;
use starling_protocol::input::Input;
use starling_protocol::member::{Health, Step};
use starling_protocol::request::Request;
use starling_protocol::time::{Duration, Time};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A crash during recovery, in milliseconds after the start.
const RECOVERY_MS: (u64, u64) = (0, 50);
const LONG_PAUSE_MS: (u64, u64) = (10_000, 3_600_000);
/// For how long clocks are days off, and by how much.
const WRONG_MS: (u64, u64) = (500, 60_000);
const FAR_MS: (u64, u64) = (DAY_MS, 4 * DAY_MS);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HALF_OPEN_MS: (u64, u64) = (1_000, 40_000);
/// How much too fast a clock may run, in millionths: 2 %, far more than any that is looked after.
const DRIFT_MAX: u64 = 20_000;
/// The starts of a second process are counted from here on, so that no two of one peer have the same number.
const TWIN_BOOTS: u32 = 1_000;
/// How long it takes until somebody is told to forget a peer, and is told so again if it was not dead yet.
const FORGET_AFTER: Duration = Duration::from_secs(8);

impl World {
    pub(super) fn crash_twice(&mut self, index: usize) {
        self.crash(index);
        self.schedule(Duration::from_millis(20), Event::Mend(Mend::Start(index)));
        let again = Duration::from_millis(20) + self.faults.chance.span_ms(RECOVERY_MS);
        self.schedule(again, Event::Mend(Mend::Crash(index)));
    }

    /// It ends when all is healed, at the latest.
    pub(super) fn pause_long(&mut self, index: usize) {
        let until = (self.now + self.faults.chance.span_ms(LONG_PAUSE_MS)).min(self.heals_at);
        self.tell(Some(index), || format!("stands still until {until:?}"));
        self.nodes[index].paused_until = until;
    }

    pub(super) fn halves(&mut self) -> Vec<bool> {
        self.nodes.iter().map(|_| self.faults.chance.one_in(2)).collect()
    }

    /// Cuts those ways across that `is_cut`. False where all are on one side.
    pub(super) fn cut_between(&mut self, sides: &[bool], is_cut: impl Fn(usize, usize) -> bool) -> bool {
        let all = 0..sides.len();
        let ways = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        let ways: BTreeSet<_> = ways.filter(|(a, b)| sides[*a] != sides[*b] && is_cut(*a, *b)).collect();
        let any = !ways.is_empty();
        let span = self.faults.chance.span_ms(CUT_MS);
        self.tell(None, || format!("cut for {span:?}: {ways:?}"));
        self.links.cut(&ways);
        self.schedule(span, Event::Mend(Mend::Uncut(ways)));
        any
    }

    pub(super) fn bridge(&mut self, bridge: usize) -> bool {
        let sides = self.halves();
        self.cut_between(&sides, |from, to| from != bridge && to != bridge)
    }

    pub(super) fn half_open(&mut self, from: usize) -> bool {
        let to = usize::try_from(self.faults.chance.below(self.nodes.len() as u64)).unwrap_or(0);
        let (ways, span) = (BTreeSet::from([(from, to)]), self.faults.chance.span_ms(HALF_OPEN_MS));
        self.tell(Some(from), || format!("what it sends to p{} vanishes for {span:?}", to + 1));
        self.links.cut(&ways);
        self.schedule(span, Event::Mend(Mend::Uncut(ways)));
        from != to
    }

    pub(super) fn clock_drifts(&mut self, index: usize) {
        let drift = i64::try_from(self.faults.chance.below(2 * DRIFT_MAX + 1)).unwrap_or(0);
        self.nodes[index].drift = (drift - i64::try_from(DRIFT_MAX).unwrap_or(0), self.now);
        self.tell(Some(index), || format!("its clock runs {drift} millionths too fast, less {DRIFT_MAX}"));
    }

    /// Now and then one clock, or those of all machines together, are days off for a while.
    pub(super) fn clocks_go_wrong(&mut self, index: usize) {
        if !self.faults.clocks.one_in(4) {
            return;
        }
        let far = i64::try_from(self.faults.clocks.between(FAR_MS)).unwrap_or(0);
        let far_ms = if self.faults.clocks.one_in(3) { -far } else { far };
        let span = self.faults.clocks.span_ms(WRONG_MS);
        let wrong = if self.faults.clocks.one_in(2) { 0..self.nodes.len() } else { index..index + 1 };
        self.tell(None, || format!("the clocks of {wrong:?} are {far_ms} ms off for {span:?}"));
        for index in wrong {
            self.nodes[index].far_ms = far_ms;
            self.schedule(span, Event::Mend(Mend::SetClock(index)));
        }
    }

    pub(super) fn join_from(&mut self, from: usize) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let index = self.clone_disk(from);
        self.start(index);
        true
    }

    pub(super) fn join_in_halves(&mut self) -> bool {
        if !self.has_room(2) {
            return false;
        }
        let (one, other) = (self.add(), self.add());
        let mut sides = self.halves();
        (sides[one], sides[other]) = (true, false);
        self.cut_between(&sides, |_, _| true);
        self.start(one);
        self.start(other);
        true
    }

    /// Crashes a member whose place others can take. As with any disk that is lost, all that it held must be
    /// elsewhere. False: it goes on, at once or later.
    fn take_out(&mut self, index: usize) -> bool {
        let others = self.up().len() > usize::from(self.plan.n);
        if !others || self.step_of(index) != Some(Step::Member) || !self.can_lose(index) {
            return false;
        }
        self.crash(index);
        let can_lose = self.can_lose(index);
        if !can_lose {
            self.start_later(index);
        }
        can_lose
    }

    pub(super) fn replace(&mut self, index: usize) -> bool {
        if !self.take_out(index) {
            return false;
        }
        self.tell(Some(index), || "is gone for good".into());
        self.lose_for_good(index);
        self.schedule(FORGET_AFTER, Event::Mend(Mend::Forget(index)));
        if self.has_room(1) {
            let new = self.add();
            self.start(new);
        }
        true
    }

    /// Its disk is copied, and from the copy a second process runs as the same peer, until one of both stops. What
    /// that one has taken in is lost with its disk.
    pub(super) fn twin(&mut self, from: usize) -> bool {
        if !self.has_room(1) || self.step_of(from) != Some(Step::Member) || !self.can_lose(from) {
            return false;
        }
        let index = self.clone_disk(from);
        let one = &self.nodes[from];
        let (id, name, table) = (one.id, format!("{}'", one.name), one.table.clone());
        let (disks, table_of, boot, weight) = (one.disks, one.table_of, one.boot + TWIN_BOOTS, one.weight);
        let other = &mut self.nodes[index];
        (other.id, other.name, other.table, other.weight) = (id, name, table, weight);
        (other.disks, other.table_of, other.boot) = (disks, table_of, boot);
        (self.nodes[from].was_put_back, self.nodes[index].was_put_back) = (true, true);
        (self.disk_lost, self.twinned) = (self.now, true);
        self.tell(Some(from), || "runs a second time, from a copy of its disk".into());
        self.start(index);
        true
    }

    /// Two machines have one key, and both may run again.
    pub(super) fn has_twins(&self) -> bool {
        let here = || self.nodes.iter().filter(|node| !node.is_gone);
        self.twinned
            && here().enumerate().any(|(at, node)| here().skip(at + 1).any(|other| other.id == node.id))
    }

    /// It was told that it is not the one any more.
    pub(super) fn outlived(&mut self, index: usize) {
        if !self.has_twins() {
            return self
                .check(Err(format!("{} stops for another that is not there", self.nodes[index].name)));
        }
        self.crash(index);
        self.tell(Some(index), || "has stopped, as another process is this peer".into());
        self.lose_for_good(index);
    }

    fn lose_for_good(&mut self, index: usize) {
        (self.nodes[index].is_gone, self.disk_lost) = (true, self.now);
        self.nodes[index].durable.clear();
        self.ledger.away |= 1 << index;
    }

    pub(super) fn crowd(&mut self) -> bool {
        let has_room = self.has_room(CROWD);
        for _ in 0..if has_room { CROWD } else { 0 } {
            let index = self.add();
            self.start(index);
        }
        has_room
    }

    /// It comes back when it has been forgotten everywhere.
    pub(super) fn go_away(&mut self, index: usize) -> bool {
        if self.now + ABSENCE >= self.heals_at || !self.take_out(index) {
            return false;
        }
        self.tell(Some(index), || format!("is away for {ABSENCE:?}"));
        (self.nodes[index].was_put_back, self.disk_lost) = (true, self.now);
        self.schedule(FORGET_AFTER, Event::Mend(Mend::Forget(index)));
        self.schedule(ABSENCE, Event::Mend(Mend::Start(index)));
        true
    }

    /// Asks somebody who sees it dead, in the larger part of a network that is cut, until nobody takes it for a
    /// member: whom the forgotten one's partitions fall to owns them at once, on both sides of a cut.
    pub(super) fn forget(&mut self, index: usize) {
        let id = self.nodes[index].id;
        let known = |at: usize| {
            let mut members = self.nodes[at].peer.iter().flat_map(|peer| peer.members());
            members.find(|record| record.id == id).map(|record| (record.health, record.standing.step))
        };
        let up = self.up();
        let sees_dead = |at: &&usize| known(**at).is_some_and(|(health, _)| health == Health::Dead);
        let answers = |at: &&usize| self.nodes[**at].paused_until <= self.now;
        let asked = up.iter().filter(|at| answers(at) && sees_dead(at));
        let dead = asked.max_by_key(|at| (self.alive_to(**at), Reverse(**at))).copied();
        // While the power is out there is nobody to ask, or none who has heard of it.
        let is_known = up.iter().any(|at| known(*at).is_some());
        let knows = |at: &usize| known(*at).is_some_and(|(_, step)| step != Step::Left);
        if !is_known || up.iter().any(knows) {
            self.schedule(FORGET_AFTER, Event::Mend(Mend::Forget(index)));
        }
        if let Some(at) = dead {
            self.tell(Some(at), || format!("is told to forget p{}", index + 1));
            let request = Request::Forget { peer: id };
            self.input(at, Input::Request { id: RequestId(OPERATOR + 64 + index as u64), request });
        }
    }

    /// How many a peer believes to be alive.
    fn alive_to(&self, index: usize) -> usize {
        let members = self.nodes[index].peer.iter().flat_map(|peer| peer.members());
        members.filter(|record| record.health == Health::Alive).count()
    }

    /// One member is never healed, where enough others are there and nobody is on the way in or out.
    pub(super) fn freeze(&mut self) {
        let up: Vec<_> = self.up();
        let is_settled = |index: &usize| self.step_of(*index) == Some(Step::Member) && self.is_whole(*index);
        // Who leaves hands over to all owners there are, and one that is never healed takes nothing.
        let leaves = self.nodes.iter().any(|node| node.is_to_leave && !node.is_gone);
        let settled = up.iter().all(is_settled) && !leaves;
        let others_up = self.nodes.iter().all(|node| node.is_gone || node.peer.is_some());
        if !settled || !others_up || self.has_twins() || up.len() < 3 {
            return;
        }
        // As with any disk that is lost, all that it holds must be elsewhere.
        let can_go: Vec<_> = up.into_iter().filter(|index| self.can_lose(*index)).collect();
        let Some(index) = self.faults.chance.pick(&can_go).copied() else { return };
        self.crash(index);
        self.nodes[index].is_frozen = true;
        self.ledger.away |= 1 << index;
        (self.disk_lost, self.nodes[index].paused_until) = (self.now, Time(0));
        self.tell(Some(index), || "stays away for ever".into());
    }
}
