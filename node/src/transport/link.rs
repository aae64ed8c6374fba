//! What waits to be sent to one peer: a queue of frames for each class of messages.

use super::driver::Command;
use super::gate::Gate;
use super::peer_text;
use crate::lock;
use starling_protocol::ids::PeerId;
use starling_protocol::message::{Call, Class, FRAME_MAX, Gossip, GossipBody, Message, Refusal};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Most frames that wait for one peer in one class; a frame more is dropped and counted, and the protocol's
/// deadlines take it from there. So are frames beyond a number of bytes (`Limits::queue_bytes`).
pub(super) const QUEUE_FRAMES: usize = 4096;
/// For so many refusals there is room in a queue that is full, and for so many bytes of each.
const REFUSALS: usize = 1024;
const REFUSAL_BYTES: usize = 64;
/// Most peers that are remembered at once, twice the largest member table; frames to one more are dropped.
pub(super) const LINKS_MAX: usize = 8192;
/// Capacity that an empty buffer keeps.
pub(super) const KEPT_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No stream, nothing waits.
    Idle,
    /// A stream is being opened.
    Opening,
    Open,
}

/// The frames of one class for one peer, each with its length before it, ready to be written as one.
pub(super) struct Outbox {
    inner: Mutex<Waiting>,
    ready: Notify,
    bytes_max: usize,
}

struct Waiting {
    bytes: Vec<u8>,
    frames: usize,
    state: State,
    /// Counts streams: a writer whose stream has been replaced takes no more frames.
    stream: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// A stream is there, or on its way.
    Waits,
    /// Somebody must open a stream.
    NeedsStream,
    /// It is full: dropped.
    Dropped,
    /// Longer than a frame may be, by its bytes, so that it would never arrive: dropped.
    TooLong(usize),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Frames,
    Nothing,
    /// Another stream has taken over.
    Replaced,
}

impl Outbox {
    fn new(bytes_max: usize) -> Self {
        let inner = Waiting { bytes: Vec::new(), frames: 0, state: State::Idle, stream: 0 };
        Self { inner: Mutex::new(inner), ready: Notify::new(), bytes_max }
    }

    pub fn push(&self, frame: Frame<'_>) -> Pushed {
        self.push_within(frame, QUEUE_FRAMES, self.bytes_max)
    }

    /// The same of a few bytes that say why there is nothing else: for some of these there is room though it is full.
    pub fn push_refusal(&self, frame: Frame<'_>) -> Pushed {
        self.push_within(frame, QUEUE_FRAMES + REFUSALS, self.bytes_max + REFUSALS * REFUSAL_BYTES)
    }

    fn push_within(&self, frame: Frame<'_>, frames: usize, bytes: usize) -> Pushed {
        let mut waiting = lock(&self.inner);
        if waiting.frames >= frames {
            return Pushed::Dropped;
        }
        if let Err(dropped) = append(&mut waiting.bytes, frame, bytes) {
            return dropped;
        }
        waiting.frames += 1;
        if waiting.state == State::Idle {
            waiting.state = State::Opening;
            return Pushed::NeedsStream;
        }
        drop(waiting);
        self.ready.notify_one();
        Pushed::Waits
    }

    /// Swaps what waits with `batch`, which must be empty.
    pub fn take(&self, stream: u64, batch: &mut Vec<u8>) -> Taken {
        let mut waiting = lock(&self.inner);
        if waiting.stream != stream {
            self.ready.notify_one();
            return Taken::Replaced;
        }
        if waiting.frames == 0 {
            return Taken::Nothing;
        }
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.frames = 0;
        Taken::Frames
    }

    /// Until something may wait.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// A stream stands; the number names it.
    pub fn opened(&self) -> u64 {
        let mut waiting = lock(&self.inner);
        waiting.stream += 1;
        waiting.state = State::Open;
        self.ready.notify_one();
        waiting.stream
    }

