//! Who lacks what I hold: anti-entropy between owners, hinted handoff, rebalancing, letting go. One
//! mechanism: contexts are exchanged, and whoever holds what an owner lacks sends it.
//!
//! A round between two peers: `Report` tells the sender's synced contexts. Of each partition the receiver
//! sends what the report lacks (`Events`, or `State` where the log was cut), and, where the receiver
//! itself lacks something, its own `Report`. What was learned is acknowledged by a `Report` again. Two
//! owners in sync exchange one hash.

mod coming;
mod exchange;
mod handoff;
mod proof;
mod push;
mod room;
mod scrub;
mod settle;
mod staging;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::ids::{PartitionId, PeerId};
use crate::member::{Health, Step, View};
use crate::message::Repair as Message;
use crate::seats::Map;
use crate::store::{Answer, Question};
use crate::time::{Duration, Now, Time};
use coming::Coming;
use push::Push;
use staging::Staging;
use starling_crdt::Context;
use std::collections::{BTreeMap, BTreeSet};

/// How often what is under way is looked at: as soon as membership has something to do that long after the last
/// time, which is within a probe period of 500 ms, or three while all is quiet; by itself only if that fails to come.
const TICK_FROM: Duration = Duration::from_millis(375);
const TICK: Duration = Duration::from_millis(1625);
/// The same, by itself, while this peer is on the way in or out.
const TICK_SETTLING: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Send {
        to: PeerId,
        message: Message,
    },
    Store {
        ticket: u64,
        question: Question,
    },
    /// This peer itself has come one step further.
    Step(Step),
    LetGo {
        partition: PartitionId,
    },
    /// A partition was damaged, and given up.
    Damaged {
        partition: PartitionId,
    },
    /// A partition is damaged, and stays as it is until another owner is known to have all of it.
    DamageKept {
        partition: PartitionId,
    },
    /// A partition is damaged, and no other owner that can be reached has a whole copy: it stays as it is.
    OnlyCopyDamaged {
        partition: PartitionId,
    },
    /// It has been filled again.
    Refilled {
        partition: PartitionId,
    },
    /// What one sends as a whole is more than may be kept aside, though nothing else is.
    TooLarge {
        partition: PartitionId,
        from: PeerId,
    },
}

/// What this peer knows at the moment of an input.
pub struct Scene<'a> {
    pub now: Now,
    pub me: PeerId,
    pub step: Step,
    /// W, as the network was founded with.
    pub w: u8,
    /// The disk is nearly full: what brings more to keep is not taken in, unless others wait for that; see `room`.
    pub is_low: bool,
    pub map: &'a dyn Map,
}

/// What another peer has synced of a partition, as far as we know.
#[derive(Clone, Debug)]
struct Told {
    view: View,
    /// The session that what is sent must name; unknown when only hashes were compared.
    session: Option<u64>,
    context: Context,
    /// Whether it is a whole copy, and not one on its way to be.
    filled: bool,
}

/// Why storage was asked.
enum Pending {
    /// Our contexts, to hash them for `to`.
    Compare {
        to: PeerId,
    },
    /// Our contexts, to answer the hash that `from` sent.
    Check {
        from: PeerId,
        hash: u64,
    },
    /// Our contexts, to find those that differ.
    Sift {
        from: PeerId,
        hashes: BTreeMap<PartitionId, u64>,
    },
    /// Our contexts, for `to`.
    Report {
        to: PeerId,
    },
    /// Our contexts, to hold what `from` told against them.
    Weigh {
        from: PeerId,
    },
    /// What is held at all.
    Survey,
    Missing {
        partition: PartitionId,
        to: PeerId,
        /// For the context of which it is missing.
        session: u64,
    },
    Snapshot {
        partition: PartitionId,
        to: PeerId,
    },
    /// What `from` sent is being written.
    Learn {
        partition: PartitionId,
        from: PeerId,
        /// How many; none are counted of a whole state.
        events: usize,
    },
    LetGo {
        partition: PartitionId,
    },
    Scrub {
        partition: PartitionId,
    },
    Filled {
        partition: PartitionId,
    },
    /// Our contexts, to hold what others told before against them.
    Prove,
    Cut {
        partition: PartitionId,
    },
    /// What has come is being remembered.
    Came {
        /// The table by which it came waits for that.
        waits: bool,
    },
}

