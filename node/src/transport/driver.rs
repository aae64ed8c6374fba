//! The one task that owns libp2p's swarm: it dials, opens and accepts streams, and tells the protocol
//! who is connected.

use super::Inputs;
use super::address;
use super::admission::{Desk, Told};
use super::dialling::Named;
use super::finds::Finds;
use super::frames;
use super::genesis::{Teller, innermost};
use super::guard::Insiders;
use super::keys::{from_libp2p, peer_text, to_libp2p};
use super::link::{LINKS_MAX, Links, Stats};
use super::paths::Paths;
use super::peers::{Connection, Peer};
use super::places::{Origin, origin};
use super::reachability::Reach;
use super::streams::{Event, OpenError, Purpose};
use super::swarm::{Behaviour, BehaviourEvent};
use futures::StreamExt;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, Stream, Swarm, identify, mdns};
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::Class;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What others ask of the driver. At most this many wait.
pub(super) const COMMANDS_MAX: usize = 4096;
/// How often idle peers, strangers and finds on the LAN are looked through.
pub(super) const SWEEP: Duration = Duration::from_secs(5);
/// Two peers that dial each other within this time did so at once: neither has lost a connection.
pub(super) const AT_ONCE: Duration = Duration::from_secs(2);
/// Most foreign peers, most that were turned away, and most peers found on the LAN, that are remembered; of more, the
/// newest are not.
pub(super) const REMEMBERED_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Command {
    /// Frames of this class wait for this peer.
    Open {
        peer: PeerId,
        class: Class,
    },
    Connect {
        peer: PeerId,
        addresses: Vec<String>,
    },
}

pub(super) type Happening = SwarmEvent<BehaviourEvent>;

pub(super) struct Driver {
    pub swarm: Swarm<Behaviour>,
    pub me: PeerId,
    pub links: Arc<Links>,
    pub commands: mpsc::Receiver<Command>,
    pub inputs: Inputs,
    pub listening: watch::Sender<Vec<String>>,
    pub teller: Teller,
    pub desk: Desk,
    pub verdicts: mpsc::Receiver<Told>,
    /// Changes when revocations come.
    pub revoked: watch::Receiver<u64>,
    /// Sweeps since then, or since a peer was let in.
    pub quiet_sweeps: u32,
    pub silence: Duration,
    /// `Limits::strangers`.
    pub strangers_max: usize,
    pub named: Vec<Named>,
    pub peers: BTreeMap<PeerId, Peer>,
    pub foreign: BTreeMap<PeerId, Instant>,
    /// Who was refused, and has had a line in the log for it.
    pub turned_away: BTreeSet<PeerId>,
    pub found: Finds,
    /// Dials that this peer has begun itself, not one of libp2p's behaviours.
    pub own_dials: HashSet<ConnectionId>,
    /// Connections that a behaviour has made for a question of its own; nothing else is said on them.
    pub asides: BTreeMap<ConnectionId, Connection>,
    pub insiders: Insiders,
    pub reach: Reach,
    pub paths: Paths,
    pub blocked: BTreeSet<PeerId>,
    /// What the event loop is to be told next.
    pub news: Vec<Input>,
}

impl Driver {
    /// Until the other end of `stop` is dropped. `early` happened before the driver ran.
    pub async fn run(mut self, early: Vec<Happening>, mut stop: mpsc::Receiver<()>) {
        for event in early {
            self.happened(event);
        }
        self.begin_reach();
        let mut gate = self.links.gate.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            self.pass_on_news().await;
            let due = self.due();
            tokio::select! {
                event = self.swarm.select_next_some() => self.happened(event),
                Some(command) = self.commands.recv() => self.asked(command),
                Some(told) = self.verdicts.recv() => self.told(told),
                Ok(()) = self.revoked.changed() => self.revocations_changed(),
                () = gate.changed() => self.gate_changed(),
                () = sleep_until(due) => self.dial_due(),
                _ = sweep.tick() => self.sweep(),
                _ = stop.recv() => return,
            }
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.news.push(input);
    }

