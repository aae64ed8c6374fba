//! Dialling: peers that somebody wants, and addresses that a person named.

use super::address;
use super::driver::{Driver, SWEEP};
use super::genesis::why;
use super::keys::{peer_text, to_libp2p};
use super::link::Stats;
use super::peers::Dial;
use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::Class;
use std::time::Duration;
use tokio::time::Instant;

/// How long other transports get before QUIC is tried as well (happy eyeballs, RFC 8305: 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);
/// How often an address that was named at the start is tried while nobody answers there.
const NAMED_RETRY_MAX: Duration = Duration::from_secs(5);

/// An address that a person named: who is there is not known yet.
pub(super) struct Named {
    pub addresses: Vec<Multiaddr>,
    tries: usize,
    next: Instant,
    /// The dial under way, or the connection that has not proved itself yet.
    pub attempt: Option<ConnectionId>,
}

impl Named {
    pub fn new(addresses: Vec<Multiaddr>) -> Self {
        Self { addresses, tries: 0, next: Instant::now(), attempt: None }
    }
}

impl Driver {
    pub(super) fn want(&mut self, peer: PeerId) {
        let entry = self.peer(peer);
        entry.wanted = true;
        entry.used_at = Some(Instant::now());
        if entry.dial.is_none() && entry.not_before <= Instant::now() {
            self.dial(peer, PeerCondition::DisconnectedAndNotDialing);
        }
    }

    /// When the next dial is due; if none is, when the next sweep will be at the latest.
    pub(super) fn due(&self) -> Instant {
        let peers = self.peers.iter().filter(|(id, _)| !self.blocked.contains(id));
        let peers = peers.filter_map(|(_, peer)| peer.due());
        let named = self.named.iter().filter(|named| named.attempt.is_none()).map(|named| named.next);
        peers.chain(named).min().unwrap_or_else(|| Instant::now() + SWEEP)
    }

    pub(super) fn dial_due(&mut self) {
        let now = Instant::now();
        let due = self
            .peers
            .iter()
            .filter(|(id, peer)| !self.blocked.contains(id) && peer.due().is_some_and(|due| due <= now));
        for peer in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            if self.peer(peer).dial.is_some() {
                self.dial_rest(peer);
            } else {
                self.dial(peer, PeerCondition::DisconnectedAndNotDialing);
            }
        }
        self.dial_named(now);
    }

    pub(super) fn dial(&mut self, peer: PeerId, condition: PeerCondition) {
        if self.blocked.contains(&peer) {
            return;
        }
        let begun = Instant::now();
        let (first, rest) = address::in_order(&self.peer(peer).addresses);
        self.peer(peer).dial = Some(Dial { begun, attempts: 0, rest, rest_at: begun + HEAD_START });
        if !self.attempt(peer, first, condition) {
            self.dial_rest(peer);
        }
    }

    fn dial_rest(&mut self, peer: PeerId) {
        let Some(dial) = &mut self.peer(peer).dial else { return };
        let rest = std::mem::take(&mut dial.rest);
        let connected = self.peer(peer).is_connected();
        let condition = if connected { PeerCondition::Always } else { PeerCondition::Disconnected };
        self.attempt(peer, rest, condition);
        self.dial_failed_if_over(peer);
    }

    /// False: nothing was begun.
    fn attempt(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, condition: PeerCondition) -> bool {
        if addresses.is_empty() {
            return false;
        }
        // From a port of its own: were it the one that we listen on, two peers that dial each other at
        // once would share one TCP connection, each the dialler of it, and wait for each other's handshake.
        let options = DialOpts::peer_id(to_libp2p(&peer)).addresses(addresses).condition(condition);
        let options = options.allocate_new_port().build();
        let begun = self.swarm.dial(options).is_ok();
        if let Some(dial) = self.peer(peer).dial.as_mut().filter(|_| begun) {
            dial.attempts += 1;
        }
        begun
    }

    pub(super) fn attempt_failed(&mut self, peer: PeerId, error: &DialError) {
        tracing::debug!(peer = peer_text(&peer), why = why(error), "a peer could not be reached");
        let Some(dial) = &mut self.peer(peer).dial else { return };
        dial.attempts = dial.attempts.saturating_sub(1);
        if dial.attempts == 0 && !dial.rest.is_empty() {
            self.dial_rest(peer);
            return;
        }
        self.dial_failed_if_over(peer);
    }

    fn dial_failed_if_over(&mut self, peer: PeerId) {
        let dial = &mut self.peer(peer).dial;
        if let Some(over) = dial.take_if(|dial| dial.attempts == 0 && dial.rest.is_empty()) {
            self.failed(peer, over.begun);
        }
    }

    /// No connection could be had: what waits is dropped, and the protocol is told. The wait until the
    /// next dial counts from the beginning of this one, which may have taken long enough.
    pub(super) fn failed(&mut self, peer: PeerId, begun: Instant) {
        let entry = self.peer(peer);
        entry.not_before = begun + entry.backoff.failed();
        if entry.is_connected() {
            return;
        }
        entry.wanted = false;
        self.give_up(&peer);
        self.tell(Input::Unreachable { peer });
    }

    pub(super) fn give_up(&self, peer: &PeerId) {
        let Some(link) = self.links.get(peer) else { return };
        for class in Class::ALL {
            Stats::add(&self.links.stats.dropped, link.outbox(class).give_up());
        }
    }

    fn dial_named(&mut self, now: Instant) {
        for named in self.named.iter_mut().filter(|named| named.attempt.is_none() && named.next <= now) {
            let address = named.addresses[named.tries % named.addresses.len()].clone();
            let options = DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build();
            let attempt = options.connection_id();
            named.tries += 1;
            let wait = Duration::from_millis(250).saturating_mul(named.tries as u32).min(NAMED_RETRY_MAX);
            named.next = now + wait;
            match self.swarm.dial(options) {
                Ok(()) => named.attempt = Some(attempt),
                Err(error) => tracing::debug!(%address, why = why(&error), "no dial"),
            }
        }
    }

    pub(super) fn named_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(at) = self.named.iter().position(|named| named.attempt == Some(connection)) else { return };
        if matches!(error, DialError::LocalPeerId { .. }) {
            self.named.remove(at);
            return;
        }
        let named = &mut self.named[at];
        named.attempt = None;
        if named.tries == 1 {
            let address = named.addresses[0].to_string();
            tracing::info!(address, why = why(error), "no answer yet from an address that was named");
        }
    }
}