pub struct Repair {
    config: Config,
    /// This life of this peer; a session is this plus how often a partition was let go or given up since.
    life: u64,
    releases: BTreeMap<PartitionId, u64>,
    /// Storage was asked to let these go, or whether they are damaged, and has not answered.
    in_doubt: BTreeSet<PartitionId>,
    /// Our own synced contexts as last seen; they only grow, but for letting go.
    mine: BTreeMap<PartitionId, Context>,
    /// Those of them that were read under the table that we have now: what came to us under an earlier one, from
    /// those who knew no more, is in them.
    fresh: BTreeSet<PartitionId>,
    /// The view that was current when owners last changed.
    view: View,
    told: BTreeMap<PartitionId, BTreeMap<PeerId, Told>>,
    /// Peers to compare with as soon as possible.
    meet: BTreeSet<PeerId>,
    coming: Coming,
    /// Who lacks what we hold; true if our log does not reach back so far, and it takes the whole state.
    todo: BTreeMap<(PartitionId, PeerId), bool>,
    /// The last of them that was begun: the next after it is next, so that nobody who always lacks something comes
    /// before all others.
    begun: Option<(PartitionId, PeerId)>,
    pushes: BTreeMap<(PartitionId, PeerId), Push>,
    staging: BTreeMap<(PartitionId, PeerId), Staging>,
    transfers: u64,
    /// Partitions of which we hold anything, and those of them that we do not own.
    holding: BTreeSet<PartitionId>,
    foreign: BTreeSet<PartitionId>,
    /// The last of those whose owners were asked what they lack of it: the next after it is next.
    handed_over: Option<PartitionId>,
    /// Co-owners whose context ours was seen to contain since this life began, and whether their copy was whole.
    proven: BTreeMap<PartitionId, BTreeMap<PeerId, bool>>,
    /// What this peer owns under the table that it has; `None`: it has had none in this life.
    owned: Option<BTreeSet<PartitionId>>,
    /// Partitions that have become ours and were not proven since; and those of them that storage was told of, which
    /// remembers them over a restart.
    came: BTreeSet<PartitionId>,
    noted: BTreeSet<PartitionId>,
    /// Those of them that reads ask others for, until they have been filled.
    coming_by_steps: BTreeSet<PartitionId>,
    /// Partitions that may be ours without such proof.
    unproven: BTreeSet<PartitionId>,
    /// Who was asked last what it holds of them.
    asked: Option<PeerId>,
    /// Events below which the log was cut, as far as is known: after a start those that it lacks.
    cut: BTreeMap<PartitionId, u64>,
    scrub: scrub::Round,
    /// Storage has told what it holds, and what was given up.
    surveyed: bool,
    /// Given up as damaged, and not filled again yet.
    refilling: BTreeSet<PartitionId>,
    /// Something of these was not taken since the disk is nearly full.
    missed: BTreeSet<PartitionId>,
    room: room::Room,
    /// When a read last sent a partition to repair.
    differed: BTreeMap<PartitionId, Time>,
    /// Under which view, and why.
    pending: BTreeMap<u64, (View, Pending)>,
    last: u64,
    compared: Option<PeerId>,
    /// Whose contexts were found to be ours, under which view, what hash they had, and when.
    same: BTreeMap<PeerId, (View, u64, Time)>,
    turn: exchange::Turn,
    /// From here on with whatever else is done; by itself at `next_tick`.
    tick_from: Time,
    next_tick: Time,
    out: Vec<Out>,
}

impl Repair {
    /// `life`: another number at every start of this peer.
    pub fn new(config: Config, life: u64, now: Time) -> Self {
        let mut repair = Self {
            turn: exchange::Turn::after(now, &config),
            config,
            life,
            releases: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            mine: BTreeMap::new(),
            fresh: BTreeSet::new(),
            view: View::default(),
            told: BTreeMap::new(),
            meet: BTreeSet::new(),
            coming: Coming::default(),
            todo: BTreeMap::new(),
            begun: None,
            pushes: BTreeMap::new(),
            staging: BTreeMap::new(),
            transfers: 0,
            holding: BTreeSet::new(),
            foreign: BTreeSet::new(),
            handed_over: None,
            proven: BTreeMap::new(),
            owned: None,
            came: BTreeSet::new(),
            noted: BTreeSet::new(),
            coming_by_steps: BTreeSet::new(),
            unproven: BTreeSet::new(),
            asked: None,
            cut: BTreeMap::new(),
            scrub: scrub::Round::default(),
            surveyed: false,
            refilling: BTreeSet::new(),
            missed: BTreeSet::new(),
            room: room::Room::default(),
            differed: BTreeMap::new(),
            pending: BTreeMap::new(),
            last: 0,
            compared: None,
            same: BTreeMap::new(),
            tick_from: now,
            next_tick: now,
            out: Vec::new(),
        };
        repair.ask_store(Pending::Survey, Question::Survey);
        repair
    }

