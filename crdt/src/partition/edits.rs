//! Changes to cells, collected in memory first: everything is read before anything is written.

use super::scrub::Sums;
use super::{Partition, versions_of};
use crate::rows::Span;
use crate::{Cell, Context, Field, Key, PartitionId, Storage, StorageError, Target, Version, rows};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

/// Beside so many changed cells, one scan more is nothing.
const MANY: usize = 64;

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
    /// It stays as it is, and its versions were left in storage.
    left: bool,
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
                known.remove(s, self.p, key, dots, &mut self.sums)?;
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
            Entry::Occupied(work) => work.into_mut().read(s, p, cell)?,
            Entry::Vacant(place) if known.complete => place.insert(Work::stored(Vec::new())),
            Entry::Vacant(place) => place.insert(Work::stored(versions_of(s, p, cell)?)),
        })
    }

    /// The last reads: which keys come, and which go.
    pub fn finish(mut self, s: &(impl Storage + ?Sized)) -> Result<Finished, StorageError> {
        let (mut came, mut went) = (0, 0);
        for (key, work) in &self.keys {
            let had = work.cells.values().any(|work| work.had);
            let has = work.cells.values().any(Work::has);
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
    /// Removes versions of all cells of the key. Of all its values, one row is in memory at a time: what goes is
    /// forgotten at once, and where nothing goes, what stays as well.
    fn remove(
        &mut self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        key: &Key,
        dots: &Context,
        sums: &mut Sums,
    ) -> Result<(), StorageError> {
        for (field, work) in &mut self.cells {
            let cell = Cell::new(key, field.clone());
            work.read(s, p, &cell)?.remove(dots, |version| sums.remove(p, &cell, version));
        }
        if self.complete {
            return Ok(());
        }
        rows::each(s, &rows::cells_of(p, key), |row, value| {
            let cell = rows::cell_of(row)?;
            if let Entry::Vacant(place) = self.cells.entry(cell.field.clone()) {
                let mut work = Work::stored(rows::versions_from_bytes(row, value)?);
                work.remove(dots, |version| sums.remove(p, &cell, version));
                place.insert(if work.dirty { work } else { Work::left() });
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
        if self.complete {
            return Ok(false);
        }
        let (from, to) = rows::cells_of(p, key);
        // Where the first of many were removed, one after the other, that which is next is at hand, and before them
        // storage may have to pass over all that were.
        if self.cells.len() > MANY
            && let Some((last, _)) = self.cells.last_key_value()
            && self.finds_other(s, (rows::cell_row(p, key, last), to.clone()))?
        {
            return Ok(true);
        }
        self.finds_other(s, (from, to))
    }

    fn finds_other(&self, s: &(impl Storage + ?Sized), span: Span) -> Result<bool, StorageError> {
        let mut others = false;
        rows::each(s, &span, |row, _| {
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
        Self { had: !versions.is_empty(), versions, dirty: false, left: false }
    }

    fn left() -> Self {
        Self { had: true, versions: Vec::new(), dirty: false, left: true }
    }

    fn has(&self) -> bool {
        self.left || !self.versions.is_empty()
    }

    /// Reads what was left in storage.
    fn read(
        &mut self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        cell: &Cell,
    ) -> Result<&mut Self, StorageError> {
        if self.left {
            *self = Self::stored(versions_of(s, p, cell)?);
        }
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::rows_of_event;
    use crate::{Actor, Dot, Event, Field, Fingerprint, Memory, Stamp};
    use serde_bytes::ByteBuf;

    const P: PartitionId = 7;

    fn dot(counter: u64) -> Dot {
        Dot::new(Actor(1), counter)
    }

    fn cell(name: &str) -> Cell {
        Cell::new(b"k", Field::Entry(ByteBuf::from(name)))
    }

    fn put(counter: u64, name: &str) -> Event {
        let puts = vec![(cell(name), Some(ByteBuf::from(name)))];
        Event { dot: dot(counter), stamp: Stamp(counter), puts, drops: Vec::new() }
    }

    /// A hash with three fields.
    fn partition() -> (Partition, Memory) {
        let (mut partition, mut disk) = (Partition::new(P), Memory::default());
        for (counter, name) in (1..).zip(["a", "b", "c"]) {
            assert!(partition.apply(&mut disk, &put(counter, name), None).unwrap());
        }
        (partition, disk)
    }

    fn whole() -> Target {
        Target::Key(Key::from("k"))
    }

    #[test]
    fn a_key_is_removed_without_its_values_in_memory() {
        let (partition, disk) = partition();
        let mut edits = Edits::new(&partition, None);
        edits.remove(&disk, &whole(), &dot(2).into()).unwrap();
        let works = || edits.keys.values().flat_map(|work| work.cells.values());
        assert_eq!(works().map(|work| work.versions.len()).sum::<usize>(), 0);
        assert_eq!(works().map(Work::has).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn an_event_at_one_cell_writes_the_rows_that_are_foretold() {
        let (mut partition, mut disk) = (Partition::new(P), Memory::default());
        let event = put(1, "a");
        partition.apply(&mut disk, &event, None).unwrap();
        let mut foretold = rows_of_event(P, b"k", &event.puts[0].0.field, event.dot);
        foretold.sort();
        assert!(disk.rows().map(|(row, _)| row).eq(foretold.iter()));
    }

    #[test]
    fn what_stays_of_a_removed_key_is_changed_by_the_same_event_all_the_same() {
        let (mut partition, mut disk) = partition();
        let drops = vec![(whole(), dot(2).into()), (Target::Cell(cell("c")), dot(3).into())];
        let mut event = Event { drops, ..put(4, "a") };
        event.puts.push((cell("d"), Some(ByteBuf::from("d"))));
        partition.apply(&mut disk, &event, None).unwrap();
        assert_eq!((partition.keys, partition.cells), (1, 2));
        let dots = |name| {
            versions_of(&disk, P, &cell(name)).unwrap().iter().map(|v| v.dot.counter).collect::<Vec<_>>()
        };
        assert_eq!([dots("a"), dots("b"), dots("c"), dots("d")], [vec![1, 4], vec![], vec![], vec![4]]);
        while partition.scrub(&disk, 1).unwrap() == crate::Scrubbed::More {}
        assert_eq!(partition.scrub(&disk, usize::MAX).unwrap(), crate::Scrubbed::Sound);
        let all: Context = (1..=4).map(dot).collect();
        let event = Event { drops: vec![(whole(), all)], puts: Vec::new(), ..put(5, "") };
        partition.apply(&mut disk, &event, None).unwrap();
        let nothing = (Fingerprint::default(), 0, 0);
        assert_eq!((partition.fingerprint, partition.keys, partition.cells), nothing);
    }
}
