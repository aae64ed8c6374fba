//! Changes to cells, collected in memory first: everything is read before anything is written.

use super::scrub::Sums;
use super::{Partition, versions_of};
use crate::{Cell, Context, Field, Key, PartitionId, Storage, StorageError, Target, Version, rows};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

/// What has been read of a key before its event was made.
pub(crate) struct Seed {
    pub key: Key,
    /// Cells as they are in storage; one without versions is known to have no row.
    pub cells: BTreeMap<Field, Vec<Version>>,
    /// The key has no other cells.
    pub complete: bool,
}

/// One cell: as it will be, and what storage has.
struct Work {
    versions: Vec<Version>,
    had: bool,
    dirty: bool,
}

#[derive(Default)]
struct KeyWork {
    cells: BTreeMap<Field, Work>,
    complete: bool,
}

pub(super) struct Edits {
    p: PartitionId,
    keys: BTreeMap<Key, KeyWork>,
    sums: Sums,
}

impl Edits {
    pub fn new(partition: &Partition, seed: Option<Seed>) -> Self {
        let mut keys = BTreeMap::new();
        if let Some(seed) = seed {
            let cells = seed.cells.into_iter();
            let work = KeyWork {
                cells: cells.map(|(field, v)| (field, Work::stored(v))).collect(),
                complete: seed.complete,
            };
            keys.insert(seed.key, work);
        }
        let sums = Sums { fingerprint: partition.fingerprint, scrub: partition.scrub.clone() };
        Self { p: partition.id, keys, sums }
    }

    /// Removes the versions of `target` whose dots are in `dots`.
    pub fn remove(
        &mut self,
        s: &(impl Storage + ?Sized),
        target: &Target,
        dots: &Context,
    ) -> Result<(), StorageError> {
        match target {
            Target::Cell(cell) => {
                let work = Self::cell(&mut self.keys, s, self.p, cell)?;
                work.remove(dots, |version| self.sums.remove(self.p, cell, version));
            }
            Target::Key(key) => {
                let known = self.keys.entry(key.clone()).or_default();
                known.load(s, self.p, key)?;
                for (field, work) in &mut known.cells {
                    let cell = Cell::new(key, field.clone());
                    work.remove(dots, |version| self.sums.remove(self.p, &cell, version));
                }
            }
        }
        Ok(())
    }

    pub fn insert(
        &mut self,
        s: &(impl Storage + ?Sized),
        cell: &Cell,
        version: Version,
    ) -> Result<(), StorageError> {
        let work = Self::cell(&mut self.keys, s, self.p, cell)?;
        let place = work.versions.partition_point(|v| v.dot < version.dot);
        if work.versions.get(place).is_some_and(|v| v.dot == version.dot) {
            return Ok(());
        }
        self.sums.add(self.p, cell, &version);
        // Almost always the only one.
        work.versions.reserve_exact(1);
        work.versions.insert(place, version);
        work.dirty = true;
        Ok(())
    }

    fn cell<'a>(
        keys: &'a mut BTreeMap<Key, KeyWork>,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        cell: &Cell,
    ) -> Result<&'a mut Work, StorageError> {
        let known = keys.entry(cell.key.clone()).or_default();
        Ok(match known.cells.entry(cell.field.clone()) {
            Entry::Occupied(work) => work.into_mut(),
            Entry::Vacant(place) if known.complete => place.insert(Work::stored(Vec::new())),
            Entry::Vacant(place) => place.insert(Work::stored(versions_of(s, p, cell)?)),
        })
    }

    /// The last reads: which keys come, and which go.
    pub fn finish(mut self, s: &(impl Storage + ?Sized)) -> Result<Finished, StorageError> {
        let (mut came, mut went) = (0, 0);
        for (key, work) in &self.keys {
            let had = work.cells.values().any(|work| work.had);
            let has = work.cells.values().any(|work| !work.versions.is_empty());
            if had != has && !work.has_others(s, self.p, key)? {
                came += u64::from(has);
                went += u64::from(had);
                self.sums.scrub.iter_mut().for_each(|scrub| scrub.key_changed(self.p, key, has));
            }
        }
        Ok(Finished { edits: self, came, went })
    }
}

/// Changes with which nothing can go wrong any more.
pub(super) struct Finished {
    edits: Edits,
    came: u64,
    went: u64,
}

impl Finished {
    /// Writes the rows and corrects the partition's sums.
    pub fn write(self, s: &mut (impl Storage + ?Sized), partition: &mut Partition) {
        let Edits { p, keys, sums: Sums { fingerprint, mut scrub } } = self.edits;
        for (key, work) in keys {
            for (field, work) in work.cells.into_iter().filter(|(_, work)| work.dirty) {
                let row = rows::cell_row(p, &key, &field);
                let has = !work.versions.is_empty();
                match has {
                    true => s.put(&row, &rows::versions_to_bytes(&work.versions)),
                    false => s.delete(&row),
                }
                partition.cells = partition.cells.saturating_add(u64::from(has));
                partition.cells = partition.cells.saturating_sub(u64::from(work.had));
                scrub.iter_mut().for_each(|scrub| scrub.row_changed(&row, work.had, has));
            }
        }
        partition.keys = partition.keys.saturating_add(self.came);
        partition.keys = partition.keys.saturating_sub(self.went);
        (partition.fingerprint, partition.scrub) = (fingerprint, scrub);
    }
}

impl KeyWork {
    /// Reads all cells of the key.
    fn load(&mut self, s: &(impl Storage + ?Sized), p: PartitionId, key: &Key) -> Result<(), StorageError> {
        if self.complete {
            return Ok(());
        }
        rows::each(s, &rows::cells_of(p, key), |row, value| {
            if let Entry::Vacant(place) = self.cells.entry(rows::cell_of(row)?.field) {
                place.insert(Work::stored(rows::versions_from_bytes(row, value)?));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.complete = true;
        Ok(())
    }

    /// True where the key has a cell in storage that has not been read.
    fn has_others(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        key: &Key,
    ) -> Result<bool, StorageError> {
        let mut others = false;
        if self.complete {
            return Ok(others);
        }
        rows::each(s, &rows::cells_of(p, key), |row, _| {
            others = !self.cells.contains_key(&rows::cell_of(row)?.field);
            Ok(match others {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        Ok(others)
    }
}

impl Work {
    fn stored(versions: Vec<Version>) -> Self {
        Self { had: !versions.is_empty(), versions, dirty: false }
    }

    /// Removes the versions whose dots are in `dots`; each is shown.
    fn remove(&mut self, dots: &Context, mut gone: impl FnMut(&Version)) {
        self.versions.retain(|version| {
            let stays = !dots.contains(version.dot);
            if !stays {
                gone(version);
                self.dirty = true;
            }
            stays
        });
    }
}
