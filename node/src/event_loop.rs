//! The one task that owns the `Peer`: takes what happens, hands it over, carries out what comes back.
//!
//! It never waits for the transport, for storage or for a client, so those may wait for it.

use crate::admission::Admission;
use crate::clock::Clock;
use crate::error::Error;
use crate::members::Saver;
use crate::peer_handle::{Asker, ClientRequest};
use crate::space::Space;
use crate::storage::{Answers, StorageFailure, StorageHandle};
use crate::transport::{Batch, Transport, peer_text};
use starling_protocol::effect::{Effect, Notice};
use starling_protocol::ids::{PeerId, RequestId, StoreId};
use starling_protocol::input::Input;
use starling_protocol::member::Health;
use starling_protocol::message::Message;
use starling_protocol::peer::Peer;
use starling_protocol::store::Question;
use starling_protocol::time::Now;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

/// Inputs that are taken from one queue before the others have their turn, and the rest of the last batch.
const TURN: usize = 64;
/// Turns that others get before what they brought is taken.
const GATHER_MAX: usize = 4;
/// What is answered at once is heard when it is so many bytes, though more is to be asked in the same turn.
const EARLY_BYTES_MAX: usize = 1024 * 1024;
/// Room for so many messages is kept between turns.
const MESSAGES_KEPT: usize = 1024;
/// How long requests under way get to finish when the peer stops.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Where things to do come from.
pub struct Sources {
    pub urgent: mpsc::Receiver<Batch>,
    pub work: mpsc::Receiver<Batch>,
    /// Not bounded by itself: at most two answers for each question, and no more work is taken in while
    /// storage is behind.
    pub answers: mpsc::UnboundedReceiver<Answers>,
    pub requests: mpsc::Receiver<ClientRequest>,
    /// Storage has failed: nothing that it was asked will be answered.
    pub failure: mpsc::Receiver<StorageFailure>,
    /// Stop; dropped by the one who wants that.
    pub stop: oneshot::Receiver<()>,
}

impl Sources {
    /// Lets others that are ready have their turn, as long as they bring more: what is taken together costs one
    /// wake-up, one send to each peer and one sync. Measured, four turns at most are as good as more.
    async fn gather(&self) {
        let mut before = 0;
        for _ in 0..GATHER_MAX {
            tokio::task::yield_now().await;
            let waiting = self.work.len() + self.requests.len() + self.answers.len() + self.urgent.len();
            if waiting == before {
                return;
            }
            before = waiting;
        }
    }
}

pub struct EventLoop {
    pub peer: Peer,
    pub transport: Transport,
    pub storage: StorageHandle,
    pub saver: Saver,
    admission: Arc<Admission>,
    pub clock: Clock,
    space: Space,
    /// At the beginning of this turn.
    now: Now,
    alarm: Alarm,
    waiting: HashMap<RequestId, Asker>,
    last_request: u64,
    /// Asked of storage at the end of this turn: what its inputs give rise to, which are bounded in number and bytes.
    questions: Vec<(StoreId, Question)>,
    /// Sent before others have their turn.
    messages: Vec<(PeerId, Message)>,
    outlived: bool,
}

/// Why a peer has stopped by itself.
#[derive(Debug)]
pub enum Stopped {
    Storage(StorageFailure),
    /// There is no way to the others any more, and why.
    Transport(String),
    /// Another process has this peer's key, and began after this one.
    Outlived,
}

impl From<StorageFailure> for Stopped {
    fn from(failure: StorageFailure) -> Self {
        Self::Storage(failure)
    }
}

impl Stopped {
    /// In words for people; `store`: the directory of what it stores.
    pub fn told(self, store: &Path) -> Error {
        match self {
            Stopped::Storage(failure) => failure.told(store),
            Stopped::Transport(why) => Error::new("the peer has stopped because of a fault in the program")
                .why(format!("what connects it to others has ended: {why}"))
                .hint("start it again; what it has stored is there still"),
            Stopped::Outlived => Error::new("another process runs as this peer, so this one has stopped")
                .why("it has a copy of this peer's data directory, and was started after this one")
                .hint(
                    "if the directory was moved there, all is well. If another peer was wanted there, stop that \
                     process, remove its directory, start this one again, and let the other join with a ticket: \
                     it fills itself",
                ),
        }
    }
}

/// What woke the loop.
enum Woken {
    /// Of membership, or of a connection.
    Urgent(Batch),
    Work(Batch),
    Answers(Answers),
    Request(ClientRequest),
    Timeout,
    Stop,
    Failed(Stopped),
}

