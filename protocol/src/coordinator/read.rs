//! One read: R copies asked, one for the cells and the others for a digest; where any two differ the cells
//! of all are merged, with their contexts, and the replicas that differ are sent to repair.

use super::ballot::Ballot;
use super::{Begin, Client, Next, Out, Scene, verdict};
use crate::ids::PeerId;
use crate::member::Health;
use crate::message::Call;
use crate::request::{AnswerKind, Outcome};
use crate::seats::{Seat, Seats};
use crate::store::{Answer, Question};
use crate::time::Time;
use serde_bytes::ByteBuf;
use starling_crdt::Command;
use starling_crdt::{Answered, Slice};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) struct Read {
    client: Client,
    pub seats: Seats,
    pub ballot: Ballot,
    key: ByteBuf,
    command: Command,
    pub need: usize,
    pub r: u8,
    pub w: u8,
    explain: bool,
    pub began: Time,
    patience: Option<Time>,
    digests: BTreeMap<PeerId, u64>,
    slices: BTreeMap<PeerId, Arc<Slice>>,
}

/// What is wanted of a replica.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Cells,
    Digest,
}

impl Read {
    pub fn begin(scene: &mut Scene<'_>, begin: Begin) -> Option<(Self, Next)> {
        let Begin { client, seats, key, command, r, w, explain } = begin;
        let began = scene.now.time;
        let mut candidates = candidates(&seats, scene.me);
        let need = usize::from(r).min(seats.read.len()).max(1);
        let spares = candidates.split_off(need.min(candidates.len())).into();
        let (ballot, patience) = (Ballot::new(spares), Some(began + scene.config.patience));
        let (digests, slices) = (BTreeMap::new(), BTreeMap::new());
        let mut read = Self {
            client,
            seats,
            ballot,
            key,
            command,
            need,
            r,
            w,
            explain,
            began,
            patience,
            digests,
            slices,
        };
        read.open(scene, candidates);
        match read.judge(scene) {
            Next::Over => None,
            next => Some((read, next)),
        }
    }

    fn open(&mut self, scene: &mut Scene<'_>, first: Vec<Seat>) {
        for seat in self.seats.read.clone().into_iter().filter(Seat::is_dead) {
            self.ballot.skip(scene.now.time, seat);
        }
        let mut absent = self.ballot.with(AnswerKind::NotAsked).into_iter();
        for (index, seat) in first.into_iter().enumerate() {
            let owner = self.is_owner(seat.peer);
            let instead_of = if owner { None } else { absent.next() };
            self.ask(scene, seat, instead_of, if index == 0 || !owner { Want::Cells } else { Want::Digest });
        }
    }

    fn ask(&mut self, scene: &mut Scene<'_>, seat: Seat, instead_of: Option<PeerId>, want: Want) {
        self.ballot.ask(scene.now.time, seat, instead_of);
        let (partition, key, command) = (self.seats.partition, self.key.clone(), self.command.clone());
        if seat.peer == scene.me {
            return scene.store(Question::Read { partition, key, command });
        }
        let (op, view, digest) = (scene.op, self.seats.view, want == Want::Digest);
        scene.send(seat.peer, Call::Read { op, view, partition, key, command, digest });
    }

    pub fn stored(&mut self, scene: &mut Scene<'_>, answer: Answer) -> Next {
        match answer {
            Answer::Read { slice, digest } => self.sliced(scene, scene.me, slice, digest),
            Answer::NotFilled => self.lost(scene, scene.me, AnswerKind::Refused),
            _ => Next::Keep,
        }
    }

    /// `digest`: if it is known already.
    pub fn sliced(
        &mut self,
        scene: &mut Scene<'_>,
        from: PeerId,
        slice: Arc<Slice>,
        digest: Option<u64>,
    ) -> Next {
        if self.ballot.answered(scene.now.time, from, AnswerKind::Ok) {
            self.digests.insert(from, digest.unwrap_or_else(|| slice.digest()));
            self.slices.insert(from, slice);
        }
        self.judge(scene)
    }

    pub fn digested(&mut self, scene: &mut Scene<'_>, from: PeerId, digest: u64) -> Next {
        if self.ballot.answered(scene.now.time, from, AnswerKind::Ok) {
            self.digests.insert(from, digest);
        }
        self.judge(scene)
    }

