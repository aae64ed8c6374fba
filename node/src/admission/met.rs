//! The certificates that one peer has shown.

use starling_protocol::admission::certificate::Chain;

/// Most of them that are remembered, beside the one that it showed last.
const EARLIER_MAX: usize = 4;

/// A certificate that was good when it was shown, and others that the same peer has shown before: to be revoked with it,
/// or the peer comes back by them.
pub(super) struct Met {
    pub chain: Chain,
    pub not_after_ms: u64,
    earlier: Vec<Chain>,
}

impl Met {
    pub fn new(chain: Chain, not_after_ms: u64) -> Self {
        Self { chain, not_after_ms, earlier: Vec::new() }
    }

    /// The oldest goes where there are too many. One that stands on another goes out with that.
    pub fn shows(&mut self, chain: Chain, not_after_ms: u64) {
        let before = std::mem::replace(&mut self.chain, chain);
        self.not_after_ms = not_after_ms;
        let stands_on =
            |above: &Chain| *above == before || before.certificates().any(|one| above.own() == Some(one));
        if stands_on(&self.chain) || self.earlier.iter().any(stands_on) {
            return;
        }
        if self.earlier.len() >= EARLIER_MAX {
            self.earlier.remove(0);
        }
        self.earlier.push(before);
    }

    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.earlier.iter().chain([&self.chain])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Keys;
    use starling_protocol::admission::certificate::{Role, Serial, Terms};
    use starling_protocol::config::Genesis;
    use starling_protocol::genesis::SignedGenesis;

    #[test]
    fn of_one_that_shows_ever_more_certificates_some_are_remembered() {
        let (founder, peer) = (Keys::generate(), Keys::generate());
        let genesis = SignedGenesis::sign(Genesis::made_up(founder.peer()), &founder).unwrap();
        let below = |chain: &Chain, by: &Keys, n: u8| {
            let terms = Terms {
                role: Role::Storage,
                serial: Serial::new([n; 16]),
                not_before_ms: 0,
                not_after_ms: 1,
            };
            chain.issue(&genesis, by, peer.peer(), terms).unwrap()
        };
        let given = |n| below(&Chain::default(), &founder, n);
        let mut met = Met::new(given(0), 0);
        (1..100).for_each(|n| met.shows(given(n), n.into()));
        (0..100).for_each(|_| met.shows(given(99), 99));
        assert_eq!((met.chains().count(), &met.chain), (1 + EARLIER_MAX, &given(99)));
        assert_eq!(met.earlier.last(), Some(&given(98)));
        // What it has given itself pushes out none of those: that is out with the one by which it has given it.
        (100..200).for_each(|n| met.shows(below(&given(99), &peer, n), n.into()));
        assert!(met.earlier.contains(&given(98)) && met.earlier.contains(&given(99)));
    }
}
