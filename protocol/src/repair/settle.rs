//! This peer's own way in and out, step by step (rule `settling`).
//!
//! Of each partition that changes hands, a step is taken only when N-W+1 of the owners that matter, and more than
//! half of them, know the last one. Then any W that acknowledge a write include one that knows, and of two changes
//! on the two sides of a cut one has to wait for the other. The price: of two owners cut from each other neither
//! side admits a third.

use super::{Out, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::member::Step;
use crate::message::Repair as Message;
use crate::seats::{Seat, Seats};
use std::collections::BTreeMap;

impl Repair {
    /// Takes the next step if it may be taken. If not, and `ask`, asks for the reports that it waits for.
    pub(super) fn settle(&mut self, scene: &Scene<'_>, ask: bool) {
        // Steps were heard of, and who owns what has not been worked out from them yet: that follows at once.
        // And a step is saved with the table, which is to wait for what is being noted: see `is_noting`.
        if self.view != scene.map.view() || self.is_noting() {
            return;
        }
        match scene.step {
            Step::Joining => self.fill(scene, ask),
            Step::Arriving => self.step_when_known(scene, Step::Member, ask),
            Step::Leaving => self.drain_to_others(scene, ask),
            Step::Departing => self.step_when_known(scene, Step::Left, ask),
            Step::Waiting | Step::Member | Step::Left => {}
        }
    }

    /// Joining: becomes arriving once our synced context contains what enough present owners with whole copies have
    /// reported; or all that there is, where some of them are to be filled themselves.
    fn fill(&mut self, scene: &Scene<'_>, asking: bool) {
        let (mut ask, mut filled) = (BTreeMap::new(), true);
        for (partition, seats) in changing(scene) {
            let told =
                seats.old.iter().filter(|seat| self.is_filled_from(scene, partition, seat.peer)).count();
            let all = seats.old.iter().all(|seat| self.has_all_of(scene, partition, seat.peer));
            if told < needed(scene, seats.old.len()) && !all && !mutated!(FillBlind) {
                filled = false;
                self.ask_owners(scene, partition, &seats.old, &mut ask);
            }
        }
        if !asking {
            ask.clear();
        }
        self.finish_or_ask(Step::Arriving, filled, ask);
    }

    pub(super) fn is_filled_from(&self, scene: &Scene<'_>, partition: PartitionId, peer: PeerId) -> bool {
        self.told(partition, peer).is_some_and(|told| told.filled) && self.has_all_of(scene, partition, peer)
    }

    /// Whether we have what a peer told last, under the table that we have.
    pub(super) fn has_all_of(&self, scene: &Scene<'_>, partition: PartitionId, peer: PeerId) -> bool {
        let told = self.told_now(scene, partition, peer);
        let (Some(told), Some(mine)) = (told, self.mine.get(&partition)) else { return false };
        mine.contains_all(&told.context)
    }

    /// Leaving: becomes departing once every coming owner's synced context contains ours.
    fn drain_to_others(&mut self, scene: &Scene<'_>, asking: bool) {
        let (mut ask, mut drained) = (BTreeMap::new(), true);
        for (partition, seats) in changing(scene) {
            let coming = seats.owners_without(scene.me);
            let has = |seat: &Seat| self.has_all_of_ours(scene, partition, seat.peer);
            if !coming.iter().all(has) && !mutated!(DrainBlind) {
                drained = false;
                self.ask_owners(scene, partition, &coming, &mut ask);
            }
        }
        if !asking {
            ask.clear();
        }
        self.finish_or_ask(Step::Departing, drained, ask);
    }

    /// Ours must have been read since we know of our own leaving: what came before that, and went to others who do
    /// not stay, is handed over.
    fn has_all_of_ours(&self, scene: &Scene<'_>, partition: PartitionId, peer: PeerId) -> bool {
        let told = self.told_now(scene, partition, peer);
        let mine = self.mine.get(&partition).filter(|_| self.fresh.contains(&partition));
        told.zip(mine).is_some_and(|(told, mine)| told.context.contains_all(mine))
    }

    /// Asks for reports, but of those who are sending already.
    pub(super) fn ask_owners(
        &self,
        scene: &Scene<'_>,
        partition: PartitionId,
        owners: &[Seat],
        ask: &mut BTreeMap<PeerId, Vec<PartitionId>>,
    ) {
        for peer in owners.iter().map(|seat| seat.peer) {
            let key = (partition, peer);
            let busy = self.coming.concerns(partition, peer)
                || self.staging.contains_key(&key)
                || self.pushes.contains_key(&key)
                || self.todo.contains_key(&key);
            if self.reachable(scene, peer) && !busy {
                ask.entry(peer).or_default().push(partition);
            }
        }
    }

    fn finish_or_ask(&mut self, step: Step, done: bool, ask: BTreeMap<PeerId, Vec<PartitionId>>) {
        if done {
            return self.out.push(Out::Step(step));
        }
        self.ask_each(ask);
    }

    pub(super) fn ask_each(&mut self, ask: BTreeMap<PeerId, Vec<PartitionId>>) {
        for (to, partitions) in ask {
            self.send(to, Message::Ask { partitions });
        }
    }

    /// All groups that may be the owners without this peer must know the last step. In a large network rumors reach
    /// them late, and what they know is heard of later still: a report, of any partition, tells it.
    fn step_when_known(&mut self, scene: &Scene<'_>, step: Step, asking: bool) {
        let view = scene.map.view().hash;
        let knows = |seat: &Seat| scene.map.view_of(seat.peer).is_some_and(|known| known.hash == view);
        let (mut ask, mut known) = (BTreeMap::new(), true);
        for (partition, seats) in changing(scene) {
            for group in seats.groups_without(scene.me) {
                known &= group.iter().filter(|seat| knows(seat)).count() >= needed(scene, group.len());
                let others = group.iter().map(|seat| seat.peer).filter(|peer| self.reachable(scene, *peer));
                ask.extend(others.map(|peer| (peer, vec![partition])));
            }
        }
        ask.retain(|peer, _| asking && scene.map.view_of(*peer).is_none_or(|known| known.hash != view));
        self.finish_or_ask(step, known || mutated!(SettleBlind), ask);
    }
}

/// Partitions whose owners differ before and after this peer's change.
fn changing(scene: &Scene<'_>) -> Vec<(PartitionId, Seats)> {
    let owned = scene.map.owned_by(scene.me).into_iter();
    owned
        .map(|partition| (partition, scene.map.seats(partition)))
        .filter(|(_, seats)| seats.is_changing())
        .collect()
}

/// N-W+1 and a majority, of as many owners as there are.
pub(super) fn needed(scene: &Scene<'_>, n: usize) -> usize {
    if n == 0 { 0 } else { (n - usize::from(scene.w).min(n) + 1).max(n / 2 + 1) }
}
