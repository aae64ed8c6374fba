//! Open operations, from request to verdict: N, R, W; sloppy quorum; stand-ins; deadlines; explain.
//!
//! DeCandia et al., "Dynamo" (SOSP 2007), sections 4.5 and 4.6, over events instead of values: an
//! owner issues the event, its copies go to all owners at once, and whoever stands in for a silent
//! owner keeps it until `repair` has handed it over.

mod ballot;
mod forward;
mod quorum;
mod read;
#[cfg(test)]
mod tests;
mod verdict;
mod write;

use crate::config::Config;
use crate::ids::{OpId, PartitionId, PeerId, RequestId};
use crate::member::View;
use crate::message::{Call, Refusal};
use crate::request::{AnswerKind, Failure, FailureKind, Outcome};
use crate::seats::Seats;
use crate::store::{Answer, Question};
use crate::time::{Now, Time};
use ballot::Ballot;
pub use forward::Candidate;
use forward::Forward;
use read::Read;
use serde_bytes::ByteBuf;
use starling_crdt::Command;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use write::Write;

/// Who waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Local(RequestId),
    /// A peer that forwarded the request to us, and until when we may begin.
    Peer {
        peer: PeerId,
        op: OpId,
        until: Option<Time>,
    },
}

/// One request, with everything that is decided before it begins.
#[derive(Clone, Debug)]
pub struct Begin {
    pub client: Client,
    pub seats: Seats,
    pub key: ByteBuf,
    pub command: Command,
    /// Copies to ask or to sync; at most as many as there are owners.
    pub r: u8,
    pub w: u8,
    pub explain: bool,
}

/// What the coordinator asks of the peer that it lives in.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Send {
        to: PeerId,
        call: Call,
    },
    Store {
        op: OpId,
        question: Question,
    },
    Done {
        client: Client,
        result: Result<Outcome, Failure>,
    },
    /// These replicas of a partition were seen to differ.
    Differ {
        partition: PartitionId,
        peers: Vec<PeerId>,
    },
    /// We know fewer steps than this peer.
    LearnFrom {
        peer: PeerId,
    },
}

/// Boxed, as they are moved about in an ordered map.
enum Op {
    Write(Box<Write>),
    Read(Box<Read>),
    Forward(Box<Forward>),
}

/// What an operation does next, decided by its own room.
enum Next {
    /// Nothing has changed for it.
    Keep,
    /// It goes on; look at it again at this time.
    Wait(Time),
    Over,
    /// Carry it out here after all.
    Here(Box<Begin>),
}

/// An operation, and when it wants to be woken.
struct UnderWay {
    state: Op,
    alarm: Option<Time>,
}

pub struct Coordinator {
    me: PeerId,
    config: Config,
    ops: BTreeMap<OpId, UnderWay>,
    /// The alarms of all operations.
    clock: BTreeSet<(Time, OpId)>,
    last: u64,
    /// Writes of which the client has its answer, and that wait for the owners that are left.
    answered: BTreeSet<OpId>,
    /// Requests of peers that were taken up lately, so that a frame that comes twice counts once; and whether they came
    /// as the last resort, since whoever refused may be asked once more as that.
    taken: BTreeSet<(PeerId, OpId, bool)>,
    taken_order: VecDeque<(PeerId, OpId, bool)>,
    out: Vec<Out>,
}

/// Of how many requests of peers is remembered that they were taken up.
const TAKEN_MAX: usize = 65_536;

/// What the rooms of single operations need to know and to say.
struct Scene<'a> {
    me: PeerId,
    now: Now,
    op: OpId,
    config: &'a Config,
    out: &'a mut Vec<Out>,
}

impl Scene<'_> {
    fn send(&mut self, to: PeerId, call: Call) {
        self.out.push(Out::Send { to, call });
    }

    fn store(&mut self, question: Question) {
        self.out.push(Out::Store { op: self.op, question });
    }

    fn done(&mut self, client: Client, result: Result<Outcome, Failure>) {
        self.out.push(Out::Done { client, result });
    }
}

