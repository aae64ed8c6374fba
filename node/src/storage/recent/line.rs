//! Rows that come in order, one behind the other in one piece of memory: the log grows so, which is most of the rows
//! that come newly. To add one, nothing is searched, and only the end is touched. When the log is cut, rows from
//! before what is there come, in order as well: they are a line of their own, before the other.
//!
//! ```text
//! row:  1 if it has a value, 0 if it is deleted (1 byte)  length of the row (2 bytes)  row  value
//! ```

use super::{Change, Row};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

const HEAD: usize = 3;
/// Rows that would begin one more line are out of line.
const LINES_MAX: usize = 4;
/// A line with fewer bytes is left as it is, whatever of it is deleted.
const SQUEEZED_MIN: usize = 4096;

/// Lines one after the other; each row of one comes before all of the next.
#[derive(Default)]
pub struct Lines(SmallVec<[Line; 1]>);

impl Lines {
    /// The length of the value that was there before; `None`: the row is new here.
    pub fn put(&mut self, row: &[u8], value: Option<&[u8]>) -> Result<Option<usize>, OutOfLine> {
        if let Some(line) = self.of(row) {
            return self.0[line].put(row, value);
        }
        if self.0.len() >= LINES_MAX {
            return Err(OutOfLine);
        }
        let mut line = Line::default();
        line.put(row, value)?;
        self.0.insert(0, line);
        Ok(None)
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
        self.0.iter().rposition(|line| line.at(0).0 <= row)
    }
}

#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<u32>,
    /// The last row, so that nothing else is read to add the next.
    last: Row,
    /// Bytes of values that were deleted.
    dead: usize,
}

/// It belongs between rows that are there, or what is there has no room for it.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfLine;

impl Line {
    /// As `Lines::put`; out of line is what belongs between two rows of this one.
    fn put(&mut self, row: &[u8], value: Option<&[u8]>) -> Result<Option<usize>, OutOfLine> {
        match self.find(row) {
            Ok(at) => self.replace(at, value).map(Some),
            Err(at) if at == self.ends.len() => self.push(row, value).map(|()| None),
            Err(_) => Err(OutOfLine),
        }
    }

    fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.find(row).ok().map(|at| self.at(at).1)
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = Change<'_>> + use<'_> {
        let before = |end: &[u8]| self.find(end).unwrap_or_else(|at| at);
        (before(from)..to.map_or(self.ends.len(), before)).map(|at| self.at(at))
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
            match self.at(middle).0.cmp(row) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    fn push(&mut self, row: &[u8], value: Option<&[u8]>) -> Result<(), OutOfLine> {
        let bytes = value.unwrap_or_default();
        let end = u32::try_from(self.bytes.len() + HEAD + row.len() + bytes.len()).map_err(|_| OutOfLine)?;
        let row_length = u16::try_from(row.len()).map_err(|_| OutOfLine)?;
        self.bytes.push(u8::from(value.is_some()));
        self.bytes.extend_from_slice(&row_length.to_ne_bytes());
        self.bytes.extend_from_slice(row);
        self.bytes.extend_from_slice(bytes);
        self.ends.push(end);
        self.last.clear();
        self.last.extend_from_slice(row);
        Ok(())
    }

    /// The length of the value before. A value of another length has no room.
    fn replace(&mut self, at: usize, value: Option<&[u8]>) -> Result<usize, OutOfLine> {
        let before = self.at(at).1;
        let length = before.map_or(0, <[u8]>::len);
        let (place, values) = self.place(at);
        match value {
            None => {
                self.bytes[place] = 0;
                self.dead += length;
                self.squeeze();
            }
            Some(value) if before.is_some() && value.len() == length => {
                self.bytes[values].copy_from_slice(value);
            }
            Some(_) => return Err(OutOfLine),
        }
        Ok(length)
    }

    /// Frees what deleted values took, once that is half of it all.
    fn squeeze(&mut self) {
        if self.bytes.len() < SQUEEZED_MIN || self.dead < self.bytes.len() / 2 {
            return;
        }
        let mut squeezed = Self::default();
        for (row, value) in self.range(&[], None) {
            squeezed.push(row, value).expect("it is shorter than the line that it comes from");
        }
        *self = squeezed;
    }

    fn at(&self, at: usize) -> Change<'_> {
        let (place, values) = self.place(at);
        let row = &self.bytes[place + HEAD..values.start];
        (row, (self.bytes[place] != 0).then_some(&self.bytes[values]))
    }

    /// Where a row begins, and where its value is.
    fn place(&self, at: usize) -> (usize, Range<usize>) {
        let place = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let row_length = u16::from_ne_bytes([self.bytes[place + 1], self.bytes[place + 2]]);
        (place, place + HEAD + usize::from(row_length)..self.ends[at] as usize)
    }
}
