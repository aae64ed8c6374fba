//! All rows of one key, in one piece of memory: where keys are many, each piece that is touched is waited for.
//!
//! ```text
//! length of the key (2 bytes)  key  and of each row, in order:  length of the row (2)  of its value (4)  row  value
//! ```

use crate::storage::prefetch::touch;
use std::ops::Range;
use std::sync::Arc;

const ROW_HEAD: usize = 6;

#[derive(Clone)]
pub struct Rows(Arc<[u8]>);

impl Rows {
    /// `rows`: in order, each beginning with `key`. Keys and rows are shorter than 64 KiB, values than 4 GiB.
    pub fn new<'a>(key: &[u8], rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Self {
        let size = rows.clone().into_iter().map(|(row, value)| ROW_HEAD + row.len() + value.len());
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, 2 + key.len() + size.sum::<usize>()).collect();
        let mut rest = Arc::get_mut(&mut bytes).unwrap_or_default();
        let mut push = |part: &[u8]| {
            let (place, behind) = std::mem::take(&mut rest).split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        };
        push(&(key.len() as u16).to_ne_bytes());
        push(key);
        for (row, value) in rows {
            push(&(row.len() as u16).to_ne_bytes());
            push(&(value.len() as u32).to_ne_bytes());
            push(row);
            push(value);
        }
        Self(bytes)
    }

    /// What the rows begin with.
    pub fn key(&self) -> &[u8] {
        &self.0[2..self.begin()]
    }

    pub fn get(&self, row: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == row).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.places().map(|(row, value)| (&self.0[row], &self.0[value]))
    }

    pub fn prefetch(&self) -> u8 {
        touch(&self.0)
    }

    /// Bytes in memory.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// `None`: the row is deleted.
    pub fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        let place = self.places().find(|(known, _)| self.0[known.clone()] == *row);
        match (place, value) {
            // As almost always.
            (Some((_, place)), Some(value)) if place.len() == value.len() => {
                Arc::make_mut(&mut self.0)[place].copy_from_slice(value);
            }
            (None, None) => {}
            _ => {
                let before = self.iter().take_while(|(known, _)| *known < row);
                let after = self.iter().skip_while(|(known, _)| *known <= row);
                *self = Self::new(self.key(), before.chain(value.map(|value| (row, value))).chain(after));
            }
        }
    }

    /// Where each row is, and its value.
    fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + Clone {
        let mut at = self.begin();
        std::iter::from_fn(move || {
            let head = self.0.get(at..)?.first_chunk::<ROW_HEAD>()?;
            let [a, b, c, d, e, f] = *head;
            let row = usize::from(u16::from_ne_bytes([a, b]));
            let value = u32::from_ne_bytes([c, d, e, f]) as usize;
            let (begin, middle) = (at + ROW_HEAD, at + ROW_HEAD + row);
            at = middle + value;
            Some((begin..middle, middle..at))
        })
    }

    /// Where the first row begins.
    fn begin(&self) -> usize {
        2 + usize::from(u16::from_ne_bytes([self.0[0], self.0[1]]))
    }
}
