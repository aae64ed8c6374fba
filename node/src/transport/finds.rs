//! Peers that were heard of on the LAN, and where.

use super::address;
use super::driver::REMEMBERED_MAX;
use libp2p::Multiaddr;
use starling_protocol::ids::PeerId;
use starling_protocol::member::ADDRESSES_MAX;
use std::collections::BTreeMap;

/// Most that are told, and so dialled, from one sweep to the next. Anybody on the LAN can claim that a thousand peers are
/// there, at addresses where nobody answers: their dials must not take the places of those of members.
const TOLD_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Finds {
    found: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// How many were told since the last sweep, and which one last.
    told: usize,
    last: Option<PeerId>,
}

impl Finds {
    /// False: there are too many others.
    pub fn insert(&mut self, peer: PeerId, at: Multiaddr) -> bool {
        if self.found.len() >= REMEMBERED_MAX && !self.found.contains_key(&peer) {
            return false;
        }
        let (addresses, at) = (self.found.entry(peer).or_default(), address::without_peer(at));
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&at) {
            addresses.push(at);
        }
        true
    }

    /// It says no more that it is there; elsewhere it may be still.
    pub fn remove(&mut self, peer: &PeerId, at: Multiaddr) {
        let Some(addresses) = self.found.get_mut(peer) else { return };
        let at = address::without_peer(at);
        addresses.retain(|other| *other != at);
        if addresses.is_empty() {
            self.found.remove(peer);
        }
    }

    pub fn of(&self, peer: &PeerId) -> Vec<String> {
        self.found.get(peer).into_iter().flatten().map(Multiaddr::to_string).collect()
    }

    /// All, for a sweep: first those whose turn it is. As many may be told again as ever.
    pub fn in_turn(&mut self) -> Vec<PeerId> {
        self.told = 0;
        let all = self.found.keys().copied();
        let (mut behind, before): (Vec<_>, Vec<_>) = all.partition(|peer| Some(*peer) > self.last);
        behind.extend(before);
        behind
    }

    /// False: enough were told; its turn will come.
    pub fn may_tell(&mut self, peer: PeerId) -> bool {
        let may = self.told < TOLD_MAX;
        if may {
            self.told += 1;
            self.last = Some(peer);
        }
        may
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
        assert_eq!(finds.in_turn(), []);
    }

    #[test]
    fn of_a_thousand_that_are_claimed_a_few_are_told_at_a_time_and_all_in_the_end() {
        let mut finds = Finds::default();
        for n in 0..1_000 {
            finds.insert(PeerId::numbered(n), "/ip4/10.0.0.1/tcp/1".parse().unwrap());
        }
        let mut told = BTreeMap::new();
        for _ in 0..1_000_usize.div_ceil(TOLD_MAX) {
            let now: Vec<_> = finds.in_turn().into_iter().filter(|peer| finds.may_tell(*peer)).collect();
            assert_eq!(now.len(), TOLD_MAX);
            now.into_iter().for_each(|peer| *told.entry(peer).or_insert(0) += 1);
        }
        assert_eq!(told.len(), 1_000);
    }
}
