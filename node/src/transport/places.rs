//! Places for those who are nobody yet: they are few, and no address takes those of all others.

use super::address;
use crate::lock;
use libp2p::Multiaddr;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Whoever comes gets none while as many are taken from its address as there are left (dynamic thresholds, Choudhury
/// and Hahne 1998): one address gets half of them, and each of many that flood at once as much as what stays free for
/// those that do not.
pub(super) struct Places<K> {
    most: usize,
    taken: HashMap<K, Origin>,
    by_origin: HashMap<Origin, usize>,
}

/// Who cannot have many of for nothing: an IPv4 address, or an IPv6 net, of which each customer has one
/// (RFC 6177). `None`: it comes through a relay.
pub(super) type Origin = Option<IpAddr>;

pub(super) fn origin(remote: &Multiaddr) -> Origin {
    Some(match address::ip(remote).filter(|_| !address::is_relayed(remote))? {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("too many are here already, from this address or in all")]
pub(super) struct TooMany;

impl<K: Eq + std::hash::Hash> Places<K> {
    pub fn new(most: usize) -> Self {
        Self { most, taken: HashMap::new(), by_origin: HashMap::new() }
    }

    pub fn take(&mut self, id: K, origin: Origin) -> Result<(), TooMany> {
        let free = self.most.saturating_sub(self.taken.len());
        let held = self.by_origin.entry(origin).or_default();
        if *held >= free {
            if *held == 0 {
                self.by_origin.remove(&origin);
            }
            return Err(TooMany);
        }
        *held += 1;
        self.taken.insert(id, origin);
        Ok(())
    }

    pub fn give_back(&mut self, id: &K) {
        let Some(origin) = self.taken.remove(id) else { return };
        if let Some(held) = self.by_origin.get_mut(&origin) {
            *held -= 1;
            if *held == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }
}

/// Places of which each is given back when what took it ends.
#[derive(Clone)]
pub(super) struct SharedPlaces(Arc<Mutex<(u64, Places<u64>)>>);

pub(super) struct Place {
    of: SharedPlaces,
    id: u64,
}

impl SharedPlaces {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new((0, Places::new(most)))))
    }

    pub fn take(&self, origin: Origin) -> Result<Place, TooMany> {
        let mut places = lock(&self.0);
        places.0 += 1;
        let id = places.0;
        places.1.take(id, origin).map(|()| Place { of: self.clone(), id })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.of.0).1.give_back(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> Origin {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn one_address_gets_half_of_the_places_and_many_leave_some_free() {
        let mut places = Places::new(128);
        let got = (0..1000).filter(|n| places.take(*n, at(1)).is_ok()).count();
        assert_eq!((got, places.by_origin[&at(1)]), (64, 64));
        assert!(places.take(1000, at(2)).is_ok(), "others come in");
        places.give_back(&1000);
        (0..64).for_each(|n| places.give_back(&n));
        // Three addresses flood, and each handshake lasts as long as a hundred others take to begin.
        for id in 2000..12_000u32 {
            places.give_back(&(id - 100));
            let _ = places.take(id, at((id % 3) as u8));
        }
        assert!(places.take(u32::MAX, at(9)).is_ok(), "whoever has none yet");
        assert!(places.taken.len() < 128);
    }

    #[test]
    fn what_is_given_back_leaves_nothing_behind() {
        let mut places = Places::new(2);
        for n in 0..100u8 {
            assert!(places.take(n, at(n)).is_ok());
            places.give_back(&n);
            places.give_back(&n);
        }
        assert!(places.taken.is_empty() && places.by_origin.is_empty());
        assert!(places.take(1, at(1)).is_ok() && places.take(2, at(2)).is_ok());
        assert!(places.take(3, at(3)).is_err(), "full is full");
        assert_eq!(places.by_origin.len(), 2);
    }

    #[test]
    fn a_place_is_given_back_when_what_took_it_ends() {
        let places = SharedPlaces::new(2);
        let first = places.take(at(1)).unwrap();
        assert!(places.take(at(1)).is_err());
        drop(first);
        assert!(places.take(at(1)).is_ok());
    }

    #[test]
    fn an_ipv6_net_is_one_origin() {
        let origin = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(origin("/ip6/2001:db8::1/tcp/1"), origin("/ip6/2001:db8::ffff/tcp/2"));
        assert_ne!(origin("/ip6/2001:db8::1/tcp/1"), origin("/ip6/2001:db8:0:1::1/tcp/1"));
        assert_ne!(origin("/ip4/192.0.2.1/tcp/1"), origin("/ip4/192.0.2.2/tcp/1"));
    }
}
