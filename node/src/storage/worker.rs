//! What the storage thread does: questions in groups, each group committed once.

use super::engine::{Commit, Log};
use super::store::Group;
use super::{Answers, Ask, Durability, Shared, StorageFailure};
use starling_crdt::StorageError;
use starling_protocol::store::Question;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Answers that wait for nothing leave when so many are ready, though more questions are at hand.
const EARLY_MAX: usize = 32;
/// The same, in bytes of data.
const EARLY_BYTES_MAX: usize = 1024 * 1024;
/// Longer intervals between syncs are taken as this.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

pub(super) struct Worker<S: Commit, L, A> {
    log: L,
    sealed: S::Sealed,
    durability: Durability,
    answers: A,
    shared: Arc<Shared<S>>,
    /// Answers that wait for nothing, and leave together.
    early: Answers,
    /// When what was written without a sync has to be synced.
    sync_due: Option<Instant>,
}

impl<S: Commit, L: Log<S::Sealed>, A: Fn(Answers)> Worker<S, L, A> {
    pub fn new(log: L, durability: Durability, answers: A, shared: Arc<Shared<S>>) -> Self {
        let sealed = S::Sealed::default();
        let (early, sync_due) = (Answers::default(), None);
        Self { log, sealed, durability, answers, shared, early, sync_due }
    }

    /// After this nothing is carried out any more.
    pub fn fail(&self, failure: StorageFailure) {
        self.shared.store().fail(failure);
    }

    /// Answers until nobody can ask any more and all is synced, or until storage fails.
    pub fn run(&mut self, asked: &Receiver<Vec<Ask>>) -> Result<(), StorageError> {
        while let Some(first) = self.wait(asked)? {
            let mut next = Some(first);
            while let Some(asks) = next {
                self.carry_out_all(asks)?;
                self.sync_if_due()?;
                next = asked.try_recv().ok();
            }
            self.commit()?;
        }
        // What the event loop has carried out since it last woke this thread.
        self.commit()?;
        self.sync()
    }

    /// The next question, syncing meanwhile when that is due.
    fn wait(&mut self, asked: &Receiver<Vec<Ask>>) -> Result<Option<Vec<Ask>>, StorageError> {
        while let Some(due) = self.sync_due {
            match asked.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(asks) => return Ok(Some(asks)),
                Err(RecvTimeoutError::Timeout) => self.sync()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
        Ok(asked.recv().ok())
    }

    fn carry_out_all(&mut self, asks: Vec<Ask>) -> Result<(), StorageError> {
        for ask in asks {
            let is_full = self.carry_out(ask)?;
            if self.early.list.len() >= EARLY_MAX || self.early.bytes >= EARLY_BYTES_MAX {
                self.tell_early();
            }
            if is_full {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// True if it is time for a commit.
    fn carry_out(&mut self, Ask { id, question, size }: Ask) -> Result<bool, StorageError> {
        // What is reported others count on, and let go what they hold themselves: that is never waived.
        let reports = matches!(question, Question::Contexts { .. } | Question::Survey);
        let reports = reports && self.durability != Durability::Synced;
        if reports || matches!(question, Question::Scrub { .. }) {
            self.commit()?;
        }
        if reports {
            self.sync()?;
        }
        let mut store = self.shared.store();
        store.carry_out(&self.shared.reads, id, &question, &mut self.early)?;
        let is_full = store.is_full();
        drop(store);
        self.shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
        // Only now: as long as anything is queued, the event loop carries out nothing itself.
        self.shared.queued.fetch_sub(1, Ordering::Release);
        Ok(is_full)
    }

    fn tell_early(&mut self) {
        let early = std::mem::take(&mut self.early);
        self.tell(early);
    }

    /// Waits while the event loop has much to take still, which it does without waiting for this thread.
    fn tell(&self, answers: Answers) {
        if !answers.list.is_empty() {
            self.shared.unheard.tell(answers.bytes);
            (self.answers)(answers);
        }
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.tell_early();
        let Group { held, is_changed } = self.shared.store().seal(&mut self.sealed)?;
        if is_changed {
            self.write()?;
            self.shared.store().written();
        }
        self.tell(held);
        self.log.tidy(&mut self.sealed)?;
        self.sync_if_due()
    }

    /// However much is asked meanwhile.
    fn sync_if_due(&mut self) -> Result<(), StorageError> {
        match self.sync_due {
            Some(due) if due <= Instant::now() => self.sync(),
            _ => Ok(()),
        }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let synced = match self.durability {
            Durability::Synced => true,
            Durability::Interval(interval) => {
                self.sync_due.get_or_insert_with(|| Instant::now() + interval.min(INTERVAL_MAX));
                false
            }
        };
        self.log.write(&mut self.sealed, synced)
    }

    /// Syncs what was written without.
    fn sync(&mut self) -> Result<(), StorageError> {
        if self.sync_due.take().is_some() {
            self.log.sync()?;
        }
        Ok(())
    }
}
