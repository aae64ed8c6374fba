//! What the engine has sealed goes to disk: to the journal at once, and from time to time to tables.

use super::engine::{Generation, Log, Sealed};
use super::journal::{Journal, refused};
use super::tables::{Tables, give_way};
use starling_crdt::StorageError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is seen how much the next merge may write, at most.
const LOOK: Duration = Duration::from_millis(500);

pub struct Writer {
    journal: Journal,
    tables: Tables,
    leaving: Option<Leaving>,
    reading: Option<Reading>,
    /// Whoever waits for merges stops that.
    closes: Arc<AtomicBool>,
    /// When it was last seen how much the next merge may write.
    looked: Instant,
}

/// A generation on its way to tables.
struct Leaving {
    /// The last file of the journal that holds some of it.
    journal: u64,
    thread: JoinHandle<Result<(), StorageError>>,
}

/// A thread that reads the keys of tables. Until it is done, all keys count as held.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    fn start(tables: Tables) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let read = move || {
            give_way();
            // Whoever needs the rows themselves will meet it too.
            tables.read_keys(&told).unwrap_or_else(not_read);
        };
        let thread = std::thread::Builder::new().name("keys".into()).spawn(read);
        Self { stop, thread: thread.map_err(refused).map_err(not_read).ok() }
    }
}

fn not_read(error: StorageError) {
    tracing::warn!(%error, "the keys on disk could not be read, so that new ones are looked for there");
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic was said where it happened.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Writer {
    pub fn new(journal: Journal, tables: Tables) -> Self {
        let reading = (!tables.keys().is_read()).then(|| Reading::start(tables.clone()));
        Self { journal, tables, leaving: None, reading, closes: Arc::default(), looked: Instant::now() }
    }

    /// Until the keys of tables are read.
    #[cfg(test)]
    pub fn wait_for_keys(&mut self) {
        self.reading.take().map(|mut reading| reading.thread.take().map(JoinHandle::join));
    }

    /// All of it is in the journal; what comes next goes to another file.
    fn leave(&mut self, generation: Arc<Generation>) -> Result<(), StorageError> {
        let journal = self.journal.turn().map_err(refused)?;
        let (tables, closes) = (self.tables.clone(), Arc::clone(&self.closes));
        let thread = std::thread::Builder::new().name("tables".into());
        let write = move || {
            give_way();
            // At once: as long as it is not in tables, a newest file that is gone would leave the one before it the last.
            tables.journal_goes_on(journal + 1)?;
            tables.write(&generation.rows)?;
            tables.need_journal(journal + 1)?;
            // It has not arrived until then, so that the next one waits, and commits at last.
            tables.wait_for_merges(&closes);
            generation.arrive();
            Ok(())
        };
        self.leaving = Some(Leaving { journal, thread: thread.spawn(write).map_err(refused)? });
        Ok(())
    }

    /// Waits until the generation on its way has arrived.
    fn left(&mut self) -> Result<(), StorageError> {
        let Some(Leaving { journal, thread }) = self.leaving.take() else { return Ok(()) };
        // The wait may take seconds, and what was acknowledged before its sync was promised one sooner.
        let synced = if thread.is_finished() { Ok(()) } else { self.sync() };
        thread.join().unwrap_or_else(|_| Err(StorageError("the storage engine has failed".into())))?;
        synced?;
        self.journal.forget(journal).map_err(refused)
    }
}

impl Log<Sealed> for Writer {
    fn write(&mut self, sealed: &mut Sealed, synced: bool) -> Result<(), StorageError> {
        self.journal.commit(&mut sealed.record, synced).map_err(refused)
    }

    fn tidy(&mut self, sealed: &mut Sealed) -> Result<(), StorageError> {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.tables.look_at_merges();
        }
        let has_arrived = sealed.arrived.take().is_some();
        let is_done = || self.leaving.as_ref().is_some_and(|leaving| leaving.thread.is_finished());
        if has_arrived || sealed.is_behind || is_done() {
            self.left()?;
        }
        sealed.generation.take().map_or(Ok(()), |generation| self.leave(generation))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.journal.sync().map_err(refused)
    }
}

/// Nobody else can open the store while it is still written to.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.reading.take());
        self.closes.store(true, Ordering::Relaxed);
        if let Err(error) = self.left() {
            tracing::warn!(%error, "rows in memory could not be written to tables; the journal keeps them");
        }
    }
}
