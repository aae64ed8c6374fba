//! The embedded engine: fjall, with one ordered keyspace, and above it what is not committed yet.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use starling_crdt::cell::Visit;
use starling_crdt::{Storage, StorageError};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

#[cfg(test)]
mod tests;

const MIB: u64 = 1024 * 1024;
/// For blocks of tables on disk.
const CACHE: u64 = 64 * MIB;
/// Opening replays the journal, so it is kept short: the least that fjall takes. The file being written
/// adds up to 64 MiB, at which fjall begins the next.
const JOURNAL_MAX: u64 = 64 * MIB;
/// Journals can go once what they hold is in tables; smaller tables in memory get there sooner.
const MEMTABLE_MAX: u64 = 16 * MIB;
/// One flushes while the other compacts; with one alone, writes wait for long compactions.
const WORKERS: usize = 2;

/// Storage that collects changes, and makes them durable together when told to.
pub trait Commit: Storage {
    /// Bytes of rows changed since the last commit; 0 if none is.
    fn uncommitted(&self) -> usize;
    /// Writes all changes since the last commit, or none of them. Synced: they outlast a power cut.
    /// Otherwise they outlast this process, and the rest follows with `sync`.
    fn commit(&mut self, synced: bool) -> Result<(), StorageError>;
    /// All that was committed outlasts a power cut.
    fn sync(&mut self) -> Result<(), StorageError>;
}

pub struct Engine {
    database: Database,
    rows: Keyspace,
    /// What is not committed yet. `None`: deleted.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    uncommitted: usize,
}

impl Engine {
    /// Opens or creates the store in this directory. Errors: in use, damaged, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let database = Database::builder(path)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(failure)?;
        let rows = database
            .keyspace("rows", || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_MAX))
            .map_err(failure)?;
        Ok(Self { database, rows, changes: BTreeMap::new(), uncommitted: 0 })
    }

    /// True if nothing was ever committed, or all of it deleted since.
    pub fn is_empty(&self) -> Result<bool, StorageError> {
        self.rows.is_empty().map_err(failure)
    }

    fn change(&mut self, row: &[u8], value: Option<&[u8]>) {
        self.uncommitted += row.len() + value.map_or(0, <[u8]>::len) + 1;
        self.changes.insert(row.to_vec(), value.map(<[u8]>::to_vec));
    }
}

impl Storage for Engine {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(change) = self.changes.get(row) {
            return Ok(change.clone());
        }
        Ok(self.rows.get(row).map_err(failure)?.map(|value| value.to_vec()))
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.change(row, Some(value));
    }

    fn delete(&mut self, row: &[u8]) {
        self.change(row, None);
    }

    /// Merges two ordered sequences; where both have a row, the change hides what is committed.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut changes = self.changes.range::<[u8], _>(range).peekable();
        for committed in self.rows.range::<&[u8], _>(range) {
            let (row, value) = committed.into_inner().map_err(failure)?;
            while let Some((changed, change)) = changes.next_if(|(changed, _)| changed[..] < row[..]) {
                if shown(changed, change, visit).is_break() {
                    return Ok(());
                }
            }
            let seen = match changes.next_if(|(changed, _)| changed[..] == row[..]) {
                Some((changed, change)) => shown(changed, change, visit),
                None => visit(&row, &value),
            };
            if seen.is_break() {
                return Ok(());
            }
        }
        let _ = changes.try_for_each(|(changed, change)| shown(changed, change, visit));
        Ok(())
    }
}

fn shown(row: &[u8], change: &Option<Vec<u8>>, visit: Visit<'_>) -> ControlFlow<()> {
    match change {
        Some(value) => visit(row, value),
        None => ControlFlow::Continue(()),
    }
}

impl Commit for Engine {
    fn uncommitted(&self) -> usize {
        self.uncommitted
    }

    fn commit(&mut self, synced: bool) -> Result<(), StorageError> {
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for (row, change) in std::mem::take(&mut self.changes) {
            match change {
                Some(value) => batch.insert(&self.rows, row, value),
                None => batch.remove(&self.rows, row),
            }
        }
        self.uncommitted = 0;
        batch.commit().map_err(failure)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.database.persist(PersistMode::SyncData).map_err(failure)
    }
}

/// In words for people. After a failed write or sync nothing can be known of the pages it was about, so
/// it is never tried again (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
fn failure(e: fjall::Error) -> StorageError {
    StorageError(match e {
        fjall::Error::Io(e) => format!("the disk refused: {e}"),
        fjall::Error::Storage(fjall::LsmError::Io(e)) => format!("the disk refused: {e}"),
        fjall::Error::Poisoned => "the disk refused an earlier write".into(),
        fjall::Error::Locked => "another process has it open".into(),
        fjall::Error::InvalidVersion(_) => "another version of the storage engine has written it".into(),
        damage => format!("its files are damaged ({damage:?})"),
    })
}
