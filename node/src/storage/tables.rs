//! The embedded engine: fjall, with one ordered keyspace, written to in bulk and in order only.

use super::journal::refused;
use super::keys::Keys;
use super::recent::Recent;
use crate::directory::{create_private, sync_directory};
use crate::open_files;
use fjall::compaction::filter::Factory;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use merging::{HasRoom, Patience, Stop, next_merge, room_on_disk};
use starling_crdt::StorageError;
use starling_crdt::cell::{cells_behind, key_of_row};
use std::fs;
use std::io::ErrorKind;
use std::ops::Bound;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

mod merging;

const MIB: u64 = 1024 * 1024;
/// Bytes of tables that are read for the keys in them when they are opened, at most.
const READ_MAX: u64 = 2048 * MIB;
/// For blocks of tables on disk.
const BLOCKS: u64 = 64 * MIB;
/// Of two, fjall keeps the first for flushes, of which there are none: it only hands compactions back to the
/// queue, which costs a processor as long as the second compacts.
const WORKERS: usize = 1;
/// Of threads that work in the background, as `nice` counts: where others want the processor as well, a third of
/// what each of those gets. Not a tenth (10): commits wait for it once as much again has come as is being written.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// While more tables than so many wait to be merged, no more come: each read looks into all of them. It is what fjall
/// holds up ordinary writes from, but not those in bulk.
const UNMERGED_MAX: usize = 20;
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Looks at which nothing was being merged, one after the other, before more is written all the same: that asks for
/// the next merge.
const IDLE_MAX: u32 = 10;
/// Looks in all: one second, in which commits, and all that is asked of storage after them, may have to wait. Half of
/// the time that a write has.
const LOOKS_MAX: u32 = 50;

/// The engine's own, `rows` and `about`.
const KEYSPACES: usize = 3;

/// Names the store.
const ID: &str = "id";
/// The number of the first file of the journal that holds what is not in tables.
const JOURNAL: &str = "journal";

/// That of the newest file.
const NEWEST_JOURNAL: &str = "newest journal";

/// Rows in tables on disk. Clones are the same tables.
#[derive(Clone)]
pub struct Tables {
    /// The last of all clones ends what would hold up closing the engine, which comes after it here.
    _stop: Arc<Stop>,
    database: Database,
    rows: Keyspace,
    /// What is known of the store itself, apart from what is kept for clients.
    about: Keyspace,
    keys: Arc<Keys>,
    /// See `look_at_merges`.
    next_merge: Arc<AtomicU64>,
    id: u64,
}

impl Tables {
    /// Opens or creates them in this directory; new ones are named `new_id`. Errors: in use, damaged, or the
    /// disk fails.
    pub fn open(path: &Path, new_id: u64) -> Result<Self, StorageError> {
        Self::open_with(path, new_id, room_on_disk(path))
    }

