//! Dialling: peers that somebody wants, and addresses that a person named.

use super::address::{self, Stage};
use super::driver::{Driver, SWEEP};
use super::genesis::{innermost, why};
use super::keys::{peer_text, to_libp2p};
use super::link::Stats;
use super::peers::{Connection, Dial};
use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::Class;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How often an address that was named at the start is tried while nobody answers there.
const NAMED_RETRY_MAX: Duration = Duration::from_secs(5);
/// The same once somebody has answered there, and is lost: a name may lead to another address by now, or to another
/// peer. The peer itself is dialled where it was as well.
const NAMED_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Silence that is worth a question, of one that is in doubt: the period in which somebody probes each that is.
const DOUBTFUL: Duration = Duration::from_millis(500);

/// How long a machine may take to end a process.
const AGAIN: Duration = Duration::from_millis(100);
/// How a connection ends that was taken for a process which then ended.
const BROKEN: [&str; 3] = ["reset", "broken pipe", "end of file"];

/// An address that a person named, and who was there, if anybody has answered yet.
pub(super) struct Named {
    pub addresses: Vec<Multiaddr>,
    led_to: Option<PeerId>,
    tries: usize,
    next: Instant,
    /// The dials under way, and connections that have not proved themselves yet.
    pub attempts: Vec<ConnectionId>,
}

impl Named {
    pub fn new(addresses: Vec<Multiaddr>) -> Self {
        let addresses = address::in_order(&addresses).into_iter().flat_map(|stage| stage.addresses).collect();
        Self { addresses, led_to: None, tries: 0, next: Instant::now(), attempts: Vec::new() }
    }

    /// This peer is there. While it stays connected nobody needs to be looked for.
    pub fn leads_to(&mut self, peer: PeerId) {
        (self.led_to, self.tries, self.next) = (Some(peer), 0, Instant::now());
        self.attempts.clear();
    }

    /// One of ours was there once, and may be again.
    pub fn has_led(&self) -> bool {
        self.led_to.is_some()
    }

    fn wait(&self) -> Duration {
        let rounds = (self.tries / self.addresses.len()).max(1) as u32;
        let most = if self.led_to.is_some() { NAMED_AGAIN_MAX } else { NAMED_RETRY_MAX };
        address::HEAD_START.saturating_mul(rounds).min(most)
    }

    /// The addresses get a head start each; then all are tried again, once every dial has failed.
    fn due(&self) -> Option<Instant> {
        let is_over = self.tries.is_multiple_of(self.addresses.len());
        (!is_over || self.attempts.is_empty()).then_some(self.next)
    }
}

impl Driver {
    pub(super) fn want(&mut self, peer: PeerId) {
        let entry = self.peer(peer);
        entry.wanted = true;
        entry.used_at = Some(Instant::now());
        if entry.dial.is_none() && entry.not_before <= Instant::now() {
            self.dial(peer);
        }
    }

    /// When the next dial is due; if none is, when the next sweep will be at the latest.
    pub(super) fn due(&self) -> Instant {
        let peers = self.peers.iter().filter(|(id, _)| !self.blocked.contains(id));
        let peers = peers.filter_map(|(_, peer)| peer.due());
        let named = self.named.iter().filter(|named| self.is_sought(named)).filter_map(Named::due);
        peers.chain(named).min().unwrap_or_else(|| Instant::now() + SWEEP)
    }

