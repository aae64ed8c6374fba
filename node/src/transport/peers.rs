//! What the driver knows of each peer: connections, addresses, dials, streams that are being opened.

use super::admission::Saying;
use super::backoff::Backoff;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, Stream};
use starling_protocol::admission::certificate::Grant;
use starling_protocol::member::ADDRESSES_MAX;
use starling_protocol::message::Class;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Streams of one class that a peer may have open towards us: one, and another that replaces it.
const READERS_MAX: usize = 2;
/// Streams of frames that wait until their peer has been let in: one of each class. One more is dropped. Each
/// may hold what a peer sends without being read, 256 KiB.
const HELD_MAX: usize = 3;
/// Streams of the admission protocol that a peer may have open towards us; a new one ends the oldest.
const ANSWERS_MAX: usize = 4;
/// Streams of that protocol that are being opened; one more is not.
const SAYINGS_MAX: usize = 8;
/// How long the addresses of a peer without a connection are remembered. The member table has them too.
const KEPT: Duration = Duration::from_secs(600);

pub(super) struct Connection {
    pub id: ConnectionId,
    pub dialled: bool,
    pub since: Instant,
    /// It has long been silent. It is closed once another one has proved to work.
    pub doubted: bool,
}

pub(super) struct Peer {
    pub connections: Vec<Connection>,
    /// When the first of them came.
    pub connected_at: Instant,
    /// It has shown a certificate, and is content with ours.
    pub admitted: Option<Grant>,
    /// What came before it had.
    held: Vec<(Class, Stream)>,
    /// What is to be said on streams that are being opened.
    sayings: VecDeque<(ConnectionId, Saying)>,
    answers: VecDeque<AbortHandle>,
    /// The protocol has been told that it is connected.
    pub told: bool,
    pub addresses: Vec<Multiaddr>,
    pub backoff: Backoff,
    /// When it was last connected or wanted. `None`: a stranger, who is forgotten once gone.
    pub used_at: Option<Instant>,
    /// No dial before.
    pub not_before: Instant,
    /// Somebody wants a connection.
    pub wanted: bool,
    pub dial: Option<Dial>,
    /// Streams under way, and the connections that they are opened on.
    pub opening: [Option<ConnectionId>; 3],
    readers: [VecDeque<AbortHandle>; 3],
}

/// A dial under way.
pub(super) struct Dial {
    pub begun: Instant,
    /// Attempts that have neither succeeded nor failed.
    pub attempts: usize,
    /// What is tried when those have failed, or at the latest then.
    pub rest: Vec<Multiaddr>,
    pub rest_at: Instant,
}

impl Peer {
    pub fn new() -> Self {
        Self {
            connections: Vec::new(),
            connected_at: Instant::now(),
            admitted: None,
            held: Vec::new(),
            sayings: VecDeque::new(),
            answers: VecDeque::new(),
            told: false,
            addresses: Vec::new(),
            backoff: Backoff::default(),
            used_at: None,
            not_before: Instant::now(),
            wanted: false,
            dial: None,
            opening: [None; 3],
            readers: Default::default(),
        }
    }

    pub fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Doubts those made before `time`. Those that both sides have made at once since then are not.
    pub fn doubt_connections(&mut self, time: Instant) {
        for connection in self.connections.iter_mut().filter(|connection| connection.since < time) {
            connection.doubted = true;
            for opening in &mut self.opening {
                opening.take_if(|on| *on == connection.id);
            }
        }
    }

    /// Those that are not needed any more, now that this one works.
    pub fn take_doubted(&mut self, works: ConnectionId) -> Vec<Connection> {
        let is_doubted = |connection: &Connection| connection.doubted && connection.id != works;
        let (doubted, kept) = self.connections.drain(..).partition(is_doubted);
        self.connections = kept;
        self.connections.iter_mut().for_each(|connection| connection.doubted = false);
        doubted
    }

    /// Where to open a stream: the newest, for the older ones may have been replaced by it.
    pub fn best_connection(&self) -> Option<ConnectionId> {
        let newest = self.connections.iter().max_by_key(|connection| (!connection.doubted, connection.since));
        newest.map(|connection| connection.id)
    }

    pub fn is_forgettable(&self, now: Instant) -> bool {
        let is_idle = !self.is_connected() && !self.told && !self.wanted && self.dial.is_none();
        is_idle && self.used_at.is_none_or(|used_at| now - used_at > KEPT)
    }

    /// Puts these first; of what was known before, as much stays as there is room for.
    pub fn prefer(&mut self, addresses: Vec<Multiaddr>) {
        let before = std::mem::replace(&mut self.addresses, addresses);
        self.learn(before);
    }

    pub fn learn(&mut self, addresses: Vec<Multiaddr>) {
        for address in addresses {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// When the driver must look at this peer again, if ever.
    pub fn due(&self) -> Option<Instant> {
        match &self.dial {
            Some(dial) if dial.rest.is_empty() => None,
            Some(dial) => Some(dial.rest_at),
            None => (self.wanted && !self.is_connected()).then_some(self.not_before),
        }
    }

    /// False: too much is being said to it already.
    pub fn will_say(&mut self, on: ConnectionId, saying: Saying) -> bool {
        let has_room = self.sayings.len() < SAYINGS_MAX;
        if has_room {
            self.sayings.push_back((on, saying));
        }
        has_room
    }

    pub fn take_saying(&mut self, on: ConnectionId) -> Option<Saying> {
        let at = self.sayings.iter().position(|(connection, _)| *connection == on)?;
        self.sayings.remove(at).map(|(_, saying)| saying)
    }

    pub fn hold(&mut self, class: Class, stream: Stream) {
        if self.held.len() < HELD_MAX {
            self.held.push((class, stream));
        }
    }

    pub fn take_held(&mut self) -> Vec<(Class, Stream)> {
        std::mem::take(&mut self.held)
    }

    /// The last connection is gone, and with it all that was about it.
    pub fn parted(&mut self) -> Option<Grant> {
        self.held.clear();
        self.sayings.clear();
        self.answers.drain(..).for_each(|answer| answer.abort());
        self.admitted.take()
    }

    pub fn add_answer(&mut self, answer: AbortHandle) {
        self.answers.retain(|answer| !answer.is_finished());
        if self.answers.len() == ANSWERS_MAX {
            self.answers.pop_front().inspect(AbortHandle::abort);
        }
        self.answers.push_back(answer);
    }

    /// The newest wins: a peer that opens another stream has given up on the old one.
    pub fn add_reader(&mut self, class: Class, reader: AbortHandle) {
        let readers = &mut self.readers[class as usize];
        readers.retain(|reader| !reader.is_finished());
        if readers.len() == READERS_MAX {
            readers.pop_front().inspect(AbortHandle::abort);
        }
        readers.push_back(reader);
    }
}
