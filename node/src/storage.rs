//! Storage of a peer: a replica with its rows, and one thread that is asked, answers, and writes to disk.
//!
//! Questions that wait together are carried out together and synced once (group commit). One thread,
//! since one journal is written. Only `tables` names the embedded engine.

use crate::clock::Clock;
use crate::directory::in_shell;
use crate::error::{self, Error};
use crate::lock;
use engine::Engine;
use journal::Journal;
use reads::Reads;
use starling_crdt::{Actor, Replica, StorageError};
use starling_protocol::ids::{PartitionId, StoreId};
use starling_protocol::store::{Answer, Question};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use store::Store;
use tables::Tables;
use unheard::Unheard;
use worker::Worker;

mod cache;
mod engine;
/// Public for its fuzz target.
pub mod journal;
mod keys;
mod prefetch;
mod reads;
mod recent;
mod store;
mod tables;
mod unheard;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

/// Where in the directory of a store its journal is.
pub const JOURNAL: &str = "recent";

/// From here on [`StorageHandle::is_congested`]: as many operations as a peer coordinates at once.
const QUEUE_HIGH: usize = 16_384;
/// The same, in bytes that the questions carry.
const QUEUE_HIGH_BYTES: usize = 64 * 1024 * 1024;

/// When an answer may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once what it tells of is synced: it outlasts a power cut (rules `ack-synced`, `report-synced`).
    Synced,
    /// Once what it tells of is written, which outlasts this process; the sync follows within this
    /// time. A power cut takes back what was acknowledged since, on each copy that it hits.
    Interval(Duration),
}

/// What was found when the store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Names the store: another after it was lost and made anew.
    pub id: u64,
    /// It holds nothing.
    pub empty: bool,
    /// Partitions that have come to this peer, and were not filled.
    pub came: BTreeSet<PartitionId>,
}

/// The store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot open the store {path}: {why}")]
pub struct OpenError {
    path: PathBuf,
    why: String,
}

impl From<OpenError> for Error {
    fn from(e: OpenError) -> Self {
        Error::new(format!("cannot open the store {}", e.path.display()))
            .why(e.why)
            .hint(way_out(&e.path))
            .with_code(error::STORAGE)
    }
}

/// What to do about a store that cannot be used. Of one that is damaged nothing is read that the others do not have: it
/// is moved away whole, since contexts in it count as there what is not.
fn way_out(store: &Path) -> String {
    let aside = in_shell(&store.with_extension("damaged"));
    let store = in_shell(store);
    format!(
        "see that the disk works and has room, and start the peer again. If its files are damaged, stop it, move its \
         store away, and start it as before: mv {store} {aside}; the others keep its place and fill it again. Where \
         no other has the data, restore a copy of the directory instead"
    )
}

/// Storage has failed and stopped: what was not answered by then is unknown, and nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage failed: {why}")]
pub struct StorageFailure {
    why: String,
}

impl StorageFailure {
    /// In words for people; `store`: the directory that it was about.
    pub fn told(self, store: &Path) -> Error {
        Error::new("storage failed, and this peer has stopped")
            .why(self.why)
            .hint(way_out(store))
            .with_code(error::STORAGE)
    }
}

struct Shared<S> {
    /// Questions that the thread was asked, and has not carried out yet.
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    unheard: Unheard,
    reads: Mutex<Reads>,
    store: Mutex<Store<S>>,
}

impl<S> Shared<S> {
    fn new(store: Store<S>) -> Self {
        let (queued, queued_bytes, unheard, reads) = Default::default();
        Self { queued, queued_bytes, unheard, reads, store: Mutex::new(store) }
    }

    fn store(&self) -> MutexGuard<'_, Store<S>> {
        lock(&self.store)
    }
}

/// Answers in the order in which their questions were carried out.
#[derive(Default)]
pub struct Answers {
    pub list: Vec<(StoreId, Answer)>,
    /// Bytes of data that they carry, roughly: counted once, since of many names that takes long.
    pub bytes: usize,
}

impl Answers {
    fn push(&mut self, id: StoreId, answer: Answer) {
        self.bytes += answer.size();
        self.list.push((id, answer));
    }
}

/// A question on its way to the thread.
struct Ask {
    id: StoreId,
    question: Question,
    size: usize,
}

/// Asks the storage thread. When it is dropped, the thread answers what it was asked and ends.
pub struct StorageHandle {
    asks: Sender<Vec<Ask>>,
    /// What the next `flush` asks.
    next: Vec<Ask>,
    /// The thread has something to do though nothing is asked.
    wakes: bool,
    thread: JoinHandle<Result<(), StorageFailure>>,
    shared: Arc<Shared<Engine>>,
    next_merge: Arc<AtomicU64>,
    listening: Listening,
}

/// As long as it lives, somebody takes the answers.
struct Listening(Arc<Shared<Engine>>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.unheard.close();
    }
}

impl StorageHandle {
    /// Carries a question out at once, if it needs no disk, is soon done, and nothing that was asked before
    /// waits. Answers that wait for nothing are added to `early`; the others come when what they tell of is
    /// synced, which the next `flush` sees to. False: it has to be asked.
    pub fn carry_out_now(&mut self, id: StoreId, question: &Question, early: &mut Answers) -> bool {
        if matches!(question, Question::Read { .. })
            && let Some(answer) = lock(&self.shared.reads).find(question)
        {
            early.push(id, answer);
            return true;
        }
        if !self.next.is_empty() || self.shared.queued.load(Ordering::Acquire) > 0 {
            return false;
        }
        // The thread has panicked with it, and will say so.
        let Ok(mut store) = self.shared.store.lock() else { return false };
        let reads = &self.shared.reads;
        let done = catch_unwind(AssertUnwindSafe(|| store.carry_out_now(reads, id, question, early)));
        let done = match done {
            Ok(Ok(done)) => done,
            Ok(Err(StorageError(why))) => store.fail(StorageFailure { why }),
            Err(_) => store.fail(panicked()),
        };
        self.wakes |= store.tell();
        done
    }