    /// Waits while the event loop is behind; nothing that it does waits for the driver.
    async fn pass_on_news(&mut self) {
        if !self.news.is_empty() {
            // False means that the event loop has stopped; `stop` follows.
            self.inputs.urgent.send(std::mem::take(&mut self.news), 0).await;
        }
    }

    pub(super) fn peer(&mut self, peer: PeerId) -> &mut Peer {
        self.peers.entry(peer).or_insert_with(Peer::new)
    }

    // What others ask.

    fn asked(&mut self, command: Command) {
        match command {
            Command::Open { peer, class } => self.open_wanted(peer, class),
            Command::Connect { peer, addresses } => self.connect(peer, &addresses),
        }
    }

    fn open_wanted(&mut self, peer: PeerId, class: Class) {
        if !self.peer(peer).is_connected() {
            self.want(peer);
        } else if self.links.get(&peer).is_some_and(|link| link.outbox(class).needs_stream()) {
            self.open(peer, class);
        }
    }

    fn connect(&mut self, peer: PeerId, addresses: &[String]) {
        let full = self.peers.len() >= LINKS_MAX && !self.peers.contains_key(&peer);
        if peer == self.me || full || self.blocked.contains(&peer) {
            return;
        }
        let addresses = address::from_others(addresses);
        if !addresses.is_empty() {
            self.peer(peer).prefer(addresses);
        }
        if !self.peer(peer).is_connected() {
            self.want(peer);
        } else if (self.is_silent(&peer) || self.may_be_gone(&peer)) && self.peer(peer).dial.is_none() {
            tracing::debug!(peer = peer_text(&peer), "a peer is silent; trying another connection");
            self.dial(peer);
        }
    }

    pub(super) fn is_silent(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_none_or(|link| self.links.silent_for(&link) > self.silence)
    }

    // Connections.

