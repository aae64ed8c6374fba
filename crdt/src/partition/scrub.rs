//! Looking, a stretch at a time, whether the rows are still what was written.

use super::Partition;
use crate::rows::{self, Kind};
use crate::{Cell, Fingerprint, Key, PartitionId, Storage, StorageError, Version};
use std::ops::ControlFlow;

/// What a stretch of the scrub has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// Nothing wrong so far, and more to look at.
    More,
    /// All of the partition has been looked at, and is what was written.
    Sound,
    /// What is stored is not what was written: the replica of this partition must be given up as a whole
    /// and refilled (rule `cells-with-context`). Until then every call says so at once.
    Damaged,
}

/// A scrub under way. Cells that change behind it are counted as they change, so it ends however much is
/// written meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrub {
    /// Rows before this have been looked at: a row of the last key that was counted, or what the rows of the key
    /// after it begin with, so that a key is counted by whichever comes first.
    upto: Vec<u8>,
    /// What the rows of the last key that was counted begin with.
    last: Vec<u8>,
    found: Found,
    /// Something was wrong, and is for as long as the partition is kept.
    is_damaged: bool,
}

/// What a partition's meta row says of its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    fingerprint: Fingerprint,
    keys: u64,
    cells: u64,
}

impl Scrub {
    fn has_passed(&self, row: &[u8]) -> bool {
        row < &self.upto[..]
    }

    /// A row came, changed, or went.
    pub fn row_changed(&mut self, row: &[u8], had: bool, has: bool) {
        if self.has_passed(row) {
            self.found.cells = (self.found.cells + u64::from(has)).saturating_sub(u64::from(had));
        }
    }

    /// A key came, or went.
    pub fn key_changed(&mut self, p: PartitionId, key: &Key, has: bool) {
        if self.has_passed(&rows::cells_of(p, key).0) {
            self.found.keys = (self.found.keys + u64::from(has)).saturating_sub(u64::from(!has));
        }
    }

    /// The next stretch begins here.
    fn stop_at(&mut self, row: &[u8]) {
        let same = !self.last.is_empty() && row.starts_with(&self.last);
        let key = rows::key_of(row).filter(|_| !same);
        self.upto = key.unwrap_or(row).to_vec();
    }

    /// `None`: nobody ever wrote that row.
    fn look(&mut self, partition: &Partition, row: &[u8], value: &[u8]) -> Option<()> {
        let cell = rows::cell_of(row).ok()?;
        for version in rows::versions_from_bytes(row, value).ok()? {
            partition.context.contains(version.dot).then_some(())?;
            self.found.fingerprint.add(&cell, &version);
        }
        self.found.cells += 1;
        let key = rows::cells_of(partition.id, &cell.key).0;
        if key != self.last {
            self.found.keys += 1;
            self.last = key;
        }
        Some(())
    }
}

impl Partition {
    /// Looks at about `max_bytes` of cells, one at least, beginning where the last call ended.
    pub fn scrub(&mut self, s: &(impl Storage + ?Sized), max_bytes: usize) -> Result<Scrubbed, StorageError> {
        let (first, to) = rows::all(self.id, Kind::Cells);
        let mut scrub = self.scrub.take().unwrap_or_default();
        if scrub.is_damaged {
            self.scrub = Some(scrub);
            return Ok(Scrubbed::Damaged);
        }
        let from = if scrub.upto.is_empty() { first } else { std::mem::take(&mut scrub.upto) };
        let (mut sound, mut bytes) = (true, 0);
        s.scan(&from, &to, &mut |row, value| {
            if bytes >= max_bytes.max(1) {
                scrub.stop_at(row);
                return ControlFlow::Break(());
            }
            bytes += row.len() + value.len();
            sound = scrub.look(self, row, value).is_some();
            if sound { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if sound && !scrub.upto.is_empty() {
            self.scrub = Some(scrub);
            return Ok(Scrubbed::More);
        }
        let meta = Found { fingerprint: self.fingerprint, keys: self.keys, cells: self.cells };
        if sound && scrub.found == meta {
            return Ok(Scrubbed::Sound);
        }
        self.scrub = Some(Scrub { is_damaged: true, ..Scrub::default() });
        Ok(Scrubbed::Damaged)
    }
}

/// The running sums of a partition while its cells are edited, and those of a scrub under way.
pub(super) struct Sums {
    pub fingerprint: Fingerprint,
    pub scrub: Option<Scrub>,
}

impl Sums {
    pub fn add(&mut self, p: PartitionId, cell: &Cell, version: &Version) {
        self.fingerprint.add(cell, version);
        if let Some(scrub) = self.behind(p, cell) {
            scrub.found.fingerprint.add(cell, version);
        }
    }

    pub fn remove(&mut self, p: PartitionId, cell: &Cell, version: &Version) {
        self.fingerprint.remove(cell, version);
        if let Some(scrub) = self.behind(p, cell) {
            scrub.found.fingerprint.remove(cell, version);
        }
    }

    /// The scrub under way, if it has passed this cell.
    fn behind(&mut self, p: PartitionId, cell: &Cell) -> Option<&mut Scrub> {
        let scrub = self.scrub.as_mut()?;
        scrub.has_passed(&rows::cell_row(p, &cell.key, &cell.field)).then_some(scrub)
    }
}
