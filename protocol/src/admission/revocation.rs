//! Revocations: certificates and tokens that count no more. The set of them only grows, until it is full.

use super::certificate::{CHAIN_BYTES_MAX, Certificate, Chain, Serial};
use super::token::Token;
use crate::canonical;
use crate::genesis::SignedGenesis;
use crate::ids::PeerId;
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::BTreeMap;

/// Most revocations of a network. A certificate costs nothing to make and to revoke, for whoever may let others in, nor
/// does a token; so who may have how many of these places is decided by `excess`.
pub const REVOCATIONS_MAX: usize = 4096;
/// Most of them that are of tokens; the other half is kept for certificates.
pub const TOKENS_REVOKED_MAX: usize = REVOCATIONS_MAX / 2;
pub const CERTIFICATES_REVOKED_MAX: usize = REVOCATIONS_MAX - TOKENS_REVOKED_MAX;
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
    #[error("there are {CERTIFICATES_REVOKED_MAX} revocations already, and room for no more of this signer")]
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

/// Who stands for a revocation, and how near to the founder. The lower, the more it counts: anybody below has it from
/// one above that it was let in at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Certificates between the founder and the signer: none, if the founder itself has signed.
    depth: usize,
    /// The peer that the founder has let in and through which the signer came in. `None`: the founder has signed.
    branch: Option<PeerId>,
}

impl Rank {
    fn of(revocation: &Revocation) -> Self {
        let mut from_above = revocation.chain.certificates().rev().peekable();
        let first = from_above.peek().filter(|first| first.issuer != revocation.signer);
        let branch = first.map(|first| first.subject);
        let above = from_above.position(|certificate| certificate.subject == revocation.signer);
        Self { depth: branch.and(above).map_or(0, |above| above + 1), branch }
    }
}

/// By which of those that stand alike one has to go: depth, lot and name.
type Last = (usize, [u8; 32], Name);

/// Drawn by the name. Whoever makes up names cannot count them down, which would bring news without end: each that
/// comes before those that it has costs more tries than the last.
fn lot((issuer, serial): Name) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    *hasher.update(&issuer.0).update(serial.as_ref()).finalize().as_bytes()
}

/// All revocations that are known, at most one for each certificate and token.
///
/// Peers learn them in any order, and must come to the same set, also where there are more than there is room for. So
/// which ones stay depends on nothing but the revocations themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<Name, Revocation>);

impl Revocations {
    /// Takes a revocation in, once it is verified. `Ok(false)`: what it is of was revoked already, by one who stands
    /// as near to the founder. Errors: it is none; `Full` or `FullOfTokens`, if others stay instead.
    pub fn insert(&mut self, genesis: &SignedGenesis, found: Revocation) -> Result<bool, RevocationError> {
        let name = found.name(genesis)?;
        let known = self.0.get(&name).map(Rank::of);
        if known.is_some_and(|known| known <= Rank::of(&found)) {
            return Ok(false);
        }
        let is_token = found.token.is_some();
        let excess = self.excess(is_token, (name, &found));
        if excess == Some(name) {
            return Err(if is_token { RevocationError::FullOfTokens } else { RevocationError::Full });
        }
        found.verify(genesis)?;
        self.0.insert(name, found);
        if let Some(excess) = excess {
            self.0.remove(&excess);
        }
        Ok(true)
    }

