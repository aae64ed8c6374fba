//! Storage in memory: for tests and simulated peers.

use crate::cell::Visit;
use crate::{Storage, StorageError};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Rows in memory. Nothing is durable; a clone is a copy of the disk at that instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Memory {
    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|(row, value)| (&row[..], &value[..]))
    }
}

impl Storage for Memory {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.rows.get(row).cloned())
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.rows.insert(row.to_vec(), value.to_vec());
    }

    fn delete(&mut self, row: &[u8]) {
        self.rows.remove(row);
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (row, value) in self.rows.range::<[u8], _>(range) {
            if visit(row, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
