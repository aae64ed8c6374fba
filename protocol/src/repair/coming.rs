//! Who sends us what we lack: of each partition one at a time. Else a peer that has lost its disk would be sent
//! everything by each of the owners.

use super::push::TRANSFERS_MAX;
use super::{Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::time::{Duration, Time};
use std::collections::{BTreeMap, BTreeSet};

/// How long a peer that was told what we lack has to send the next of it, whichever partition that is of.
const EXPECT: Duration = Duration::from_secs(3);
/// How long others wait for one peer at most. A peer that always has something to send, and never all that it
/// promised, holds nobody up for longer; an honest one sends some ten gigabytes in this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct Coming {
    /// Whom we have told that we lack something, and when first: they send without being told again.
    expecting: BTreeMap<(PartitionId, PeerId), Time>,
    /// When each of those has last sent something.
    sent: BTreeMap<PeerId, Time>,
    /// Who is told only when another has sent all that it has.
    put_off: BTreeMap<PartitionId, BTreeSet<PeerId>>,
}

impl Coming {
    /// `from` was told that we lack something of this partition.
    pub fn told(&mut self, now: Time, partition: PartitionId, from: PeerId) {
        self.expecting.entry((partition, from)).or_insert(now);
    }

    /// It has sent something, and the rest comes after it.
    pub fn heard(&mut self, now: Time, from: PeerId) {
        self.sent.insert(from, now);
    }

    /// Nothing more is to be expected of it.
    pub fn done(&mut self, partition: PartitionId, from: PeerId) {
        self.expecting.remove(&(partition, from));
    }

    pub fn put_off(&mut self, partition: PartitionId, from: PeerId) {
        marked!(PutOff);
        self.put_off.entry(partition).or_default().insert(from);
    }

    /// The next of those that were put off.
    fn next(&mut self, partition: PartitionId) -> Option<PeerId> {
        let peers = self.put_off.get_mut(&partition)?;
        let next = peers.pop_first();
        if peers.is_empty() {
            self.put_off.remove(&partition);
        }
        next
    }

    /// Whether it was told, or will be, without being asked for anything.
    pub fn concerns(&self, partition: PartitionId, from: PeerId) -> bool {
        let put_off = self.put_off.get(&partition).is_some_and(|peers| peers.contains(&from));
        put_off || self.expecting.contains_key(&(partition, from))
    }

    pub fn forget(&mut self, peer: PeerId) {
        self.expecting.retain(|(_, from), _| *from != peer);
        self.sent.remove(&peer);
        self.put_off.values_mut().for_each(|peers| peers.retain(|put_off| *put_off != peer));
    }

    pub fn forget_partition(&mut self, partition: PartitionId) {
        self.put_off.remove(&partition);
        self.expecting.retain(|(of, _), _| *of != partition);
    }

    pub fn forget_silent(&mut self, now: Time) {
        self.sent.retain(|_, sent| now.since(*sent) < EXPECT);
        let sends = |from: &PeerId| self.sent.contains_key(from);
        let within = |told: Time, limit| now.since(told) < limit;
        self.expecting.retain(|(_, from), told| within(*told, if sends(from) { PATIENCE } else { EXPECT }));
    }
}

impl Repair {
    /// True if `from` is to be told now that we lack something of this partition: it was not lately, and nobody
    /// else is sending it.
    pub(super) fn expect(&mut self, now: Time, partition: PartitionId, from: PeerId) -> bool {
        if self.coming.concerns(partition, from) || self.staging.contains_key(&(partition, from)) {
            return false;
        }
        if self.is_coming(now, partition) {
            self.coming.put_off(partition, from);
            return false;
        }
        self.coming.told(now, partition, from);
        true
    }

    /// Somebody was told, is sending, or has sent what is being written.
    fn is_coming(&self, now: Time, partition: PartitionId) -> bool {
        let all = (partition, PeerId([0; 32]))..=(partition, PeerId([u8::MAX; 32]));
        let learns =
            |pending: &Pending| matches!(pending, Pending::Learn { partition: p, .. } if *p == partition);
        self.coming.expecting.range(all.clone()).next().is_some()
            || self.staging.range(all).any(|(_, staging)| now.since(staging.began) < PATIENCE)
            || self.pending.values().any(|(_, pending)| learns(pending))
    }

    /// Tells what we hold of these partitions now to the next that was put off, where nobody is sending any more.
    pub(super) fn tell_put_off(&mut self, scene: &Scene<'_>, partitions: impl Iterator<Item = PartitionId>) {
        let mut tell: BTreeMap<PeerId, Vec<PartitionId>> = BTreeMap::new();
        for partition in partitions {
            if self.coming.put_off.contains_key(&partition)
                && !self.is_coming(scene.now.time, partition)
                && let Some(peer) = self.coming.next(partition)
            {
                self.coming.told(scene.now.time, partition, peer);
                tell.entry(peer).or_default().push(partition);
            }
        }
        tell.into_iter().for_each(|(peer, partitions)| self.report_to(scene, peer, partitions));
    }

    /// The same of all, as who was to send may have fallen silent, or found no room here; of no more than there is
    /// room for.
    pub(super) fn tell_all_put_off(&mut self, scene: &Scene<'_>) {
        let room = TRANSFERS_MAX.saturating_sub(self.incoming());
        let is_coming = |partition: &PartitionId| self.is_coming(scene.now.time, *partition);
        let waiting = self.coming.put_off.keys().copied().filter(|partition| !is_coming(partition));
        let partitions: Vec<_> = waiting.take(room).collect();
        self.tell_put_off(scene, partitions.into_iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Time {
        Time(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_sends_something_all_the_time_holds_others_up_for_a_bounded_time() {
        let (mut coming, peer) = (Coming::default(), PeerId::numbered(2));
        let mut held_up = 0;
        coming.told(after(0), 0, peer);
        while coming.concerns(0, peer) && held_up < 10_000 {
            // A little of it has come, and more is to be expected.
            coming.told(after(held_up), 0, peer);
            held_up += 2;
            coming.heard(after(held_up), peer);
            coming.forget_silent(after(held_up));
        }
        assert_eq!(after(held_up), Time(0) + PATIENCE);
    }

    #[test]
    fn one_that_sends_nothing_is_soon_given_up() {
        let (mut coming, peer) = (Coming::default(), PeerId::numbered(2));
        coming.told(after(0), 0, peer);
        coming.heard(after(1), peer);
        coming.forget_silent(after(3));
        assert!(coming.concerns(0, peer), "it has sent something a moment ago");
        coming.forget_silent(after(4));
        assert!(!coming.concerns(0, peer));
    }
}
