//! How others reach this peer: what they have seen of it, what the router opened, and who relays for it.

use super::address;
use super::backoff::Backoff;
use super::driver::Driver;
use super::genesis::innermost;
use super::keys::{from_libp2p, peer_text, to_libp2p};
use super::nat::{BehaviourEvent, NatOptions, Serve};
use super::paths::{Reachability, Router, Way};
use super::peers::{Connection, Peer, Seen};
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, autonat, identify, relay, upnp};
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::member::ADDRESS_LEN_MAX;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Relays that take connections for this peer at once: when one goes, the other is there.
const RELAYS: usize = 2;
/// Most addresses from outside; a new one takes the place of the oldest.
const EXTERNAL_MAX: usize = 8;
/// Most addresses that are tried until the next move; of more, the newest are not.
const SUGGESTED_MAX: usize = 32;
/// An interface that gets an address so soon after it lost one has moved.
const MOVING: Duration = Duration::from_secs(60);

/// What is known of the ways to this peer.
#[derive(Default)]
pub(super) struct Reach {
    /// Off: it listens on loopback only, and there is no NAT on the way.
    is_on: bool,
    /// By the word of a person.
    given: Vec<Multiaddr>,
    /// Where it was reached from outside.
    external: VecDeque<Multiaddr>,
    /// Addresses that were tried for punching and by AutoNAT.
    suggested: BTreeSet<Multiaddr>,
    /// Peers that see it under an address that is none of this machine: there is a NAT between.
    behind: BTreeMap<PeerId, Multiaddr>,
    /// Reservations, had or asked for.
    relays: BTreeMap<PeerId, ListenerId>,
    /// Relays that have refused or gone, and when to ask again.
    refused: BTreeMap<PeerId, (Backoff, Instant)>,
    serves: bool,
    router: Option<Router>,
    /// Others cannot reach it at an address of its own.
    walled: bool,
    /// When this machine last lost an address.
    pub moved_at: Option<Instant>,
}

impl Reach {
    pub fn new(options: &NatOptions, is_on: bool) -> Self {
        Self {
            is_on,
            given: options.external.clone(),
            serves: options.relay == Serve::Yes,
            ..Self::default()
        }
    }

    fn is_public(&self) -> bool {
        !self.given.is_empty() || self.external.iter().any(address::is_global)
    }

    /// Those of the internet first.
    fn external(&self) -> Vec<&Multiaddr> {
        let mut all: Vec<_> = self.given.iter().chain(&self.external).collect();
        all.sort_by_key(|address| !address::is_global(address));
        all
    }
}

impl Driver {
    /// What a person has said counts from the start.
    pub(super) fn begin_reach(&mut self) {
        for address in self.reach.given.clone() {
            self.swarm.add_external_address(address);
        }
        if self.reach.serves || !self.reach.given.is_empty() {
            self.serve();
        }
        self.tell_listening();
    }

    fn serve(&mut self) {
        if let Some(nat) = self.swarm.behaviour_mut().nat.as_mut() {
            nat.serve();
            self.reach.serves = nat.relay.is_enabled();
        }
    }

    /// Tells the protocol, and so all others, where this peer is reached.
    pub(super) fn tell_listening(&mut self) {
        let listening: Vec<_> = self.swarm.listeners().flat_map(|at| self.ways_to(at)).collect();
        let addresses = address::to_tell(self.reach.external().into_iter(), listening.iter());
        self.note_reach();
        if *self.listening.borrow() != addresses {
            self.listening.send_replace(addresses.clone());
            self.tell(Input::Listening { addresses });
        }
    }

    fn ways_to(&self, listening: &Multiaddr) -> Vec<Multiaddr> {
        let relay = address::relay_of(listening).filter(|_| address::is_relayed(listening));
        match relay.and_then(|relay| self.peers.get(&from_libp2p(&relay)?)) {
            Some(relay) => address::ways_through(listening, &relay.addresses),
            None => vec![listening.clone()],
        }
    }

    fn note_reach(&self) {
        let Reach { behind, serves, router, walled, .. } = &self.reach;
        let relayed: BTreeSet<_> = self.swarm.listeners().filter_map(address::relay_of).collect();
        let relays = self.reach.relays.keys().filter(|relay| relayed.contains(&to_libp2p(relay)));
        self.paths.tell_reachability(Reachability {
            external: self.reach.external().into_iter().map(Multiaddr::to_string).collect(),
            is_public: self.reach.is_public(),
            seen_as: behind.values().next().map(Multiaddr::to_string),
            relays: relays.copied().collect(),
            is_walled: *walled,
            serves: *serves,
            router: *router,
        });
    }

    // What others see.

    pub(super) fn identified(&mut self, peer: PeerId, over: ConnectionId, info: identify::Info) {
        let relays = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        let addresses = info.listen_addrs.into_iter().map(address::without_peer);
        let entry = self.peer(peer);
        entry.learn(address::of_use(addresses));
        let Some(connection) = entry.connection(over) else { return };
        let is_better = match &entry.seen {
            Some(seen) => connection.dialled || entry.connection(seen.over).is_none(),
            None => true,
        };
        if is_better && !connection.is_relayed() {
            entry.seen = Some(Seen { over, us: address::without_peer(info.observed_addr), relays });
        }
        entry.seen.iter_mut().for_each(|seen| seen.relays = relays);
        self.consider(peer);
    }

