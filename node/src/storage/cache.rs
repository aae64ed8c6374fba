//! The cells of keys, in memory.
//!
//! A command reads the rows of one key, which costs the engine 7 us once they lie in tables and less than
//! 1 us from here. Keys without rows are kept too, so that a new key costs no search.
//!
//! Two generations stand in for least recently used: what is read moves to the young one, and when that
//! is full, the old one is dropped and the young one is the old. No key is in both.

mod rows;

#[cfg(test)]
mod tests;

use hashbrown::HashTable;
pub use rows::Rows;
use starling_crdt::cell::{Begin, key_of_row};
use std::hash::{BuildHasher, RandomState};

/// Keys with more are left to the engine, in rows and in bytes.
pub const ROWS_MAX: usize = 16;
pub const KEY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one generation, of two.
const GENERATION_MAX: usize = 24 * 1024 * 1024;
/// What a key takes beside its rows, roughly.
const OVERHEAD: usize = 64;

#[derive(Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
    hasher: RandomState,
}

#[derive(Default)]
struct Generation {
    /// By the hash of the key.
    keys: HashTable<Rows>,
    bytes: usize,
}

impl Cache {
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Reads ahead the rows of the key with this hash.
    pub fn prefetch(&self, hash: u64) -> u8 {
        let mut read = 0;
        self.young.keys.find(hash, |rows| {
            read = rows.prefetch();
            true
        });
        read
    }

    /// The rows of a key, if they are kept. `key`: what they begin with.
    pub fn find(&mut self, key: &[u8]) -> Option<Rows> {
        let hash = self.hash(key);
        if let Some(rows) = self.young.keys.find(hash, |rows| rows.key() == key) {
            return Some(rows.clone());
        }
        let rows = self.old.remove(hash, key)?;
        self.insert(hash, rows.clone());
        Some(rows)
    }

    /// Keeps all the rows of a key, unless they are many.
    pub fn keep(&mut self, rows: Rows) {
        if is_short(&rows) {
            let hash = self.hash(rows.key());
            self.old.remove(hash, rows.key());
            self.young.remove(hash, rows.key());
            self.insert(hash, rows);
        }
    }

    /// A row has changed. `None`: it is deleted.
    pub fn changed(&mut self, row: &[u8], value: Option<&[u8]>) {
        if let Some(key) = key_of_row(row) {
            let hash = self.hash(key);
            let _ = self.young.changed(hash, key, row, value) || self.old.changed(hash, key, row, value);
        }
    }

    /// All rows that begin so are deleted.
    pub fn clear(&mut self, begin: Begin) {
        for generation in [&mut self.young, &mut self.old] {
            let Generation { keys, bytes } = generation;
            keys.retain(|rows| {
                let stays = !rows.key().starts_with(&begin);
                *bytes -= if stays { 0 } else { size(rows) };
                stays
            });
        }
    }

    fn insert(&mut self, hash: u64, rows: Rows) {
        let hasher = &self.hasher;
        self.young.bytes += size(&rows);
        self.young.keys.insert_unique(hash, rows, |rows| hasher.hash_one(rows.key()));
        if self.young.bytes > GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Rows> {
        let (rows, _) = self.keys.find_entry(hash, |rows| rows.key() == key).ok()?.remove();
        self.bytes -= size(&rows);
        Some(rows)
    }

    /// True if the key is kept here. It is given up if it grows too long, or all those here together do.
    fn changed(&mut self, hash: u64, key: &[u8], row: &[u8], value: Option<&[u8]>) -> bool {
        let Some(rows) = self.keys.find_mut(hash, |rows| rows.key() == key) else { return false };
        if value.is_some_and(|value| value.len() > KEY_BYTES_MAX) {
            self.remove(hash, key);
            return true;
        }
        self.bytes -= size(rows);
        rows.change(row, value);
        self.bytes += size(rows);
        if !is_short(rows) || self.bytes > GENERATION_MAX + KEY_BYTES_MAX {
            self.remove(hash, key);
        }
        true
    }
}

fn size(rows: &Rows) -> usize {
    OVERHEAD + rows.size()
}

fn is_short(rows: &Rows) -> bool {
    rows.iter().count() <= ROWS_MAX && rows.size() <= KEY_BYTES_MAX
}
