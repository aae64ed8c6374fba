//! Looking for damage, and having what was damaged filled again (rule `cells-with-context`).

use super::settle::needed;
use super::{Out, Pending, Repair, Scene};
use crate::ids::PartitionId;
use crate::store::{Answer, Question};
use crate::time::Time;
use starling_crdt::{Context, Scrubbed};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Where the scrub is on its way through all that is held here.
#[derive(Default)]
pub(super) struct Round {
    at: PartitionId,
    pub(super) next: Time,
    waits: bool,
    /// Partitions that are damaged, and were kept, as nobody else was known to have all of them at that moment; and
    /// whether it was said that nobody has a whole copy.
    kept: BTreeMap<PartitionId, bool>,
}

impl Repair {
    /// Asks storage to look at the next stretch, if it is time.
    pub(super) fn scrub_next(&mut self, scene: &Scene<'_>) {
        if self.scrub.waits || scene.now.time < self.scrub.next {
            return;
        }
        self.scrub.next = scene.now.time + self.config.scrub_pause;
        self.seek_copies(scene);
        let fit = |p: &&PartitionId| {
            scene.map.owns(scene.me, **p) && !self.in_doubt.contains(p) && !self.refilling.contains(p)
        };
        let later = self.holding.range(self.scrub.at..).find(fit);
        let Some(partition) = later.or_else(|| self.holding.iter().find(fit)).copied() else { return };
        (self.scrub.at, self.scrub.waits) = (partition, true);
        let elsewhere = self.elsewhere(scene, partition);
        self.ask_scrub(partition, elsewhere);
    }

    fn ask_scrub(&mut self, partition: PartitionId, elsewhere: Option<Context>) {
        self.in_doubt.insert(partition);
        let question = Question::Scrub { partition, max_bytes: self.config.scrub_batch, elsewhere };
        self.ask_store(Pending::Scrub { partition }, question);
    }

    /// Another has told what it holds. Where that is all of a copy here that is damaged, this is the moment to give it up:
    /// while writes go on, what was told is behind soon. Owned no longer, it is let go like all that is held for others.
    pub(super) fn scrub_kept(&mut self, scene: &Scene<'_>, partition: PartitionId) {
        let is_kept = self.scrub.kept.contains_key(&partition) && scene.map.owns(scene.me, partition);
        if !is_kept || self.in_doubt.contains(&partition) {
            return;
        }
        if let Some(held) = self.elsewhere(scene, partition) {
            self.ask_scrub(partition, Some(held));
        }
    }

    /// Asks the other owners anew what they hold of what is damaged here and was kept. Where none has a whole copy, that is
    /// said, once.
    fn seek_copies(&mut self, scene: &Scene<'_>) {
        self.scrub.kept.retain(|partition, _| scene.map.owns(scene.me, *partition));
        let mut ask = BTreeMap::new();
        for (partition, is_said) in self.scrub.kept.clone() {
            let mut others = scene.map.seats(partition).owners();
            others.retain(|seat| seat.peer != scene.me);
            self.ask_owners(scene, partition, &others, &mut ask);
            let is_unfilled = |peer| self.told_now(scene, partition, peer).is_some_and(|told| !told.filled);
            let mut reached = others.iter().filter(|seat| self.reachable(scene, seat.peer));
            if !is_said && reached.all(|seat| is_unfilled(seat.peer)) {
                self.scrub.kept.insert(partition, true);
                self.out.push(Out::OnlyCopyDamaged { partition });
            }
        }
        self.ask_each(ask);
    }

    /// What another owner that can be reached has told that it holds, under the table that we have: all that we were last
    /// seen to hold. Without one, a copy of which some cells are damaged is better than none.
    fn elsewhere(&self, scene: &Scene<'_>, partition: PartitionId) -> Option<Context> {
        let mine = self.mine.get(&partition)?;
        let owners = scene.map.seats(partition).owners().into_iter();
        let mut held = owners.filter(|seat| self.reachable(scene, seat.peer)).filter_map(|seat| {
            let told = self.told_now(scene, partition, seat.peer).filter(|told| told.filled)?;
            Some(&told.context)
        });
        held.find(|held| held.contains_all(mine)).cloned()
    }

    pub(super) fn scrubbed(&mut self, scene: &Scene<'_>, partition: PartitionId, answer: Answer) {
        self.in_doubt.remove(&partition);
        if partition == self.scrub.at {
            self.scrub.waits = false;
            let is_through = answer != Answer::Scrubbed(Scrubbed::More);
            self.scrub.at = partition.wrapping_add(is_through.into());
        }
        if answer == Answer::Scrubbed(Scrubbed::Damaged) {
            if let Entry::Vacant(entry) = self.scrub.kept.entry(partition) {
                entry.insert(false);
                self.seek_copies(scene);
                if self.scrub.kept.get(&partition) == Some(&false) {
                    self.out.push(Out::DamageKept { partition });
                }
            }
            return;
        }
        self.scrub.kept.remove(&partition);
        if answer == Answer::GivenUp {
            self.out.push(Out::Damaged { partition });
            self.released(partition);
            self.refilling.insert(partition);
            self.refill(scene);
        }
    }

    /// What was given up is filled once our synced context contains what enough of the other owners have
    /// reported, as for a peer that joins; or all that there is, where copies of others were damaged as well.
    /// Owned no longer, it is like anything that is held for others; and where there is no other owner, nothing has filled
    /// it.
    pub(super) fn refill(&mut self, scene: &Scene<'_>) {
        let mut ask = BTreeMap::new();
        for partition in self.refilling.clone() {
            let mut others = scene.map.seats(partition).owners();
            let before = others.len();
            others.retain(|seat| seat.peer != scene.me);
            let is_owner = others.len() < before;
            let told = others.iter().filter(|seat| self.is_filled_from(scene, partition, seat.peer)).count();
            let all = others.iter().all(|seat| self.has_all_of(scene, partition, seat.peer));
            let has_enough = all || told >= needed(scene, before).min(others.len());
            if !is_owner || !others.is_empty() && has_enough {
                self.ask_store(Pending::Filled { partition }, Question::Filled { partition });
            } else {
                self.ask_owners(scene, partition, &others, &mut ask);
            }
        }
        self.ask_each(ask);
    }

    pub(super) fn refilled(&mut self, partition: PartitionId) {
        if self.refilling.remove(&partition) {
            marked!(FilledAgain);
            self.out.push(Out::Refilled { partition });
        }
    }
}
