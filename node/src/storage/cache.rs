//! The cells of keys, in memory.
//!
//! A command reads the rows of one key, which costs the engine 7 us once they lie in tables and less than
//! 1 us from here. Keys without rows are kept too, so that a new key costs no search.
//!
//! Two generations stand in for least recently used: what is read moves to the young one, and when that
//! is full, the old one is dropped and the young one is the old. No key is in both.

use starling_crdt::cell::key_of_row;
use std::collections::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Keys with more are left to the engine, in rows and in bytes.
pub const ROWS_MAX: usize = 16;
pub const KEY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one generation, of two.
const GENERATION_MAX: usize = 24 * 1024 * 1024;
/// What a key, and a row, take beside their bytes, roughly.
const OVERHEAD: usize = 96;

pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    /// All rows of a key, by what they begin with.
    keys: HashMap<Vec<u8>, Arc<Rows>>,
    bytes: usize,
}

impl Cache {
    /// The rows of a key, if they are kept. `key`: what they begin with.
    pub fn find(&mut self, key: &[u8]) -> Option<Arc<Rows>> {
        if let Some(rows) = self.young.keys.get(key) {
            return Some(Arc::clone(rows));
        }
        let (key, rows) = self.old.remove(key)?;
        self.insert(key, Arc::clone(&rows));
        Some(rows)
    }

    /// Keeps all the rows of a key, unless they are many.
    pub fn keep(&mut self, key: &[u8], rows: Rows) {
        if is_short(&rows) {
            self.old.remove(key);
            self.young.remove(key);
            self.insert(key.to_vec(), Arc::new(rows));
        }
    }

    /// A row has changed. `None`: it is deleted.
    pub fn changed(&mut self, row: &[u8], value: Option<&[u8]>) {
        if let Some(key) = key_of_row(row) {
            let _ = self.young.changed(key, row, value) || self.old.changed(key, row, value);
        }
    }

    fn insert(&mut self, key: Vec<u8>, rows: Arc<Rows>) {
        self.young.insert(key, rows);
        if self.young.bytes > GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn insert(&mut self, key: Vec<u8>, rows: Arc<Rows>) {
        self.bytes += key.len() + size(&rows);
        self.keys.insert(key, rows);
    }

    fn remove(&mut self, key: &[u8]) -> Option<(Vec<u8>, Arc<Rows>)> {
        let (key, rows) = self.keys.remove_entry(key)?;
        self.bytes -= key.len() + size(&rows);
        Some((key, rows))
    }

    /// True if the key is kept here.
    fn changed(&mut self, key: &[u8], row: &[u8], value: Option<&[u8]>) -> bool {
        let Some(rows) = self.keys.get_mut(key) else { return false };
        self.bytes -= size(rows);
        change(Arc::make_mut(rows), row, value);
        self.bytes += size(rows);
        if !is_short(rows) {
            self.remove(key);
        }
        true
    }
}

fn change(rows: &mut Rows, row: &[u8], value: Option<&[u8]>) {
    match (rows.binary_search_by(|(known, _)| known[..].cmp(row)), value) {
        // As almost always.
        (Ok(at), Some(value)) if rows[at].1.len() == value.len() => rows[at].1.copy_from_slice(value),
        (Ok(at), Some(value)) => rows[at].1 = value.to_vec(),
        (Err(at), Some(value)) => {
            // Most keys have one row and no more.
            rows.reserve_exact(1);
            rows.insert(at, (row.to_vec(), value.to_vec()));
        }
        (Ok(at), None) => drop(rows.remove(at)),
        (Err(_), None) => {}
    }
}

fn size(rows: &Rows) -> usize {
    OVERHEAD + rows.iter().map(|(row, value)| row.len() + value.len() + OVERHEAD).sum::<usize>()
}

fn is_short(rows: &Rows) -> bool {
    rows.len() <= ROWS_MAX && size(rows) <= KEY_BYTES_MAX
}
