//! A replica with its rows, and the answers that wait until what they tell of is synced.
//!
//! The storage thread and the event loop share it. What needs no more than memory and is soon done the event
//! loop carries out itself, since two wake-ups cost more than most questions do; the rest it leaves to the
//! thread, which also writes and syncs what either has changed. No question is carried out before one that was
//! asked earlier.

use super::engine::Commit;
use super::{Answers, StorageFailure, reads::Reads};
use crate::clock::Clock;
use crate::lock;
use starling_crdt::cell::rows_of_event;
use starling_crdt::{Dot, Field, Replica, StorageError};
use starling_protocol::ids::StoreId;
use starling_protocol::store::{Answer, Question, answer};
use std::hint::black_box;
use std::sync::Mutex;

/// Most answers that wait for one commit.
pub(super) const GROUP_MAX: usize = 1024;
/// Most bytes of changed rows, or of answers that wait, before a commit; one question may go beyond it.
pub(super) const GROUP_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Answers of the event loop's own doing that wait for one commit, and the names of cells in their questions, each of
/// which takes some microseconds; the thread does what is beyond, so that others have their turn. Fewer would hand work
/// and its memory to and fro between processors: with 64 answers, 800 requests in flight take a fortieth more of
/// processor time.
pub(super) const OWN_MAX: usize = 512;
pub(super) const OWN_NAMES_MAX: usize = 4096;
/// Larger questions are left to the thread, so that the event loop has its turns: in bytes, and in names.
const SHORT_BYTES_MAX: usize = 64 * 1024;
const SHORT_NAMES_MAX: usize = 64;

pub(super) struct Store<S> {
    replica: Replica,
    rows: S,
    clock: Clock,
    /// Answers that leave after the next commit.
    held: Answers,
    /// Names in the questions of the event loop's own doing whose answers are held.
    own_names: usize,
    /// What was sealed is not written yet.
    is_writing: bool,
    /// The thread knows that something is held, or is about to be told.
    is_told: bool,
    failure: Option<StorageFailure>,
}

/// What a commit writes, and whom it tells.
pub(super) struct Group {
    pub held: Answers,
    /// Something was sealed.
    pub is_changed: bool,
}

impl<S: Commit> Store<S> {
    pub fn new(replica: Replica, rows: S, clock: Clock) -> Self {
        Self {
            replica,
            rows,
            clock,
            held: Answers::default(),
            own_names: 0,
            is_writing: false,
            is_told: false,
            failure: None,
        }
    }

    /// Reads ahead what changes will look up: of each the first cell, as more are rare.
    pub fn prefetch(&self, questions: &[(StoreId, Question)]) {
        let mut rows = Vec::with_capacity(3 * questions.len());
        let mut partitions = Vec::with_capacity(questions.len());
        for (_, question) in questions {
            let (partition, key, field, dot) = match question {
                Question::Execute { partition, key, .. } => {
                    (*partition, key, &Field::Register, Dot::new(self.replica.actor(), 1))
                }
                Question::Apply { partition, events, .. } => {
                    let Some(event) = events.first() else { continue };
                    let Some((cell, _)) = event.puts.first() else { continue };
                    (*partition, &cell.key, &cell.field, event.dot)
                }
                _ => continue,
            };
            rows.extend(rows_of_event(partition, key, field, dot));
            partitions.push((self.replica.context(partition), dot));
        }
        black_box(partitions.iter().filter(|(context, dot)| context.contains(*dot)).count());
        self.rows.prefetch(&rows);
    }

    /// Carries a question out; answers that wait for nothing are added to `early`.
    pub fn carry_out(
        &mut self,
        reads: &Mutex<Reads>,
        id: StoreId,
        question: &Question,
        early: &mut Answers,
    ) -> Result<(), StorageError> {
        self.check()?;
        lock(reads).change(question);
        let told = answer(&mut self.replica, &mut self.rows, self.clock.time(), question)?;
        self.sort(reads, id, question, told, early);
        Ok(())
    }

    /// The same, if it needs no disk and is soon done; false: it was not carried out, but for events of an `Apply`
    /// before the one that was stopped, which are known when it is asked. An event is made or applied only once all
    /// that it needs was read.
    pub fn carry_out_now(
        &mut self,
        reads: &Mutex<Reads>,
        id: StoreId,
        question: &Question,
        early: &mut Answers,
    ) -> Result<bool, StorageError> {
        self.check()?;
        if !is_short(question) || !self.is_for_event_loop() {
            return Ok(false);
        }
        if !matches!(question, Question::Read { .. }) {
            lock(reads).change(question);
        }
        let (replica, time) = (&mut self.replica, self.clock.time());
        let Some(told) = self.rows.in_memory(|rows| answer(replica, rows, time, question))? else {
            return Ok(false);
        };
        let before = self.held.list.len();
        self.sort(reads, id, question, told, early);
        if self.held.list.len() > before {
            self.own_names += question.names();
        }
        Ok(true)
    }

    /// Rules `ack-synced` and `report-synced`: no answer that tells of a change, or was read after one, leaves
    /// before that change is written, and synced unless that was waived.
    fn sort(
        &mut self,
        reads: &Mutex<Reads>,
        id: StoreId,
        question: &Question,
        mut told: Answer,
        early: &mut Answers,
    ) {
        if matches!(told, Answer::Executed { .. }) {
            // So that the other copies are written while this one is synced.
            early.push(id, std::mem::replace(&mut told, Answer::Synced));
        }
        if self.is_writing || self.rows.uncommitted() > 0 {
            self.held.push(id, told);
            return;
        }
        if let Answer::Read { slice, digest } = &told {
            lock(reads).keep(question, slice, *digest);
        }
        early.push(id, told);
    }

    fn is_for_event_loop(&self) -> bool {
        self.held.list.len() < OWN_MAX && self.own_names < OWN_NAMES_MAX && !self.is_full()
    }

    /// So much waits that it is time for a commit.
    pub fn is_full(&self) -> bool {
        self.held.list.len() >= GROUP_MAX || self.rows.uncommitted().max(self.held.bytes) >= GROUP_MAX_BYTES
    }

    /// True if the thread does not know yet that it has something to do; it counts as told then.
    pub fn tell(&mut self) -> bool {
        let is_news = !self.is_told && (self.failure.is_some() || !self.held.list.is_empty());
        self.is_told |= is_news;
        is_news
    }

    /// Nothing is carried out any more; the thread says so. Returns false, as it was not carried out.
    pub fn fail(&mut self, failure: StorageFailure) -> bool {
        self.failure.get_or_insert(failure);
        false
    }

    /// Begins a commit of all that was changed.
    pub fn seal(&mut self, sealed: &mut S::Sealed) -> Result<Group, StorageError> {
        self.check()?;
        let is_changed = self.rows.uncommitted() > 0;
        if is_changed {
            self.rows.seal(sealed);
        }
        (self.is_writing, self.is_told, self.own_names) = (is_changed, false, 0);
        Ok(Group { held: std::mem::take(&mut self.held), is_changed })
    }

    /// After a failure memory and storage may differ, and nothing may be asked of them.
    fn check(&self) -> Result<(), StorageError> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(StorageError(failure.why.clone())))
    }

    /// What was sealed is written.
    pub fn written(&mut self) {
        self.is_writing = false;
    }
}

/// True if what it carries and names is little. How many rows it walks through, its key tells: see `in_memory`.
fn is_short(question: &Question) -> bool {
    let kind = matches!(question, Question::Execute { .. } | Question::Apply { .. } | Question::Read { .. });
    kind && question.size() <= SHORT_BYTES_MAX && question.names() <= SHORT_NAMES_MAX
}
