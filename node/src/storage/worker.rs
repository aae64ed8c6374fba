//! What the storage thread does: questions in groups, each group committed once.

use super::engine::Commit;
use super::{Answers, Ask, Durability, Shared};
use crate::clock::Clock;
use starling_crdt::{Replica, StorageError};
use starling_protocol::store::{Answer, Question, answer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Most answers that wait for one commit.
const GROUP_MAX: usize = 1024;
/// Most bytes of changed rows, or of answers that wait, before a commit; one question may go beyond it.
const GROUP_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Answers that wait for nothing leave when so many are ready, though more questions are at hand.
const EARLY_MAX: usize = 32;
/// Longer intervals between syncs are taken as this.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

pub(super) struct Worker<S, A> {
    replica: Replica,
    storage: S,
    durability: Durability,
    clock: Clock,
    answers: A,
    shared: Arc<Shared>,
    /// Answers that wait for nothing, and leave together.
    early: Answers,
    /// Answers that leave after the commit.
    held: Answers,
    held_bytes: usize,
    /// When what was written without a sync has to be synced.
    sync_due: Option<Instant>,
}

impl<S: Commit, A: Fn(Answers)> Worker<S, A> {
    pub fn new(
        replica: Replica,
        storage: S,
        durability: Durability,
        clock: Clock,
        answers: A,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            replica,
            storage,
            durability,
            clock,
            answers,
            shared,
            early: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            sync_due: None,
        }
    }

    /// Answers until nobody can ask any more and all is synced, or until storage fails.
    pub fn run(&mut self, asked: &Receiver<Vec<Ask>>) -> Result<(), StorageError> {
        while let Some(first) = self.wait(asked)? {
            let mut next = Some(first);
            while let Some(asks) = next {
                self.carry_out_all(asks)?;
                next = asked.try_recv().ok();
            }
            self.commit()?;
        }
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
            self.carry_out(ask)?;
            if self.early.len() >= EARLY_MAX {
                self.tell_early();
            }
            if self.is_full() {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, Ask { id, question, size }: Ask) -> Result<(), StorageError> {
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        self.shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
        self.shared.questions.fetch_add(1, Ordering::Relaxed);
        if matches!(question, Question::Scrub { .. }) {
            self.commit()?;
        }
        let mut told = self.answer(question)?;
        if matches!(told, Answer::Executed { .. }) {
            // So that the other copies are written while this one is synced.
            self.early.push((id, std::mem::replace(&mut told, Answer::Synced)));
        }
        if self.storage.uncommitted() == 0 {
            self.early.push((id, told));
        } else {
            self.held_bytes += told.size();
            self.held.push((id, told));
        }
        Ok(())
    }

    fn answer(&mut self, question: Question) -> Result<Answer, StorageError> {
        self.shared.reads().change(&question);
        let reads = matches!(question, Question::Read { .. }) && self.storage.uncommitted() == 0;
        let read = reads.then(|| question.clone());
        let told = answer(&mut self.replica, &mut self.storage, self.clock.time(), question)?;
        if let (Some(read), Answer::Read { slice }) = (&read, &told) {
            self.shared.reads().keep(read, slice);
        }
        Ok(told)
    }

    fn tell_early(&mut self) {
        if !self.early.is_empty() {
            (self.answers)(std::mem::take(&mut self.early));
        }
    }

    fn is_full(&self) -> bool {
        self.held.len() >= GROUP_MAX || self.storage.uncommitted().max(self.held_bytes) >= GROUP_MAX_BYTES
    }

    /// Rules `ack-synced` and `report-synced`: no answer that tells of a change, or was read after one,
    /// leaves before that change is written, and synced unless that was waived.
    fn commit(&mut self) -> Result<(), StorageError> {
        self.tell_early();
        if self.storage.uncommitted() > 0 {
            self.write()?;
        }
        if !self.held.is_empty() {
            (self.answers)(std::mem::take(&mut self.held));
        }
        self.held_bytes = 0;
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
        self.storage.commit(synced)?;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.syncs.fetch_add(u64::from(synced), Ordering::Relaxed);
        Ok(())
    }

    /// Syncs what was written without.
    fn sync(&mut self) -> Result<(), StorageError> {
        if self.sync_due.take().is_some() {
            self.storage.sync()?;
            self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