    /// Reads ahead what these questions will look up.
    pub fn prefetch(&self, questions: &[(StoreId, Question)]) {
        if questions.len() > 1
            && let Ok(store) = self.shared.store.lock()
        {
            store.prefetch(questions);
        }
    }

    /// Puts a question, which is asked by the next `flush`. Every one is then answered unless storage fails.
    /// The queue has no end of its own: whoever asks takes in no more work while `is_congested`.
    pub fn ask(&mut self, id: StoreId, question: Question) {
        let size = question.size();
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        self.shared.queued_bytes.fetch_add(size, Ordering::Relaxed);
        self.next.push(Ask { id, question, size });
    }

    /// Asks what was put since the last time, all at once: the thread is woken once for it, and carries it
    /// out as one group. Never blocks.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.wakes) || !self.next.is_empty() {
            // The thread is gone only after a failure, which it has reported.
            let _ = self.asks.send(std::mem::take(&mut self.next));
        }
    }

    /// Takes note that answers of so many bytes, as they count them, were taken: the thread waits for that while there
    /// are many.
    pub fn heard(&self, bytes: usize) {
        self.shared.unheard.hear(bytes);
    }

    /// True while more waits than the disk will soon catch up with.
    pub fn is_congested(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) >= QUEUE_HIGH
            || self.shared.queued_bytes.load(Ordering::Relaxed) >= QUEUE_HIGH_BYTES
    }

    /// Bytes that storage may write by itself beside what it has, for a while, when it next merges tables. The thread
    /// looks anew after the next `flush`.
    pub fn next_merge(&mut self) -> u64 {
        self.wakes = true;
        self.next_merge.load(Ordering::Relaxed)
    }

    /// Answers what was asked, syncs, and closes the store. Blocks until that is done.
    /// Errors: storage has failed, now or before.
    pub fn close(mut self) -> Result<(), StorageFailure> {
        self.flush();
        drop(self.asks);
        drop(self.listening);
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

fn panicked() -> StorageFailure {
    StorageFailure { why: "a fault in the program; the log has more".into() }
}

/// Opens or creates the store in `directory` and starts its thread. `answers` and `failed` are called on that
/// thread, the former with all answers that are ready at that moment, and must not wait; `failed` at most once, and no
/// answer follows it. Whoever takes answers says so by [`StorageHandle::heard`].
///
/// Every start is a new actor, drawn at random. No mark of a clean stop is trusted, because a copied or
/// restored directory has that mark as well; so dots are never issued twice, whatever was done to the
/// directory (rule `actor`). The price is an entry in the contexts of the partitions it writes to.
///
/// Errors: the store is damaged or in use, or the disk fails.
pub fn spawn(
    directory: &Path,
    durability: Durability,
    clock: Clock,
    answers: impl Fn(Answers) + Send + 'static,
    failed: impl FnOnce(StorageFailure) + Send + 'static,
) -> Result<(StorageHandle, Actor, Opened), OpenError> {
    let open_error = |why: String| OpenError { path: directory.to_path_buf(), why };
    let random =
        || getrandom::u64().map_err(|e| open_error(format!("the system has no random numbers: {e}")));
    let (engine, writer) = Engine::open(directory, random()?).map_err(|e| open_error(e.0))?;
    let empty = engine.is_empty().map_err(|e| open_error(e.0))?;
    let next_merge = engine.next_merge();
    let replica = Replica::open(&engine, Actor(random()?), random()?).map_err(|e| open_error(e.0))?;
    let (actor, opened) = (replica.actor(), Opened { id: engine.id(), empty, came: replica.came().clone() });
    let (asks, asked) = mpsc::channel();
    let shared = Arc::new(Shared::new(Store::new(replica, engine, clock)));
    let worker = Worker::new(writer, durability, answers, Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("storage".into())
        .spawn(move || run(worker, &asked, failed))
        .map_err(|e| open_error(format!("no thread could be started: {e}")))?;
    let listening = Listening(Arc::clone(&shared));
    let next = Vec::new();
    let handle = StorageHandle { asks, next, wakes: false, thread, shared, next_merge, listening };
    Ok((handle, actor, opened))
}

/// Looks for damage where that is soon done and changes nothing: of a store that no peer has open, whether its files are
/// there and its journal can be played back. Errors: no peer starts with it.
pub fn examine(store: &Path) -> Result<(), OpenError> {
    let journal = store.join(JOURNAL);
    // It is made last.
    if !journal.exists() {
        return Ok(());
    }
    let examined = Tables::check(store).and_then(|()| Journal::examine(&journal));
    examined.map_err(|error| OpenError { path: store.to_path_buf(), why: error.0 })
}

/// Stops at the first failure, be it a fault of the program: the replica in memory and the rows may
/// disagree after it.
fn run<S: engine::Commit, L: engine::Log<S::Sealed>, A: Fn(Answers)>(
    mut worker: Worker<S, L, A>,
    asked: &Receiver<Vec<Ask>>,
    failed: impl FnOnce(StorageFailure),
) -> Result<(), StorageFailure> {
    let outcome = match catch_unwind(AssertUnwindSafe(|| worker.run(asked))) {
        Ok(outcome) => outcome.map_err(|StorageError(why)| StorageFailure { why }),
        Err(_) => Err(panicked()),
    };
    if let Err(failure) = &outcome {
        worker.fail(failure.clone());
        failed(failure.clone());
    }
    outcome
}