    /// The stream is gone. True: frames wait for another one, which somebody must open.
    pub fn lost(&self, stream: u64) -> bool {
        let mut waiting = lock(&self.inner);
        if waiting.stream != stream {
            return false;
        }
        let needed = waiting.frames > 0;
        waiting.state = if needed { State::Opening } else { State::Idle };
        needed
    }

    /// No stream can be had: drops what waits, and says how many frames that were.
    pub fn give_up(&self) -> usize {
        let mut waiting = lock(&self.inner);
        waiting.state = State::Idle;
        waiting.bytes = Vec::new();
        std::mem::take(&mut waiting.frames)
    }

    /// Drops what waits and keeps the stream.
    pub fn clear(&self) {
        let mut waiting = lock(&self.inner);
        waiting.bytes = Vec::new();
        waiting.frames = 0;
    }

    pub fn needs_stream(&self) -> bool {
        lock(&self.inner).state == State::Opening
    }

    pub fn is_idle(&self) -> bool {
        lock(&self.inner).state == State::Idle
    }
}

/// What is pushed.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    Of(&'a Message),
    /// Encoded already.
    Encoded(&'a [u8]),
}

/// Appends length and frame. `Err`: longer than a frame may be, or more than `most` bytes with those that
/// are there; nothing was appended.
fn append(bytes: &mut Vec<u8>, frame: Frame<'_>, most: usize) -> Result<(), Pushed> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    match frame {
        Frame::Of(message) => message.encode_into(bytes),
        Frame::Encoded(frame) => bytes.extend_from_slice(frame),
    }
    let len = bytes.len() - start - 4;
    let fits = len <= FRAME_MAX && bytes.len() <= most;
    let Some(prefix) = u32::try_from(len).ok().filter(|_| fits) else {
        bytes.truncate(start);
        return Err(if len > FRAME_MAX { Pushed::TooLong(len) } else { Pushed::Dropped });
    };
    bytes[start..start + 4].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}

/// One peer, as those who send and read see it.
pub(super) struct Link {
    outboxes: [Outbox; 3],
    /// Milliseconds after the table's start at which a frame last came.
    heard_ms: AtomicU64,
    /// The same of the first ping that was sent since; as old as that or older if none was.
    asked_ms: AtomicU64,
    /// Whether a malformed frame of this peer has had its line in the log.
    pub warned: AtomicBool,
    /// Whether a message to it that was too long has had one.
    warned_of_length: AtomicBool,
}

impl Link {
    pub fn outbox(&self, class: Class) -> &Outbox {
        &self.outboxes[class as usize]
    }

    pub fn is_idle(&self) -> bool {
        self.outboxes.iter().all(Outbox::is_idle)
    }

    /// A line in the log, once.
    fn warn_of_length(&self, to: PeerId, class: Class, bytes: usize) {
        if !self.warned_of_length.swap(true, Ordering::Relaxed) {
            let (to, most) = (peer_text(&to), FRAME_MAX);
            let what = "a message is longer than may be sent: it will never arrive";
            tracing::error!(to, ?class, bytes, most, "{what}");
        }
    }
}

/// What the transport has carried since it started.
#[derive(Debug, Default)]
pub struct Stats {
    pub received: AtomicU64,
    /// Frames that found a full queue, or no way to their peer.
    pub dropped: AtomicU64,
    pub malformed: AtomicU64,
    /// Connections that were made, by either side.
    pub connections: AtomicU64,
    /// Frames that vanished in a cut.
    pub swallowed: AtomicU64,
}

impl Stats {
    pub(super) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// All links. Shared by those who send, the writers, the readers and the driver.
pub(super) struct Links {
    table: Mutex<BTreeMap<PeerId, Arc<Link>>>,
    commands: mpsc::Sender<Command>,
    pub gate: Gate,
    pub stats: Stats,
    queue_bytes: usize,
    start: Instant,
}

impl Links {
    pub fn new(commands: mpsc::Sender<Command>, gate: Gate, queue_bytes: usize) -> Self {
        let table = Mutex::new(BTreeMap::new());
        Self { table, commands, gate, stats: Stats::default(), queue_bytes, start: Instant::now() }
    }