    fn open_with(path: &Path, new_id: u64, has_room: HasRoom) -> Result<Self, StorageError> {
        let (patience, stop) = Patience::new(has_room);
        let database = open_in_background(path, patience).map_err(failure)?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failure)?;
        let about = database.keyspace("about", KeyspaceCreateOptions::default).map_err(failure)?;
        let id = match number(&about, ID)? {
            Some(id) => id,
            None => keep_number(&database, &about, ID, new_id)?,
        };
        let keys = Arc::new(Keys::default());
        if rows.is_empty().map_err(failure)? {
            keys.read();
        }
        let tables =
            Self { _stop: Arc::new(stop), database, rows, about, keys, next_merge: Arc::default(), id };
        tables.look_at_merges();
        Ok(tables)
    }

    /// Sees how many bytes the next merge may write, beside what it reads. May wait for the disk.
    pub fn look_at_merges(&self) {
        let levels: Vec<_> =
            self.rows.tree.current_version().iter_levels().map(|level| level.size()).collect();
        self.next_merge.store(next_merge(&levels), Ordering::Relaxed);
    }

    /// What was seen when that was looked at last.
    pub fn next_merge(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.next_merge)
    }

    /// Makes new ones, named `new_id`, beside that place, and moves them there whole: killed while it makes them, the
    /// engine leaves what it does not open again.
    pub fn make(path: &Path, new_id: u64) -> Result<(), StorageError> {
        let new = path.with_extension("new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        // The engine makes its files as the umask of the user says: nobody else may come to them.
        create_private(&new).map_err(refused)?;
        drop(Self::open(&new, new_id)?);
        fs::rename(&new, path).map_err(refused)?;
        sync_directory(path.parent().unwrap_or(path)).map_err(refused)
    }

    /// Errors: one of the keyspaces that `make` has made is not whole. The engine would make it anew, empty, and of
    /// what it held all would count as removed.
    pub fn check(path: &Path) -> Result<(), StorageError> {
        for keyspace in 0..KEYSPACES {
            let current = path.join(format!("keyspaces/{keyspace}/current"));
            if !current.try_exists().map_err(refused)? {
                return Err(StorageError(format!("its files are damaged: {} is missing", current.display())));
            }
        }
        Ok(())
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// The numbers of the first file of the journal that holds what is not in tables, and of the newest one, as far as
    /// that was said.
    pub fn journals(&self) -> Result<Vec<u64>, StorageError> {
        let said = [JOURNAL, NEWEST_JOURNAL].map(|name| number(&self.about, name).transpose());
        said.into_iter().flatten().collect()
    }

    /// Says that the journal goes on in this file.
    pub fn journal_goes_on(&self, newest: u64) -> Result<(), StorageError> {
        keep_number(&self.database, &self.about, NEWEST_JOURNAL, newest).map(drop)
    }

    /// Says so, before those before it go.
    pub fn need_journal(&self, first: u64) -> Result<(), StorageError> {
        if number(&self.about, JOURNAL)? < Some(first) {
            keep_number(&self.database, &self.about, JOURNAL, first)?;
        }
        Ok(())
    }

    pub fn get(&self, row: &[u8]) -> Result<Option<Slice>, StorageError> {
        self.rows.get(row).map_err(failure)
    }

    /// The rows from `from` up to, not including, `to`, in order; `from` must be less.
    pub fn range<'a>(
        &self,
        from: &'a [u8],
        to: &'a [u8],
    ) -> impl Iterator<Item = Result<(Slice, Slice), StorageError>> + use<'a> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        self.rows.range::<&[u8], _>(range).map(|row| row.into_inner().map_err(failure))
    }

    /// Adds the keys of all cells, unless told to stop, or there is too much.
    pub fn read_keys(&self, stop: &AtomicBool) -> Result<(), StorageError> {
        if self.rows.disk_space() > READ_MAX {
            tracing::info!(
                "there is too much on disk to read all keys, so that new ones are looked for there"
            );
            return Ok(());
        }
        let mut from = Some(Vec::new());
        while let Some(start) = from.take() {
            for row in self.rows.range(start..) {
                if stop.load(Ordering::Relaxed) || self.keys.is_full() {
                    return Ok(());
                }
                let row = row.key().map_err(failure)?;
                if let Some(key) = key_of_row(&row) {
                    self.keys.add(key);
                } else if let Some(behind) = cells_behind(&row) {
                    from = Some(behind.to_vec());
                    break;
                }
            }
        }
        self.keys.read();
        Ok(())
    }

    /// Writes all these changes, or none of them, and syncs them. Errors also if the engine has failed in the
    /// background since, where it merges tables: without that they would become more and more.
    pub fn write(&self, changes: &Recent) -> Result<(), StorageError> {
        // Called only because fjall reports what failed in the background here; there is nothing to sync.
        self.database.persist(PersistMode::Buffer).map_err(failure)?;
        let mut ingestion = self.rows.start_ingestion().map_err(failure)?;
        let mut write = |row: &[u8], value: Option<&[u8]>| {
            // The row itself is seen only once the ingestion is finished.
            key_of_row(row).into_iter().for_each(|key| self.keys.add(key));
            match value {
                Some(value) => ingestion.write(row, value),
                None => ingestion.write_tombstone(row),
            }
            .map_err(failure)
        };
        let mut changes_left = changes.iter().peekable();
        for begin in changes.cleared() {
            // However many they are, none is kept in memory.
            for row in self.rows.prefix(begin) {
                let row = row.key().map_err(failure)?;
                while let Some((before, value)) = changes_left.next_if(|(change, _)| **change < *row) {
                    write(before, value)?;
                }
                if changes_left.peek().is_none_or(|(change, _)| **change != *row) {
                    write(&row, None)?;
                }
            }
        }
        changes_left.try_for_each(|(row, value)| write(row, value))?;
        ingestion.finish().map_err(failure)
    }

    /// Waits, unless told to stop, while the engine merges what has become too many tables. Commits wait as well once
    /// as much again has come.
    pub fn wait_for_merges(&self, stop: &AtomicBool) {
        let is_too_much = || self.rows.l0_table_count() > UNMERGED_MAX;
        let looks = wait_while(is_too_much, || self.database.active_compactions() > 0, stop);
        if looks > 0 {
            tracing::debug!(looks, "more was written than is merged, which was waited for");
        }
    }
}