    fn happened(&mut self, event: Happening) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(peer_id, connection_id, endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                self.dial_ended(peer_id.and_then(|peer| from_libp2p(&peer)), connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(%error, "somebody tried to connect and could not");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.listens_at(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listens_no_more_at(&address),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.listener_closed(listener_id, &addresses, reason.err());
            }
            SwarmEvent::ListenerError { error, .. } => {
                let why = innermost(&error);
                tracing::error!(why, "an address of this peer takes no connections for now");
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.is_reached_at(address),
            SwarmEvent::ExternalAddrExpired { address } => self.is_reached_no_more_at(&address),
            _ => {}
        }
    }

    // Streams.

    pub(super) fn open(&mut self, peer: PeerId, class: Class) {
        let entry = self.peer(peer);
        if entry.admitted.is_none() || entry.opening[class as usize].is_some() {
            return;
        }
        let Some(connection) = entry.best_connection() else { return };
        entry.opening[class as usize] = Some(connection);
        let streams = &mut self.swarm.behaviour_mut().streams;
        streams.open(to_libp2p(&peer), connection, Purpose::Frames(class));
    }

    fn stream_event(&mut self, event: Event) {
        match event {
            Event::Accepted { peer, connection, purpose, stream } => {
                let Some(peer) = from_libp2p(&peer) else { return };
                match purpose {
                    Purpose::Frames(class) => self.accepted(peer, class, stream),
                    _ if self.blocked.contains(&peer) => {}
                    Purpose::Admission => {
                        self.take_up(peer, connection);
                        self.spoken_to(peer, connection, stream);
                    }
                    Purpose::Join => self.desk.newcomer(stream, peer, self.origin_of(&peer, connection)),
                    Purpose::Genesis => self.teller.tell(stream),
                }
            }
            Event::Opened { peer, connection, purpose, result } => {
                let Some(peer) = from_libp2p(&peer) else { return };
                match purpose {
                    Purpose::Frames(class) => self.opened(peer, connection, class, result),
                    Purpose::Admission => self.may_say(peer, connection, result),
                    Purpose::Join | Purpose::Genesis => {}
                }
            }
        }
    }

    fn origin_of(&self, peer: &PeerId, connection: ConnectionId) -> Origin {
        let mut connections = self.peers.get(peer)?.connections.iter();
        origin(&connections.find(|known| known.id == connection)?.remote)
    }

    /// Nothing is read of a peer that has not been let in: it may be about to.
    pub(super) fn accepted(&mut self, peer: PeerId, class: Class, stream: Stream) {
        let entry = self.peer(peer);
        if entry.admitted.is_none() {
            return entry.hold(class, stream);
        }
        let (links, queue) = (self.links.clone(), self.inputs.of(class).clone());
        let admission = self.desk.admission.clone();
        let reader = frames::read(stream, peer, class, links, queue, admission);
        let reader = tokio::spawn(reader).abort_handle();
        self.peer(peer).add_reader(class, reader);
    }

    fn opened(&mut self, peer: PeerId, on: ConnectionId, class: Class, result: Result<Stream, OpenError>) {
        if self.peer(peer).opening[class as usize].take_if(|opening| *opening == on).is_none() {
            // Another connection has been preferred meanwhile.
            return;
        }
        let Some(link) = self.links.get_or_insert(peer) else { return };
        match result {
            Ok(_) if self.peer(peer).admitted.is_none() => {}
            Ok(stream) => {
                let number = link.outbox(class).opened();
                tokio::spawn(frames::write(stream, number, peer, class, self.links.clone()));
                self.works(peer, on);
            }
            Err(OpenError::Unsupported) => self.is_foreign(peer, on),
            Err(OpenError::Failed) => Stats::add(&self.links.stats.dropped, link.outbox(class).give_up()),
        }
    }

    // Hints and housekeeping.

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(event) => self.stream_event(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, connection_id, info }) => {
                let Some(peer) = from_libp2p(&peer_id) else { return };
                self.identified(peer, connection_id, info);
            }
            BehaviourEvent::Nat(event) => self.nat_event(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.discovered(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(gone)) => {
                for (peer, address) in gone {
                    from_libp2p(&peer).into_iter().for_each(|peer| self.found.remove(&peer, address.clone()));
                }
            }
            _ => {}
        }
    }

    fn discovered(&mut self, found: Vec<(libp2p::PeerId, Multiaddr)>) {
        let mut news = BTreeSet::new();
        for (peer, address) in found {
            let Some(peer) = from_libp2p(&peer).filter(|peer| *peer != self.me) else { continue };
            if self.found.insert(peer, address) {
                news.insert(peer);
            }
        }
        for peer in news {
            self.tell_found(peer);
        }
    }

    fn tell_found(&mut self, peer: PeerId) {
        let hidden = self.blocked.contains(&peer) || self.foreign.contains_key(&peer);
        if hidden || self.peers.get(&peer).is_some_and(Peer::is_connected) {
            return;
        }
        let addresses = self.found.of(&peer);
        if addresses.is_empty() || !self.found.may_tell(peer) {
            return;
        }
        self.tell(Input::Discovered { peer, addresses });
    }

    fn gate_changed(&mut self) {
        let before = std::mem::replace(&mut self.blocked, self.links.gate.blocked());
        for peer in &self.blocked {
            if let Some(link) = self.links.get(peer) {
                Class::ALL.iter().for_each(|class| link.outbox(*class).clear());
            }
        }
        for peer in before.difference(&self.blocked.clone()) {
            let entry = self.peer(*peer);
            entry.backoff.reset();
            entry.not_before = Instant::now();
            self.tell_connection(*peer);
            self.tell_found(*peer);
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        self.foreign.retain(|_, until| *until > now);
        self.sweep_strangers(now);
        self.sweep_certificates();
        self.sweep_connections(now);
        self.peers.retain(|_, peer| !peer.is_forgettable(now));
        let peers = &self.peers;
        self.links.retain(|peer| peers.contains_key(peer));
        for peer in self.found.in_turn() {
            self.tell_found(peer);
        }
        self.take_relays();
    }
}
