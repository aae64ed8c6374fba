//! Revocations: certificates and tokens that count no more. The set of them only grows.

use super::certificate::{CHAIN_BYTES_MAX, Certificate, Chain, Serial};
use super::token::Token;
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
/// Most of them that are of tokens, of all peers and of one: so there is always room for certificates, and
/// no peer takes the room of the others.
pub const TOKENS_REVOKED_MAX: usize = REVOCATIONS_MAX / 2;
pub const TOKENS_REVOKED_EACH: usize = 256;
/// Longest encoded revocation, in bytes.
pub const REVOCATION_BYTES_MAX: usize = CHAIN_BYTES_MAX + 256;

/// A certificate counts no more, nor does any that stands below it; or a token does not. It carries the
/// chain of the certificate, or of the peer that gave the token, so that whoever gets it can check, without
/// asking, that it is one of this network and that the signer may: the founder, an issuer in the chain, or
/// the peer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub chain: Chain,
    /// The token that counts no more. `None`: the chain's first certificate.
    pub token: Option<Serial>,
    pub signer: PeerId,
    /// Milliseconds since the Unix epoch, by the signer's clock; for people.
    pub at_ms: u64,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, Option<Serial>, PeerId, u64, Signature);

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
    #[error("too many tokens were revoked already, and there is room for no more; let this one expire")]
    FullOfTokens,
}

impl Revocation {
    /// Revokes the first certificate of the chain. Errors: `Untrusted`, `Signer`.
    pub fn sign(
        genesis: &SignedGenesis,
        chain: Chain,
        signer: &dyn Signer,
        at_ms: u64,
    ) -> Result<Self, RevocationError> {
        Self::signed(genesis, chain, None, signer, at_ms)
    }

    /// Revokes a token of the peer that the chain is of. Errors: as `sign`.
    pub fn of_token(
        genesis: &SignedGenesis,
        chain: Chain,
        token: Serial,
        signer: &dyn Signer,
        at_ms: u64,
    ) -> Result<Self, RevocationError> {
        Self::signed(genesis, chain, Some(token), signer, at_ms)
    }

    fn signed(
        genesis: &SignedGenesis,
        chain: Chain,
        token: Option<Serial>,
        signer: &dyn Signer,
        at_ms: u64,
    ) -> Result<Self, RevocationError> {
        let signature = Signature([0; 64]);
        let mut revocation = Self { chain, token, signer: signer.peer(), at_ms, signature };
        let name = revocation.name(genesis)?;
        revocation.signature = sign(signer, Purpose::Revocation, &revocation.signed_bytes(genesis, name));
        revocation.verify(genesis)?;
        Ok(revocation)
    }

    /// Whose certificate counts no more, or whose token.
    pub fn subject(&self, genesis: &SignedGenesis) -> PeerId {
        self.chain.peer(genesis)
    }

    /// Errors: `Untrusted`, for the founder has no certificate.
    fn name(&self, genesis: &SignedGenesis) -> Result<Name, RevocationError> {
        match self.token {
            Some(serial) => Ok((self.subject(genesis), serial)),
            None => self.chain.own().map(name_of).ok_or(RevocationError::Untrusted),
        }
    }

    fn signed_bytes(&self, genesis: &SignedGenesis, (issuer, serial): Name) -> Vec<u8> {
        canonical::encode(&(genesis.network_id(), self.token.is_some(), issuer, serial, self.at_ms))
    }

    pub fn encode(&self) -> Vec<u8> {
        let Self { chain, token, signer, at_ms, signature } = self;
        canonical::encode(&Wire(ByteBuf::from(chain.encode()), *token, *signer, *at_ms, *signature))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RevocationError> {
        let Wire(chain, token, signer, at_ms, signature) =
            canonical::decode(bytes, REVOCATION_BYTES_MAX).map_err(|_| RevocationError::Malformed)?;
        let chain = Chain::decode(&chain).map_err(|_| RevocationError::Malformed)?;
        Ok(Self { chain, token, signer, at_ms, signature })
    }

    fn verify(&self, genesis: &SignedGenesis) -> Result<(), RevocationError> {
        let (name, subject) = (self.name(genesis)?, self.subject(genesis));
        self.chain.verify_for_ever(genesis, subject).map_err(|_| RevocationError::Untrusted)?;
        let stands_above = self.chain.certificates().any(|above| above.issuer == self.signer);
        let bytes = self.signed_bytes(genesis, name);
        let may = stands_above || self.signer == genesis.genesis().founder || self.signer == subject;
        if !may || !verify(&self.signer, Purpose::Revocation, &bytes, &self.signature) {
            return Err(RevocationError::Signer);
        }
        Ok(())
    }
}

/// Names a certificate or a token, by its issuer. The serial alone would not: whoever lets peers in chooses serials,
/// and by revoking one of its own it could put out another's peer.
type Name = (PeerId, Serial);

fn name_of(certificate: &Certificate) -> Name {
    (certificate.issuer, certificate.serial)
}

/// All revocations that are known, at most one for each certificate and token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<Name, Revocation>);

impl Revocations {
    /// Takes a revocation in, once it is verified. `Ok(false)`: what it is of was revoked already.
    pub fn insert(&mut self, genesis: &SignedGenesis, found: Revocation) -> Result<bool, RevocationError> {
        let name = found.name(genesis)?;
        if self.0.contains_key(&name) {
            return Ok(false);
        }
        if self.0.len() >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        if found.token.is_some() && !self.has_room_for_token_of(name.0) {
            return Err(RevocationError::FullOfTokens);
        }
        found.verify(genesis)?;
        self.0.insert(name, found);
        Ok(true)
    }

