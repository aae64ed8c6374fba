//! Connections as they come, serve and go. Of several to one peer the newest direct one is used; the others
//! are closed once they are not needed.

use super::address;
use super::admission::Saying;
use super::dialling::Named;
use super::driver::{AT_ONCE, Driver, REMEMBERED_MAX};
use super::keys::{from_libp2p, peer_text};
use super::link::Stats;
use super::paths::Way;
use super::peers::Connection;
use super::strangers::STRANGER_TIME;
use libp2p::Multiaddr;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::Class;
use std::time::Duration;
use tokio::time::Instant;

/// How long a relayed connection stays beside a direct one, so that what is on its way arrives.
const RELAYED_STAYS: Duration = Duration::from_secs(5);
/// A peer of another network is not tried again from mDNS for this long.
const FOREIGN_TIME: Duration = Duration::from_secs(600);
/// When another hole is asked for after all have failed; doubled each time, up to the last. Each time
/// what is sent moves to a new relayed connection.
const PUNCH_AGAIN: Duration = Duration::from_secs(300);
const PUNCH_AGAIN_MAX: Duration = Duration::from_secs(3600);

impl Driver {
    pub(super) fn established(
        &mut self,
        peer_id: libp2p::PeerId,
        id: ConnectionId,
        endpoint: ConnectedPoint,
    ) {
        let Some(peer) = from_libp2p(&peer_id).filter(|peer| !self.blocked.contains(peer)) else {
            self.own_dials.remove(&id);
            self.swarm.close_connection(id);
            from_libp2p(&peer_id).into_iter().for_each(|peer| self.ended_in_cut(peer, id));
            return;
        };
        let is_own = self.own_dials.remove(&id);
        let connection = self.connection(peer, id, &endpoint, is_own);
        if connection.dialled && self.is_needless(peer, &connection, is_own) {
            return self.put_aside(peer, connection, is_own);
        }
        let (now, dialled) = (connection.since, connection.dialled);
        // We ourselves dial again after silence, or because this machine has moved.
        let silent = now.checked_sub(self.silence).filter(|_| dialled && self.is_silent(&peer));
        let moved = self.reach.moved_at.filter(|_| dialled);
        let entry = self.peer(peer);
        if !entry.is_connected() {
            entry.connected_at = now;
            entry.parted();
        }
        silent.into_iter().chain(moved).for_each(|time| entry.doubt_connections(time));
        if connection.is_relayed() {
            let wait = PUNCH_AGAIN.saturating_mul(1 << entry.punches.min(16)).min(PUNCH_AGAIN_MAX);
            entry.punch_at = Some(now + wait);
        }
        entry.connections.push(connection);
        entry.wanted = false;
        entry.dial = None;
        let is_in = entry.admitted.is_some();
        Stats::add(&self.links.stats.connections, 1);
        self.crowd_out_strangers();
        if is_first_to_speak(&endpoint) {
            self.say(peer, id, Saying::Hello);
            if is_in {
                self.open_first(peer);
            }
        }
        self.note_path(peer);
    }

    /// As a pulled cable would have it, this dial has reached nobody.
    fn ended_in_cut(&mut self, peer: PeerId, id: ConnectionId) {
        let dial =
            self.peers.get_mut(&peer).and_then(|entry| entry.dial.take_if(|d| d.attempts.contains(&id)));
        if let Some(dial) = dial {
            self.failed(peer, dial.begun);
        }
    }

    fn connection(
        &self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        is_own: bool,
    ) -> Connection {
        let at = match endpoint {
            ConnectedPoint::Dialer { address, .. } => address,
            ConnectedPoint::Listener { local_addr, .. } if address::is_relayed(local_addr) => local_addr,
            ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
        };
        // One that we have dialled may have come about because the other side has opened its firewall.
        let may_be = !is_own || address::is_global(at);
        let is_punched = || may_be && self.peers.get(&peer).is_some_and(|entry| entry.has_relayed());
        let way = match () {
            () if address::is_relayed(at) => Way::Relayed(self.relay_at(at)),
            () if is_punched() => Way::Punched,
            () => Way::Direct,
        };
        let remote = at.clone();
        Connection {
            id,
            dialled: endpoint.is_dialer(),
            since: Instant::now(),
            doubted: false,
            speaks: is_first_to_speak(endpoint),
            way,
            remote,
        }
    }

    /// Of connections that others make through a relay, libp2p tells only where the relay is.
    fn relay_at(&self, at: &Multiaddr) -> Option<PeerId> {
        if let Some(relay) = address::relay_of(at) {
            return from_libp2p(&relay);
        }
        let there = at.iter().take_while(|part| !matches!(part, Protocol::P2pCircuit)).collect::<Multiaddr>();
        let is_there = |c: &Connection| !c.is_relayed() && address::without_peer(c.remote.clone()) == there;
        let found = self.peers.iter().find(|(_, entry)| entry.connections.iter().any(is_there));
        found.map(|(peer, _)| *peer)
    }

