//! The embedded engine: fjall, with one ordered keyspace, and above it what is not committed yet.

use super::cache::{self, Cache, Rows};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use starling_crdt::cell::Visit;
use starling_crdt::{Storage, StorageError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

#[cfg(test)]
mod tests;

const MIB: u64 = 1024 * 1024;
/// For blocks of tables on disk.
const BLOCKS: u64 = 64 * MIB;
/// Opening replays the journal, so it is kept short: the least that fjall takes. The file being written
/// adds up to 64 MiB, at which fjall begins the next.
const JOURNAL_MAX: u64 = 64 * MIB;
/// Journals can go once what they hold is in tables; smaller tables in memory get there sooner.
const MEMTABLE_MAX: u64 = 16 * MIB;
/// Of two, fjall keeps the first for flushes: it only hands compactions back to the queue, which costs a
/// processor as long as the second compacts. With one, flushes wait; there is room for 4 of them.
const WORKERS: usize = 1;

/// Names the store; in a keyspace of its own, apart from what is kept for clients.
const ID: &str = "id";

/// Storage that collects changes, and makes them durable together when told to.
pub trait Commit: Storage {
    /// Bytes written since the last commit, a row written twice counted twice; 0 if there is nothing.
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
    id: u64,
    /// What is not committed yet. `None`: deleted.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    uncommitted: usize,
    cache: RefCell<Cache>,
}

impl Engine {
    /// Opens or creates the store in this directory; a new one is named `new_id`. Errors: in use, damaged, or
    /// the disk fails.
    pub fn open(path: &Path, new_id: u64) -> Result<Self, StorageError> {
        let database = Database::builder(path)
            .cache_size(BLOCKS)
            .max_journaling_size(JOURNAL_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(failure)?;
        let rows = database
            .keyspace("rows", || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_MAX))
            .map_err(failure)?;
        let id = named(&database, new_id)?;
        Ok(Self { database, rows, id, changes: BTreeMap::new(), uncommitted: 0, cache: RefCell::default() })
    }

    /// The same for as long as the store exists: by it one that was lost and made anew is told apart.
    pub fn id(&self) -> u64 {
        self.id
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

fn named(database: &Database, new_id: u64) -> Result<u64, StorageError> {
    let about = database.keyspace("about", KeyspaceCreateOptions::default).map_err(failure)?;
    if let Some(id) = about.get(ID).map_err(failure)? {
        let bytes = <[u8; 8]>::try_from(&id[..]);
        return bytes.map(u64::from_be_bytes).map_err(|_| StorageError("its name is damaged".into()));
    }
    about.insert(ID, new_id.to_be_bytes()).map_err(failure)?;
    database.persist(PersistMode::SyncData).map_err(failure)?;
    Ok(new_id)
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

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let changes = self.changes.range::<[u8], _>(range);
        let cached = self.cache.borrow_mut().find(from, to);
        if let Some(rows) = cached {
            let committed = rows.iter().map(|(row, value)| Ok((row, value)));
            return merge(committed, changes, visit).map(drop);
        }
        let mut seen = Short::default();
        let committed = self.rows.range::<&[u8], _>(range).map(|row| row.into_inner().map_err(failure));
        let committed = committed.inspect(|row| seen.take(row));
        if merge(committed, changes, visit)?.is_continue() && seen.is_short() {
            self.cache.borrow_mut().keep(from, to, seen.rows);
        }
        Ok(())
    }
}

type Changes<'a> = std::collections::btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>;

/// Visits two ordered sequences as one; where both have a row, the change hides what is committed.
fn merge<B: AsRef<[u8]>>(
    committed: impl Iterator<Item = Result<(B, B), StorageError>>,
    changes: Changes<'_>,
    visit: Visit<'_>,
) -> Result<ControlFlow<()>, StorageError> {
    let mut changes = changes.peekable();
    for committed in committed {
        let (row, value) = committed?;
        let row = row.as_ref();
        while let Some((changed, change)) = changes.next_if(|(changed, _)| changed[..] < *row) {
            if shown(changed, change, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let seen = match changes.next_if(|(changed, _)| changed[..] == *row) {
            Some((changed, change)) => shown(changed, change, visit),
            None => visit(row, value.as_ref()),
        };
        if seen.is_break() {
            return Ok(seen);
        }
    }
    Ok(changes.try_for_each(|(changed, change)| shown(changed, change, visit)))
}

fn shown(row: &[u8], change: &Option<Vec<u8>>, visit: Visit<'_>) -> ControlFlow<()> {
    match change {
        Some(value) => visit(row, value),
        None => ControlFlow::Continue(()),
    }
}

/// What a scan has seen of the committed rows, as long as that may be worth keeping.
#[derive(Default)]
struct Short {
    rows: Rows,
    count: usize,
    bytes: usize,
}

impl Short {
    fn take(&mut self, row: &Result<(Slice, Slice), StorageError>) {
        let Ok((row, value)) = row else { return };
        self.count += 1;
        self.bytes += row.len() + value.len();
        if self.is_short() {
            self.rows.push((row.to_vec(), value.to_vec()));
        }
    }

    fn is_short(&self) -> bool {
        self.count <= cache::ROWS_MAX && self.bytes <= cache::RANGE_MAX
    }
}

impl Commit for Engine {
    fn uncommitted(&self) -> usize {
        self.uncommitted
    }

    fn commit(&mut self, synced: bool) -> Result<(), StorageError> {
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        let changes = std::mem::take(&mut self.changes);
        for (row, change) in &changes {
            self.cache.get_mut().changed(row, change.as_deref());
        }
        for (row, change) in changes {
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