    /// The revocation of the chain's own certificate, or of one that it stands on.
    pub fn of(&self, chain: &Chain) -> Option<&Revocation> {
        chain.certificates().find_map(|certificate| self.0.get(&name_of(certificate)))
    }

    /// The revocation of the token, or of a certificate that it stands on.
    pub fn of_token(&self, genesis: &SignedGenesis, token: &Token) -> Option<&Revocation> {
        let (issuer, chain) = token.issuer(genesis);
        self.0.get(&(issuer, token.serial)).or_else(|| self.of(chain))
    }

    /// Whether this certificate or token of this issuer was revoked.
    pub fn has(&self, issuer: PeerId, serial: Serial) -> bool {
        self.0.contains_key(&(issuer, serial))
    }

    fn has_room_for_token_of(&self, issuer: PeerId) -> bool {
        let tokens = || self.0.iter().filter(|(_, revocation)| revocation.token.is_some());
        tokens().count() < TOKENS_REVOKED_MAX
            && tokens().filter(|((of, _), _)| *of == issuer).count() < TOKENS_REVOKED_EACH
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
    use crate::admission::token::Scope;
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

    fn token_of(n: u64, chain: &Chain, serial: u64) -> Token {
        let scope = Scope { prefix: ByteBuf::from(*b"app/"), read: true, write: false };
        Token::issue(&genesis(), chain.clone(), &key(n), serial_of(serial), scope, NOW + DAY).unwrap()
    }

    fn serial_of(n: u64) -> Serial {
        ByteArray::new(u128::from(n).to_be_bytes())
    }

    #[test]
    fn a_token_is_revoked_by_its_issuer_and_those_above_alone() {
        let [founder, one, two, ..] = chains();
        let token = token_of(2, &two, 5);
        for (n, may) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
            let signed = Revocation::of_token(&genesis(), two.clone(), token.serial, &key(n), NOW);
            assert_eq!(signed.is_ok(), may, "by {n}");
        }
        let mut all = Revocations::default();
        let revoked = Revocation::of_token(&genesis(), two.clone(), token.serial, &key(0), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), revoked), Ok(true));
        assert!(all.of_token(&genesis(), &token).is_some());
        assert_eq!(all.of_token(&genesis(), &token_of(2, &two, 6)), None, "another one goes on");
        assert_eq!(all.of_token(&genesis(), &token_of(1, &one, 5)), None, "of the same serial, by another");
        assert_eq!(all.of(&two), None, "its issuer is in still");
        let founders = token_of(0, &founder, 5);
        let revoked = Revocation::of_token(&genesis(), founder, founders.serial, &key(0), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), revoked), Ok(true));
        assert!(all.of_token(&genesis(), &founders).is_some());
    }

    #[test]
    fn a_token_of_one_who_is_out_counts_no_more() {
        let [_, one, two, ..] = chains();
        let mut all = Revocations::default();
        let out = Revocation::sign(&genesis(), one, &key(0), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), out), Ok(true));
        assert!(all.of_token(&genesis(), &token_of(2, &two, 5)).is_some());
    }

    #[test]
    fn no_peer_fills_the_set_with_tokens_of_its_own() {
        let [_, one, two, ..] = chains();
        let mut all = Revocations::default();
        let revoke = |n, chain: &Chain, serial| {
            Revocation::of_token(&genesis(), chain.clone(), serial_of(serial), &key(n), NOW).unwrap()
        };
        let first = revoke(1, &one, 0);
        for serial in 0..TOKENS_REVOKED_EACH as u64 - 1 {
            // Not signed anew, which takes its time.
            all.0.insert((key(1).peer(), serial_of(serial)), first.clone());
        }
        assert_eq!(all.insert(&genesis(), revoke(1, &one, 999)), Ok(true));
        let more = revoke(1, &one, 1000);
        assert_eq!(all.insert(&genesis(), more), Err(RevocationError::FullOfTokens));
        assert_eq!(all.insert(&genesis(), revoke(2, &two, 1)), Ok(true));
        let certificate = Revocation::sign(&genesis(), one, &key(0), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), certificate), Ok(true));
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