    pub fn next_timeout(&self) -> Option<Time> {
        Some(self.next_tick.min(self.next_compare()))
    }

    /// What is done now and then may be done now, if the peer is awake anyway.
    pub fn may_tick(&self, now: Time) -> bool {
        now >= self.tick_from.min(self.next_tick)
    }

    /// What was asked for since the last call.
    pub fn drain(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Of each table its name, its length, and the most that it may hold.
    pub fn tables(&self) -> [(&'static str, usize, usize); 2] {
        [
            ("pushes", self.pushes.len(), self.config.repairs_max),
            ("transfers coming in", self.incoming(), push::TRANSFERS_MAX),
        ]
    }

    /// Partitions held for their owners.
    pub fn foreign(&self) -> usize {
        self.foreign.len()
    }

    /// Partitions of which somebody lacks something that is held here.
    pub fn repairing(&self) -> usize {
        let partitions: BTreeSet<_> = self.todo.keys().chain(self.pushes.keys()).map(|(p, _)| *p).collect();
        partitions.len()
    }

    pub fn received(&mut self, scene: &Scene<'_>, from: PeerId, message: Message) {
        match message {
            Message::Compare { view, hash } => self.check(scene, from, view, hash),
            Message::Same { view, hash } => self.agreed(scene, from, view, hash),
            Message::Hashes { view, hashes } => self.sift(scene, from, view, hashes),
            Message::Meet { partition, with } => self.introduced(scene, partition, with),
            Message::Ask { partitions } => {
                self.ask_back(scene, from, &partitions);
                self.report_to(scene, from, partitions)
            }
            Message::Report { view, held } => self.weigh(scene, from, view, held),
            Message::Events { session, partition, events } => {
                self.learn(scene, from, session, partition, events)
            }
            Message::State { session, partition, transfer, index, count, piece } => {
                self.stage(scene, (partition, from), session, (transfer, index, count), piece)
            }
            Message::Staged { partition, transfer, index } => {
                self.send_piece(scene, partition, from, transfer, index)
            }
        }
        self.pump(scene);
    }

    pub fn stored(&mut self, scene: &Scene<'_>, ticket: u64, answer: Answer) {
        let Some((asked, pending)) = self.pending.remove(&ticket) else { return };
        match (pending, answer) {
            (pending, Answer::Contexts { contexts }) if asked != self.view => {
                self.ask_again(scene, pending, contexts)
            }
            (Pending::Compare { to }, Answer::Contexts { contexts }) => {
                self.send_compare(scene, to, contexts)
            }
            (Pending::Check { from, hash }, Answer::Contexts { contexts }) => {
                self.answer_compare(scene, from, hash, contexts)
            }
            (Pending::Sift { from, hashes }, Answer::Contexts { contexts }) => {
                self.report_differing(scene, from, &hashes, contexts)
            }
            (Pending::Report { to }, Answer::Contexts { contexts }) => self.send_report(scene, to, contexts),
            (Pending::Weigh { from }, Answer::Contexts { contexts }) => self.weighed(scene, from, contexts),
            (Pending::Prove, Answer::Contexts { contexts }) => self.prove(scene, contexts),
            (Pending::Survey, Answer::Contexts { contexts }) => self.surveyed(scene, contexts),
            (Pending::Survey, Answer::Surveyed { contexts, logs, given_up }) => {
                self.note_logs(&contexts, logs);
                self.refilling.extend(given_up);
                self.surveyed(scene, contexts)
            }
            (Pending::Missing { partition, to, session }, Answer::Missing(missing)) => {
                self.push(scene, (partition, to), session, missing)
            }
            (Pending::Snapshot { partition, to }, Answer::Snapshot { pieces }) => {
                self.begin_transfer(scene, partition, to, pieces)
            }
            (Pending::Learn { partition, from, .. }, Answer::Installed { done: false }) => {
                self.not_taken(scene, partition, from)
            }
            (Pending::Learn { partition, from, .. }, Answer::NoRoom) => {
                self.not_taken(scene, partition, from)
            }
            (Pending::Learn { partition, from, events }, Answer::Applied { refused })
                if refused == events =>
            {
                self.not_taken(scene, partition, from)
            }
            (Pending::Learn { partition, from, .. }, _) => self.learned(scene, partition, from),
            (Pending::LetGo { partition }, answer) => self.let_go_tried(partition, answer),
            (Pending::Scrub { partition }, answer) => self.scrubbed(scene, partition, answer),
            (Pending::Cut { partition }, Answer::Cut { left }) => self.ask_cut(partition, left),
            (Pending::Filled { partition }, _) => self.refilled(partition),
            _ => {}
        }
        self.pump(scene);
    }

    /// A peer can be reached, again or for the first time.
    pub fn met(&mut self, scene: &Scene<'_>, peer: PeerId) {
        self.meet.insert(peer);
        self.next_tick = scene.now.time;
    }

    /// Nothing more is to be expected of what is under way with this peer.
    pub fn unreachable(&mut self, peer: PeerId) {
        self.pushes.retain(|(_, to), _| *to != peer);
        self.staging.retain(|(_, from), _| *from != peer);
        self.coming.forget(peer);
        self.todo.retain(|(_, to), _| *to != peer);
    }

    /// Somebody was heard to know other steps than before.
    pub fn view_heard(&mut self, scene: &Scene<'_>) {
        self.settle(scene, false);
    }

    /// Owners have changed, or what this peer itself is.
    pub fn replanned(&mut self, scene: &Scene<'_>) {
        if self.view != scene.map.view() || self.owned.is_none() {
            self.view = scene.map.view();
            self.fresh.clear();
            self.note_owned(scene);
        }
        let foreign = self.holding.iter().filter(|partition| !scene.map.owns(scene.me, **partition));
        self.foreign = foreign.copied().collect();
        let others = scene.map.others();
        let stays = |peer: &PeerId| others.contains(peer);
        self.told.values_mut().for_each(|told| told.retain(|peer, _| stays(peer)));
        self.proven.retain(|partition, _| scene.map.owns(scene.me, *partition));
        self.proven.values_mut().for_each(|by| by.retain(|peer, _| stays(peer)));
        self.next_tick = scene.now.time;
    }

    pub fn timeout(&mut self, scene: &Scene<'_>) {
        if self.may_tick(scene.now.time) {
            self.forget_stalled(scene.now.time);
            self.tell_all_put_off(scene);
            self.meet_all(scene);
            self.hand_over(scene);
            self.settle(scene, true);
            self.scrub_next(scene);
            self.refill(scene);
            self.seek_proof(scene);
            self.note_came();
            let settling = !matches!(scene.step, Step::Member | Step::Waiting | Step::Left);
            let (from, to) = if settling { (TICK_SETTLING, TICK_SETTLING) } else { (TICK_FROM, TICK) };
            (self.tick_from, self.next_tick) = (scene.now.time + from, scene.now.time + to);
        }
        if scene.now.time >= self.next_compare() {
            self.turn = exchange::Turn::after(scene.now.time, &self.config);
            self.compare_next(scene);
        }
        self.pump(scene);
    }

    /// Whether what comes was made for the context that we have (rule `session`). What comes after storage was
    /// asked a question that may have ended it was made for one that we may have no more, before we know.
    fn is_current(&self, partition: PartitionId, session: u64) -> bool {
        let current = session == self.session(partition) && !self.in_doubt.contains(&partition);
        current || mutated!(IgnoreSession)
    }

    fn session(&self, partition: PartitionId) -> u64 {
        self.life.wrapping_add(self.releases.get(&partition).copied().unwrap_or(0))
    }

    fn send(&mut self, to: PeerId, message: Message) {
        self.out.push(Out::Send { to, message });
    }

    fn ask_store(&mut self, pending: Pending, question: Question) {
        self.last += 1;
        self.pending.insert(self.last, (self.view, pending));
        self.out.push(Out::Store { ticket: self.last, question });
    }

    fn told(&self, partition: PartitionId, peer: PeerId) -> Option<&Told> {
        self.told.get(&partition)?.get(&peer)
    }

    /// What it has told under the table that we have.
    fn told_now(&self, scene: &Scene<'_>, partition: PartitionId, peer: PeerId) -> Option<&Told> {
        self.told(partition, peer).filter(|told| told.view.hash == scene.map.view().hash)
    }

    fn reachable(&self, scene: &Scene<'_>, peer: PeerId) -> bool {
        peer != scene.me && scene.map.health(peer) != Health::Dead
    }
}
