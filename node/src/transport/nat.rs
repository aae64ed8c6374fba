//! What helps peers that others cannot simply dial: relays, hole punching, and finding out who is one.

use super::guard::{Guarded, Insiders};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId, autonat, dcutr, relay, upnp};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whether a peer relays for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// Once others have reached it.
    Auto,
    Yes,
    No,
}

/// What a person may say about ways through NATs.
#[derive(Clone, Debug)]
pub struct NatOptions {
    pub relay: Serve,
    /// Most connections that are relayed for one member at once: one for each of the others that it
    /// cannot reach otherwise.
    pub circuits: usize,
    /// Bytes that one relayed connection may carry before it ends and is made anew; 0: no limit.
    pub circuit_bytes: u64,
    /// Whether the router is asked to open a port.
    pub upnp: bool,
    /// Where others reach this peer from outside, by the word of a person.
    pub external: Vec<Multiaddr>,
}

impl Default for NatOptions {
    fn default() -> Self {
        Self {
            relay: Serve::Auto,
            circuits: CIRCUITS,
            circuit_bytes: 64 << 30,
            upnp: true,
            external: Vec::new(),
        }
    }
}

/// Most that may be asked for. Each is a stream of the member's connection, so `Limits::streams` must be more.
pub const CIRCUITS_MAX: usize = 1024;
const CIRCUITS: usize = 32;
/// Reservations at once, each a member behind a NAT: as many as may connect.
const RESERVATIONS_MAX: usize = 1024;
/// A reservation ends with its connection, and is renewed before this.
const RESERVATION: Duration = Duration::from_secs(3600);
/// How long one relayed connection may last. libp2p's 2 minutes are for punching holes; ours carry repair.
const CIRCUIT_TIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Connections that strangers may ask to have relayed in a minute, all of them together: a newcomer whose
/// inviter is behind a NAT needs one, for a second or two.
const STRANGERS: usize = 30;
const STRANGERS_TIME: Duration = Duration::from_secs(60);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub relay: Toggle<relay::Behaviour>,
    pub dcutr: Guarded<dcutr::Behaviour>,
    pub autonat: Guarded<autonat::v2::client::Behaviour>,
    server: Guarded<autonat::v2::server::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
}

impl Behaviour {
    pub fn new(me: PeerId, options: &NatOptions, insiders: &Insiders) -> Self {
        let relay = (options.relay != Serve::No).then(|| relay_server(me, options, insiders));
        Self {
            relay: relay.into(),
            dcutr: Guarded::new(dcutr::Behaviour::new(me), insiders.clone()),
            autonat: Guarded::new(autonat::v2::client::Behaviour::default(), insiders.clone()),
            server: Guarded::new(autonat::v2::server::Behaviour::default(), insiders.clone()),
            upnp: options.upnp.then(upnp::tokio::Behaviour::default).into(),
        }
    }

    /// Others may reach this peer there, or punch a hole.
    pub fn suggest(&mut self, address: &Multiaddr, punches: bool, is_global: bool) {
        if punches {
            self.dcutr.suggest(address);
        }
        if is_global {
            self.autonat.suggest(address);
        }
    }

    pub fn serve(&mut self) {
        if let Some(relay) = self.relay.as_mut() {
            relay.set_status(Some(relay::Status::Enable));
        }
    }
}

fn relay_server(me: PeerId, options: &NatOptions, insiders: &Insiders) -> relay::Behaviour {
    let (members, senders) = (insiders.clone(), insiders.clone());
    let mut strangers = VecDeque::new();
    let config = relay::Config {
        max_reservations: RESERVATIONS_MAX,
        max_reservations_per_peer: 4,
        reservation_duration: RESERVATION,
        reservation_rate_limiters: vec![Box::new(move |peer, _: &Multiaddr, _| members.contains(&peer))],
        max_circuits: RESERVATIONS_MAX * options.circuits,
        max_circuits_per_peer: options.circuits,
        max_circuit_duration: CIRCUIT_TIME,
        max_circuit_bytes: options.circuit_bytes,
        circuit_src_rate_limiters: vec![Box::new(move |peer, _: &Multiaddr, now| {
            senders.contains(&peer) || one_more(&mut strangers, now)
        })],
    };
    let mut relay = relay::Behaviour::new(me, config);
    relay.set_status(Some(relay::Status::Disable));
    relay
}

/// Whether there have been less than `STRANGERS` of late; if so, there is one more.
pub(super) fn one_more(recent: &mut VecDeque<Instant>, now: Instant) -> bool {
    while recent.front().is_some_and(|time| now.duration_since(*time) > STRANGERS_TIME) {
        recent.pop_front();
    }
    let has_room = recent.len() < STRANGERS;
    if has_room {
        recent.push_back(now);
    }
    has_room
}
