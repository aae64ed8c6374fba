//! What is taken in while the disk is nearly full: what brings nothing to keep, and what others wait for.

use super::{Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::message::Repair as Message;
use crate::time::{Duration, Time};
use starling_crdt::{Event, Field, RANGES_MAX};
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// A removal names all that its issuer had seen. Where something of that was missed here, it waits for it: a row, an
/// entry in memory, and a gap in the context each. Most that are taken so of one partition: a sixteenth of the gaps
/// that its context may have.
pub(super) const REMOVALS_MAX: usize = RANGES_MAX / 16;
/// Bytes of them, of all partitions: of the half gigabyte that is kept free, unless the operator says otherwise, it
/// is a part that what storage does by itself can spare.
const REMOVALS_BYTES: usize = 16 * 1024 * 1024;
/// For so long all is taken of a partition after one that owns it no more was heard to have its copy still: it asks
/// what we hold every other second.
const HANDED: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Room {
    /// Removals taken of partitions of which something was missed, and their bytes together.
    removals: BTreeMap<PartitionId, usize>,
    bytes: usize,
    /// Partitions of which a former owner has a copy, and when that was heard last.
    handed: BTreeMap<PartitionId, Time>,
}

impl Repair {
    /// True if these events are not taken, for want of room.
    pub fn misses(
        &mut self,
        scene: &Scene<'_>,
        partition: PartitionId,
        events: &[impl Borrow<Event>],
    ) -> bool {
        if self.takes_all(scene, partition) {
            return false;
        }
        let brings = events.iter().any(|event| self.brings(partition, event.borrow()));
        let misses = brings || self.has_missed(partition) && !self.lets_wait(partition, events);
        if misses {
            self.note_missed(partition);
        }
        misses
    }

    /// Whether room does not matter. Whoever leaves, and whoever owns a partition no more, waits until all owners hold
    /// what it holds; and others wait for it, those among them that would bring more room. A disk that is full in the
    /// end says so itself.
    pub(super) fn takes_all(&self, scene: &Scene<'_>, partition: PartitionId) -> bool {
        let handed = |at: &Time| scene.now.time.since(*at) < HANDED;
        if !scene.is_low || self.room.handed.get(&partition).is_some_and(handed) {
            return true;
        }
        let seats = scene.map.seats(partition);
        seats.is_changing() && seats.owns(scene.me)
    }

    /// Whether others are told nothing of what we lack: they would send it in vain, again and again.
    pub(super) fn conceals(&self, scene: &Scene<'_>, partition: PartitionId) -> bool {
        self.has_missed(partition) && !self.takes_all(scene, partition)
    }

    /// What is held already brings nothing, nor does a put whose value has been replaced.
    fn brings(&self, partition: PartitionId, event: &Event) -> bool {
        let is_held = || self.mine.get(&partition).is_some_and(|mine| mine.contains(event.dot));
        let keeps = event.puts.iter().any(|(cell, value)| {
            let is_base = matches!(cell.field, Field::Base { .. });
            value.is_some() && !is_base
        });
        keeps && !is_held()
    }

    /// Takes note of removals that may wait for what was missed, if there may be so many.
    fn lets_wait(&mut self, partition: PartitionId, events: &[impl Borrow<Event>]) -> bool {
        let count = self.room.removals.get(&partition).copied().unwrap_or(0) + events.len();
        let bytes =
            events.iter().map(|event| event.borrow().size()).fold(self.room.bytes, usize::saturating_add);
        let fits = count <= REMOVALS_MAX && bytes <= REMOVALS_BYTES;
        if fits {
            marked!(RemovedUnseen);
            self.room.removals.insert(partition, count);
            self.room.bytes = bytes;
        }
        fits
    }

    /// Asks one that owns these no more, and asks us, what it holds of them: its own copy, or only what it took in our
    /// place.
    pub(super) fn ask_back(&mut self, scene: &Scene<'_>, from: PeerId, partitions: &[PartitionId]) {
        let mut partitions = partitions.to_vec();
        partitions.retain(|partition| {
            scene.is_low
                && self.has_missed(*partition)
                && scene.map.owns(scene.me, *partition)
                && !scene.map.owns(from, *partition)
        });
        if !partitions.is_empty() {
            self.send(from, Message::Ask { partitions });
        }
    }

    /// What one holds in our place is what we have not taken. A copy of its own has at least half of ours.
    pub(super) fn note_handed(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        if !scene.is_low || scene.map.owns(from, partition) || !scene.map.owns(scene.me, partition) {
            return;
        }
        let told = self.told_now(scene, partition, from);
        let (Some(told), Some(mine)) = (told, self.mine.get(&partition)) else { return };
        if mine.intersect(&told.context).len() >= mine.len().div_ceil(2) {
            self.room.handed.insert(partition, scene.now.time);
        }
    }
}