    /// The one that has to go if there are more of its kind than there may be, with `more` among them. It is one of the
    /// branch that has most, so no branch takes the places of another, however many certificates and tokens it makes up;
    /// within it, of those that stand lowest the last by lot; and one of the founder's own only if there are no others.
    fn excess(&self, is_token: bool, more: (Name, &Revocation)) -> Option<Name> {
        let known = self.0.iter().map(|(name, revocation)| (*name, revocation));
        let known = known.filter(|(name, _)| more.0 != *name);
        let alike = known.chain([more]).filter(|(_, revocation)| revocation.token.is_some() == is_token);
        let most = if is_token { TOKENS_REVOKED_MAX } else { CERTIFICATES_REVOKED_MAX };
        if alike.clone().count() <= most {
            return None;
        }
        let mut branches = BTreeMap::<Option<PeerId>, (usize, Last)>::new();
        for (name, revocation) in alike {
            let Rank { depth, branch } = Rank::of(revocation);
            let this = (depth, lot(name), name);
            let (many, last) = branches.entry(branch).or_insert((0, this));
            *many += 1;
            *last = this.max(*last);
        }
        let largest = branches.iter().max_by_key(|(branch, largest)| (branch.is_some(), **largest));
        largest.map(|(_, (_, (_, _, name)))| *name)
    }