/// Waits while there is too much, and something is done about it, and nobody says stop. Returns how often it looked.
fn wait_while(is_too_much: impl Fn() -> bool, is_at_work: impl Fn() -> bool, stop: &AtomicBool) -> u32 {
    let (mut looks, mut idle) = (0, 0);
    while looks < LOOKS_MAX && idle < IDLE_MAX && is_too_much() && !stop.load(Ordering::Relaxed) {
        looks += 1;
        idle = if is_at_work() { 0 } else { idle + 1 };
        std::thread::sleep(LOOK);
    }
    looks
}

/// By a thread that gives way, since those that the engine starts for itself begin as the one that opens it.
fn open_in_background(path: &Path, patience: Patience) -> fjall::Result<Database> {
    let patience: Arc<dyn Factory> = Arc::new(patience);
    let open = || {
        give_way();
        let files = Some(open_files::for_tables());
        let builder =
            Database::builder(path).max_cached_files(files).cache_size(BLOCKS).worker_threads(WORKERS);
        builder.with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&patience)))).open()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("open".into()).spawn_scoped(scope, open)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// From now on most of the processor goes to others that want it, so that whoever waits for a commit or an answer
/// is hardly held up. Does nothing elsewhere than on Linux, where this can be said of one thread alone.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = lower_priority() {
        tracing::debug!(%error, "a thread that works in the background could not be told to give way");
    }
}

#[cfg(target_os = "linux")]
fn lower_priority() -> rustix::io::Result<()> {
    use rustix::process::{getpriority_process, setpriority_process};
    // The whole process may have been started at a lower one still.
    setpriority_process(None, getpriority_process(None)?.max(NICE))
}

fn number(about: &Keyspace, name: &str) -> Result<Option<u64>, StorageError> {
    let Some(number) = about.get(name).map_err(failure)? else { return Ok(None) };
    let number = <[u8; 8]>::try_from(&number[..]).map(u64::from_be_bytes);
    number.map(Some).map_err(|_| StorageError(format!("its files are damaged: \"{name}\" is no number")))
}

/// Returns the number once it is synced.
fn keep_number(database: &Database, about: &Keyspace, name: &str, number: u64) -> Result<u64, StorageError> {
    about.insert(name, number.to_be_bytes()).map_err(failure)?;
    database.persist(PersistMode::SyncData).map_err(failure)?;
    Ok(number)
}