    /// What a member has seen of us: whom we have dialled sees through which NAT we came; who has dialled
    /// us has reached us.
    pub(super) fn consider(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get(&peer).filter(|_| self.reach.is_on) else { return };
        let Some(seen) = entry.seen.as_ref().filter(|_| entry.admitted.is_some()) else { return };
        let Some(connection) = entry.connection(seen.over) else { return };
        let (us, remote) = (seen.us.clone(), connection.remote.clone());
        match connection.way {
            Way::Direct if connection.dialled => self.seen_from(peer, us, &remote),
            // It may have come through a hole.
            Way::Direct if !entry.has_relayed() && address::proves_way(&us, &remote) => {
                self.is_reached_at(us)
            }
            _ => {}
        }
        self.take_relays();
    }

    fn seen_from(&mut self, peer: PeerId, us: Multiaddr, remote: &Multiaddr) {
        let Some(ip) = address::ip(&us) else { return };
        let listening: Vec<_> =
            self.swarm.listeners().filter(|at| !address::is_relayed(at)).cloned().collect();
        let here: Vec<_> = listening.iter().filter(|own| address::ip(own) == Some(ip)).collect();
        if ip.is_loopback() || !here.is_empty() {
            // No NAT; a firewall there may be, which AutoNAT finds out.
            here.into_iter().filter(|own| address::is_global(own)).for_each(|own| self.suggest(own));
            if !self.reach.walled {
                self.reach.behind.remove(&peer);
            }
            return;
        }
        if address::is_quic(remote) && address::is_global(remote) {
            self.suggest(&us);
        }
        let translated = listening.iter().filter_map(|own| address::at_port_of(&us, own));
        translated.for_each(|address| self.suggest(&address));
        self.reach.behind.insert(peer, us);
        self.note_reach();
    }

    /// AutoNAT could not be reached back. At an address of this machine itself, that is a firewall.
    fn is_walled(&mut self, server: &libp2p::PeerId, tested: Multiaddr) {
        let Some(server) = from_libp2p(server).filter(|_| !self.reach.is_public()) else { return };
        let ip = address::ip(&tested);
        if self.swarm.listeners().any(|own| !address::is_relayed(own) && address::ip(own) == ip) {
            self.reach.walled = true;
            self.reach.behind.insert(server, tested);
            self.tell_listening();
            self.take_relays();
        }
    }

    fn suggest(&mut self, address: &Multiaddr) {
        let has_room = self.reach.suggested.len() < SUGGESTED_MAX;
        if !has_room || !self.reach.suggested.insert(address.clone()) {
            return;
        }
        // Of two transports, one side would settle on the hole that the other has just given up.
        let punches = address::is_quic(address) || !self.swarm.listeners().any(address::is_quic);
        if let Some(nat) = self.swarm.behaviour_mut().nat.as_mut() {
            nat.suggest(address, punches, address::is_global(address));
        }
    }

    pub(super) fn is_reached_at(&mut self, address: Multiaddr) {
        let is_elsewhere = address::ip(&address).is_some_and(|ip: IpAddr| !ip.is_loopback());
        let is_short = address.to_string().len() <= ADDRESS_LEN_MAX;
        let is_known = self.reach.external.contains(&address);
        if is_known || !is_elsewhere || address::is_relayed(&address) || !is_short {
            return;
        }
        tracing::debug!(%address, "others reach this peer there");
        if self.reach.external.len() == EXTERNAL_MAX
            && let Some(oldest) = self.reach.external.pop_front()
        {
            self.swarm.remove_external_address(&oldest);
        }
        self.reach.external.push_back(address.clone());
        self.swarm.add_external_address(address);
        self.serve();
        self.tell_listening();
    }

    pub(super) fn is_reached_no_more_at(&mut self, address: &Multiaddr) {
        if self.reach.external.contains(address) {
            self.reach.external.retain(|other| other != address);
            self.tell_listening();
            self.take_relays();
        }
    }

    // Relays.

    /// Asks members for reservations, as long as this peer needs them.
    pub(super) fn take_relays(&mut self) {
        if self.reach.behind.is_empty() || self.reach.is_public() {
            return;
        }
        let now = Instant::now();
        let missing = RELAYS.saturating_sub(self.reach.relays.len());
        let mut able: Vec<_> = self
            .reach
            .behind
            .keys()
            .filter(|peer| !self.reach.relays.contains_key(*peer))
            .filter(|peer| self.reach.refused.get(*peer).is_none_or(|(_, again)| *again <= now))
            .filter_map(|peer| Some((*peer, relay_at(self.peers.get(peer)?)?.remote.clone())))
            .collect();
        able.sort_by_key(|(_, remote)| !address::is_global(remote));
        for (peer, remote) in able.into_iter().take(missing) {
            match self.swarm.listen_on(address::through(remote, to_libp2p(&peer))) {
                Ok(listener) => drop(self.reach.relays.insert(peer, listener)),
                Err(error) => tracing::debug!(%error, relay = peer_text(&peer), "no reservation"),
            }
        }
    }