    /// Whether this very revocation is among them, or one of the same that stands as near to the founder.
    pub fn holds(&self, genesis: &SignedGenesis, revocation: &Revocation) -> bool {
        let known = revocation.name(genesis).ok().and_then(|name| self.0.get(&name));
        known.is_some_and(|known| Rank::of(known) == Rank::of(revocation))
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

    /// Those of certificates first: they matter most.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        let of =
            |tokens: bool| self.0.values().filter(move |revocation| revocation.token.is_some() == tokens);
        of(false).chain(of(true))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equal digests: the same certificates and tokens are revoked, by those who stand alike.
    pub fn digest(&self) -> ByteArray<32> {
        let mut hasher = blake3::Hasher::new();
        for ((issuer, serial), revocation) in &self.0 {
            let Rank { depth, branch } = Rank::of(revocation);
            hasher.update(&issuer.0).update(serial.as_ref()).update(&[depth as u8]);
            hasher.update(&branch.map_or([0; 32], |branch| branch.0));
        }
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

    fn revoked(n: u64, chain: &Chain) -> Revocation {
        Revocation::sign(&genesis(), chain.clone(), &key(n), NOW).unwrap()
    }

    fn token_revoked(n: u64, chain: &Chain, serial: u64) -> Revocation {
        Revocation::of_token(&genesis(), chain.clone(), serial_of(serial), &key(n), NOW).unwrap()
    }

    /// As many as there is room for, of one. They are not signed anew, which takes its time.
    fn full_of(one: &Revocation, most: usize) -> Revocations {
        let name = one.name(&genesis()).unwrap();
        Revocations((0..most as u64).map(|n| ((name.0, serial_of(n)), one.clone())).collect())
    }

    /// Of this issuer, after all others by lot.
    fn last_of(issuer: PeerId, set: &Revocations) -> Serial {
        let last = set.0.keys().map(|name| lot(*name)).max().unwrap();
        (1 << 40..).map(serial_of).find(|serial| lot((issuer, *serial)) > last).unwrap()
    }

    #[test]
    fn no_branch_fills_the_set_with_tokens_that_it_has_made_up() {
        let [_, one, two, _, four] = chains();
        let made_up = token_revoked(2, &two, 0);
        let mut all = full_of(&made_up, TOKENS_REVOKED_MAX);
        let last = last_of(key(2).peer(), &all);
        let more = Revocation::of_token(&genesis(), two, last, &key(2), NOW).unwrap();
        assert_eq!(all.insert(&genesis(), more), Err(RevocationError::FullOfTokens));
        for taken in [token_revoked(4, &four, 1 << 40), token_revoked(1, &one, 1 << 40), revoked(0, &one)] {
            assert_eq!(all.insert(&genesis(), taken.clone()), Ok(true));
            assert!(all.holds(&genesis(), &taken));
        }
        assert_eq!(all.len(), TOKENS_REVOKED_MAX + 1, "and two made-up ones had to go");
    }

    #[test]
    fn whoever_fills_the_set_with_certificates_that_it_has_made_up_is_revoked_still() {
        let [_, one, two, _, four] = chains();
        let made_up = admit(&two, &key(2), key(9).peer(), NOW);
        for founder_or_one in [0, 1] {
            let mut all = full_of(&revoked(2, &made_up), CERTIFICATES_REVOKED_MAX);
            let before = all.clone();
            let late = Terms { serial: last_of(key(2).peer(), &all), ..terms(NOW) };
            let last = two.issue(&genesis(), &key(2), key(11).peer(), late).unwrap();
            assert_eq!(all.insert(&genesis(), revoked(2, &last)), Err(RevocationError::Full));
            assert_eq!(all, before);
            assert_eq!(all.insert(&genesis(), revoked(founder_or_one, &two)), Ok(true));
            assert!(all.of(&made_up).is_some() && all.of(&two).is_some());
            assert_eq!(all.insert(&genesis(), revoked(4, &four)), Ok(true), "another branch has its places");
            assert_eq!(all.insert(&genesis(), revoked(0, &one)), Ok(true));
            assert_eq!(all.len(), CERTIFICATES_REVOKED_MAX);
        }
    }

    /// Whose own revocation goes out again with what it has made up must not come back in by that.
    #[test]
    fn a_revocation_by_one_above_takes_the_place_of_the_peers_own() {
        let [_, _, two, three, _] = chains();
        let (by_itself, by_one, by_founder) = (revoked(2, &two), revoked(1, &two), revoked(0, &two));
        let mut all = Revocations::default();
        let mut digests = vec![all.digest()];
        for (found, taken) in [(&by_itself, true), (&by_founder, true), (&by_one, false)] {
            assert_eq!(all.insert(&genesis(), found.clone()), Ok(taken));
            assert_eq!(all.holds(&genesis(), found), taken);
            digests.push(all.digest());
        }
        assert_eq!((all.len(), all.of(&three)), (1, Some(&by_founder)));
        assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[2] == digests[3]);
    }

    #[test]
    fn full_sets_that_learn_of_one_another_are_equal() {
        let [_, one, two, _, four] = chains();
        let made_up = |chain: &Chain, n: u64, serials: std::ops::Range<u64>| -> Vec<_> {
            serials.map(|serial| token_revoked(n, chain, serial)).collect()
        };
        let half = TOKENS_REVOKED_MAX as u64 / 2;
        let known = full_of(&token_revoked(2, &two, 0), TOKENS_REVOKED_MAX - 4);
        let some = [made_up(&one, 1, half..half + 6), made_up(&four, 4, 0..3)].concat();
        let others = [made_up(&two, 2, 9000..9006), made_up(&four, 4, 2..8)].concat();
        let certificate = revoked(0, &four);
        let mut sets = [(); 4].map(|()| known.clone());
        let all = [&some[..], &others, std::slice::from_ref(&certificate)].concat();
        let take = |set: &mut Revocations, found: &mut dyn Iterator<Item = &Revocation>| {
            let home = genesis();
            found
                .for_each(|found| assert_ne!(set.insert(&home, found.clone()), Err(RevocationError::Signer)));
        };
        take(&mut sets[0], &mut all.iter());
        take(&mut sets[1], &mut all.iter().rev());
        take(&mut sets[2], &mut some.iter());
        take(&mut sets[3], &mut others.iter().chain([&certificate]));
        let (first, second) = (sets[2].clone(), sets[3].clone());
        // Those that were made up here verify not, but stand in both.
        let news = |set: &Revocations| set.iter().filter(|r| all.contains(r)).cloned().collect::<Vec<_>>();
        take(&mut sets[2], &mut news(&second).iter());
        take(&mut sets[3], &mut news(&first).iter());
        assert_eq!(sets[0].len(), TOKENS_REVOKED_MAX + 1);
        for set in &sets[1..] {
            assert_eq!((set, set.digest()), (&sets[0], sets[0].digest()));
        }
        assert_eq!(sets[0].iter().next(), Some(&certificate), "certificates come first");
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
