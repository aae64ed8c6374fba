//! Revocations: certificates that count no more. The set of them only grows.

use super::certificate::{CHAIN_BYTES_MAX, Certificate, Chain, Serial};
use crate::canonical;
use crate::genesis::SignedGenesis;
use crate::ids::PeerId;
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::BTreeMap;

/// Most revocations of a network; one more is refused. Each is of a certificate that was really issued,
/// so only many members that were let in and put out again fill the set.
pub const REVOCATIONS_MAX: usize = 4096;
/// Longest encoded revocation, in bytes.
pub const REVOCATION_BYTES_MAX: usize = CHAIN_BYTES_MAX + 256;

/// A certificate counts no more, nor does any that stands below it. It carries the certificate's chain, so
/// that whoever gets it can check, without asking, that it is one of this network and that the signer
/// stands above it: the founder or an issuer in the chain; or the peer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub chain: Chain,
    pub signer: PeerId,
    /// Milliseconds since the Unix epoch, by the signer's clock; for people.
    pub at_ms: u64,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, PeerId, u64, Signature);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    #[error("a revocation cannot be read")]
    Malformed,
    #[error("a revocation is of no certificate of this network")]
    Untrusted,
    #[error("a revocation is not signed by one who may: the peer itself, or one above it")]
    Signer,
    #[error("there are {REVOCATIONS_MAX} revocations already, and room for no more")]
    Full,
}

impl Revocation {
    /// Revokes the first certificate of the chain. Errors: `Untrusted`, `Signer`.
    pub fn sign(
        genesis: &SignedGenesis,
        chain: Chain,
        signer: &dyn Signer,
        at_ms: u64,
    ) -> Result<Self, RevocationError> {
        let name = name_of(chain.own().ok_or(RevocationError::Untrusted)?);
        let peer = signer.peer();
        let signature = sign(signer, Purpose::Revocation, &signed_bytes(genesis, name, at_ms));
        let revocation = Self { chain, signer: peer, at_ms, signature };
        revocation.verify(genesis)?;
        Ok(revocation)
    }

    /// Whose certificate counts no more.
    pub fn revoked(&self) -> Option<PeerId> {
        self.chain.own().map(|certificate| certificate.subject)
    }

    fn name(&self) -> Option<Name> {
        self.chain.own().map(name_of)
    }

    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(&Wire(ByteBuf::from(self.chain.encode()), self.signer, self.at_ms, self.signature))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RevocationError> {
        let Wire(chain, signer, at_ms, signature) =
            canonical::decode(bytes, REVOCATION_BYTES_MAX).map_err(|_| RevocationError::Malformed)?;
        let chain = Chain::decode(&chain).map_err(|_| RevocationError::Malformed)?;
        Ok(Self { chain, signer, at_ms, signature })
    }

    fn verify(&self, genesis: &SignedGenesis) -> Result<(), RevocationError> {
        let own = self.chain.own().ok_or(RevocationError::Untrusted)?;
        let (name, subject) = (name_of(own), own.subject);
        self.chain.verify_for_ever(genesis, subject).map_err(|_| RevocationError::Untrusted)?;
        let stands_above = self.chain.certificates().any(|above| above.issuer == self.signer);
        let bytes = signed_bytes(genesis, name, self.at_ms);
        let may = stands_above || self.signer == genesis.genesis().founder || self.signer == subject;
        if !may || !verify(&self.signer, Purpose::Revocation, &bytes, &self.signature) {
            return Err(RevocationError::Signer);
        }
        Ok(())
    }
}

fn signed_bytes(genesis: &SignedGenesis, (issuer, serial): Name, at_ms: u64) -> Vec<u8> {
    canonical::encode(&(genesis.network_id(), issuer, serial, at_ms))
}

/// Names a certificate. The serial alone would not: whoever lets peers in chooses serials, and by revoking
/// one of its own it could put out another's peer.
type Name = (PeerId, Serial);

fn name_of(certificate: &Certificate) -> Name {
    (certificate.issuer, certificate.serial)
}

/// All revocations that are known, at most one for each certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<Name, Revocation>);

impl Revocations {
    /// Takes a revocation in, once it is verified. `Ok(false)`: its certificate was revoked already.
    pub fn insert(&mut self, genesis: &SignedGenesis, found: Revocation) -> Result<bool, RevocationError> {
        let name = found.name().ok_or(RevocationError::Untrusted)?;
        if self.0.contains_key(&name) {
            return Ok(false);
        }
        if self.0.len() >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        found.verify(genesis)?;
        self.0.insert(name, found);
        Ok(true)
    }

