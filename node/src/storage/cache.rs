//! Short ranges of committed rows, in memory.
//!
//! A command reads the rows of one key: a short range, which costs the engine 7 us once it lies in tables
//! and 1 us from memory. Empty ranges are kept too, so that a new key costs no search.
//!
//! Two generations stand in for least recently used: what is read moves to the young one, and when that
//! is full, the old one is dropped and the young one is the old. All ranges are disjoint, in both together.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Longer ranges are left to the engine, in rows and in bytes.
pub const ROWS_MAX: usize = 16;
pub const RANGE_MAX: usize = 16 * 1024;
/// Bytes of one generation, of two.
const GENERATION_MAX: usize = 32 * 1024 * 1024;
/// What a range, and a row, take beside their bytes, roughly.
const OVERHEAD: usize = 96;

pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    /// By the first row that could be in it.
    ranges: BTreeMap<Vec<u8>, Range>,
    bytes: usize,
}

struct Range {
    to: Vec<u8>,
    rows: Arc<Rows>,
}

impl Cache {
    /// The rows of exactly this range, if they are kept.
    pub fn find(&mut self, from: &[u8], to: &[u8]) -> Option<Arc<Rows>> {
        if let Some(range) = self.young.ranges.get(from) {
            return (range.to == to).then(|| Arc::clone(&range.rows));
        }
        if self.old.ranges.get(from)?.to != to {
            return None;
        }
        let range = self.old.remove(from)?;
        let rows = Arc::clone(&range.rows);
        self.insert(from.to_vec(), range);
        Some(rows)
    }

    /// Keeps all the rows of this range, unless they are many or it overlaps one that is kept.
    pub fn keep(&mut self, from: &[u8], to: &[u8], rows: Rows) {
        let overlaps = self.young.overlaps(from, to) || self.old.overlaps(from, to);
        let range = Range { to: to.to_vec(), rows: Arc::new(rows) };
        if range.is_short() && !overlaps {
            self.insert(from.to_vec(), range);
        }
    }

    /// A row was committed. `None`: deleted.
    pub fn changed(&mut self, row: &[u8], value: Option<&[u8]>) {
        let _ = self.young.changed(row, value) || self.old.changed(row, value);
    }

    fn insert(&mut self, from: Vec<u8>, range: Range) {
        self.young.insert(from, range);
        if self.young.bytes > GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn insert(&mut self, from: Vec<u8>, range: Range) {
        self.bytes += from.len() + range.size();
        self.ranges.insert(from, range);
    }

    fn remove(&mut self, from: &[u8]) -> Option<Range> {
        let range = self.ranges.remove(from)?;
        self.bytes -= from.len() + range.size();
        Some(range)
    }

    /// Being disjoint, ranges end in the order in which they begin; so only one needs a look.
    fn overlaps(&self, from: &[u8], to: &[u8]) -> bool {
        let mut before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(to)));
        before.next_back().is_some_and(|(_, range)| range.to[..] > *from)
    }

    /// True if the row lies in one of the ranges.
    fn changed(&mut self, row: &[u8], value: Option<&[u8]>) -> bool {
        let mut before = self.ranges.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(row)));
        let Some((from, range)) = before.next_back().filter(|(_, range)| *row < range.to[..]) else {
            return false;
        };
        self.bytes -= range.size();
        range.change(row, value);
        self.bytes += range.size();
        if !range.is_short() {
            let from = from.clone();
            self.remove(&from);
        }
        true
    }
}

impl Range {
    fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        let rows = Arc::make_mut(&mut self.rows);
        match (rows.binary_search_by(|(known, _)| known[..].cmp(row)), value) {
            (Ok(at), Some(value)) => rows[at].1 = value.to_vec(),
            (Err(at), Some(value)) => rows.insert(at, (row.to_vec(), value.to_vec())),
            (Ok(at), None) => drop(rows.remove(at)),
            (Err(_), None) => {}
        }
    }

    fn size(&self) -> usize {
        let rows = self.rows.iter().map(|(row, value)| row.len() + value.len() + OVERHEAD);
        self.to.len() + OVERHEAD + rows.sum::<usize>()
    }

    fn is_short(&self) -> bool {
        self.rows.len() <= ROWS_MAX && self.size() <= RANGE_MAX
    }
}