    /// Never waits. What cannot be queued is dropped and counted.
    pub fn send(&self, to: PeerId, message: &Message) {
        self.send_frame(to, message, Frame::Of(message));
    }

    /// As `send`, to each of them; encoded once.
    pub fn send_to_all(&self, to: impl Iterator<Item = PeerId>, message: &Message) {
        let frame = message.encode();
        to.for_each(|peer| self.send_frame(peer, message, Frame::Encoded(&frame)));
    }

    fn send_frame(&self, to: PeerId, message: &Message, frame: Frame<'_>) {
        if self.gate.blocks(&to) {
            Stats::add(&self.stats.swallowed, 1);
            return;
        }
        let class = message.class();
        let pushed = match self.get_or_insert(to) {
            Some(link) => self.push(&link, to, class, message, frame),
            None => Pushed::Dropped,
        };
        if matches!(pushed, Pushed::Dropped | Pushed::TooLong(_)) {
            Stats::add(&self.stats.dropped, 1);
        }
    }

    fn push(&self, link: &Link, to: PeerId, class: Class, message: &Message, frame: Frame<'_>) -> Pushed {
        if is_ping(message) {
            self.asked(link);
        }
        let outbox = link.outbox(class);
        let mut pushed = outbox.push(frame);
        if let Pushed::TooLong(bytes) = pushed {
            link.warn_of_length(to, class, bytes);
        }
        if matches!(pushed, Pushed::Dropped | Pushed::TooLong(_))
            && let Some(refusal) = refusal_of(message)
        {
            pushed = outbox.push_refusal(Frame::Of(&refusal));
        }
        if pushed == Pushed::NeedsStream && !self.command(Command::Open { peer: to, class }) {
            Stats::add(&self.stats.dropped, link.outbox(class).give_up());
        }
        pushed
    }

    /// False: the driver is too far behind; nothing will be done.
    pub fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    pub async fn command_or_wait(&self, command: Command) {
        // An error means that the transport stops.
        let _ = self.commands.send(command).await;
    }

    pub fn get(&self, peer: &PeerId) -> Option<Arc<Link>> {
        lock(&self.table).get(peer).cloned()
    }

