//! Looking for damage, and having what was damaged filled again (rule `cells-with-context`).

use super::settle::needed;
use super::{Out, Pending, Repair, Scene};
use crate::ids::PartitionId;
use crate::store::{Answer, Question};
use crate::time::Time;
use starling_crdt::{Context, Scrubbed};
use std::collections::{BTreeMap, BTreeSet};

/// Where the scrub is on its way through all that is held here.
#[derive(Default)]
pub(super) struct Round {
    at: PartitionId,
    pub(super) next: Time,
    waits: bool,
    /// Partitions that are damaged, and were kept, as nobody else is known to have all of them.
    kept: BTreeSet<PartitionId>,
}

impl Repair {
    /// Asks storage to look at the next stretch, if it is time.
    pub(super) fn scrub_next(&mut self, scene: &Scene<'_>) {
        if self.scrub.waits || scene.now.time < self.scrub.next {
            return;
        }
        self.scrub.next = scene.now.time + self.config.scrub_pause;
        let fit = |p: &&PartitionId| {
            scene.map.owns(scene.me, **p) && !self.in_doubt.contains(p) && !self.refilling.contains(p)
        };
        let later = self.holding.range(self.scrub.at..).find(fit);
        let Some(partition) = later.or_else(|| self.holding.iter().find(fit)).copied() else { return };
        (self.scrub.at, self.scrub.waits) = (partition, true);
        self.in_doubt.insert(partition);
        let (max_bytes, elsewhere) = (self.config.scrub_batch, self.elsewhere(scene, partition));
        let question = Question::Scrub { partition, max_bytes, elsewhere };
        self.ask_store(Pending::Scrub { partition }, question);
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
        self.scrub.waits = false;
        if answer != Answer::Scrubbed(Scrubbed::More) {
            self.scrub.at = partition.wrapping_add(1);
        }
        if answer == Answer::GivenUp {
            self.scrub.kept.remove(&partition);
            self.out.push(Out::Damaged { partition });
            self.released(partition);
            self.refilling.insert(partition);
            self.refill(scene);
        } else if answer == Answer::Scrubbed(Scrubbed::Damaged) && self.scrub.kept.insert(partition) {
            self.out.push(Out::OnlyCopyDamaged { partition });
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
