//! Rows that were changed since tables were last written.
//!
//! A change touches little memory, because with thousands of keys none of it is in the processor's caches: a row is
//! found by its hash and lies in one piece with its value. In order they are only for what walks through them.

mod line;

#[cfg(test)]
mod tests;

use super::prefetch::touch;
use hashbrown::HashTable;
use line::Lines;
use smallvec::SmallVec;
use starling_crdt::cell::{Begin, STEM_MAX, stem_of_row};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

/// What a row in a place takes beside its bytes, roughly.
const OVERHEAD: usize = 128;

/// The stem of rows: those of one stem follow one another. A number, since those are compared without a call. A
/// shorter stem is filled up with zeros, which keeps the order of rows.
type Stem = u128;

/// A row of the usual length lies in its place itself: to look for one, no other memory is touched.
type Row = SmallVec<[u8; ROW_USUAL]>;
const ROW_USUAL: usize = 40;

/// A row, and its value; none: it is deleted.
type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Changed rows.
#[derive(Default)]
pub struct Recent {
    shelves: BTreeMap<Stem, Shelf>,
    /// Those of the log, each as long as its rows come in order.
    lines: Vec<Lines>,
    line_of: HashMap<Stem, usize>,
    /// All other rows, by their hash.
    places: HashTable<Place>,
    hasher: RandomState,
    /// Of what begins so, all that is not among the changes is deleted.
    cleared: BTreeSet<Begin>,
    bytes: usize,
    is_played: bool,
}

/// The rows of one stem, in order.
enum Shelf {
    Line(usize),
    Places(BTreeSet<Row>),
}

/// A row, and behind it its value.
struct Place {
    /// Of the row: when the table grows, no row is read.
    hash: u64,
    bytes: Vec<u8>,
    row_length: u32,
    is_deleted: bool,
}

impl Recent {
    /// Those that were played back: some of them may lie in tables as well.
    pub fn played() -> Self {
        Self { is_played: true, ..Self::default() }
    }

