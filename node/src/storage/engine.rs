//! Rows: those in tables on disk, and in memory what has changed since.
//!
//! Changes go to memory and, sealed group by group, to the journal; from there to tables, many at once. So a
//! commit is one write and one sync, whatever it changes, and a row that changes often is written to tables
//! once. Reads look into memory first. `writer` is the half that waits for the disk, so that rows can be read
//! and changed meanwhile.

use super::cache::{self, Cache, Rows};
use super::journal::{Journal, Played, Record};
use super::recent::Recent;
use super::tables::Tables;
use super::writer::Writer;
use starling_crdt::cell::{Begin, Visit, key_of_row};
use starling_crdt::{Storage, StorageError};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::hint::black_box;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Release};

#[cfg(test)]
mod tests;

/// So much is kept in memory before it goes to tables, or up to a third less; while it does, as much again may come.
const RECENT_MAX: usize = 36 * 1024 * 1024;
/// So many times that in the journal, and it goes to tables as well: rows that change often are there each time.
/// Opening plays the journal back, at most about twice this much.
const JOURNAL_TIMES: usize = 4;
/// Rows that are walked through in memory for one question, deleted ones among them: some milliseconds at most, while
/// others wait. A key may have hundreds of thousands.
const WALKED_MAX: usize = 1024;

/// A partition with no more rows than this is deleted row by row.
const CLEARED_MIN: usize = 1024;

/// Storage that collects changes, for a [`Log`] to make durable.
pub trait Commit: Storage {
    /// The changes of one commit.
    type Sealed: Default + Send;

    /// Bytes written since the last `seal`, a row written twice counted twice; 0 if there is nothing.
    fn uncommitted(&self) -> usize;
    /// Hands over all changes since the last time. `sealed` must have been written since then.
    fn seal(&mut self, sealed: &mut Self::Sealed);
    /// Reads ahead, for all of these rows at once, what is looked up for each.
    fn prefetch(&self, rows: &[Vec<u8>]);
    /// Does this if nothing is read for it but what is in memory, and not much of that. `None`: it was not enough,
    /// which stopped it where it was.
    fn in_memory<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError>;
}

/// Where changes are made durable, in the order in which they were sealed.
pub trait Log<Sealed> {
    /// Writes all these changes, or none of them. Synced: they, and what was written before, outlast a power
    /// cut. Otherwise they outlast this process, and the rest follows with `sync`.
    fn write(&mut self, sealed: &mut Sealed, synced: bool) -> Result<(), StorageError>;
    /// What has to be done from time to time between two writes, and nobody waits for.
    fn tidy(&mut self, sealed: &mut Sealed) -> Result<(), StorageError>;
    /// All that was written outlasts a power cut.
    fn sync(&mut self) -> Result<(), StorageError>;
}

pub struct Engine {
    tables: Tables,
    /// What was changed since the last `seal`.
    record: Record,
    /// What was changed since the last generation went to tables, committed or not.
    recent: Recent,
    leaving: Option<Arc<Generation>>,
    recent_max: usize,
    cleared_min: usize,
    /// When `recent` goes to tables.
    full: usize,
    /// Bytes in the journal since then.
    logged: usize,
    cache: RefCell<Cache>,
    only_memory: bool,
    /// Rows that were walked through since that was set.
    walked: Cell<usize>,
    /// `only_memory` has stopped a read.
    missed: Cell<bool>,
}

/// Changes on their way to tables.
pub struct Generation {
    pub rows: Recent,
    arrived: AtomicBool,
}

impl Generation {
    /// Its rows are in tables.
    pub fn arrive(&self) {
        self.arrived.store(true, Release);
    }
}

/// Drawn anew each time: the copies of a partition hold the same rows, and if all of them wrote tables in the same
/// moment, no quorum would be left that is not busy with that.
fn full(most: usize) -> usize {
    // Without random numbers no store is opened.
    let random = getrandom::u64().unwrap_or_default() as usize;
    most - random % (most / 3).max(1)
}

#[derive(Default)]
pub struct Sealed {
    pub record: Record,
    /// Goes to tables, now that the record was all that the journal lacked of it.
    pub generation: Option<Arc<Generation>>,
    /// Is in tables. Comes along for its memory to be freed where nobody waits for that.
    pub arrived: Option<Arc<Generation>>,
    /// As much again has come as is on its way: that must arrive first.
    pub is_behind: bool,
}

impl Engine {
    /// Opens or creates the store in this directory; a new one is named `new_id`. Errors: in use, damaged, or
    /// the disk fails.
    pub fn open(path: &Path, new_id: u64) -> Result<(Self, Writer), StorageError> {
        Self::open_with(path, new_id, RECENT_MAX)
    }