    pub(super) fn listens_at(&mut self, listener: ListenerId, at: Multiaddr) {
        if let Some(relay) = self.relay_with(listener) {
            tracing::debug!(relay = peer_text(&relay), %at, "a member takes connections for this peer");
            self.reach.refused.remove(&relay);
        } else if self.reach.moved_at.is_some_and(|moved_at| moved_at.elapsed() < MOVING) {
            self.dial_again();
        }
        self.tell_listening();
    }

    pub(super) fn listener_closed(
        &mut self,
        listener: ListenerId,
        addresses: &[Multiaddr],
        error: Option<impl Error + 'static>,
    ) {
        let why = error.map(|error| innermost(&error));
        if let Some(relay) = self.relay_with(listener) {
            tracing::debug!(
                relay = peer_text(&relay),
                why,
                "a member takes no connections for this peer any more"
            );
            self.reach.relays.remove(&relay);
            let (backoff, again) =
                self.reach.refused.entry(relay).or_insert_with(|| (Backoff::default(), Instant::now()));
            *again = Instant::now() + backoff.failed();
        } else {
            tracing::error!(?addresses, why, "this peer listens there no more; start it again");
        }
        self.tell_listening();
        self.take_relays();
    }

    fn relay_with(&self, listener: ListenerId) -> Option<PeerId> {
        self.reach.relays.iter().find(|(_, other)| **other == listener).map(|(relay, _)| *relay)
    }

    /// Nobody is left to say how that peer sees us.
    pub(super) fn sees_us_no_more(&mut self, peer: &PeerId) {
        if self.reach.behind.remove(peer).is_some() {
            self.note_reach();
        }
    }

    /// A relay that neither answers nor can be dialled takes no connections for us, though TCP may think
    /// for minutes that it does.
    pub(super) fn is_lost_relay(&self, peer: &PeerId) -> bool {
        self.reach.relays.contains_key(peer) && self.is_silent(peer)
    }

    // Moving.

    /// The machine has lost an address: connections may be gone, and what others saw is old.
    pub(super) fn listens_no_more_at(&mut self, at: &Multiaddr) {
        if self.reach.is_on && !address::is_relayed(at) {
            tracing::debug!(%at, "this machine has lost an address");
            self.reach.moved_at = Some(Instant::now());
            self.reach.behind.clear();
            self.reach.walled = false;
            self.reach.suggested.clear();
            for address in std::mem::take(&mut self.reach.external) {
                self.swarm.remove_external_address(&address);
            }
            self.dial_again();
        }
        self.tell_listening();
    }

    /// Dials every peer whose connections were made before this machine moved.
    fn dial_again(&mut self) {
        let Some(moved_at) = self.reach.moved_at else { return };
        let is_old = |entry: &Peer| entry.connections.iter().all(|connection| connection.since <= moved_at);
        let old = self.peers.iter().filter(|(_, entry)| entry.is_connected() && is_old(entry));
        let old: Vec<_> = old.filter(|(_, entry)| entry.dial.is_none()).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|peer| self.dial(peer));
    }

    // What libp2p's behaviours tell.

    pub(super) fn nat_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Upnp(event) => {
                self.reach.router = match event {
                    upnp::Event::NewExternalAddr { .. } => Some(Router::Opened),
                    upnp::Event::ExpiredExternalAddr { .. } => None,
                    upnp::Event::GatewayNotFound => Some(Router::Silent),
                    upnp::Event::NonRoutableGateway => Some(Router::BehindAnother),
                };
                self.note_reach();
            }
            BehaviourEvent::Autonat(autonat::v2::client::Event { tested_addr, server, result, .. }) => {
                tracing::debug!(address = %tested_addr, ?result, "AutoNAT has tried to reach this peer");
                if result.is_err() {
                    self.is_walled(&server, tested_addr);
                }
            }
            other => tracing::debug!(event = ?other, "on the way through NATs"),
        }
    }

    /// A dial has failed that no one here has begun: somebody tried to punch a hole.
    pub(super) fn punch_failed(&mut self, peer: PeerId, error: &DialError) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if entry.has_relayed() && !entry.has_direct() {
            entry.punches_failed = entry.punches_failed.saturating_add(1);
            tracing::debug!(peer = peer_text(&peer), why = super::genesis::why(error), "no hole was punched");
            self.note_path(peer);
        }
    }
}

/// The connection to one that relays, and has let us in.
fn relay_at(entry: &Peer) -> Option<&Connection> {
    let relays = entry.admitted.is_some() && entry.seen.as_ref().is_some_and(|seen| seen.relays);
    entry.best().filter(|best| relays && !best.is_relayed())
}
