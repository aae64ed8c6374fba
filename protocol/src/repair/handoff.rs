//! Handing over what is held for others, and letting go of it.

use super::{Out, Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::store::{Answer, Question};
use starling_crdt::Context;
use std::collections::BTreeMap;

/// Most partitions looked at in one round.
pub(super) const ROUND_MAX: usize = 1024;

impl Repair {
    /// Storage has told what is held at all: after a start, and of one partition after letting it go.
    pub(super) fn surveyed(&mut self, scene: &Scene<'_>, contexts: Vec<(PartitionId, Context)>) {
        self.surveyed = true;
        let held = contexts.iter().filter(|(_, context)| !context.is_empty());
        let held = held.filter(|_| !mutated!(ForgetHeld));
        self.holding.extend(held.map(|(partition, _)| *partition));
        // Of an earlier table, maybe: nothing is fresh by it.
        self.mine.extend(contexts);
        self.replanned(scene);
    }

    /// A copy of an event was kept here.
    pub fn kept(&mut self, scene: &Scene<'_>, partition: PartitionId) {
        self.turn.kept += 1;
        if mutated!(IgnoreHeld) {
            return;
        }
        // Of what was held before, it is known whether others own it.
        let is_new = self.holding.insert(partition);
        if is_new && !scene.map.owns(scene.me, partition) {
            self.foreign.insert(partition);
        }
        if self.foreign.contains(&partition) {
            self.mine.remove(&partition);
        }
    }

    /// Asks the owners of what we hold and don't own what they have of it. Their reports do the rest.
    pub(super) fn hand_over(&mut self, scene: &Scene<'_>) {
        let mut ask: BTreeMap<PeerId, Vec<PartitionId>> = BTreeMap::new();
        for partition in self.next_foreign() {
            let owners = scene.map.seats(partition).owners();
            let complete = owners.iter().all(|seat| self.reachable(scene, seat.peer));
            for peer in owners.into_iter().map(|seat| seat.peer).filter(|peer| self.reachable(scene, *peer)) {
                let busy = self.pushes.contains_key(&(partition, peer));
                if !busy && (complete || !self.has_ours(partition, peer)) {
                    ask.entry(peer).or_default().push(partition);
                }
            }
        }
        self.ask_each(ask);
    }

    /// Those behind the last that was looked at come first: else those of a higher number would wait for owners of the
    /// others that are away.
    fn next_foreign(&mut self) -> Vec<PartitionId> {
        let last = self.handed_over;
        let behind = self.foreign.iter().filter(|partition| Some(**partition) > last);
        let before = self.foreign.iter().filter(|partition| Some(**partition) <= last);
        let next: Vec<_> = behind.chain(before).copied().take(ROUND_MAX).collect();
        self.handed_over = next.last().copied();
        next
    }

    /// Whether a peer was told to hold all that we hold; while an owner is away there is no more to ask it.
    fn has_ours(&self, partition: PartitionId, peer: PeerId) -> bool {
        let (mine, told) = (self.mine.get(&partition), self.told(partition, peer));
        mine.zip(told).is_some_and(|(mine, told)| told.context.contains_all(mine))
    }

    /// Lets a partition go if every owner has told, under the table that we have (rule `view`), that it has
    /// synced all that we hold; storage checks that against what it holds at that moment (`letgo-now`).
    pub(super) fn let_go(&mut self, scene: &Scene<'_>, partition: PartitionId) {
        let seats = scene.map.seats(partition);
        let enough = seats.new.len() >= usize::from(scene.w) && !seats.owns(scene.me);
        let Some(mine) = self.mine.get(&partition).filter(|_| enough) else { return };
        let early = mutated!(LetGoEarly).then(|| mine.clone());
        let Some(held) = early.or_else(|| self.held_by_all(scene, partition, mine)) else { return };
        if held == *mine && self.in_doubt.insert(partition) {
            self.ask_store(Pending::LetGo { partition }, Question::LetGo { partition, held });
        }
    }

    pub(super) fn let_go_tried(&mut self, partition: PartitionId, answer: Answer) {
        self.in_doubt.remove(&partition);
        if answer == (Answer::LetGo { done: true }) {
            self.out.push(Out::LetGo { partition });
            self.released(partition);
        }
    }

    /// It is gone. What is under way to us was made for a context that we no longer have: another session.
    /// What came to storage after it went is looked for.
    pub(super) fn released(&mut self, partition: PartitionId) {
        *self.releases.entry(partition).or_default() += 1;
        self.holding.remove(&partition);
        self.foreign.remove(&partition);
        self.ask_store(Pending::Survey, Question::Contexts { partitions: vec![partition] });
        self.mine.remove(&partition);
        self.fresh.remove(&partition);
        self.forget_proof(partition);
        self.cut.remove(&partition);
        self.refilling.remove(&partition);
        self.coming.forget_partition(partition);
    }
}
