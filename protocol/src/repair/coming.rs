//! Who sends us what we lack: of each partition one at a time. Else a peer that has lost its disk would be sent
//! everything by each of the owners.

use super::push::TRANSFERS_MAX;
use super::{Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::time::{Duration, Time};
use std::collections::{BTreeMap, BTreeSet};

/// How long a peer that was told what we lack has to begin sending it.
const EXPECT: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Coming {
    /// Whom we have told that we lack something, and when: they send without being told again.
    expecting: BTreeMap<(PartitionId, PeerId), Time>,
    /// Who is told only when another has sent all that it has.
    put_off: BTreeMap<PartitionId, BTreeSet<PeerId>>,
}

impl Coming {
    /// `from` was told that we lack something of this partition.
    pub fn told(&mut self, now: Time, partition: PartitionId, from: PeerId) {
        self.expecting.entry((partition, from)).or_insert(now);
    }

    /// It has begun to send this partition, and the others come after it.
    pub fn begun(&mut self, now: Time, partition: PartitionId, from: PeerId) {
        self.done(partition, from);
        self.expecting.iter_mut().filter(|((_, peer), _)| *peer == from).for_each(|(_, asked)| *asked = now);
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
        self.put_off.values_mut().for_each(|peers| peers.retain(|put_off| *put_off != peer));
    }

    pub fn forget_partition(&mut self, partition: PartitionId) {
        self.put_off.remove(&partition);
        self.expecting.retain(|(of, _), _| *of != partition);
    }

    pub fn forget_silent(&mut self, now: Time) {
        self.expecting.retain(|_, asked| now.since(*asked) < EXPECT);
    }
}

impl Repair {
    /// True if `from` is to be told now that we lack something of this partition: it was not lately, and nobody
    /// else is sending it.
    pub(super) fn expect(&mut self, now: Time, partition: PartitionId, from: PeerId) -> bool {
        if self.coming.concerns(partition, from) || self.staging.contains_key(&(partition, from)) {
            return false;
        }
        if self.is_coming(partition) {
            self.coming.put_off(partition, from);
            return false;
        }
        self.coming.told(now, partition, from);
        true
    }

    /// Somebody was told, is sending, or has sent what is being written.
    fn is_coming(&self, partition: PartitionId) -> bool {
        let all = (partition, PeerId([0; 32]))..=(partition, PeerId([u8::MAX; 32]));
        let learns =
            |pending: &Pending| matches!(pending, Pending::Learn { partition: p, .. } if *p == partition);
        self.coming.expecting.range(all.clone()).next().is_some()
            || self.staging.range(all).next().is_some()
            || self.pending.values().any(|(_, pending)| learns(pending))
    }

    /// Tells what we hold of these partitions now to the next that was put off, where nobody is sending any more.
    pub(super) fn tell_put_off(&mut self, scene: &Scene<'_>, partitions: impl Iterator<Item = PartitionId>) {
        let mut tell: BTreeMap<PeerId, Vec<PartitionId>> = BTreeMap::new();
        for partition in partitions {
            if !self.is_coming(partition)
                && let Some(peer) = self.coming.next(partition)
            {
                tell.entry(peer).or_default().push(partition);
            }
        }
        tell.into_iter().for_each(|(peer, partitions)| self.report_to(scene, peer, partitions));
    }

    /// The same of all, as who was to send may have fallen silent, or found no room here; of no more than there is
    /// room for.
    pub(super) fn tell_all_put_off(&mut self, scene: &Scene<'_>) {
        let room = TRANSFERS_MAX.saturating_sub(self.staging.len());
        let waiting = self.coming.put_off.keys().copied().filter(|partition| !self.is_coming(*partition));
        let partitions: Vec<_> = waiting.take(room).collect();
        self.tell_put_off(scene, partitions.into_iter());
    }
}