    /// Of a direct connection that we have made although there is one: by a second dial that was under
    /// way, or by a behaviour, to see whether the other side can be reached.
    fn is_needless(&self, peer: PeerId, connection: &Connection, is_own: bool) -> bool {
        let Some(entry) = self.peers.get(&peer) else { return false };
        let moved_at = self.reach.moved_at;
        let serves = |other: &Connection| {
            other.speaks && !other.is_relayed() && moved_at.is_none_or(|moved_at| other.since > moved_at)
        };
        let has_other = entry.admitted.is_some() && entry.connections.iter().any(serves);
        has_other && !connection.is_relayed() && !(is_own && self.is_silent(&peer))
    }

    fn put_aside(&mut self, peer: PeerId, connection: Connection, is_own: bool) {
        if is_own {
            self.named_leads_to(peer, connection.id);
            // One came through: this dial is over.
            self.peer(peer).dial.take_if(|dial| dial.attempts.contains(&connection.id));
            self.swarm.close_connection(connection.id);
        } else {
            self.asides.insert(connection.id, connection);
        }
    }

    /// The other side speaks over one that was put aside: it sees a use in it.
    pub(super) fn take_up(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(connection) = self.asides.remove(&id) {
            self.peer(peer).connections.push(connection);
        }
    }

    /// The stream for probes is opened at once, the others where something waits.
    pub(super) fn open_first(&mut self, peer: PeerId) {
        let Some(link) = self.links.get_or_insert(peer) else { return };
        for class in Class::ALL {
            if class == Class::Probe || link.outbox(class).needs_stream() {
                self.open(peer, class);
            }
        }
    }

