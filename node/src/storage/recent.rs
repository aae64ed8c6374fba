//! Rows that were changed since tables were last written, in order.

use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// What a row takes beside its bytes, roughly.
const OVERHEAD: usize = 96;

/// Partition and kind of a row: rows of one kind lie close together, and so are found in few steps. A number,
/// since those are compared without a call.
type Shelf = u32;

/// A row of the usual length lies in the tree itself: to look for one, no other memory is touched.
type Row = SmallVec<[u8; 40]>;

/// Changed rows. No value: deleted.
#[derive(Default)]
pub struct Recent {
    shelves: BTreeMap<Shelf, BTreeMap<Row, Option<Vec<u8>>>>,
    bytes: usize,
}

impl Recent {
    pub fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        let rows = self.shelves.entry(shelf(row)).or_default();
        self.bytes += value.map_or(0, <[u8]>::len);
        match rows.entry(Row::from_slice(row)) {
            Entry::Vacant(place) => {
                self.bytes += row.len() + OVERHEAD;
                place.insert(value.map(<[u8]>::to_vec));
            }
            Entry::Occupied(mut place) => {
                self.bytes -= place.get().as_ref().map_or(0, Vec::len);
                match (place.get_mut(), value) {
                    // As almost always.
                    (Some(known), Some(value)) if known.len() == value.len() => known.copy_from_slice(value),
                    (known, value) => *known = value.map(<[u8]>::to_vec),
                }
            }
        }
    }

    /// The change of a row, if there is one.
    pub fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        let value = self.shelves.get(&shelf(row))?.get(row)?;
        Some(value.as_deref())
    }

    /// The changes from `from` up to, not including, `to`; `from` must be less.
    pub fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let shelves = self.shelves.range(shelf(from)..=shelf(to));
        let rows = shelves.flat_map(move |(_, rows)| rows.range::<[u8], _>(range));
        rows.map(|(row, value)| (&row[..], value.as_deref()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.shelves.values().flatten().map(|(row, value)| (&row[..], value.as_deref()))
    }

    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Keeps the order of rows: a shorter one is filled up with zeros.
fn shelf(row: &[u8]) -> Shelf {
    let byte = |at: usize| row.get(at).copied().unwrap_or(0);
    u32::from_be_bytes([0, byte(0), byte(1), byte(2)])
}