/// In words for people. After a failed write or sync nothing can be known of the pages it was about, so
/// it is never tried again (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
fn failure(e: fjall::Error) -> StorageError {
    StorageError(match e {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => return refused(e),
        fjall::Error::Poisoned => {
            "the disk refused an earlier write, or tables could not be merged; if it comes \
                                   again after each start, its files are damaged"
                .into()
        }
        fjall::Error::Locked => "another process has it open".into(),
        fjall::Error::InvalidVersion(_) => "another version of the storage engine has written it".into(),
        damage => format!("its files are damaged ({damage:?})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::{Mutex, mpsc};

    #[test]
    fn what_is_merged_is_waited_for_until_it_is_little_or_nothing_goes_on_or_it_is_told_to_stop() {
        let (go, stop) = (AtomicBool::new(false), AtomicBool::new(true));
        assert_eq!(wait_while(|| false, || true, &go), 0);
        assert_eq!(wait_while(|| true, || true, &stop), 0);
        assert_eq!(wait_while(|| true, || false, &go), IDLE_MAX, "nobody merges");
        let left = Cell::new(5);
        let less = || left.replace(left.get() - 1) > 0;
        assert_eq!(wait_while(less, || true, &go), 5);
    }

    #[test]
    fn a_single_table_is_too_few_to_be_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let tables = Tables::open(place.path(), 1).unwrap();
        let mut changes = Recent::default();
        changes.change(b"row", Some(b"1"));
        tables.write(&changes).unwrap();
        // Of the first level or not: the engine may have moved it already.
        assert_eq!(tables.rows.table_count(), 1);
        tables.wait_for_merges(&AtomicBool::new(false));
    }

    fn write(tables: &Tables, value: u8) {
        let mut changes = Recent::default();
        changes.change(b"row", Some(&[value]));
        tables.write(&changes).unwrap();
    }

    #[test]
    fn tables_are_merged_once_there_is_room_and_closed_while_there_is_none() {
        let place = tempfile::tempdir().unwrap();
        let (is_room, (asks, asked)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (told, asks) = (Arc::clone(&is_room), Mutex::new(asks));
        let has_room = move || {
            let _ = asks.lock().unwrap().send(());
            told.load(Ordering::Relaxed)
        };
        let tables = Tables::open_with(place.path(), 1, Arc::new(has_room)).unwrap();
        let await_merged = || {
            while tables.rows.l0_table_count() > 0 {
                std::thread::sleep(LOOK);
            }
        };
        // The first goes to the lowest level as it is; four more are merged with it.
        write(&tables, 0);
        await_merged();
        (1..5).for_each(|value| write(&tables, value));
        asked.recv().unwrap();
        assert_eq!(tables.rows.l0_table_count(), 4);
        is_room.store(true, Ordering::Relaxed);
        await_merged();
        tables.look_at_merges();
        assert_eq!(tables.next_merge().load(Ordering::Relaxed), tables.rows.disk_space());

        is_room.store(false, Ordering::Relaxed);
        asked.try_iter().for_each(drop);
        (5..9).for_each(|value| write(&tables, value));
        asked.recv().unwrap();
        drop(tables);
        // Also where they were not made anew.
        let tables = Tables::open(place.path(), 2).unwrap();
        assert_eq!(tables.get(b"row").unwrap().as_deref(), Some(&[8][..]));
        write(&tables, 9);
        assert_eq!(tables.get(b"row").unwrap().as_deref(), Some(&[9][..]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_gives_way_takes_those_along_that_it_starts_and_no_others() {
        use rustix::process::getpriority_process;
        let own = || getpriority_process(None).unwrap();
        let before = own();
        let in_background = std::thread::spawn(move || {
            give_way();
            (own(), std::thread::spawn(own).join().unwrap())
        });
        let lower = before.max(NICE);
        assert_eq!(in_background.join().unwrap(), (lower, lower));
        assert_eq!(own(), before);
    }
}