    pub(super) fn closed(&mut self, peer_id: libp2p::PeerId, id: ConnectionId) {
        self.asides.remove(&id);
        self.named_closed(id);
        let Some(peer) = from_libp2p(&peer_id) else { return };
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.connection(id).is_some()) else {
            return;
        };
        entry.used_at = entry.used_at.map(|_| Instant::now());
        let dialled = entry.connection(id).is_some_and(|connection| connection.dialled);
        if entry.admitted.is_some()
            && let Some(gone) = entry.connection(id).filter(|connection| !connection.is_relayed())
        {
            entry.last_at = address::ip(&gone.remote);
        }
        entry.connections.retain(|connection| connection.id != id);
        while entry.take_saying(id).is_some() {}
        let interrupted = entry.opening.map(|opening| opening == Some(id));
        for (opening, _) in entry.opening.iter_mut().zip(interrupted).filter(|(_, interrupted)| *interrupted)
        {
            *opening = None;
        }
        if !entry.is_connected() {
            self.last_closed(peer, dialled);
        } else {
            for (class, _) in Class::ALL.into_iter().zip(interrupted).filter(|(_, interrupted)| *interrupted)
            {
                self.open(peer, class);
            }
        }
        self.note_path(peer);
        self.take_relays();
    }

    fn last_closed(&mut self, peer: PeerId, dialled: bool) {
        let was_in = self.peer(peer).parted().is_some();
        self.insiders.remove(&peer);
        self.sees_us_no_more(&peer);
        if dialled && !was_in {
            // It broke before anything was said: as good as no connection.
            self.failed(peer, Instant::now());
        }
        self.tell_connection(peer);
        let waits = self
            .links
            .get(&peer)
            .is_some_and(|link| Class::ALL.iter().any(|c| link.outbox(*c).needs_stream()));
        if waits {
            self.want(peer);
        }
        if self.peer(peer).is_forgettable(Instant::now()) {
            self.peers.remove(&peer);
            self.links.forget(&peer);
        }
    }

    fn named_leads_to(&mut self, peer: PeerId, by: ConnectionId) {
        let tried = self.named.iter_mut().filter(|named| named.attempts.contains(&by));
        tried.for_each(|named| named.leads_to(peer));
    }

    /// A named address whose peer went away before it proved to be one of us is tried again.
    fn named_closed(&mut self, id: ConnectionId) {
        self.named.iter_mut().for_each(|named| named.attempts.retain(|attempt| *attempt != id));
    }

    /// Tells the protocol what has changed; nothing while a cut hides it.
    pub(super) fn tell_connection(&mut self, peer: PeerId) {
        let blocked = self.blocked.contains(&peer);
        let entry = self.peer(peer);
        let stands = entry.admitted.is_some() && entry.is_connected();
        if blocked || entry.told == stands {
            return;
        }
        entry.told = stands;
        let input = if stands { Input::Connected { peer } } else { Input::Disconnected { peer } };
        self.tell(input);
    }

    /// Certificates were shown over this one. Who dials us while a connection stands has lost it, though
    /// nothing may tell us so: a killed process ends a QUIC connection without a word.
    pub(super) fn speaks(&mut self, peer: PeerId, on: ConnectionId) {
        let entry = self.peer(peer);
        let Some(connection) = entry.connections.iter_mut().find(|connection| connection.id == on) else {
            return;
        };
        connection.speaks = true;
        let (dialled, since) = (connection.dialled, connection.since);
        let Some(before) = since.checked_sub(AT_ONCE).filter(|_| !dialled) else { return };
        // Both may have dialled at once, and mean different ones. But nobody shows certificates twice on dials of
        // his own, so of two that came from there the later is meant, or it is another process with the same key.
        let is_left = |other: &Connection| other.since < before || (!other.dialled && other.since < since);
        // A relayed one may have been replaced only to punch a hole anew: what is on its way arrives still.
        entry.doubt(|other| is_left(other) && !other.is_relayed());
    }

    /// This connection of a peer that was let in works: others that were doubted are not needed.
    pub(super) fn works(&mut self, peer: PeerId, by: ConnectionId) {
        self.foreign.remove(&peer);
        self.named_leads_to(peer, by);
        let entry = self.peer(peer);
        let doubted = entry.take_doubted(by);
        entry.used_at = Some(Instant::now());
        entry.backoff.reset();
        entry.not_before = Instant::now();
        for connection in doubted {
            self.swarm.close_connection(connection.id);
        }
        self.tell_connection(peer);
        self.note_path(peer);
    }

    /// Opens the streams anew that run over a relay while there is a better way, or a newer one. What was
    /// taken from the queues before still goes the old way.
    pub(super) fn leave_relay(&mut self, peer: PeerId) {
        let Some(link) = self.links.get(&peer) else { return };
        let entry = self.peer(peer);
        if !entry.has_relayed() || entry.connections.len() < 2 {
            return;
        }
        if entry.has_direct() {
            (entry.punches, entry.punches_failed, entry.punch_at) = (0, 0, None);
        }
        let best = entry.best_connection();
        for opening in &mut entry.opening {
            opening.take_if(|on| Some(*on) != best);
        }
        for class in Class::ALL.into_iter().filter(|class| !link.outbox(*class).is_idle()) {
            self.open(peer, class);
        }
    }

    pub(super) fn is_foreign(&mut self, peer: PeerId, connection: ConnectionId) {
        tracing::debug!(peer = peer_text(&peer), "a peer of another network");
        self.give_up(&peer);
        let connections = &self.peer(peer).connections;
        if !connections.iter().any(|other| other.id == connection && other.dialled) {
            // It may have come to ask for the genesis record; the sweep closes what stays.
            return;
        }
        if self.foreign.len() < REMEMBERED_MAX {
            self.foreign.insert(peer, Instant::now() + FOREIGN_TIME);
        }
        let is_lost = |named: &Named| named.attempts.contains(&connection) && !named.has_led();
        if self.named.iter().any(is_lost) {
            let peer = peer_text(&peer);
            tracing::warn!(peer, "an address that was named belongs to another network");
            self.named.retain(|named| !is_lost(named));
        }
        self.swarm.close_connection(connection);
    }

    /// Closes what is not needed, and asks for holes anew.
    pub(super) fn sweep_connections(&mut self, now: Instant) {
        let old = |since: Instant, time| now.duration_since(since) > time;
        let mut needless: Vec<_> =
            self.asides.values().filter(|c| old(c.since, STRANGER_TIME)).map(|c| c.id).collect();
        let mut again = Vec::new();
        for (id, entry) in &mut self.peers {
            let best = entry.best().filter(|best| old(best.since, RELAYED_STAYS));
            let is_left = |c: &Connection| best.is_some_and(|best| is_left_for(c, best));
            let closes = |c: &&Connection| is_left(c) || (!c.speaks && old(c.since, STRANGER_TIME));
            needless.extend(entry.connections.iter().filter(closes).map(|connection| connection.id));
            let dialled = entry.best().is_some_and(|best| best.is_relayed() && best.dialled);
            if dialled && entry.dial.is_none() && entry.punch_at.take_if(|at| *at <= now).is_some() {
                entry.punches += 1;
                again.push(*id);
            }
        }
        for id in needless {
            self.swarm.close_connection(id);
        }
        again.into_iter().for_each(|peer| self.dial(peer));
    }
}

/// Of two relayed ones that came at once, each side might take the other for the newer: both stay.
fn is_left_for(connection: &Connection, best: &Connection) -> bool {
    let is_newer = best.since.saturating_duration_since(connection.since) > AT_ONCE;
    connection.is_relayed() && connection.id != best.id && (!best.is_relayed() || is_newer)
}

/// Of a hole that both have punched, each is the dialler; they have agreed on who speaks first.
fn is_first_to_speak(endpoint: &ConnectedPoint) -> bool {
    matches!(endpoint, ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. })
}
