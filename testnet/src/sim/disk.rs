//! A disk that forgets in a crash what was not synced.
//!
//! A group of changes is there as a whole or not at all, as on a real one: the journal writes a group as one record
//! with a checksum, and a record that is torn, or lies behind one that was lost, does not count.
//!
//! What a change overwrites is kept until it is synced, and put back in a crash: the cost is in proportion to
//! what changes, never to what is stored.

use super::chance::Chance;
use starling_crdt::cell::Visit;
use starling_crdt::{Memory, PartitionId, Storage, StorageError};
use std::collections::BTreeMap;

/// What rows were before; `None`: they were not there.
type Undo = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Clone, Default)]
pub struct Disk {
    rows: Memory,
    /// Of what changed since the last sync began.
    unsynced: Undo,
    /// Of what is being synced.
    syncing: Undo,
}

impl Disk {
    /// From here on what has changed so far is on its way to the disk.
    pub fn begin_sync(&mut self) {
        self.syncing = std::mem::take(&mut self.unsynced);
    }

    pub fn end_sync(&mut self) {
        self.syncing.clear();
    }

    /// Loses what was not synced. What was being synced is there as a whole or not at all.
    pub fn crash(&mut self, synced: bool) {
        undo(&mut self.rows, std::mem::take(&mut self.unsynced));
        let syncing = std::mem::take(&mut self.syncing);
        if !synced {
            undo(&mut self.rows, syncing);
        }
    }

    /// Flips a bit of some cell of a partition, as if it had been written so. Tells what was there, if there is any.
    pub fn flip(&mut self, partition: PartitionId, chance: &mut Chance) -> Option<(Vec<u8>, Vec<u8>)> {
        let is_cell =
            |(row, _): &(&[u8], &[u8])| row.starts_with(&[&partition.to_be_bytes()[..], &[1]].concat());
        let cells: Vec<_> = self.rows.rows().filter(is_cell).collect();
        let (row, value) = chance.pick(&cells)?;
        let before = (row.to_vec(), value.to_vec());
        let (row, mut value) = before.clone();
        let at = usize::try_from(chance.below(value.len() as u64)).unwrap_or(0);
        value[at] ^= 1 << chance.below(8);
        self.put(&row, &value);
        Some(before)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.rows().next().is_none()
    }

    fn remember(&mut self, row: &[u8]) {
        if !self.unsynced.contains_key(row) {
            let before = self.rows.get(row).expect("memory does not fail");
            self.unsynced.insert(row.to_vec(), before);
        }
    }
}

fn undo(rows: &mut Memory, undo: Undo) {
    for (row, before) in undo {
        match before {
            Some(value) => rows.put(&row, &value),
            None => rows.delete(&row),
        }
    }
}

impl Storage for Disk {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.rows.get(row)
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.remember(row);
        self.rows.put(row, value);
    }

    fn delete(&mut self, row: &[u8]) {
        self.remember(row);
        self.rows.delete(row);
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        self.rows.scan(from, to, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(disk: &Disk) -> Vec<(Vec<u8>, Vec<u8>)> {
        disk.rows.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect()
    }

    fn disk() -> Disk {
        let mut disk = Disk::default();
        disk.put(b"a", b"1");
        disk.begin_sync();
        disk.end_sync();
        disk.put(b"a", b"2");
        disk.put(b"b", b"2");
        disk.begin_sync();
        disk.delete(b"a");
        disk.put(b"b", b"3");
        disk
    }

    #[test]
    fn a_crash_leaves_what_was_synced() {
        let mut lost = disk();
        lost.crash(false);
        assert_eq!(rows(&lost), [(b"a".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn a_sync_under_way_is_there_as_a_whole_or_not_at_all() {
        let mut kept = disk();
        kept.crash(true);
        assert_eq!(rows(&kept), [(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    }
}
