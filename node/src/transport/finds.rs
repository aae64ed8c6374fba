//! Peers that were heard of on the LAN, and where.

use super::address;
use super::driver::REMEMBERED_MAX;
use libp2p::Multiaddr;
use starling_protocol::ids::PeerId;
use starling_protocol::member::ADDRESSES_MAX;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Finds(BTreeMap<PeerId, Vec<Multiaddr>>);

impl Finds {
    /// False: there are too many others.
    pub fn insert(&mut self, peer: PeerId, at: Multiaddr) -> bool {
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&peer) {
            return false;
        }
        let (addresses, at) = (self.0.entry(peer).or_default(), address::without_peer(at));
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&at) {
            addresses.push(at);
        }
        true
    }

    /// It says no more that it is there; elsewhere it may be still.
    pub fn remove(&mut self, peer: &PeerId, at: Multiaddr) {
        let Some(addresses) = self.0.get_mut(peer) else { return };
        let at = address::without_peer(at);
        addresses.retain(|other| *other != at);
        if addresses.is_empty() {
            self.0.remove(peer);
        }
    }

    pub fn of(&self, peer: &PeerId) -> Vec<String> {
        self.0.get(peer).into_iter().flatten().map(Multiaddr::to_string).collect()
    }

    pub fn peers(&self) -> Vec<PeerId> {
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_addresses_that_were_found_one_ends_and_the_other_stays() {
        let peer = PeerId::numbered(1);
        let [wired, wireless] = ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.1.1/tcp/1"];
        let mut finds = Finds::default();
        for at in [wired, wireless, wired] {
            assert!(finds.insert(peer, at.parse().unwrap()));
        }
        assert_eq!(finds.of(&peer), [wired, wireless]);
        finds.remove(&peer, wired.parse().unwrap());
        assert_eq!(finds.of(&peer), [wireless]);
        finds.remove(&peer, wireless.parse().unwrap());
        assert_eq!(finds.peers(), []);
    }
}
