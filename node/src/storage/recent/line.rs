//! Rows that come in order, one behind the other in one piece of memory: the log grows so, which is most of the rows
//! that come newly. To add one, nothing is searched, and only the end is touched. When the log is cut, rows from
//! before what is there come, in order as well: they are a line of their own, before the other.
//!
//! A row of the log is put once. So where its value came here first, no table has it, and when it is deleted nothing is
//! left of it: most of the log is cut soon, and is never written to tables.
//!
//! ```text
//! row:  its state (1 byte)  length of the row (2 bytes)  row  value
//! ```

use super::{Change, Row};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

const HEAD: usize = 3;
/// What a row takes beside its bytes, roughly: its head, where it ends, and half of a usual one that there is room for.
const OVERHEAD: usize = 64;

/// States of a row. Tables may have one that is deleted.
const DELETED: u8 = 0;
/// Tables may have an older value.
const CHANGED: u8 = 1;
/// Tables do not have it.
const NEW: u8 = 2;
/// It was new, and is as if it had never been here.
const GONE: u8 = 3;

/// Rows that would begin one more line are out of line.
const LINES_MAX: usize = 4;
/// A line with fewer bytes is left as it is, whatever of it is deleted.
const SQUEEZED_MIN: usize = 4096;

/// Lines one after the other; each row of one comes before all of the next.
#[derive(Default)]
pub struct Lines(SmallVec<[Line; 1]>);

impl Lines {
    /// Returns how much more it takes, roughly. `is_new`: tables have no value of a row that has none here.
    pub fn put(&mut self, row: &[u8], value: Option<&[u8]>, is_new: bool) -> Result<isize, OutOfLine> {
        let at = match self.of(row) {
            Some(at) => at,
            None if self.0.len() >= LINES_MAX => return Err(OutOfLine),
            None => {
                self.0.insert(0, Line::default());
                0
            }
        };
        let grown = self.0[at].put(row, value, is_new)?;
        if self.0[at].ends.is_empty() {
            self.0.remove(at);
        }
        Ok(grown)
    }

    pub fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.0[self.of(row)?].get(row)
    }

    /// The rows from `from` up to, not including, `to`, or to the end.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = Change<'_>> + use<'_> {
        let ranges: SmallVec<[_; LINES_MAX]> = self.0.iter().map(|line| line.range(from, to)).collect();
        ranges.into_iter().flatten()
    }

    /// Reads ahead where the end is.
    pub fn prefetch(&self) -> u8 {
        self.0.last().map_or(0, |line| (line.bytes.len() ^ line.ends.len() ^ line.last.len()) as u8)
    }

    /// And then the end.
    pub fn prefetch_end(&self) -> u8 {
        let Some(line) = self.0.last() else { return 0 };
        line.bytes.last().map_or(0, |byte| *byte) ^ line.ends.last().map_or(0, |end| *end as u8)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|line| line.ends.len()).sum()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|line| line.bytes.len()).sum()
    }

    /// The last line that does not begin after this row: it belongs there, or behind it.
    fn of(&self, row: &[u8]) -> Option<usize> {
        let last = self.0.len().checked_sub(1)?;
        if self.0[last].last[..] <= *row {
            // As almost always.
            return Some(last);
        }
        self.0.iter().rposition(|line| line.row(0) <= row)
    }
}

#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<u32>,
    /// The last row, so that nothing else is read to add the next.
    last: Row,
    /// Bytes of values that were deleted, and of rows that are gone.
    dead: usize,
}

/// It belongs between rows that are there, or what is there has no room for it.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfLine;

/// What a row in a line takes, roughly.
pub fn size((row, value): Change<'_>) -> usize {
    OVERHEAD + row.len() + value.map_or(0, <[u8]>::len)
}

impl Line {
    /// As `Lines::put`; out of line is what belongs between two rows of this one.
    fn put(&mut self, row: &[u8], value: Option<&[u8]>, is_new: bool) -> Result<isize, OutOfLine> {
        match self.find(row) {
            Ok(at) => self.replace(at, value),
            Err(at) if at == self.ends.len() => {
                let with_value = if is_new { NEW } else { CHANGED };
                self.push(
                    if value.is_some() { with_value } else { DELETED },
                    row,
                    value.unwrap_or_default(),
                )?;
                Ok(size((row, value)) as isize)
            }
            Err(_) => Err(OutOfLine),
        }
    }

    fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.find(row).ok().and_then(|at| self.change(at)).map(|(_, value)| value)
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = Change<'_>> + use<'_> {
        let before = |end: &[u8]| self.find(end).unwrap_or_else(|at| at);
        (before(from)..to.map_or(self.ends.len(), before)).filter_map(|at| self.change(at))
    }

    /// Where the row is, or would be. At the end is where it almost always is.
    fn find(&self, row: &[u8]) -> Result<usize, usize> {
        let Some(last) = self.ends.len().checked_sub(1) else { return Err(0) };
        match self.last[..].cmp(row) {
            Ordering::Less => return Err(last + 1),
            Ordering::Equal => return Ok(last),
            Ordering::Greater => {}
        }
        let (mut from, mut to) = (0, last);
        while from < to {
            let middle = (from + to) / 2;
            match self.row(middle).cmp(row) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    fn push(&mut self, state: u8, row: &[u8], value: &[u8]) -> Result<(), OutOfLine> {
        let end = u32::try_from(self.bytes.len() + HEAD + row.len() + value.len()).map_err(|_| OutOfLine)?;
        let row_length = u16::try_from(row.len()).map_err(|_| OutOfLine)?;
        self.bytes.push(state);
        self.bytes.extend_from_slice(&row_length.to_ne_bytes());
        self.bytes.extend_from_slice(row);
        self.bytes.extend_from_slice(value);
        self.ends.push(end);
        self.last.clear();
        self.last.extend_from_slice(row);
        Ok(())
    }

    /// A value of another length has no room. Returns how much more it takes, roughly.
    fn replace(&mut self, at: usize, value: Option<&[u8]>) -> Result<isize, OutOfLine> {
        let (place, values) = self.place(at);
        let freed = match (self.bytes[place], value) {
            (NEW, None) => {
                let freed = self.change(at).map_or(0, size);
                self.bytes[place] = GONE;
                self.dead += values.end - place;
                freed
            }
            (CHANGED, None) => {
                self.bytes[place] = DELETED;
                self.dead += values.len();
                values.len()
            }
            (DELETED, None) => 0,
            (NEW | CHANGED, Some(value)) if value.len() == values.len() => {
                self.bytes[values].copy_from_slice(value);
                0
            }
            _ => return Err(OutOfLine),
        };
        self.squeeze();
        Ok(-(freed as isize))
    }

    /// Frees what is dead, once that is half of it all.
    fn squeeze(&mut self) {
        if self.bytes.len() < SQUEEZED_MIN || self.dead < self.bytes.len() / 2 {
            return;
        }
        let mut squeezed = Self::default();
        for at in 0..self.ends.len() {
            if let Some((row, value)) = self.change(at) {
                let state = self.bytes[self.place(at).0];
                let pushed = squeezed.push(state, row, value.unwrap_or_default());
                pushed.expect("it is shorter than the line that it comes from");
            }
        }
        *self = squeezed;
    }

    fn row(&self, at: usize) -> &[u8] {
        let (place, values) = self.place(at);
        &self.bytes[place + HEAD..values.start]
    }

    /// `None`: it is gone.
    fn change(&self, at: usize) -> Option<Change<'_>> {
        let (place, values) = self.place(at);
        let row = &self.bytes[place + HEAD..values.start];
        match self.bytes[place] {
            GONE => None,
            DELETED => Some((row, None)),
            _ => Some((row, Some(&self.bytes[values]))),
        }
    }

    /// Where a row begins, and where its value is.
    fn place(&self, at: usize) -> (usize, Range<usize>) {
        let place = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let row_length = u16::from_ne_bytes([self.bytes[place + 1], self.bytes[place + 2]]);
        (place, place + HEAD + usize::from(row_length)..self.ends[at] as usize)
    }
}