impl Coordinator {
    /// `life`: another number at every start, so that an answer, or a request that comes twice, is never
    /// taken for one of an earlier life.
    pub fn new(me: PeerId, config: Config, life: u64) -> Self {
        let (ops, clock, answered) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (taken, taken_order, out) = (BTreeSet::new(), VecDeque::new(), Vec::new());
        Self { me, config, ops, clock, last: life >> 2, answered, taken, taken_order, out }
    }

    /// Notes a request that a peer has forwarded to us. False if it was taken up before.
    pub fn take_up(&mut self, peer: PeerId, op: OpId, last: bool) -> bool {
        if !self.taken.insert((peer, op, last)) && !mutated!(TakeTwice) {
            return false;
        }
        self.taken_order.push_back((peer, op, last));
        if self.taken_order.len() > TAKEN_MAX {
            self.taken_order.pop_front().map(|oldest| self.taken.remove(&oldest));
        }
        true
    }

    /// Of each table its name, its length, and the most that it may hold.
    pub fn tables(&self) -> [(&'static str, usize, usize); 2] {
        [
            ("operations", self.ops.len(), self.config.operations_max),
            ("requests taken up", self.taken.len(), TAKEN_MAX),
        ]
    }

    /// Operations under way.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.clock.first().map(|(time, _)| *time)
    }