    /// `None`: the table is full.
    pub fn get_or_insert(&self, peer: PeerId) -> Option<Arc<Link>> {
        let mut table = lock(&self.table);
        if let Some(link) = table.get(&peer) {
            return Some(link.clone());
        }
        if table.len() >= LINKS_MAX {
            return None;
        }
        let outboxes = [(); 3].map(|()| Outbox::new(self.queue_bytes));
        let (heard_ms, asked_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        let [warned, warned_of_length] = [(); 2].map(|()| AtomicBool::new(false));
        let link = Link { outboxes, heard_ms, asked_ms, warned, warned_of_length };
        self.heard(&link);
        Some(table.entry(peer).or_insert(Arc::new(link)).clone())
    }

    /// Forgets those for whom nothing waits and who are not in `kept`.
    pub fn retain(&self, kept: impl Fn(&PeerId) -> bool) {
        lock(&self.table).retain(|peer, link| kept(peer) || !link.is_idle());
    }

    /// Forgets one for whom nothing waits.
    pub fn forget(&self, peer: &PeerId) {
        let mut table = lock(&self.table);
        if table.get(peer).is_some_and(|link| link.is_idle()) {
            table.remove(peer);
        }
    }

    pub fn heard(&self, link: &Link) {
        link.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn asked(&self, link: &Link) {
        if link.asked_ms.load(Ordering::Relaxed) <= link.heard_ms.load(Ordering::Relaxed) {
            link.asked_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// How long nothing has come, asked for or not.
    pub fn unheard_for(&self, link: &Link) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(link.heard_ms.load(Ordering::Relaxed)))
    }

    /// How long it has left a ping without an answer; one that nobody has pinged owes none.
    pub fn silent_for(&self, link: &Link) -> Duration {
        let (asked, heard) = (link.asked_ms.load(Ordering::Relaxed), link.heard_ms.load(Ordering::Relaxed));
        Duration::from_millis(if asked > heard { self.now_ms().saturating_sub(asked) } else { 0 })
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// Of an answer that has found no room, so that who waits for it need not wait in vain and take this peer for one that
/// is away. Only of what was read: what was written is not to be called undone.
fn refusal_of(message: &Message) -> Option<Message> {
    match message {
        Message::Call(Call::ReadSlice { op, .. } | Call::KeysFound { op, .. }) => {
            Some(Message::Call(Call::Refused { op: *op, why: Refusal::Busy }))
        }
        _ => None,
    }
}

fn is_ping(message: &Message) -> bool {
    matches!(message, Message::Gossip(Gossip { body: GossipBody::Ping { .. }, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_protocol::ids::OpId;
    use starling_protocol::member::View;

    fn gossip(body: GossipBody) -> Message {
        let (view, records, accusations) = (View::default(), Vec::new(), Vec::new());
        Message::Gossip(Gossip { view, records, accusations, sent: None, body })
    }

    fn ping(seq: u64) -> Message {
        gossip(GossipBody::Ping { seq })
    }

    #[test]
    fn frames_wait_in_order_with_their_lengths() {
        let outbox = Outbox::new(FRAME_MAX);
        assert_eq!(outbox.push(Frame::Of(&ping(1))), Pushed::NeedsStream);
        assert_eq!(outbox.push(Frame::Of(&ping(2))), Pushed::Waits);
        let stream = outbox.opened();
        let mut batch = Vec::new();
        assert_eq!(outbox.take(stream, &mut batch), Taken::Frames);
        for seq in [1, 2] {
            let (prefix, rest) = batch.split_first_chunk::<4>().unwrap();
            let (frame, rest) = rest.split_at(u32::from_be_bytes(*prefix) as usize);
            assert_eq!(Message::decode(frame).unwrap(), ping(seq));
            batch = rest.to_vec();
        }
        assert!(batch.is_empty());
        assert_eq!(outbox.take(stream, &mut batch), Taken::Nothing);
    }

    #[test]
    fn a_full_queue_drops_and_keeps_what_it_has() {
        let outbox = Outbox::new(FRAME_MAX);
        for seq in 0..QUEUE_FRAMES as u64 {
            assert_ne!(outbox.push(Frame::Of(&ping(seq))), Pushed::Dropped);
        }
        assert_eq!(outbox.push(Frame::Of(&ping(0))), Pushed::Dropped);
        assert_eq!(outbox.give_up(), QUEUE_FRAMES);
        assert_eq!(outbox.push(Frame::Of(&ping(0))), Pushed::NeedsStream);
    }

    #[test]
    fn what_is_longer_than_a_frame_is_told_from_what_finds_no_room() {
        let outbox = Outbox::new(100);
        let frame = vec![0; FRAME_MAX + 1];
        assert_eq!(outbox.push(Frame::Encoded(&frame)), Pushed::TooLong(FRAME_MAX + 1));
        assert_eq!(outbox.push(Frame::Encoded(&frame[1..])), Pushed::Dropped);
        assert_ne!(outbox.push(Frame::Of(&ping(1))), Pushed::Dropped);
    }

    #[test]
    fn bytes_that_wait_for_a_peer_are_bounded() {
        let outbox = Outbox::new(100);
        let pushed = std::iter::repeat_with(|| outbox.push(Frame::Of(&ping(1))));
        assert!((1..50).contains(&pushed.take_while(|pushed| *pushed != Pushed::Dropped).count()));
        assert!(lock(&outbox.inner).bytes.len() <= 100);
        outbox.clear();
        assert_ne!(outbox.push(Frame::Of(&ping(1))), Pushed::Dropped);
    }

    #[test]
    fn a_replaced_stream_takes_nothing_more() {
        let outbox = Outbox::new(FRAME_MAX);
        let first = outbox.opened();
        let second = outbox.opened();
        outbox.push(Frame::Of(&ping(1)));
        let mut batch = Vec::new();
        assert_eq!(outbox.take(first, &mut batch), Taken::Replaced);
        assert!(!outbox.lost(first), "what the first one lost is no matter of the second");
        assert_eq!(outbox.take(second, &mut batch), Taken::Frames);
    }

    #[test]
    fn a_lost_stream_is_asked_for_again_only_when_something_waits() {
        let outbox = Outbox::new(FRAME_MAX);
        let stream = outbox.opened();
        assert!(!outbox.lost(stream));
        assert_eq!(outbox.push(Frame::Of(&ping(1))), Pushed::NeedsStream);
        let stream = outbox.opened();
        assert!(outbox.lost(stream));
        assert!(outbox.needs_stream());
    }

    #[test]
    fn what_goes_to_all_is_the_frame_that_each_would_get() {
        let (commands, _driver) = mpsc::channel(9);
        let links = Links::new(commands, Gate::new(None), 1000);
        let peers = [1, 2, 3].map(PeerId::numbered);
        links.send(peers[0], &ping(7));
        links.send_to_all(peers[1..].iter().copied(), &ping(7));
        let waits = peers.map(|peer| {
            let (link, mut batch) = (links.get(&peer).unwrap(), Vec::new());
            let outbox = link.outbox(Class::Probe);
            assert_eq!(outbox.take(outbox.opened(), &mut batch), Taken::Frames);
            batch
        });
        assert!(!waits[0].is_empty() && waits.iter().all(|batch| *batch == waits[0]));
    }

    #[test]
    fn an_answer_that_finds_no_room_is_refused_and_not_passed_over() {
        let (commands, _driver) = mpsc::channel(9);
        let links = Links::new(commands, Gate::new(None), 1000);
        let to = PeerId::numbered(1);
        let found = |op, size| {
            let keys = vec![serde_bytes::ByteBuf::from(vec![7; size])];
            Message::Call(Call::KeysFound { op: OpId(op), keys, more: false })
        };
        links.send(to, &found(1, 900));
        for op in 2..2 + 8 * REFUSALS as u64 {
            links.send(to, &found(op, 900));
        }
        // What was written may not be called undone.
        links.send(to, &Message::Call(Call::Applied { ops: vec![OpId(9); 200], under: 0 }));
        let (link, mut batch) = (links.get(&to).unwrap(), Vec::new());
        let outbox = link.outbox(Class::Request);
        assert!(lock(&outbox.inner).frames > REFUSALS);
        assert_eq!(outbox.take(outbox.opened(), &mut batch), Taken::Frames);
        assert!(batch.len() <= 1000 + REFUSALS * REFUSAL_BYTES, "refusals are bounded, too");
        let (_, rest) = batch.split_at(4 + found(1, 900).encode().len());
        let (prefix, rest) = rest.split_first_chunk::<4>().unwrap();
        let refusal = Message::decode(&rest[..u32::from_be_bytes(*prefix) as usize]).unwrap();
        assert_eq!(refusal, Message::Call(Call::Refused { op: OpId(2), why: Refusal::Busy }));
        assert!(links.stats.dropped.load(Ordering::Relaxed) > 1, "those beyond that are");
    }

    #[test]
    fn silent_is_who_was_pinged_and_says_nothing() {
        let (commands, _driver) = mpsc::channel(9);
        let links = Links::new(commands, Gate::new(None), 1000);
        let (to, moment) = (PeerId::numbered(1), Duration::from_millis(5));
        let pass = || std::thread::sleep(moment);
        let link = links.get_or_insert(to).expect("there is room");
        pass();
        links.send(to, &gossip(GossipBody::Update));
        pass();
        assert!(links.unheard_for(&link) >= moment * 2);
        assert_eq!(links.silent_for(&link), Duration::ZERO, "an update asks for no answer");
        links.send(to, &ping(1));
        pass();
        links.send(to, &ping(2));
        pass();
        assert!(links.silent_for(&link) >= moment * 2, "since the first");
        links.heard(&link);
        assert_eq!(links.silent_for(&link), Duration::ZERO);
    }
}
