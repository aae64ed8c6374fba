//! Rows that come in order, one behind the other in one piece of memory: the log grows so, which is most of the rows
//! that come newly. To add one, nothing is searched, and only the end is touched.
//!
//! ```text
//! row:  1 if it has a value, 0 if it is deleted (1 byte)  length of the row (2 bytes)  row  value
//! ```

use super::{Change, Row};
use std::cmp::Ordering;
use std::ops::Range;

const HEAD: usize = 3;

#[derive(Default)]
pub struct Line {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<u32>,
    /// The last row, so that nothing else is read to add the next.
    last: Row,
}

/// It comes before one that is there, or what is there has no room for it.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfLine;

impl Line {
    /// The length of the value that was there before; `None`: the row is new here.
    pub fn put(&mut self, row: &[u8], value: Option<&[u8]>) -> Result<Option<usize>, OutOfLine> {
        match self.find(row) {
            Ok(at) => self.replace(at, value).map(Some),
            Err(at) if at == self.ends.len() => self.push(row, value).map(|()| None),
            Err(_) => Err(OutOfLine),
        }
    }

    pub fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.find(row).ok().map(|at| self.at(at).1)
    }

    /// The rows from `from` up to, not including, `to`, or to the end.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = Change<'_>> + use<'_> {
        let before = |end: &[u8]| self.find(end).unwrap_or_else(|at| at);
        (before(from)..to.map_or(self.ends.len(), before)).map(|at| self.at(at))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.ends.len()
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
        self.bytes.extend(row_length.to_ne_bytes());
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
            None => self.bytes[place] = 0,
            Some(value) if before.is_some() && value.len() == length => {
                self.bytes[values].copy_from_slice(value);
            }
            Some(_) => return Err(OutOfLine),
        }
        Ok(length)
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