    /// What was asked for since the last call.
    pub fn drain(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// A read, coordinated here.
    pub fn read(&mut self, now: Now, begin: Begin) {
        self.start(now, begin, |scene, begin| {
            Read::begin(scene, begin).map(|(op, next)| (Op::Read(Box::new(op)), next))
        });
    }

    /// A write, issued here.
    pub fn write(&mut self, now: Now, begin: Begin) {
        if mutated!(RefuseWrites) {
            return self.refuse(begin.client);
        }
        self.start(now, begin, |scene, begin| {
            let (op, next) = Write::begin(scene, begin);
            Some((Op::Write(Box::new(op)), next))
        });
    }

    /// A write, issued by the first of `candidates` that answers; this peer may be one of them.
    pub fn forward(&mut self, now: Now, begin: Begin, candidates: Vec<Candidate>) {
        let mut here = None;
        self.start(now, begin, |scene, begin| match Forward::begin(scene, begin, candidates) {
            Ok((op, next)) => Some((Op::Forward(Box::new(op)), next)),
            Err(begin) => {
                here = Some(begin);
                None
            }
        });
        if let Some(begin) = here {
            self.write(now, *begin);
        }
    }

    fn start(
        &mut self,
        now: Now,
        begin: Begin,
        room: impl FnOnce(&mut Scene<'_>, Begin) -> Option<(Op, Next)>,
    ) {
        if self.ops.len() >= self.config.operations_max {
            self.make_room();
        }
        if self.ops.len() >= self.config.operations_max {
            return self.refuse(begin.client);
        }
        self.last += 1;
        let op = OpId(self.last);
        let mut scene = Scene { me: self.me, now, op, config: &self.config, out: &mut self.out };
        if let Some((state, next)) = room(&mut scene, begin) {
            self.ops.insert(op, UnderWay { state, alarm: None });
            self.follow(now, op, next);
        }
    }

    /// Too much is under way.
    fn refuse(&mut self, client: Client) {
        let failure = verdict::busy(self.config.operations_max);
        self.out.push(Out::Done { client, result: Err(failure) });
    }

    /// Ends the oldest write that is done for its client. Who has not acknowledged them gets them by repair; of an
    /// owner that is silent there would be as many as come in the time it has, and nothing else could begin.
    fn make_room(&mut self) {
        if let Some(oldest) = self.answered.first().copied() {
            self.end(oldest);
        }
    }

    /// Storage has answered for `op`.
    pub fn stored(&mut self, now: Now, op: OpId, answer: Answer) {
        self.with(now, op, |state, scene| match state {
            Op::Write(write) => write.stored(scene, answer),
            Op::Read(read) => read.stored(scene, answer),
            Op::Forward(_) => Next::Keep,
        });
    }

    /// A peer has answered for one of our operations.
    pub fn answered(&mut self, now: Now, from: PeerId, call: Call) {
        match call {
            Call::Applied { ops, .. } => {
                for op in ops {
                    self.with(now, op, |state, scene| match state {
                        Op::Write(write) => write.acked(scene, from),
                        _ => Next::Keep,
                    });
                }
            }
            Call::ReadSlice { op, slice, .. } => self.with(now, op, |state, scene| match state {
                Op::Read(read) => read.sliced(scene, from, slice, None),
                _ => Next::Keep,
            }),
            Call::ReadDigest { op, digest, .. } => self.with(now, op, |state, scene| match state {
                Op::Read(read) => read.digested(scene, from, digest),
                _ => Next::Keep,
            }),
            Call::Forwarded { op, result } => self.with(now, op, |state, scene| match state {
                Op::Forward(forward) => forward.answered(scene, from, result),
                _ => Next::Keep,
            }),
            Call::Behind { op, view } => self.behind(now, from, op, Some(view)),
            Call::Refused { op, why } => self.refused(now, from, op, why),
            _ => {}
        }
    }

    /// What `from` knows is not known here, so that it does not count for `op`: it is asked again when it is. `theirs`:
    /// its view, if it has refused to answer under ours.
    pub fn behind(&mut self, now: Now, from: PeerId, op: OpId, theirs: Option<View>) {
        self.out.push(Out::LearnFrom { peer: from });
        self.with(now, op, |state, scene| state.behind(scene, from, theirs));
    }

    /// What `peer` knows is known here.
    pub fn caught_up(&mut self, now: Now, peer: PeerId) {
        let waits = |state: &Op| state.ballot().is_some_and(|ballot| ballot.is_behind(peer));
        for op in self.all(waits) {
            self.with(now, op, |state, scene| state.ask_again(scene, peer));
        }
    }

    fn refused(&mut self, now: Now, from: PeerId, op: OpId, why: Refusal) {
        self.with(now, op, |state, scene| match state {
            Op::Forward(forward) => forward.refused(scene, from, why),
            _ => state.lost(scene, from, AnswerKind::Refused),
        });
    }

    /// Nothing more is to be expected of this peer for what is under way.
    pub fn unreachable(&mut self, now: Now, peer: PeerId) {
        for op in self.all(|state| state.awaits(peer)) {
            self.with(now, op, |state, scene| state.lost(scene, peer, AnswerKind::Unreachable));
        }
    }

    /// The operations under way of which this is true.
    fn all(&self, is: impl Fn(&Op) -> bool) -> Vec<OpId> {
        self.ops.iter().filter(|(_, under_way)| is(&under_way.state)).map(|(op, _)| *op).collect()
    }

    /// Owners have changed: what waits for that is asked again. `seats` gives the new ones.
    pub fn replan(&mut self, now: Now, view: View, seats: impl Fn(PartitionId) -> Seats) {
        let stale: Vec<_> = self.ops.iter().filter_map(|(op, u)| Some((*op, u.state.stale(view)?))).collect();
        for (op, partition) in stale {
            let seats = seats(partition);
            self.with(now, op, |state, scene| match state {
                Op::Write(write) => write.replan(scene, seats),
                Op::Read(read) => read.replan(scene, seats),
                Op::Forward(forward) => forward.replan(seats),
            });
        }
    }

    pub fn timeout(&mut self, now: Now) {
        while let Some((time, op)) = self.clock.first().copied().filter(|(time, _)| *time <= now.time) {
            self.clock.remove(&(time, op));
            if let Some(under_way) = self.ops.get_mut(&op) {
                under_way.alarm = None;
            }
            self.with(now, op, |state, scene| match state {
                Op::Write(write) => write.alarm(scene),
                Op::Read(read) => read.alarm(scene),
                Op::Forward(forward) => forward.alarm(scene),
            });
        }
    }

    fn with(&mut self, now: Now, op: OpId, act: impl FnOnce(&mut Op, &mut Scene<'_>) -> Next) {
        let Some(under_way) = self.ops.get_mut(&op) else { return };
        let mut scene = Scene { me: self.me, now, op, config: &self.config, out: &mut self.out };
        let next = act(&mut under_way.state, &mut scene);
        if under_way.state.is_answered() {
            self.answered.insert(op);
        }
        self.follow(now, op, next);
    }

    fn follow(&mut self, now: Now, op: OpId, next: Next) {
        match next {
            Next::Keep => {}
            Next::Wait(time) => self.set_alarm(op, time),
            Next::Over => self.end(op),
            Next::Here(begin) => {
                self.end(op);
                self.write(now, *begin);
            }
        }
    }

    fn end(&mut self, op: OpId) {
        let Some(UnderWay { alarm, .. }) = self.ops.remove(&op) else { return };
        self.answered.remove(&op);
        if let Some(before) = alarm {
            self.clock.remove(&(before, op));
        }
    }

    fn set_alarm(&mut self, op: OpId, time: Time) {
        let Some(under_way) = self.ops.get_mut(&op) else { return };
        match under_way.alarm.replace(time) {
            Some(before) if before == time => return,
            Some(before) => drop(self.clock.remove(&(before, op))),
            None => {}
        }
        self.clock.insert((time, op));
    }
}

impl Op {
    fn ballot(&self) -> Option<&Ballot> {
        match self {
            Op::Write(write) => Some(&write.ballot),
            Op::Read(read) => Some(&read.ballot),
            Op::Forward(_) => None,
        }
    }

    fn is_answered(&self) -> bool {
        matches!(self, Op::Write(write) if write.is_answered())
    }

    fn awaits(&self, peer: PeerId) -> bool {
        match self {
            Op::Forward(forward) => forward.awaits(peer),
            _ => self.ballot().is_some_and(|ballot| ballot.awaits(peer)),
        }
    }

    /// Where we have learned meanwhile what `from` knows, no change of owners is to be waited for.
    fn behind(&mut self, scene: &mut Scene<'_>, from: PeerId, theirs: Option<View>) -> Next {
        let (ballot, view) = match self {
            Op::Write(write) => (&mut write.ballot, write.seats.view),
            Op::Read(read) => (&mut read.ballot, read.seats.view),
            Op::Forward(_) => return Next::Keep,
        };
        ballot.mark_behind(scene.now.time, from);
        match theirs {
            Some(theirs) if !view.is_behind(&theirs) => self.ask_again(scene, from),
            _ => Next::Keep,
        }
    }

    fn ask_again(&mut self, scene: &mut Scene<'_>, peer: PeerId) -> Next {
        match self {
            Op::Write(write) => write.ask_again(scene, peer),
            Op::Read(read) => read.ask_again(scene, peer),
            Op::Forward(_) => Next::Keep,
        }
    }

    fn lost(&mut self, scene: &mut Scene<'_>, peer: PeerId, how: AnswerKind) -> Next {
        match self {
            Op::Write(write) => write.lost(scene, peer, how),
            Op::Read(read) => read.lost(scene, peer, how),
            Op::Forward(forward) => forward.lost(scene, peer, how),
        }
    }

    fn stale(&self, view: View) -> Option<PartitionId> {
        let seats = match self {
            Op::Write(write) => &write.seats,
            Op::Read(read) => &read.seats,
            Op::Forward(forward) => forward.seats(),
        };
        (seats.view != view).then_some(seats.partition)
    }
}

/// What a client asked for that cannot be: more copies than are kept.
pub fn check_copies(what: &str, asked: u8, n: u8) -> Result<(), Box<Failure>> {
    if (1..=n).contains(&asked) {
        return Ok(());
    }
    Err(Box::new(Failure {
        kind: FailureKind::Invalid,
        why: format!("{what}={asked}, but the network keeps {n} copies of each key"),
        state: "nothing was done".into(),
        hint: format!("choose {what} from 1 to {n}"),
        trace: None,
    }))
}
