//! State transfers that are coming in: kept aside piece by piece, and applied in one step at their end (rule `staged`).

use super::coming::PATIENCE;
use super::push::{OF_ONE_MAX, TRANSFERS_MAX};
use super::{Out, Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::message::Repair as Message;
use crate::store::Question;
use crate::time::Time;
use starling_crdt::Piece;

/// Bytes per second, since it began, with which a transfer is not given up for another, however long it takes.
const FAST_ENOUGH: u64 = 64 * 1024;
/// Most pieces of one transfer.
const PIECES_MAX: u32 = 65_536;

/// A partition, and who sends it.
type Key = (PartitionId, PeerId);

pub(super) struct Staging {
    /// Since when there are pieces of it, however often it has begun anew.
    pub began: Time,
    pub moved: Time,
    transfer: u64,
    session: u64,
    count: u32,
    pieces: Vec<Piece>,
    /// Of all pieces together, in memory.
    pub bytes: usize,
}

impl Staging {
    /// It is to begin anew, and has begun when it has.
    fn empty(&mut self) {
        (self.transfer, self.count, self.bytes) = (0, 0, 0);
        self.pieces.clear();
    }

    pub fn is_late(&self, now: Time) -> bool {
        let span = now.since(self.began);
        span >= PATIENCE && (self.bytes as u64) < FAST_ENOUGH.saturating_mul(span.as_secs())
    }
}

impl Repair {
    /// Keeps a piece aside. Pieces come in order; anything else ends the transfer.
    pub(super) fn stage(
        &mut self,
        scene: &Scene<'_>,
        key: Key,
        session: u64,
        (transfer, index, count): (u64, u32, u32),
        piece: Piece,
    ) {
        let (partition, from) = key;
        if partition >= scene.map.partitions() || count > PIECES_MAX || index >= count {
            return;
        }
        if !self.is_current(partition, session) {
            marked!(StaleSession);
            self.staging.entry(key).and_modify(Staging::empty);
            return self.report_to(scene, from, vec![partition]);
        }
        if !self.takes_all(scene, partition) {
            self.note_missed(partition);
            self.staging.remove(&key);
            return self.not_taken(scene, partition, from);
        }
        self.coming.heard(scene.now.time, from);
        if index == 0 && self.makes_room(scene, key) {
            self.begin_staging(scene.now.time, key, session, (transfer, count));
        }
        let Some(staging) = self.staging.get_mut(&key) else {
            // No room: it is told again when there is some.
            self.coming.done(partition, from);
            return self.coming.put_off(partition, from);
        };
        if (staging.transfer, staging.count, staging.pieces.len()) != (transfer, count, index as usize) {
            return staging.empty();
        }
        if index == 0 && mutated!(Unstaged) {
            let question = Question::Install { partition, pieces: vec![piece.clone()] };
            self.out.push(Out::Store { ticket: 0, question });
        }
        staging.bytes = staging.bytes.saturating_add(piece.size());
        staging.pieces.push(piece);
        staging.moved = scene.now.time;
        self.give_up_largest(scene);
        if index + 1 == count {
            self.install(key);
        } else if self.staging.contains_key(&key) {
            marked!(StateStaged);
            self.send(from, Message::Staged { partition, transfer, index });
        }
    }

    /// Whether one more transfer may come in. Where there are as many as there may be, one goes that takes longer than
    /// any honest one.
    fn makes_room(&mut self, scene: &Scene<'_>, key: Key) -> bool {
        if self.staging.contains_key(&key) {
            return true;
        }
        let of_one = self.staging.keys().filter(|(_, from)| *from == key.1).count();
        if of_one >= OF_ONE_MAX || self.incoming() < TRANSFERS_MAX {
            return of_one < OF_ONE_MAX;
        }
        let late = self.late(scene.now.time);
        late.into_iter().for_each(|key| self.drop_staging(scene, key));
        late.is_some()
    }

    /// The oldest that takes longer than any honest one.
    fn late(&self, now: Time) -> Option<Key> {
        let late = self.staging.iter().filter(|(_, staging)| staging.is_late(now));
        late.min_by_key(|(_, staging)| staging.began).map(|(key, _)| *key)
    }

    /// Transfers that are coming in, or are being written.
    pub(super) fn incoming(&self) -> usize {
        let writes = |pending: &&(_, Pending)| matches!(pending.1, Pending::Learn { events: 0, .. });
        self.staging.len() + self.pending.values().filter(writes).count()
    }

    fn begin_staging(&mut self, now: Time, key: Key, session: u64, (transfer, count): (u64, u32)) {
        let began = self.staging.get(&key).map_or(now, |before| before.began);
        let (moved, pieces, bytes) = (now, Vec::new(), 0);
        self.staging.insert(key, Staging { began, moved, transfer, session, count, pieces, bytes });
    }

    /// Until what is kept aside is no more than it may be. One that is late goes first; the largest has at least its share.
    fn give_up_largest(&mut self, scene: &Scene<'_>) {
        while self.staging.values().map(|staging| staging.bytes).sum::<usize>() > self.config.staged_max {
            let largest = self.staging.iter().max_by_key(|(_, staging)| staging.bytes);
            let Some(key) = self.late(scene.now.time).or(largest.map(|(key, _)| *key)) else { return };
            let alone = self.staging.len() == 1;
            self.out.extend(alone.then_some(Out::TooLarge { partition: key.0, from: key.1 }));
            self.drop_staging(scene, key);
        }
    }

    fn drop_staging(&mut self, scene: &Scene<'_>, key: Key) {
        self.staging.remove(&key);
        self.not_taken(scene, key.0, key.1);
    }

    fn install(&mut self, key: Key) {
        let (partition, from) = key;
        let Some(Staging { pieces, session, .. }) = self.staging.remove(&key) else { return };
        if self.is_current(partition, session) {
            let pending = Pending::Learn { partition, from, events: 0 };
            self.ask_store(pending, Question::Install { partition, pieces });
        }
    }
}
