//! Rows that were changed since tables were last written, in order.

use smallvec::SmallVec;
use starling_crdt::cell::{STEM_MAX, stem_of_row};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

#[cfg(test)]
mod tests;

/// What a row takes beside its bytes, roughly.
const OVERHEAD: usize = 96;

/// The stem of rows: those of one stem lie close together, and so are found in few steps. A number, since those are
/// compared without a call. A shorter stem is filled up with zeros, which keeps the order of rows.
type Stem = u128;

/// A row of the usual length lies in its place itself: to look for one, no other memory is touched.
type Row = SmallVec<[u8; 40]>;

/// No value: deleted.
type Change = Option<Vec<u8>>;

/// Changed rows.
#[derive(Default)]
pub struct Recent {
    shelves: BTreeMap<Stem, Shelf>,
    bytes: usize,
}

/// Changed rows of one stem.
enum Shelf {
    /// As long as each new row comes after the last: to add one, nothing is searched. The log grows so, which is
    /// most of the rows that come newly.
    Line(Vec<(Row, Change)>),
    Tree(BTreeMap<Row, Change>),
}

impl Recent {
    pub fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        let shelf = self.shelves.entry(stem(row)).or_insert_with(|| Shelf::Line(Vec::new()));
        self.bytes += value.map_or(0, <[u8]>::len);
        match shelf.put(row, value) {
            None => self.bytes += row.len() + OVERHEAD,
            Some(before) => self.bytes -= before,
        }
    }

    /// The change of a row, if there is one.
    pub fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        let value = match self.shelves.get(&stem(row))? {
            Shelf::Line(rows) => &rows[find(rows, row).ok()?].1,
            Shelf::Tree(rows) => rows.get(row)?,
        };
        Some(value.as_deref())
    }

    /// The changes from `from` up to, not including, `to`; `from` must be less.
    pub fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let shelves = self.shelves.range(stem(from)..=stem(to));
        shelves.flat_map(move |(_, shelf)| shelf.range(from, Some(to)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.shelves.values().flat_map(|shelf| shelf.range(&[], None))
    }

    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Shelf {
    /// The length of the value that was there before; `None`: the row is new here.
    fn put(&mut self, row: &[u8], value: Option<&[u8]>) -> Option<usize> {
        let rows = match self {
            Shelf::Tree(rows) => rows,
            Shelf::Line(rows) => match find(rows, row) {
                Ok(at) => return Some(replace(&mut rows[at].1, value)),
                Err(at) if at == rows.len() => {
                    rows.push((Row::from_slice(row), value.map(<[u8]>::to_vec)));
                    return None;
                }
                Err(_) => {
                    *self = Shelf::Tree(std::mem::take(rows).into_iter().collect());
                    return self.put(row, value);
                }
            },
        };
        match rows.entry(Row::from_slice(row)) {
            Entry::Occupied(mut place) => Some(replace(place.get_mut(), value)),
            Entry::Vacant(place) => {
                place.insert(value.map(<[u8]>::to_vec));
                None
            }
        }
    }

    /// The changes from `from` up to, not including, `to`, or to the end.
    fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let (line, tree) = match self {
            Shelf::Line(rows) => {
                let before = |end: &[u8]| rows.partition_point(|(row, _)| &row[..] < end);
                (&rows[before(from)..to.map_or(rows.len(), before)], None)
            }
            Shelf::Tree(rows) => {
                let to = to.map_or(Bound::Unbounded, Bound::Excluded);
                (&[][..], Some(rows.range::<[u8], _>((Bound::Included(from), to))))
            }
        };
        let line = line.iter().map(|(row, value)| (&row[..], value.as_deref()));
        line.chain(tree.into_iter().flatten().map(|(row, value)| (&row[..], value.as_deref())))
    }
}

/// Where the row is, or would be. At the end is where it almost always is.
fn find(rows: &[(Row, Change)], row: &[u8]) -> Result<usize, usize> {
    match rows.last() {
        Some((last, _)) if &last[..] < row => Err(rows.len()),
        Some((last, _)) if &last[..] == row => Ok(rows.len() - 1),
        _ => rows.binary_search_by(|(known, _)| known[..].cmp(row)),
    }
}

/// The length of the value before.
fn replace(known: &mut Change, value: Option<&[u8]>) -> usize {
    let before = known.as_ref().map_or(0, Vec::len);
    match (known, value) {
        // As almost always.
        (Some(known), Some(value)) if known.len() == value.len() => known.copy_from_slice(value),
        (known, value) => *known = value.map(<[u8]>::to_vec),
    }
    before
}

fn stem(row: &[u8]) -> Stem {
    let stem = stem_of_row(row);
    let mut bytes = [0; size_of::<Stem>()];
    const { assert!(STEM_MAX <= size_of::<Stem>()) };
    bytes[..stem.len()].copy_from_slice(stem);
    Stem::from_be_bytes(bytes)
}