impl Woken {
    /// How many inputs it brings, as far as others wait for them.
    fn len(&self) -> usize {
        match self {
            Woken::Urgent(batch) | Woken::Work(batch) => batch.inputs.len(),
            _ => 1,
        }
    }
}

impl EventLoop {
    pub fn new(
        peer: Peer,
        transport: Transport,
        storage: StorageHandle,
        saver: Saver,
        admission: Arc<Admission>,
        clock: Clock,
        space: Space,
    ) -> Self {
        Self {
            now: clock.now(),
            alarm: Alarm::new(),
            waiting: HashMap::new(),
            last_request: 0,
            questions: Vec::new(),
            messages: Vec::new(),
            outlived: false,
            peer,
            transport,
            storage,
            saver,
            admission,
            clock,
            space,
        }
    }

    /// Runs until it is told to stop; then lets requests finish, saves, syncs and closes everything.
    /// Errors: it has stopped by itself; storage may have failed while it was closed, too.
    pub async fn run(mut self, mut sources: Sources) -> Result<(), Stopped> {
        self.look_at_disk();
        self.timeout();
        self.ask_storage();
        loop {
            // What was sent goes out first: others have a longer way to their disks.
            tokio::task::yield_now().await;
            self.storage.flush();
            let woken = self.next(&mut sources).await;
            self.now = self.clock.now();
            self.look_at_disk();
            match woken {
                Woken::Stop => break,
                Woken::Failed(stopped) => return Err(stopped),
                woken => self.handle(woken),
            }
            self.check()?;
            // Those who gather send it: with one client, what waits for more is late.
            self.send();
            sources.gather().await;
            self.now = self.clock.now();
            self.drain(&mut sources);
            self.timeout();
            self.check()?;
            self.ask_storage();
        }
        self.finish(sources).await
    }

    /// Waits for something to do. While storage is behind, only what makes room is taken.
    async fn next(&mut self, sources: &mut Sources) -> Woken {
        let takes_work = !self.storage.is_congested();
        let due = self.peer.next_timeout().map(|time| self.clock.instant(time));
        tokio::select! {
            Some(batch) = sources.urgent.recv() => Woken::Urgent(batch),
            Some(answers) = sources.answers.recv() => Woken::Answers(answers),
            Some(batch) = sources.work.recv(), if takes_work => Woken::Work(batch),
            Some(request) = sources.requests.recv(), if takes_work => Woken::Request(request),
            () = self.alarm.rings(due) => Woken::Timeout,
            Some(failure) = sources.failure.recv() => Woken::Failed(failure.into()),
            why = self.transport.ended() => Woken::Failed(Stopped::Transport(why)),
            _ = &mut sources.stop => Woken::Stop,
        }
    }

    /// Takes what is there without waiting, some of each, so that one wake-up serves many.
    fn drain(&mut self, sources: &mut Sources) {
        let Sources { urgent, work, answers, requests, .. } = sources;
        self.handle_all(|| urgent.try_recv().ok().map(Woken::Urgent));
        self.handle_all(|| answers.try_recv().ok().map(Woken::Answers));
        if !self.storage.is_congested() {
            self.handle_all(|| work.try_recv().ok().map(Woken::Work));
            self.handle_all(|| requests.try_recv().ok().map(Woken::Request));
        }
    }

    fn handle_all(&mut self, mut next: impl FnMut() -> Option<Woken>) {
        let mut taken = 0;
        while taken < TURN
            && let Some(woken) = next()
        {
            taken += woken.len();
            self.handle(woken);
        }
    }

    fn handle(&mut self, woken: Woken) {
        match woken {
            Woken::Urgent(Batch { inputs, .. }) => {
                // Often the answer to a probe, so that the time set for it is void.
                self.alarm.moves_later = true;
                inputs.into_iter().for_each(|input| self.feed(input));
            }
            Woken::Work(Batch { inputs, .. }) => inputs.into_iter().for_each(|input| self.feed(input)),
            Woken::Answers(answers) => {
                let Answers { list, bytes } = answers;
                self.feed(Input::Stored { answers: list });
                self.storage.heard(bytes);
            }
            Woken::Request(ClientRequest { request, reply }) => {
                self.last_request += 1;
                let id = RequestId(self.last_request);
                self.waiting.insert(id, reply);
                self.feed(Input::Request { id, request });
            }
            // What is due is looked after once a turn.
            Woken::Timeout | Woken::Stop | Woken::Failed(_) => {}
        }
    }