    pub fn ask_again(&mut self, scene: &mut Scene<'_>, peer: PeerId) -> Next {
        if let Some((seat, instead_of)) = self.ballot.take_behind(peer) {
            self.ask(scene, seat, instead_of, Want::Cells);
        }
        self.wait_in(scene)
    }

    pub fn lost(&mut self, scene: &mut Scene<'_>, peer: PeerId, how: AnswerKind) -> Next {
        if self.ballot.answered(scene.now.time, peer, how) {
            self.cover(scene, peer);
        }
        self.judge(scene)
    }

    /// Somebody else is asked in the place of `peer`; always for cells, which merge with any others. Whoever
    /// that is has the same patience to answer in.
    fn cover(&mut self, scene: &mut Scene<'_>, peer: PeerId) {
        if let Some((spare, instead_of)) = self.ballot.cover(peer) {
            let owner = self.is_owner(spare.peer);
            self.ask(scene, spare, if owner { None } else { Some(instead_of) }, Want::Cells);
            self.patience = Some(scene.now.time + scene.config.patience);
        }
    }

    fn judge(&mut self, scene: &mut Scene<'_>) -> Next {
        if self.digests.len() < self.need || self.knows_nothing() {
            marked!(ReadWaits if self.digests.len() >= self.need);
            return if self.ballot.is_pending() { self.wait_in(scene) } else { self.fail(scene) };
        }
        let lacking = self.lacking();
        if lacking.is_empty() {
            return self.finish(scene);
        }
        let mut asked = false;
        // Where the cells of others are enough, nobody is waited for who was asked before.
        let is_short = self.is_short();
        for peer in lacking {
            if self.ballot.with(AnswerKind::Ok).contains(&peer) {
                marked!(DigestDiffers);
                let seat = Seat { peer, health: Health::Alive };
                self.ask(scene, seat, None, Want::Cells);
                asked = true;
            }
            asked |= is_short && self.ballot.with(AnswerKind::Pending).contains(&peer);
        }
        if asked { self.wait_in(scene) } else { self.drop_digests(scene) }
    }

    /// Only stand-ins have answered that hold nothing of the partition, and an owner may yet, or lives and does not tell,
    /// as it is not filled: what they say is worth nothing beside it.
    fn knows_nothing(&self) -> bool {
        let refused = self.ballot.with(AnswerKind::Refused);
        let holds = |seat: &Seat| self.ballot.awaits(seat.peer) || refused.contains(&seat.peer);
        self.heard() == 0 && self.seats.read.iter().any(holds)
    }

    /// Answers of those that own the partition, or at least hold something of it.
    pub fn heard(&self) -> usize {
        self.digests.keys().filter(|peer| self.counts(**peer)).count()
    }

    /// Whether the cells that have come are of fewer than are needed. A stand-in that holds nothing is none beside an owner
    /// whose copy differs.
    fn is_short(&self) -> bool {
        self.slices.keys().filter(|peer| self.counts(**peer)).count() < self.need
    }

    fn counts(&self, peer: PeerId) -> bool {
        let is_empty = self.slices.get(&peer).is_some_and(|slice| slice.context.is_empty());
        self.is_owner(peer) || !is_empty
    }

    fn is_owner(&self, peer: PeerId) -> bool {
        self.seats.read.iter().any(|seat| seat.peer == peer)
    }

    /// Whose cells are needed beside those that have come: nobody's while all digests agree, else those of all. A digest
    /// tells of live cells alone: one that has seen a value removed and one that has seen neither have the same, and
    /// only the context of the first keeps a third one's value from being answered.
    fn lacking(&self) -> Vec<PeerId> {
        if mutated!(IgnoreDigests) {
            return Vec::new();
        }
        let digests: BTreeSet<u64> = self.digests.values().copied().collect();
        let most = if digests.len() > 1 { usize::MAX } else { usize::from(self.slices.is_empty()) };
        let without = self.digests.keys().filter(|peer| !self.slices.contains_key(peer));
        without.take(most).copied().collect()
    }

    /// Who gave a digest and then no cells does not count as an answer.
    fn drop_digests(&mut self, scene: &mut Scene<'_>) -> Next {
        for peer in self.lacking() {
            marked!(DigestDropped);
            self.digests.remove(&peer);
        }
        self.judge(scene)
    }

