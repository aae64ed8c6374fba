//! What the driver knows of each peer: connections, addresses, dials, streams that are being opened.

use super::address::Stage;
use super::admission::Saying;
use super::backoff::Backoff;
use super::paths::Way;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, Stream};
use starling_protocol::admission::certificate::Grant;
use starling_protocol::member::ADDRESSES_MAX;
use starling_protocol::message::Class;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Streams of one class that a peer may have open towards us: one, and another that replaces it.
const READERS_MAX: usize = 2;
/// Streams of frames that wait until their peer has been let in: one of each class. One more is dropped. Each
/// may hold what a peer sends without being read: 256 KiB over TCP, 2 MiB over QUIC, and all of them 4 MiB there.
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
    /// Certificates are shown over it, or are about to be. One that others made only to see whether this
    /// peer can be reached never speaks.
    pub speaks: bool,
    pub way: Way,
    /// Where the other side is, or the relay that leads to it.
    pub remote: Multiaddr,
}

impl Connection {
    pub fn is_relayed(&self) -> bool {
        matches!(self.way, Way::Relayed(_))
    }
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
    /// The machine at which it had its last direct connection, once it had been let in.
    pub last_at: Option<IpAddr>,
    /// What it has said of itself and of us, and over which connection.
    pub seen: Option<Seen>,
    /// Holes that could not be punched since the last direct connection.
    pub punches_failed: u32,
    /// When to ask for another hole, and how often that was done.
    pub punch_at: Option<Instant>,
    pub punches: u32,
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

/// What a peer has said of itself and of us.
pub(super) struct Seen {
    pub over: ConnectionId,
    /// Where it sees this peer.
    pub us: Multiaddr,
    /// It relays for others.
    pub relays: bool,
}

/// A dial under way.
pub(super) struct Dial {
    pub begun: Instant,
    /// Those that have neither succeeded nor failed.
    pub attempts: Vec<ConnectionId>,
    /// What is tried when those have failed, or at the latest when its time has come.
    pub rest: VecDeque<Stage>,
    /// One address is tried twice.
    pub is_again: bool,
}

impl Dial {
    pub fn due(&self) -> Option<Instant> {
        self.rest.front().map(|stage| self.begun + stage.after)
    }
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
            last_at: None,
            seen: None,
            punches_failed: 0,
            punch_at: None,
            punches: 0,
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
        self.doubt(|connection| connection.since < time);
    }

    pub fn doubt(&mut self, which: impl Fn(&Connection) -> bool) {
        for connection in self.connections.iter_mut().filter(|connection| which(connection)) {
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

    /// Where to open a stream: the newest of the direct ones, for the older may have been replaced by it.
    pub fn best(&self) -> Option<&Connection> {
        let speaking = self.connections.iter().filter(|connection| connection.speaks);
        speaking.max_by_key(|connection| (!connection.doubted, !connection.is_relayed(), connection.since))
    }

    pub fn best_connection(&self) -> Option<ConnectionId> {
        self.best().map(|connection| connection.id)
    }

    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    pub fn has_direct(&self) -> bool {
        self.connections.iter().any(|connection| connection.speaks && !connection.is_relayed())
    }

    pub fn has_relayed(&self) -> bool {
        self.connections.iter().any(Connection::is_relayed)
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
            Some(dial) => dial.due(),
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

    /// Nothing that it says counts any more, though its connections may take a while to close.
    pub fn put_out(&mut self) {
        self.parted();
        self.readers.iter_mut().flat_map(|readers| readers.drain(..)).for_each(|reader| reader.abort());
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