    fn look_at_disk(&mut self) {
        if let Some(is_low) = self.space.news(self.now.time, || self.storage.next_merge()) {
            self.feed(Input::Room { is_low });
        }
    }

    fn timeout(&mut self) {
        if self.peer.next_timeout().is_some_and(|due| due <= self.now.time) {
            self.feed(Input::Timeout);
        }
    }

    fn check(&self) -> Result<(), Stopped> {
        if self.outlived { Err(Stopped::Outlived) } else { Ok(()) }
    }

    /// Asks what came up in this turn, all at once, and hears in the same turn what is answered at once.
    ///
    /// The code of one operation, from end to end, does not fit into the processor's first cache: done step by step for
    /// all that came together, each step is fetched once for many.
    fn ask_storage(&mut self) {
        while !self.questions.is_empty() {
            let mut early = Answers::default();
            self.storage.prefetch(&self.questions);
            for (id, question) in std::mem::take(&mut self.questions) {
                if !self.storage.carry_out_now(id, &question, &mut early) {
                    self.storage.ask(id, question);
                }
                if early.bytes >= EARLY_BYTES_MAX {
                    self.hear(std::mem::take(&mut early));
                }
            }
            self.hear(early);
        }
        self.send();
    }

    /// Sends what came up in this turn. What goes to several peers one after another, as the copies of a write do, is
    /// encoded once.
    fn send(&mut self) {
        for same in self.messages.chunk_by(|(_, one), (_, other)| one == other) {
            match same {
                [(to, message)] => self.transport.send(*to, message),
                [(_, message), ..] => self.transport.send_to_all(same.iter().map(|(to, _)| *to), message),
                [] => {}
            }
        }
        self.messages.clear();
        self.messages.shrink_to(MESSAGES_KEPT);
    }

    fn hear(&mut self, answers: Answers) {
        if !answers.list.is_empty() {
            // Deadlines of what begins now are not to be shortened by what was done before it.
            self.now = self.clock.now();
            self.feed(Input::Stored { answers: answers.list });
        }
    }

    fn feed(&mut self, input: Input) {
        let Self { peer, transport, saver, admission, waiting, questions, messages, now, outlived, .. } =
            self;
        for effect in peer.handle(*now, input) {
            match effect {
                Effect::Send { to, message } => messages.push((to, message)),
                Effect::Connect { peer, addresses } => transport.connect(peer, addresses),
                Effect::Store { id, question } => questions.push((id, question)),
                Effect::Reply { id, response } => {
                    if let Some(reply) = waiting.remove(&id) {
                        reply.send(response);
                    }
                }
                Effect::Save { table } => {
                    admission.members_are(table.iter().map(|record| record.id).collect());
                    saver.save(table);
                }
                Effect::Notify(Notice::Outlived) => *outlived = true,
                Effect::Notify(notice) => {
                    if let Notice::Health { peer, health: Health::Suspect, .. } = notice {
                        // A connection that seems to stand may lead nowhere: it is asked whether it does.
                        transport.connect(peer, Vec::new());
                    }
                    log(notice);
                }
            }
        }
    }

    async fn finish(mut self, mut sources: Sources) -> Result<(), Stopped> {
        sources.requests.close();
        let last_requests = self.last_requests(&mut sources);
        if let Ok(Err(failure)) = tokio::time::timeout(LAST_REQUESTS, last_requests).await {
            return Err(failure.into());
        }
        // Else the transport might wait for room in them.
        drop(sources);
        let Self { transport, storage, saver, .. } = self;
        transport.stop().await;
        saver.finish().await;
        tokio::task::spawn_blocking(|| storage.close()).await.unwrap_or(Ok(()))?;
        Ok(())
    }

    async fn last_requests(&mut self, sources: &mut Sources) -> Result<(), StorageFailure> {
        while !self.waiting.is_empty() || !sources.requests.is_empty() {
            self.storage.flush();
            let due = self.peer.next_timeout().map(|time| self.clock.instant(time));
            let woken = tokio::select! {
                Some(batch) = sources.urgent.recv() => Woken::Urgent(batch),
                Some(answers) = sources.answers.recv() => Woken::Answers(answers),
                Some(batch) = sources.work.recv() => Woken::Work(batch),
                Some(request) = sources.requests.recv() => Woken::Request(request),
                () = self.alarm.rings(due) => Woken::Timeout,
                Some(failure) = sources.failure.recv() => return Err(failure),
            };
            self.now = self.clock.now();
            self.handle(woken);
            self.timeout();
            self.ask_storage();
        }
        Ok(())
    }
}