    fn finish(&mut self, scene: &mut Scene<'_>) -> Next {
        let first = self.slices.keys().find_map(|peer| self.digests.get(peer)).copied();
        let differ: Vec<_> =
            self.digests.iter().filter(|(_, d)| Some(**d) != first).map(|(p, _)| *p).collect();
        for peer in &differ {
            self.ballot.set(*peer, AnswerKind::Differs);
        }
        let slices = std::mem::take(&mut self.slices).into_values();
        let merged = slices.reduce(merge).unwrap_or_default();
        let Answered { reply, hidden } = self.command.answer(&merged);
        let trace = self.explain.then(|| verdict::read(self, scene));
        scene.done(self.client, Ok(Outcome { reply, hidden, trace }));
        if !differ.is_empty() {
            let (partition, peers) = (self.seats.partition, self.digests.keys().copied().collect());
            scene.out.push(Out::Differ { partition, peers });
        }
        Next::Over
    }

    fn fail(&mut self, scene: &mut Scene<'_>) -> Next {
        let failure = verdict::not_read(self, scene);
        scene.done(self.client, Err(failure));
        Next::Over
    }

    pub fn replan(&mut self, scene: &mut Scene<'_>, seats: Seats) -> Next {
        let again: Vec<_> = self.ballot.behind();
        let before = std::mem::replace(&mut self.seats, seats);
        let short = self.forget_former(&before) || !again.is_empty();
        for seat in self.seats.read.clone() {
            if again.contains(&seat.peer) || !self.ballot.has(seat.peer) && short {
                self.ask(scene, seat, None, Want::Cells);
            }
        }
        // Others that were behind stand in, as before; former owners were dealt with.
        for peer in again {
            self.ask_again(scene, peer);
        }
        self.wait_in(scene)
    }

    /// What former owners say, this peer itself among them, does not count: writes may have passed them by.
    /// True if any was asked.
    fn forget_former(&mut self, before: &Seats) -> bool {
        let former = before.read.iter().map(|seat| seat.peer).filter(|peer| !self.is_owner(*peer));
        let former: Vec<_> = former.filter(|peer| self.ballot.has(*peer)).collect();
        for peer in &former {
            marked!(ReadReplanned);
            self.digests.remove(peer);
            self.slices.remove(peer);
            self.ballot.set(*peer, AnswerKind::Refused);
        }
        !former.is_empty()
    }

    pub fn alarm(&mut self, scene: &mut Scene<'_>) -> Next {
        if scene.now.time >= self.deadline(scene) {
            return self.conclude(scene);
        }
        // Whoever is asked now gets the same patience, until nobody is left to ask.
        self.patience = self.ballot.has_spares().then(|| scene.now.time + scene.config.patience);
        for peer in self.ballot.awaited() {
            self.cover(scene, peer);
        }
        if self.is_short() { self.wait_in(scene) } else { self.judge(scene) }
    }

    /// Nobody is waited for any more: what has come is enough, or it is not.
    fn conclude(&mut self, scene: &mut Scene<'_>) -> Next {
        self.digests.retain(|peer, _| self.slices.contains_key(peer));
        let is_enough = self.digests.len() >= self.need && !self.knows_nothing();
        if is_enough { self.finish(scene) } else { self.fail(scene) }
    }

    fn deadline(&self, scene: &Scene<'_>) -> Time {
        self.began + scene.config.deadline
    }

    fn wait_in(&self, scene: &Scene<'_>) -> Next {
        Next::Wait(self.patience.unwrap_or(self.deadline(scene)).min(self.deadline(scene)))
    }

    pub fn answers(&self) -> usize {
        self.digests.len()
    }
}

fn merge(one: Arc<Slice>, other: Arc<Slice>) -> Arc<Slice> {
    Arc::new(Arc::unwrap_or_clone(one).merge(Arc::unwrap_or_clone(other)))
}

/// Whom a read asks, the nearest first: this peer if it is an owner, then owners that are alive, then
/// suspect ones, then stand-ins.
fn candidates(seats: &Seats, me: PeerId) -> Vec<Seat> {
    let mut owners: Vec<_> = seats.read.iter().copied().filter(|seat| !seat.is_dead()).collect();
    owners.sort_by_key(|seat| (seat.peer != me, seat.health));
    let stand_ins = seats.preference.iter().copied();
    let stand_ins = stand_ins.filter(|seat| !seat.is_dead() && !owners.iter().any(|o| o.peer == seat.peer));
    let stand_ins: Vec<_> = stand_ins.collect();
    owners.extend(stand_ins);
    owners
}
