//! How each peer is reached, and how others reach this one, for people to read.

use super::address;
use super::driver::Driver;
use super::peers::{Connection, Peer};
use crate::lock;
use starling_protocol::ids::PeerId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Direct, through a hole that both sides have punched into their NATs.
    Punched,
    /// Through this peer. `None`: the relay cannot be told any more.
    Relayed(Option<PeerId>),
}

/// The way to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub way: Way,
    /// Over QUIC; otherwise over TCP. Of a relayed path: as far as the relay.
    pub quic: bool,
    /// Tries to punch a hole that have failed since there was a direct connection.
    pub punches_failed: u32,
}

/// What became of asking the router to open a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    Opened,
    /// No router answers by UPnP.
    Silent,
    /// It opened one, but is itself behind another NAT.
    BehindAnother,
}

/// How others reach this peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reachability {
    /// Where somebody has reached it from outside, or a person says that they can.
    pub external: Vec<String>,
    /// The whole internet can reach one of these.
    pub is_public: bool,
    /// As whom others see it, where it is not reached at that address or it is none of this machine.
    pub seen_as: Option<String>,
    /// It cannot be reached at an address of its own: there is a firewall before it.
    pub is_walled: bool,
    /// Members that take connections for it.
    pub relays: Vec<PeerId>,
    /// It relays for others.
    pub serves: bool,
    pub router: Option<Router>,
}

#[derive(Default)]
struct Known {
    paths: BTreeMap<PeerId, Path>,
    reachability: Reachability,
}

/// Written by the driver, for as many peers as it has connections to. Cheap to clone.
#[derive(Clone, Default)]
pub struct Paths(Arc<Mutex<Known>>);

impl Paths {
    /// `None`: there is no connection, or it has not shown a certificate.
    pub fn of(&self, peer: &PeerId) -> Option<Path> {
        lock(&self.0).paths.get(peer).copied()
    }

    pub fn reachability(&self) -> Reachability {
        lock(&self.0).reachability.clone()
    }

    pub(super) fn tell_reachability(&self, reachability: Reachability) {
        lock(&self.0).reachability = reachability;
    }

    fn tell(&self, peer: PeerId, path: Option<Path>) {
        let paths = &mut lock(&self.0).paths;
        match path {
            Some(path) => drop(paths.insert(peer, path)),
            None => drop(paths.remove(&peer)),
        }
    }
}

impl Driver {
    pub(super) fn note_path(&self, peer: PeerId) {
        let entry = self.peers.get(&peer).filter(|entry| entry.admitted.is_some());
        let path = entry.and_then(|entry| {
            let best = entry.best()?;
            let relay = if let Way::Relayed(Some(relay)) = best.way { self.peers.get(&relay) } else { None };
            Some(path_of(best, relay, entry.punches_failed))
        });
        self.paths.tell(peer, path);
    }
}

/// A relayed connection runs over the one to its relay, whatever address was dialled.
fn path_of(connection: &Connection, relay: Option<&Peer>, punches_failed: u32) -> Path {
    let direct = relay.and_then(|relay| relay.connections.iter().find(|other| !other.is_relayed()));
    let quic = address::is_quic(&direct.unwrap_or(connection).remote);
    Path { way: connection.way, quic, punches_failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::swarm::ConnectionId;
    use tokio::time::Instant;

    fn connection(way: Way, remote: &str) -> Connection {
        Connection {
            id: ConnectionId::new_unchecked(0),
            dialled: true,
            since: Instant::now(),
            doubted: false,
            speaks: true,
            way,
            remote: remote.parse().unwrap(),
        }
    }

    #[test]
    fn a_relayed_path_has_the_transport_that_leads_to_the_relay() {
        let by = PeerId([1; 32]);
        let circuit =
            "/ip4/5.5.5.1/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
        let relayed = connection(Way::Relayed(Some(by)), circuit);
        let mut relay = Peer::new();
        assert!(path_of(&relayed, Some(&relay), 0).quic, "nothing better is known");
        relay.connections.push(connection(Way::Direct, "/ip4/5.5.5.1/tcp/1"));
        assert_eq!(
            path_of(&relayed, Some(&relay), 2),
            Path { way: Way::Relayed(Some(by)), quic: false, punches_failed: 2 }
        );
    }
}