/// Rings at the time that was asked for, or before it.
///
/// What is due next moves to and fro with every operation, and each time that the runtime is told of an earlier one
/// costs a call to the system and a wake-up. So the alarm stays where it is when a later one would do, until it has
/// rung or membership was told something: that happens a few times a second, and without it an idle peer would be
/// woken after each probe for the time at which the answer would have been late.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// A later time counts as well, once.
    moves_later: bool,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), moves_later: false }
    }

    /// `None`: never. May be given up and asked again.
    async fn rings(&mut self, due: Option<Instant>) {
        let Some(due) = due else { return std::future::pending().await };
        if std::mem::take(&mut self.moves_later) && due > self.sleep.deadline() {
            // A new one: `reset` to a later time leaves the runtime with its wake-up at the earlier.
            self.sleep.set(tokio::time::sleep_until(due));
        } else if self.sleep.is_elapsed() || due < self.sleep.deadline() {
            self.sleep.as_mut().reset(due);
        }
        self.sleep.as_mut().await;
    }
}

/// A line in the log. Keys and values never come here.
fn log(notice: Notice) {
    match notice {
        Notice::Health { peer, name, health } => {
            tracing::info!(peer = peer_text(&peer), name, ?health, "a peer's health has changed");
        }
        Notice::Stepped { peer, name, step } => {
            tracing::info!(peer = peer_text(&peer), name, ?step, "a peer has taken a step");
        }
        // Said when the loop ends.
        Notice::Outlived => {}
        Notice::Refuted { incarnation } => {
            tracing::warn!(incarnation, "others doubted that this peer lives; it has told them that it does");
        }
        Notice::LetGo { partition } => {
            tracing::debug!(partition, "a partition that others own was handed over and dropped");
        }
        Notice::Damaged { partition } => {
            tracing::error!(
                partition,
                "what is stored of a partition is not what was written: its copy here is thrown away, and filled \
                 again by the other owners; until then it answers no reads. See to the disk, and to the memory"
            );
        }
        Notice::DamageKept { partition } => {
            tracing::error!(
                partition,
                "what is stored of a partition is not what was written: it is kept as it is, and what it answers may \
                 be wrong, until another peer is known to have all of it; then it is filled again from there. See to \
                 the disk, and to the memory"
            );
        }
        Notice::OnlyCopyDamaged { partition } => {
            tracing::error!(
                partition,
                "what is stored of a partition is not what was written, and no other peer that can be reached has \
                 a whole copy: it is kept as it is, and what it answers may be wrong. Start the other peers that keep copies of it: \
                 then the copy here is filled again from theirs. Where there are none, read what can be read and \
                 write it anew, or go back to a backup of the directory. See to the disk, and to the memory"
            );
        }
        Notice::Refilled { partition } => {
            tracing::warn!(partition, "a damaged partition has been filled again by its other owners");
        }
        Notice::TooLarge { partition, from } => {
            tracing::error!(
                partition,
                from = peer_text(&from),
                "a partition that another peer sends is larger than a quarter of this machine's memory, and is not \
                 taken; a machine with more memory can hold it, or a network that is founded with more --partitions"
            );
        }
        Notice::Misbehaved { peer, why } => {
            tracing::warn!(peer = peer_text(&peer), why, "a peer sent what no honest one sends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_millis(500);

    /// When it rings, having been asked first for `SOON` and then for `LATE`; but not later than that.
    async fn rings_after(between: impl FnOnce(&mut Alarm)) -> Duration {
        let (mut alarm, start) = (Alarm::new(), Instant::now());
        for due in [start, start + SOON] {
            assert_eq!(timeout(SOON / 2, alarm.rings(Some(due))).await.is_ok(), due == start);
        }
        between(&mut alarm);
        alarm.rings(Some(start + LATE)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_stays_at_an_earlier_time() {
        assert_eq!(rings_after(|_| {}).await.as_millis(), SOON.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn once_membership_was_told_something_the_alarm_moves_to_a_later_time() {
        assert_eq!(rings_after(|alarm| alarm.moves_later = true).await.as_millis(), LATE.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_moves_to_an_earlier_time() {
        let (mut alarm, start) = (Alarm::new(), Instant::now());
        alarm.rings(Some(start)).await;
        assert!(timeout(SOON / 2, alarm.rings(Some(start + LATE))).await.is_err());
        alarm.moves_later = true;
        alarm.rings(Some(start + SOON)).await;
        assert_eq!(start.elapsed().as_millis(), SOON.as_millis());
    }
}
