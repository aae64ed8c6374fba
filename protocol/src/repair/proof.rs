//! Proof that our copy has what was acknowledged before this life. Who has none passes writes on to another owner,
//! which costs their clients a hop: so it is sought at once, and not with the next comparison that is due.

use super::{Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::member::Step;
use crate::store::Question;
use starling_crdt::Context;
use std::collections::BTreeSet;

impl Repair {
    /// Whether this peer's copy was seen to have all that any write acknowledged before this life must
    /// have reached: it contains what N-W others hold. `owners`: how many the partition has as yet; `w`:
    /// copies that a write must reach.
    pub fn is_proven(&self, partition: PartitionId, owners: usize, w: u8) -> bool {
        let needed = owners.saturating_sub(usize::from(w));
        self.proven.get(&partition).map_or(0, |by| by.len()) >= needed
    }

    pub(super) fn note_proof(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        let (Some(mine), Some(told)) = (self.mine.get(&partition), self.told(partition, from)) else {
            return;
        };
        // One that holds it for others, or is to own it, has seen only what it was handed.
        let is_owner = || former_owners(scene, partition).contains(&from);
        if told.filled && mine.contains_all(&told.context) && is_owner() {
            self.proven.entry(partition).or_default().insert(from);
        }
    }

    /// What was told of a partition may have come since: while clients write, something is always on its way. Of whom
    /// nothing is known under the present table, its other owners are compared with, one at a time.
    pub(super) fn seek_proof(&mut self, scene: &Scene<'_>) {
        // On the way in, each owner is asked anyway.
        if self.unproven.is_empty() || scene.step != Step::Member {
            return;
        }
        let mut unproven = std::mem::take(&mut self.unproven);
        unproven.retain(|partition| self.lacks_proof(scene, *partition));
        let (mut again, mut ask) = (Vec::new(), BTreeSet::new());
        for partition in &unproven {
            let others = former_owners(scene, *partition).into_iter().filter(|p| self.reachable(scene, *p));
            let (told, untold): (Vec<_>, Vec<_>) = others.partition(|p| self.told_now(scene, *partition, *p));
            if !told.is_empty() {
                again.push(*partition);
            }
            ask.extend(untold);
        }
        self.unproven = unproven;
        if !again.is_empty() {
            self.ask_store(Pending::Prove, Question::Contexts { partitions: again });
        }
        self.compare_with_next_of(scene, &Vec::from_iter(ask));
    }

    pub(super) fn prove(&mut self, scene: &Scene<'_>, contexts: Vec<(PartitionId, Context)>) {
        for (partition, mine) in contexts {
            self.remember(vec![(partition, mine)]);
            for owner in former_owners(scene, partition) {
                if self.told_now(scene, partition, owner) {
                    self.consider(scene, partition, owner);
                }
            }
        }
    }

    fn lacks_proof(&self, scene: &Scene<'_>, partition: PartitionId) -> bool {
        let owners = scene.map.seats(partition).old.len();
        scene.map.owns(scene.me, partition) && !self.is_proven(partition, owners, scene.w)
    }

    /// Whether this one has told, as the owner that it is, what it holds. What it told before it was one proves
    /// nothing.
    fn told_now(&self, scene: &Scene<'_>, partition: PartitionId, peer: PeerId) -> bool {
        let told = self.told(partition, peer).filter(|told| told.filled);
        told.is_some_and(|told| told.view.hash == scene.map.view().hash)
    }
}

/// Those that owned it before any change that is under way.
fn former_owners(scene: &Scene<'_>, partition: PartitionId) -> Vec<PeerId> {
    let old = scene.map.seats(partition).old.into_iter().map(|seat| seat.peer);
    old.filter(|peer| *peer != scene.me).collect()
}