    fn is_sought(&self, named: &Named) -> bool {
        let entry = named.led_to.and_then(|peer| self.peers.get(&peer));
        !entry.is_some_and(|entry| entry.is_connected())
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
                self.dial(peer);
            }
        }
        self.dial_named(now);
    }

    pub(super) fn dial(&mut self, peer: PeerId) {
        if self.blocked.contains(&peer) {
            return;
        }
        // Nobody is reached through oneself.
        let me = Some(to_libp2p(&self.me));
        let addresses = self.peer(peer).addresses.iter().filter(|address| address::relay_of(address) != me);
        let rest = address::in_order(&addresses.cloned().collect::<Vec<_>>());
        self.peer(peer).dial =
            Some(Dial { begun: Instant::now(), attempts: Vec::new(), rest, is_again: false });
        self.dial_next(peer);
        self.dial_rest(peer);
    }

    /// Those whose time has come; the next ones at once where nothing is under way.
    fn dial_rest(&mut self, peer: PeerId) {
        let now = Instant::now();
        while let Some(dial) = &self.peer(peer).dial {
            let is_due = dial.due().is_some_and(|due| due <= now || dial.attempts.is_empty());
            if !is_due {
                break;
            }
            self.dial_next(peer);
        }
        self.dial_failed_if_over(peer);
    }

    /// Whether libp2p thinks that it is connected is no matter: it counts connections that are given up and cannot be
    /// closed yet.
    fn dial_next(&mut self, peer: PeerId) {
        let Some(stage) = self.peer(peer).dial.as_mut().and_then(|dial| dial.rest.pop_front()) else {
            return;
        };
        let options = DialOpts::peer_id(to_libp2p(&peer)).addresses(stage.addresses);
        let options = options.condition(PeerCondition::Always);
        let options = if stage.own_port { options } else { options.allocate_new_port() }.build();
        let attempt = options.connection_id();
        if self.swarm.dial(options).is_err() {
            return;
        }
        self.own_dials.insert(attempt);
        if let Some(dial) = &mut self.peer(peer).dial {
            dial.attempts.push(attempt);
        }
    }

    /// A dial has failed: one of ours, or one by which a behaviour has tried something.
    pub(super) fn dial_ended(&mut self, peer: Option<PeerId>, attempt: ConnectionId, error: &DialError) {
        let is_own = self.own_dials.remove(&attempt);
        match peer {
            _ if self.named.iter().any(|named| named.attempts.contains(&attempt)) => {
                self.named_failed(attempt, error);
            }
            Some(peer) if is_own => self.attempt_failed(peer, attempt, error),
            Some(peer) => self.punch_failed(peer, error),
            None => {}
        }
    }

    fn attempt_failed(&mut self, peer: PeerId, attempt: ConnectionId, error: &DialError) {
        tracing::debug!(peer = peer_text(&peer), why = why(error), "a peer could not be reached");
        self.tell_if_refused(peer, error);
        self.ask_again(peer, error);
        let Some(dial) = &mut self.peer(peer).dial else { return };
        dial.attempts.retain(|other| *other != attempt);
        self.dial_rest(peer);
    }

    /// A paused or busy process still has its connections taken by its machine. One that refuses them at the
    /// address where the peer was says that its process is gone, and need not be waited for.
    fn tell_if_refused(&mut self, peer: PeerId, error: &DialError) {
        let Some(entry) = self.peers.get(&peer) else { return };
        let at = match entry.connections.first() {
            Some(connection) => address::ip(&connection.remote).filter(|_| self.may_be_gone(&peer)),
            None => entry.last_at,
        };
        if at.is_some_and(|at| refusing(error).any(|ip| ip == at)) {
            self.close_all(peer);
            self.tell(Input::Refused { peer });
        }
    }

    /// A machine that is just ending the process breaks what it had taken for it, and refuses a moment later.
    /// What is tried next is not waited for, which may take until its timeout.
    fn ask_again(&mut self, peer: PeerId, error: &DialError) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let last_at = entry.last_at;
        let Some(dial) = entry.dial.as_mut().filter(|dial| !dial.is_again && last_at.is_some()) else {
            return;
        };
        let broken = failures(error).filter(|(at, _)| address::ip(at) == last_at);
        let broken = broken.filter(|(_, why)| BROKEN.iter().any(|words| innermost(why).contains(words)));
        let addresses: Vec<_> = broken.map(|(at, _)| address::without_peer(at.clone())).collect();
        if !addresses.is_empty() {
            dial.is_again = true;
            let stage = Stage { after: dial.begun.elapsed() + AGAIN, addresses, own_port: false };
            dial.rest.insert(dial.rest.len().min(1), stage);
        }
    }

    /// A killed process ends its QUIC connections without a word; whether it still listens over TCP is asked
    /// once it has been silent for a while. Not over the internet, where a NAT may forward one and not the other.
    pub(super) fn may_be_gone(&self, peer: &PeerId) -> bool {
        let Some(entry) = self.peers.get(peer).filter(|entry| entry.is_connected()) else { return false };
        let says_nothing = |at: &Connection| {
            !at.is_relayed() && address::is_quic(&at.remote) && !address::is_global(&at.remote)
        };
        let silent = self.links.get(peer).is_none_or(|link| self.links.unheard_for(&link) > DOUBTFUL);
        silent && entry.connections.iter().all(says_nothing)
    }

    fn dial_failed_if_over(&mut self, peer: PeerId) {
        let dial = &mut self.peer(peer).dial;
        if let Some(over) = dial.take_if(|dial| dial.attempts.is_empty() && dial.rest.is_empty()) {
            self.failed(peer, over.begun);
        }
    }

    /// No connection could be had: what waits is dropped, and the protocol is told. The wait until the
    /// next dial counts from the beginning of this one, which may have taken long enough.
    pub(super) fn failed(&mut self, peer: PeerId, begun: Instant) {
        let entry = self.peer(peer);
        entry.not_before = begun + entry.backoff.failed();
        if entry.is_connected() {
            if self.is_lost_relay(&peer) {
                self.close_all(peer);
            }
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
        let is_due = |named: &Named| named.due().is_some_and(|due| due <= now) && self.is_sought(named);
        let due: Vec<_> = (0..self.named.len()).filter(|at| is_due(&self.named[*at])).collect();
        for at in due {
            let named = &mut self.named[at];
            let address = named.addresses[named.tries % named.addresses.len()].clone();
            let options = DialOpts::unknown_peer_id().address(address.clone());
            let own_port = address::is_quic(&address) && address::is_global(&address);
            let options = if own_port { options } else { options.allocate_new_port() }.build();
            let attempt = options.connection_id();
            named.tries += 1;
            named.next = now + named.wait();
            match self.swarm.dial(options) {
                Ok(()) => {
                    named.attempts.push(attempt);
                    self.own_dials.insert(attempt);
                }
                Err(error) => tracing::debug!(%address, why = why(&error), "no dial"),
            }
        }
    }

    fn named_failed(&mut self, attempt: ConnectionId, error: &DialError) {
        let Some(at) = self.named.iter().position(|named| named.attempts.contains(&attempt)) else { return };
        let named = &mut self.named[at];
        // It leads to this peer itself. Where it has led to another it may do so again.
        if matches!(error, DialError::LocalPeerId { .. }) && named.led_to.is_none() {
            self.named.remove(at);
            return;
        }
        named.attempts.retain(|other| *other != attempt);
        if named.tries == 1 {
            let address = named.addresses[0].to_string();
            tracing::info!(address, why = why(error), "no answer yet from an address that was named");
        }
    }
}

fn failures(error: &DialError) -> impl Iterator<Item = &(Multiaddr, TransportError<io::Error>)> {
    let failures = if let DialError::Transport(failures) = error { failures.as_slice() } else { &[] };
    failures.iter().filter(|(at, _)| !address::is_relayed(at))
}

/// The machines that have said that nobody listens there. The kind of the error is lost in the layers above
/// it; every system's words for ECONNREFUSED have this one in them.
fn refusing(error: &DialError) -> impl Iterator<Item = IpAddr> {
    failures(error)
        .filter(|(_, why)| innermost(why).contains("refused"))
        .filter_map(|(at, _)| address::ip(at))
}