    pub fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        let grown = match self.line_for(row) {
            Some(line) => self.change_in_line(line, row, value),
            None => self.change_place(row, value),
        };
        self.bytes = self.bytes.saturating_add_signed(grown);
    }

    fn hash(&self, row: &[u8]) -> u64 {
        self.hasher.hash_one(row)
    }

    /// By what a row is found that lies in no line.
    pub fn hash_of_place(&self, row: &[u8]) -> Option<u64> {
        (!is_of_log(row)).then(|| self.hash(row))
    }

    /// Reads ahead the row with this hash.
    pub fn prefetch(&self, hash: u64) -> u8 {
        self.places.find(hash, |place| place.hash == hash).map_or(0, |place| touch(&place.bytes))
    }

    /// Reads ahead the ends of the lines that these rows belong into.
    pub fn prefetch_ends(&self, rows: &[Vec<u8>]) -> u8 {
        let lines = rows.iter().filter(|row| is_of_log(row)).filter_map(|row| self.line_of.get(&stem(row)));
        let lines: Vec<_> = lines.map(|line| &self.lines[*line]).collect();
        let read = lines.iter().fold(0, |read, line| read ^ line.prefetch());
        lines.iter().fold(read, |read, line| read ^ line.prefetch_end())
    }

    /// Deletes all rows that begin so, those that are here and those that are not.
    pub fn clear(&mut self, begin: Begin) {
        for (stem, shelf) in self.take_shelves(begin) {
            match shelf {
                Shelf::Line(line) => self.forget_line(stem, line),
                Shelf::Places(rows) => self.forget_places(stem, begin, rows),
            }
        }
        if self.cleared.insert(begin) {
            self.bytes += OVERHEAD;
        }
    }

    /// What is cleared, in order.
    pub fn cleared(&self) -> impl Iterator<Item = Begin> {
        self.cleared.iter().copied()
    }

    /// True if the row was cleared; what has changed since is among the changes.
    pub fn has_cleared(&self, row: &[u8]) -> bool {
        row.first_chunk().is_some_and(|begin| self.cleared.contains(begin))
    }

    pub fn has_cleared_any(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// The change of a row, if there is one.
    pub fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.change_of(row).or_else(|| self.has_cleared(row).then_some(None))
    }

    fn change_of(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        if is_of_log(row)
            && let Some(line) = self.line_of.get(&stem(row))
        {
            return self.lines[*line].get(row);
        }
        self.place(row).map(Place::value)
    }

    /// The changes from `from` up to, not including, `to`; `from` must be less.
    pub fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = Change<'_>> {
        let shelves = self.shelves.range(stem(from)..=stem(to));
        shelves.flat_map(move |(_, shelf)| self.rows_of(shelf, from, Some(to)))
    }

    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.shelves.values().flat_map(|shelf| self.rows_of(shelf, &[], None))
    }

    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out the shelves on which rows that begin so may lie.
    fn take_shelves(&mut self, begin: Begin) -> Vec<(Stem, Shelf)> {
        let first = stem(&begin);
        let last = first | Stem::MAX >> (8 * begin.len());
        let stems: Vec<_> = self.shelves.range(first..=last).map(|(stem, _)| *stem).collect();
        stems.into_iter().filter_map(|stem| self.shelves.remove_entry(&stem)).collect()
    }

    fn forget_line(&mut self, stem: Stem, line: usize) {
        self.line_of.remove(&stem);
        let line = std::mem::take(&mut self.lines[line]);
        self.bytes -= line.range(&[], None).map(line::size).sum::<usize>();
    }

    /// A row that is too short to be of a partition stays.
    fn forget_places(&mut self, stem: Stem, begin: Begin, rows: BTreeSet<Row>) {
        let (gone, stay): (BTreeSet<_>, _) = rows.into_iter().partition(|row| row.starts_with(&begin));
        for row in gone {
            let hash = self.hash(&row);
            if let Ok(place) = self.places.find_entry(hash, |place| place.row() == &row[..]) {
                self.bytes -= size((&row, place.remove().0.value()));
            }
        }
        if !stay.is_empty() {
            self.shelves.insert(stem, Shelf::Places(stay));
        }
    }

    /// The line that a row belongs into. A new one for the first row of the log that has its stem.
    fn line_for(&mut self, row: &[u8]) -> Option<usize> {
        if !is_of_log(row) {
            return None;
        }
        let stem = stem(row);
        let known = self.line_of.get(&stem).copied();
        if known.is_none() && !self.shelves.contains_key(&stem) {
            let line = self.lines.len();
            self.lines.push(Lines::default());
            self.line_of.insert(stem, line);
            self.shelves.insert(stem, Shelf::Line(line));
            return Some(line);
        }
        known
    }

    /// Returns how much more it takes, roughly.
    fn change_in_line(&mut self, line: usize, row: &[u8], value: Option<&[u8]>) -> isize {
        if let Ok(grown) = self.lines[line].put(row, value, !self.is_played) {
            return grown;
        }
        self.scatter(stem(row), line);
        self.change_place(row, value)
    }

    /// The rows of a line go to places.
    fn scatter(&mut self, stem: Stem, line: usize) {
        let line = std::mem::take(&mut self.lines[line]);
        self.line_of.remove(&stem);
        self.places.reserve(line.len(), |place| place.hash);
        for (row, value) in line.range(&[], None) {
            let hash = self.hash(row);
            self.places.insert_unique(hash, Place::new(hash, row, value), |place| place.hash);
            self.bytes += size((row, value)) - line::size((row, value));
        }
        let rows = line.range(&[], None).map(|(row, _)| Row::from_slice(row)).collect();
        self.shelves.insert(stem, Shelf::Places(rows));
    }

    /// As `change_in_line`.
    fn change_place(&mut self, row: &[u8], value: Option<&[u8]>) -> isize {
        let hash = self.hash(row);
        if let Some(place) = self.places.find_mut(hash, |place| place.row() == row) {
            let before = place.replace(value);
            return value.map_or(0, <[u8]>::len) as isize - before as isize;
        }
        self.places.insert_unique(hash, Place::new(hash, row, value), |place| place.hash);
        let stem = stem(row);
        // One that is too short to be of the log may have the stem of one that is.
        if let Some(Shelf::Line(line)) = self.shelves.get(&stem) {
            self.scatter(stem, *line);
        }
        let shelf = self.shelves.entry(stem).or_insert_with(|| Shelf::Places(BTreeSet::new()));
        if let Shelf::Places(rows) = shelf {
            rows.insert(Row::from_slice(row));
        }
        size((row, value)) as isize
    }

    fn place(&self, row: &[u8]) -> Option<&Place> {
        self.places.find(self.hash(row), |place| place.row() == row)
    }

    /// The changes from `from` up to, not including, `to`, or to the end.
    fn rows_of<'a>(
        &'a self,
        shelf: &'a Shelf,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = Change<'a>> + use<'a> {
        let (line, rows) = match shelf {
            Shelf::Line(line) => (Some(self.lines[*line].range(from, to)), None),
            Shelf::Places(rows) => {
                let to = to.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(rows.range::<[u8], _>((Bound::Included(from), to))))
            }
        };
        let places = rows.into_iter().flatten().filter_map(|row| self.place(row));
        line.into_iter().flatten().chain(places.map(|place| (place.row(), place.value())))
    }
}

impl Place {
    /// Rows are shorter than 64 KiB: keys and fields are bounded.
    fn new(hash: u64, row: &[u8], value: Option<&[u8]>) -> Self {
        let bytes = [row, value.unwrap_or_default()].concat();
        Self { hash, bytes, row_length: row.len() as u32, is_deleted: value.is_none() }
    }

    fn row(&self) -> &[u8] {
        &self.bytes[..self.row_length as usize]
    }

    fn value(&self) -> Option<&[u8]> {
        (!self.is_deleted).then_some(&self.bytes[self.row_length as usize..])
    }

    /// The length of the value before.
    fn replace(&mut self, value: Option<&[u8]>) -> usize {
        let row_length = self.row_length as usize;
        let before = self.bytes.len() - row_length;
        let bytes = value.unwrap_or_default();
        self.is_deleted = value.is_none();
        if bytes.len() == before {
            // As almost always.
            self.bytes[row_length..].copy_from_slice(bytes);
        } else {
            self.bytes.truncate(row_length);
            self.bytes.reserve_exact(bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.bytes.shrink_to_fit();
        }
        before
    }
}

/// What a row in a place takes in memory, roughly; a long one twice, since it does not lie in the place where it is
/// ordered.
fn row_size(row: &[u8]) -> usize {
    OVERHEAD + row.len() * if row.len() > ROW_USUAL { 2 } else { 1 }
}

fn size((row, value): Change<'_>) -> usize {
    row_size(row) + value.map_or(0, <[u8]>::len)
}

fn is_of_log(row: &[u8]) -> bool {
    stem_of_row(row).len() == STEM_MAX
}

fn stem(row: &[u8]) -> Stem {
    let stem = stem_of_row(row);
    let mut bytes = [0; size_of::<Stem>()];
    const { assert!(STEM_MAX <= size_of::<Stem>()) };
    bytes[..stem.len()].copy_from_slice(stem);
    Stem::from_be_bytes(bytes)
}