    fn open_with(path: &Path, new_id: u64, recent_max: usize) -> Result<(Self, Writer), StorageError> {
        if !path.exists() {
            Tables::make(path, new_id)?;
        }
        let journal = path.join(super::JOURNAL);
        // It is made last.
        if journal.exists() {
            Tables::check(path)?;
        }
        let tables = Tables::open(path, new_id)?;
        let (mut recent, mut logged) = (Recent::played(), 0);
        let journal = Journal::open(&journal, &tables.journals()?, &mut |played| match played {
            Played::Row(row, value) => {
                logged += row.len() + value.map_or(0, <[u8]>::len);
                recent.change(row, value);
            }
            Played::All(begin) => recent.clear(begin),
        })?;
        // From now on it would be missed, were it gone.
        tables.need_journal(journal.oldest())?;
        let writer = Writer::new(journal, tables.clone());
        let (record, cache, walked, missed) = Default::default();
        let engine = Self {
            tables,
            record,
            recent,
            leaving: None,
            recent_max,
            cleared_min: CLEARED_MIN,
            full: full(recent_max),
            logged,
            cache,
            only_memory: false,
            walked,
            missed,
        };
        Ok((engine, writer))
    }

    /// The same for as long as the store exists: by it one that was lost and made anew is told apart.
    pub fn id(&self) -> u64 {
        self.tables.id()
    }

    /// How many bytes the next merge of tables may write, as was seen last.
    pub fn next_merge(&self) -> Arc<AtomicU64> {
        self.tables.next_merge()
    }

    /// True if nothing was ever committed, or all of it deleted since.
    pub fn is_empty(&self) -> Result<bool, StorageError> {
        let mut empty = true;
        self.scan(&[], &[u8::MAX; 8], &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
        Ok(empty)
    }

    fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        self.record.push(row, value);
        self.cache.get_mut().changed(row, value);
        self.recent.change(row, value);
    }

    /// The latest change of a row that is not in tables yet.
    fn changed(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        let leaving = || self.leaving.as_ref().and_then(|leaving| leaving.rows.get(row));
        self.recent.get(row).or_else(leaving)
    }

    /// With a key, `from` and `to` span its cells.
    fn scan_all(
        &self,
        key: Option<&[u8]>,
        (from, to): (&[u8], &[u8]),
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageError> {
        let leaving = self.leaving.iter().flat_map(|leaving| leaving.rows.range(from, to));
        let leaving = leaving.filter(|(row, _)| !self.recent.has_cleared(row));
        let changes = Newest { old: leaving.peekable(), new: self.recent.range(from, to).peekable() };
        // All that is asked for is in one partition, but where a store is opened.
        let is_cleared = self.has_cleared(from) && from.first_chunk::<2>() == to.first_chunk();
        let tables = if is_cleared { None } else { self.tables(key)? };
        let tables = tables.into_iter().flat_map(|tables| tables.range(from, to));
        let tables = tables.filter(|row| row.as_ref().map_or(true, |(row, _)| !self.has_cleared(row)));
        let flow = merge(tables, changes.take_while(|_| self.may_walk()), visit)?;
        if self.missed.get() { Err(stopped()) } else { Ok(flow) }
    }

    /// What tables hold of the row was deleted together with all of its partition.
    fn has_cleared(&self, row: &[u8]) -> bool {
        let leaving = || self.leaving.as_ref().is_some_and(|leaving| leaving.rows.has_cleared(row));
        self.recent.has_cleared(row) || leaving()
    }

    /// One row more.
    fn may_walk(&self) -> bool {
        self.walked.update(|walked| walked + usize::from(self.only_memory));
        let is_too_much = self.walked.get() > WALKED_MAX;
        self.missed.update(|missed| missed || is_too_much);
        !is_too_much
    }

    /// `None`: they hold no cell of this key, if one is given.
    fn tables(&self, key: Option<&[u8]>) -> Result<Option<&Tables>, StorageError> {
        if key.is_some_and(|key| !self.tables.keys().may_hold(key)) {
            return Ok(None);
        }
        if self.only_memory {
            self.missed.set(true);
            return Err(stopped());
        }
        Ok(Some(&self.tables))
    }
}

/// Nobody is told.
fn stopped() -> StorageError {
    StorageError(String::new())
}

impl Storage for Engine {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let key = key_of_row(row);
        let cached = key.and_then(|key| self.cache.borrow_mut().find(key));
        if let Some(rows) = cached {
            return Ok(rows.get(row).map(<[u8]>::to_vec));
        }
        if let Some(change) = self.changed(row) {
            return Ok(change.map(<[u8]>::to_vec));
        }
        let found = self.tables(key)?.map(|tables| tables.get(row)).transpose()?;
        Ok(found.flatten().map(|value| value.to_vec()))
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.change(row, Some(value));
    }

    fn delete(&mut self, row: &[u8]) {
        self.change(row, None);
    }

