//! Proof that our copy has what was acknowledged before this life. Who has none passes writes on to another owner,
//! which costs their clients a hop: so it is sought at once, and not with the next comparison that is due.

use super::{Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::member::Step;
use crate::message::Repair as Message;
use crate::seats::{Seat, Seats};
use crate::store::Question;
use starling_crdt::Context;
use std::collections::{BTreeMap, BTreeSet};

impl Repair {
    /// Whether this peer's copy was seen to have all that any write acknowledged before this life must have reached: it
    /// contains N-W others that are whole, or one more where it has become an owner only now; or all others, where some
    /// are to be filled as well and would wait for one another. `w`: copies that a write must reach.
    pub fn is_proven(&self, me: PeerId, seats: &Seats, w: u8) -> bool {
        let partition = seats.partition;
        let mut others = seats.old.iter().map(|seat| seat.peer).filter(|peer| *peer != me);
        let count = others.clone().count();
        let is_new = count == seats.old.len() || self.came.contains(&partition);
        let needed = seats.old.len().saturating_sub(w.into()) + usize::from(is_new);
        let whole = self.proven.get(&partition).map_or(0, |by| by.values().filter(|whole| **whole).count());
        let is_enough = whole >= needed.min(count) || others.all(|peer| self.is_proven_by(partition, peer));
        is_enough && self.surveyed && !self.is_refilling(partition) && !self.has_missed(partition)
    }

    /// Whether our copy has, for all we know, what an owner's must have.
    pub(super) fn is_filled(&self, partition: PartitionId) -> bool {
        !self.is_refilling(partition) && !self.has_come(partition)
    }

    /// Whether what was here was given up, and has not been filled again.
    pub fn is_refilling(&self, partition: PartitionId) -> bool {
        self.refilling.contains(&partition)
    }

    /// Whether it has become this peer's, and was not proven since.
    pub fn has_come(&self, partition: PartitionId) -> bool {
        self.came.contains(&partition)
    }

    /// Whether it has come to this peer, and others own it that are not dead and may hold what is not here yet. Those to
    /// whom it came at once are whole for one another as soon as each has what the others told.
    pub fn is_unfilled(&self, me: PeerId, seats: &Seats) -> bool {
        let may_have_more = |seat: &Seat| {
            seat.peer != me && !seat.is_dead() && !self.is_proven_by(seats.partition, seat.peer)
        };
        self.has_come(seats.partition) && seats.old.iter().any(may_have_more)
    }

    fn is_proven_by(&self, partition: PartitionId, peer: PeerId) -> bool {
        self.proven.get(&partition).is_some_and(|by| by.contains_key(&peer))
    }

    /// What this peer owned before this life, where that is not what the first table tells.
    pub fn owned_before(&mut self, partitions: impl Iterator<Item = PartitionId>) {
        self.owned = Some(partitions.collect());
    }

    /// What had come to this peer before this life, and was not filled.
    pub fn came_before(&mut self, partitions: BTreeSet<PartitionId>) {
        self.noted.clone_from(&partitions);
        self.came = partitions;
    }

    /// Has storage remember what has come; at once what is new, and at the next tick that it has been filled.
    pub(super) fn note_came(&mut self) {
        if self.noted != self.came {
            let mut news = self.came.difference(&self.noted);
            // What comes by steps is not read from here before it is filled, whatever is remembered.
            let waits = news.any(|partition| !self.coming_by_steps.contains(partition));
            self.noted.clone_from(&self.came);
            self.ask_store(Pending::Came { waits }, Question::Came { partitions: self.came.clone() });
        }
    }

    /// Whether storage has not synced yet what has come to this peer at once. Were the table by which it came saved
    /// before, it would count as held all along after a start.
    pub fn is_noting(&self) -> bool {
        self.pending.values().any(|(_, why)| matches!(why, Pending::Came { waits: true }))
    }

    /// Whether something of it was not taken, for want of room.
    pub fn has_missed(&self, partition: PartitionId) -> bool {
        self.missed.contains(&partition)
    }

    pub(super) fn note_missed(&mut self, partition: PartitionId) {
        if self.missed.insert(partition) {
            self.forget_proof(partition);
        }
    }

    pub(super) fn forget_proof(&mut self, partition: PartitionId) {
        self.proven.remove(&partition);
        self.told.remove(&partition);
        self.unproven.insert(partition);
        // What others hold of it has to be heard anew, even if it is the same as before.
        self.same.clear();
    }

    /// There is room again. What was missed is proven anew, by what is told from now on.
    pub fn room_again(&mut self) {
        self.room = Default::default();
        std::mem::take(&mut self.missed).into_iter().for_each(|partition| self.forget_proof(partition));
    }

    /// Whether another has told that its copy is on its way to be whole.
    pub fn is_told_unfilled(&self, partition: PartitionId, peer: PeerId) -> bool {
        self.told(partition, peer).is_some_and(|told| !told.filled)
    }

    /// Takes note of what this peer has come to own. Who is no owner any more leaves room for another, which becomes one
    /// without a step of its own.
    pub(super) fn note_owned(&mut self, scene: &Scene<'_>) {
        let owned: BTreeSet<_> = scene.map.owned_by(scene.me).into_iter().collect();
        self.came.retain(|partition| owned.contains(partition));
        let is_read = |partition: &PartitionId| has(&scene.map.seats(*partition).read, scene.me);
        if self.owned.is_none() {
            marked!(CameBefore if !self.came.is_empty());
            // What comes by steps the last life may not have remembered: see `note_came`.
            let comes = |p: &&PartitionId| !is_read(p) && !has(&scene.map.seats(**p).old, scene.me);
            self.came.extend(owned.iter().filter(comes));
            self.coming_by_steps.extend(self.came.iter().filter(|partition| !is_read(partition)));
        }
        self.note_handed_over(scene);
        // What it owned before this life, the first table tells, or `owned_before`.
        if let Some(before) = &self.owned {
            self.coming_by_steps.extend(owned.difference(before).filter(|partition| !is_read(partition)));
            self.came.extend(owned.difference(before));
        }
        self.unproven.clone_from(&owned);
        self.owned = Some(owned);
        self.note_came();
    }

    /// What comes by steps, this peer's own or those of one that leaves, has been filled before reads ask the new owners
    /// (rule `settling`): all of it, while the old ones are not done with.
    fn note_handed_over(&mut self, scene: &Scene<'_>) {
        let Self { came, coming_by_steps, .. } = self;
        coming_by_steps.retain(|partition| {
            let seats = scene.map.seats(*partition);
            let is_read = has(&seats.read, scene.me);
            if is_read && !has(&seats.old, scene.me) {
                came.remove(partition);
            }
            !is_read && came.contains(partition)
        });
    }

    pub(super) fn note_proof(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        // What comes to it while others own it passes us by; and one that holds it for others, or is to own it, has seen
        // only what it was handed.
        if !scene.map.owns(scene.me, partition) || !self.has_all_of(scene, partition, from) {
            return;
        }
        let seats = scene.map.seats(partition);
        if has(&seats.old, from) {
            let is_whole = !self.is_told_unfilled(partition, from);
            *self.proven.entry(partition).or_default().entry(from).or_default() |= is_whole;
            if self.is_proven(scene.me, &seats, scene.w) {
                self.filled(partition);
            }
        }
    }

    fn filled(&mut self, partition: PartitionId) {
        if self.came.remove(&partition) {
            // The next comparisons tell.
            self.same.clear();
        }
    }

    /// What was told of a partition may have come since: while clients write, something is always on its way. Its
    /// other owners, one at a time, are asked what they hold.
    pub(super) fn seek_proof(&mut self, scene: &Scene<'_>) {
        // On the way in, all owners are asked anyway; on the way out, others issue what is written.
        if self.unproven.is_empty() || scene.step != Step::Member {
            return;
        }
        let mut unproven = std::mem::take(&mut self.unproven);
        let (mut reweigh, mut ask) = (Vec::new(), BTreeMap::new());
        unproven.retain(|partition| {
            let seats = scene.map.seats(*partition);
            let owns = seats.owns(scene.me);
            let lacks = owns && !self.is_proven(scene.me, &seats, scene.w);
            if owns && !lacks {
                // One that was to prove it may have been forgotten.
                self.filled(*partition);
            }
            // Without room, what was missed would be sent in vain.
            if lacks && !self.conceals(scene, *partition) {
                let others = self.unheard(scene, seats);
                // What one told before it became an owner proves nothing.
                if others.iter().any(|seat| self.told_now(scene, *partition, seat.peer).is_some()) {
                    reweigh.push(*partition);
                }
                self.ask_owners(scene, *partition, &others, &mut ask);
            }
            lacks
        });
        self.unproven = unproven;
        if !reweigh.is_empty() && !self.pending.values().any(|(_, why)| matches!(why, Pending::Prove)) {
            self.ask_store(Pending::Prove, Question::Contexts { partitions: reweigh });
        }
        self.ask_next(ask);
    }

    /// Who may prove a partition, and has not. One whose copy is to be filled as well may wait for one that is away: that
    /// it has been, its comparisons tell.
    fn unheard(&self, scene: &Scene<'_>, seats: Seats) -> Vec<Seat> {
        let proves = |peer| self.is_proven_by(seats.partition, peer);
        seats.old.into_iter().filter(|seat| seat.peer != scene.me && !proves(seat.peer)).collect()
    }

    fn ask_next(&mut self, mut ask: BTreeMap<PeerId, Vec<PartitionId>>) {
        let next = ask.keys().find(|peer| Some(**peer) > self.asked).or(ask.keys().next()).copied();
        if let Some(peer) = next {
            self.asked = next;
            let partitions = ask.remove(&peer).unwrap_or_default();
            self.send(peer, Message::Ask { partitions });
        }
    }

    pub(super) fn prove(&mut self, scene: &Scene<'_>, contexts: Vec<(PartitionId, Context)>) {
        for (partition, mine) in contexts {
            self.remember(vec![(partition, mine)]);
            for seat in self.unheard(scene, scene.map.seats(partition)) {
                self.note_proof(scene, partition, seat.peer);
            }
        }
    }
}

fn has(seats: &[Seat], peer: PeerId) -> bool {
    seats.iter().any(|seat| seat.peer == peer)
}