    /// The revocation of the chain's own certificate, or of one that it stands on.
    pub fn of(&self, chain: &Chain) -> Option<&Revocation> {
        chain.certificates().find_map(|certificate| self.0.get(&name_of(certificate)))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equal digests: the same certificates are revoked.
    pub fn digest(&self) -> ByteArray<32> {
        let mut hasher = blake3::Hasher::new();
        self.0.keys().for_each(|(issuer, serial)| {
            hasher.update(&issuer.0).update(serial.as_ref());
        });
        ByteArray::new(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::certificate::Terms;
    use crate::admission::samples::{DAY, admit, genesis, key, terms};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const NOW: u64 = 100 * DAY;

    /// Founder 0 let in 1, who let in 2, who let in 3; and 4 was let in by the founder.
    fn chains() -> [Chain; 5] {
        let one = admit(&Chain::default(), &key(0), key(1).peer(), NOW);
        let two = admit(&one, &key(1), key(2).peer(), NOW);
        let three = admit(&two, &key(2), key(3).peer(), NOW);
        let four = admit(&Chain::default(), &key(0), key(4).peer(), NOW);
        [Chain::default(), one, two, three, four]
    }

    #[test]
    fn those_above_and_the_peer_itself_revoke_and_nobody_else_does() {
        let chain = &chains()[2];
        for (n, may) in [(0, true), (1, true), (2, true), (3, false), (4, false), (9, false)] {
            let signed = Revocation::sign(&genesis(), chain.clone(), &key(n), NOW);
            assert_eq!(signed.is_ok(), may, "by {n}");
        }
        let founder = Revocation::sign(&genesis(), Chain::default(), &key(0), NOW);
        assert_eq!(founder, Err(RevocationError::Untrusted), "the founder has nothing to revoke");
    }

    #[test]
    fn whoever_stands_on_a_revoked_certificate_is_out_too() {
        let [_, one, two, three, four] = chains();
        let mut all = Revocations::default();
        let two_is_out = Revocation::sign(&genesis(), two.clone(), &key(1), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), two_is_out.clone()), Ok(true));
        assert_eq!(all.of(&two), Some(&two_is_out));
        assert_eq!(all.of(&three), Some(&two_is_out));
        assert_eq!((all.of(&one), all.of(&four)), (None, None));
        let again = admit(&one, &key(1), key(2).peer(), NOW);
        assert_eq!(all.of(&again), None, "a new certificate lets it in again");
    }

    #[test]
    fn a_serial_that_was_copied_from_another_certificate_revokes_only_its_own() {
        let [_, one, _, _, four] = chains();
        let copied = Terms { serial: four.own().unwrap().serial, ..terms(NOW) };
        let bait = one.issue(&genesis(), &key(1), key(9).peer(), copied).unwrap();
        let mut all = Revocations::default();
        let by_one = Revocation::sign(&genesis(), bait.clone(), &key(1), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), by_one), Ok(true));
        assert_eq!((all.of(&bait).is_some(), all.of(&four)), (true, None));
        // Nor does the founder's signature for the one serve for the other.
        let mut moved = Revocation::sign(&genesis(), bait, &key(0), NOW).unwrap();
        moved.chain = four;
        assert_eq!(all.insert(&genesis(), moved), Err(RevocationError::Signer));
    }

    #[test]
    fn sets_that_were_joined_in_any_order_are_equal() {
        let revoked = chains().into_iter().skip(1);
        let revoked: Vec<_> =
            revoked.map(|chain| Revocation::sign(&genesis(), chain, &key(0), NOW).unwrap()).collect();
        let mut sets = [Revocations::default(), Revocations::default()];
        assert_eq!(sets[0].digest(), sets[1].digest());
        revoked.iter().for_each(|r| assert_eq!(sets[0].insert(&genesis(), r.clone()), Ok(true)));
        assert_ne!(sets[0].digest(), sets[1].digest());
        revoked.iter().rev().for_each(|r| assert_eq!(sets[1].insert(&genesis(), r.clone()), Ok(true)));
        assert_eq!(sets[0], sets[1]);
        assert_eq!(sets[0].digest(), sets[1].digest());
        assert_eq!(sets[0].insert(&genesis(), revoked[0].clone()), Ok(false));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let signed = Revocation::sign(&genesis(), chains()[3].clone(), &key(0), NOW).unwrap();
        assert_eq!(Revocation::decode(&signed.encode()), Ok(signed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn no_change_of_a_revocation_is_believed(at in 0..2000usize, by in 1..=255u8) {
            static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
                Revocation::sign(&genesis(), chains()[1].clone(), &key(0), NOW).unwrap().encode()
            });
            static HOME: LazyLock<SignedGenesis> = LazyLock::new(genesis);
            let good = &*GOOD;
            let mut changed = good.clone();
            changed[at % good.len()] ^= by;
            let taken = Revocation::decode(&changed)
                .and_then(|found| Revocations::default().insert(&HOME, found));
            prop_assert!(taken.is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Revocation::decode(&bytes).is_err());
        }
    }
}