    /// A few rows are deleted one by one: the others wait in memory until tables are written, which it brings about.
    fn delete_all(&mut self, begin: Begin) -> Result<(), StorageError> {
        let (mut rows, end) = (Vec::new(), [&begin[..], &[u8::MAX; 8]].concat());
        self.scan(&begin, &end, &mut |row, _| {
            rows.push(row.to_vec());
            if rows.len() <= self.cleared_min { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if rows.len() <= self.cleared_min {
            rows.iter().for_each(|row| self.delete(row));
        } else {
            self.record.push_all(begin);
            self.cache.get_mut().clear(begin);
            self.recent.clear(begin);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        let key = key_of_row(from).filter(|key| *key == from && to.strip_prefix(from) == Some(&[u8::MAX]));
        let Some(key) = key else {
            return self.scan_all(None, (from, to), visit).map(drop);
        };
        let cached = self.cache.borrow_mut().find(key);
        if let Some(rows) = cached {
            let _ = rows.iter().try_for_each(|(row, value)| visit(row, value));
            return Ok(());
        }
        let mut seen = Short::default();
        let flow = self.scan_all(Some(key), (from, to), &mut |row, value| {
            seen.take(row, value);
            visit(row, value)
        })?;
        if flow.is_continue() && seen.is_short() {
            let rows = seen.rows.iter().map(|(row, value)| (&row[..], &value[..]));
            self.cache.borrow_mut().keep(Rows::new(key, rows));
        }
        Ok(())
    }
}

/// Two ordered sequences of changes as one; where both have a row, the new one counts.
struct Newest<A: Iterator, B: Iterator> {
    old: Peekable<A>,
    new: Peekable<B>,
}

type Change<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a, A, B> Iterator for Newest<A, B>
where
    A: Iterator<Item = Change<'a>>,
    B: Iterator<Item = Change<'a>>,
{
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let (Some((old, _)), Some((new, _))) = (self.old.peek(), self.new.peek()) else {
            return self.old.next().or_else(|| self.new.next());
        };
        match old.cmp(new) {
            Ordering::Less => self.old.next(),
            Ordering::Equal => {
                self.old.next();
                self.new.next()
            }
            Ordering::Greater => self.new.next(),
        }
    }
}

/// Visits the rows of tables and the changes to them as one ordered sequence.
fn merge<'a, B: AsRef<[u8]>>(
    tables: impl Iterator<Item = Result<(B, B), StorageError>>,
    changes: impl Iterator<Item = Change<'a>>,
    visit: Visit<'_>,
) -> Result<ControlFlow<()>, StorageError> {
    let mut changes = changes.peekable();
    for row in tables {
        let (row, value) = row?;
        let row = row.as_ref();
        while let Some(change) = changes.next_if(|(changed, _)| *changed < row) {
            if shown(change, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let seen = match changes.next_if(|(changed, _)| *changed == row) {
            Some(change) => shown(change, visit),
            None => visit(row, value.as_ref()),
        };
        if seen.is_break() {
            return Ok(seen);
        }
    }
    Ok(changes.try_for_each(|change| shown(change, visit)))
}

fn shown((row, value): Change<'_>, visit: Visit<'_>) -> ControlFlow<()> {
    match value {
        Some(value) => visit(row, value),
        None => ControlFlow::Continue(()),
    }
}

/// What a scan has seen of the rows, as long as that may be worth keeping.
#[derive(Default)]
struct Short {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    count: usize,
    bytes: usize,
}

impl Short {
    fn take(&mut self, row: &[u8], value: &[u8]) {
        self.count += 1;
        self.bytes += row.len() + value.len();
        if self.is_short() {
            self.rows.push((row.to_vec(), value.to_vec()));
        }
    }

    fn is_short(&self) -> bool {
        self.count <= cache::ROWS_MAX && self.bytes <= cache::KEY_BYTES_MAX
    }
}

impl Commit for Engine {
    type Sealed = Sealed;

    fn uncommitted(&self) -> usize {
        self.record.len()
    }

    fn seal(&mut self, sealed: &mut Sealed) {
        self.logged += self.record.len();
        std::mem::swap(&mut self.record, &mut sealed.record);
        sealed.arrived = self.leaving.take_if(|leaving| leaving.arrived.load(Acquire));
        let is_full = self.recent.bytes().max(self.logged / JOURNAL_TIMES) >= self.full;
        sealed.is_behind = is_full && self.leaving.is_some();
        // Until tables are written, what was cleared takes its room on disk.
        if (is_full || self.recent.has_cleared_any()) && self.leaving.is_none() {
            let (rows, arrived) = (std::mem::take(&mut self.recent), AtomicBool::new(false));
            (self.logged, self.full) = (0, full(self.recent_max));
            self.leaving = Some(Arc::new(Generation { rows, arrived }));
            sealed.generation.clone_from(&self.leaving);
        }
    }

    fn prefetch(&self, rows: &[Vec<u8>]) {
        let cache = self.cache.borrow();
        let (mut keys, mut places) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        keys.extend(rows.iter().filter_map(|row| key_of_row(row)).map(|key| cache.hash(key)));
        places.extend(rows.iter().filter_map(|row| self.recent.hash_of_place(row)));
        let read = keys.into_iter().fold(0, |read, key| read ^ cache.prefetch(key));
        let read = places.into_iter().fold(read, |read, place| read ^ self.recent.prefetch(place));
        black_box(read ^ self.recent.prefetch_ends(rows));
    }

    fn in_memory<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        self.only_memory = true;
        let done = work(self);
        self.only_memory = false;
        self.walked.set(0);
        match done {
            Err(_) if self.missed.take() => Ok(None),
            done => done.map(Some),
        }
    }
}
