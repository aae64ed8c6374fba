//! Tokens: what a client may do, and where, signed by a peer.
//!
//! A token carries the chain of the peer that signed it, so any peer of the network checks it without
//! asking anybody. Whoever has it can use it: it is a password for a part of the keys.

use super::armour::{self, ArmourError};
use super::certificate::{CHAIN_BYTES_MAX, Chain, Refusal, Role, Serial};
use crate::canonical;
use crate::genesis::SignedGenesis;
use crate::ids::{NetworkId, PeerId};
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Longest prefix of keys that a token may name, in bytes.
pub const PREFIX_MAX: usize = 128;
/// Longest token that is read, in characters. One of the founder has about 250, one of a peer that the
/// founder has let in about 650.
pub const TOKEN_LEN_MAX: usize = 4096;
/// Begins every token; the number is the format.
pub const TOKEN_PREFIX: &str = "stk1";
/// Longest token in bytes.
const BYTES_MAX: usize = CHAIN_BYTES_MAX + 512;

/// What a client may do: read, write or both, with the keys that begin so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub prefix: ByteBuf,
    pub read: bool,
    pub write: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub serial: Serial,
    pub scope: Scope,
    /// Milliseconds since the Unix epoch; it counts until then, included.
    pub not_after_ms: u64,
    network: NetworkId,
    /// Of the peer that has signed it.
    chain: Chain,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Body(NetworkId, Serial, ByteBuf, bool, bool, u64, ByteBuf);

#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, Signature);

/// Why a token does not count. Told to the client that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it is not a token: those begin with {TOKEN_PREFIX}")]
    Prefix,
    #[error("a letter of the token is wrong or missing")]
    Mistyped,
    #[error("the token was made by another version of starling, or by hand")]
    Malformed,
    #[error("the token is of another network")]
    OtherNetwork,
    #[error("the token is not signed by a peer that may give any")]
    Untrusted,
    #[error("the peer that gave the token may do so no more: {0}")]
    Issuer(Refusal),
    #[error("the token has expired")]
    Expired,
    #[error("the token was revoked")]
    Revoked,
}

impl Scope {
    fn is_sane(&self) -> bool {
        self.prefix.len() <= PREFIX_MAX && (self.read || self.write)
    }
}

impl Token {
    /// `None`: the holder of this chain may give no token; only peers that own data do. Or the scope is out
    /// of range: it allows nothing, or its prefix is too long.
    pub fn issue(
        genesis: &SignedGenesis,
        chain: Chain,
        issuer: &dyn Signer,
        serial: Serial,
        scope: Scope,
        not_after_ms: u64,
    ) -> Option<Self> {
        let grant = chain.verify_for_ever(genesis, issuer.peer()).ok()?;
        if grant.role != Role::Storage || !scope.is_sane() {
            return None;
        }
        let network = genesis.network_id();
        let mut token = Self { serial, scope, not_after_ms, network, chain, signature: Signature([0; 64]) };
        token.signature = sign(issuer, Purpose::Token, &token.body());
        Some(token)
    }

    /// The peer that has signed it, and its chain.
    pub fn issuer(&self, genesis: &SignedGenesis) -> (PeerId, &Chain) {
        (self.chain.peer(genesis), &self.chain)
    }

    /// Checks that a peer of this network has signed it, and had the right to. Whether anything was revoked
    /// is not looked at. Returns until when it counts, in milliseconds since the Unix epoch: a token ends
    /// with the certificates that it stands on. Errors: the first thing that is wrong.
    pub fn verify(&self, genesis: &SignedGenesis, now_ms: u64) -> Result<u64, TokenError> {
        if self.network != genesis.network_id() {
            return Err(TokenError::OtherNetwork);
        }
        let issuer = self.chain.peer(genesis);
        let grant = self.chain.verify(genesis, issuer, now_ms).map_err(TokenError::Issuer)?;
        if grant.role != Role::Storage || !verify(&issuer, Purpose::Token, &self.body(), &self.signature) {
            return Err(TokenError::Untrusted);
        }
        if now_ms > self.not_after_ms {
            return Err(TokenError::Expired);
        }
        Ok(self.not_after_ms.min(grant.not_after_ms))
    }

    fn body(&self) -> Vec<u8> {
        let Scope { prefix, read, write } = self.scope.clone();
        let chain = ByteBuf::from(self.chain.encode());
        canonical::encode(&Body(self.network, self.serial, prefix, read, write, self.not_after_ms, chain))
    }

    /// One word of letters and digits.
    pub fn text(&self) -> String {
        armour::text(TOKEN_PREFIX, canonical::encode(&Wire(ByteBuf::from(self.body()), self.signature)))
    }

    /// True if these words may be meant as a token: its end may still be missing.
    pub fn is_like(text: &[u8]) -> bool {
        text.get(..TOKEN_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(TOKEN_PREFIX.as_bytes()))
    }

    /// Reads a token. The length is checked first; nothing is verified yet.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = armour::bytes(TOKEN_PREFIX, TOKEN_LEN_MAX, text).map_err(|error| match error {
            ArmourError::Prefix => TokenError::Prefix,
            ArmourError::TooLong | ArmourError::Mistyped => TokenError::Mistyped,
        })?;
        Self::decode(&bytes).ok_or(TokenError::Malformed)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let Wire(body, signature) = canonical::decode(bytes, BYTES_MAX).ok()?;
        let Body(network, serial, prefix, read, write, not_after_ms, chain) =
            canonical::decode(&body, BYTES_MAX).ok()?;
        let scope = Scope { prefix, read, write };
        let chain = Chain::decode(&chain).ok()?;
        scope.is_sane().then_some(Self { serial, scope, not_after_ms, network, chain, signature })
    }
}

/// Without what makes it worth something.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token for {:?}", self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::certificate::Terms;
    use crate::admission::samples::{DAY, admit, genesis, key, terms};
    use proptest::prelude::*;
    use serde_bytes::ByteArray;
    use std::sync::LazyLock;

    const NOW: u64 = 100 * DAY;

    fn app() -> Scope {
        Scope { prefix: ByteBuf::from(*b"app/"), read: true, write: false }
    }

    /// Of peer 1, whom the founder has let in.
    fn token() -> Token {
        let chain = admit(&Chain::default(), &key(0), key(1).peer(), NOW);
        Token::issue(&genesis(), chain, &key(1), ByteArray::new([7; 16]), app(), NOW + DAY).unwrap()
    }

    #[test]
    fn any_peer_checks_a_token_and_it_ends() {
        let made = token();
        let text = made.text();
        assert!(text.len() < 700 && text.bytes().all(|b| b.is_ascii_alphanumeric()), "{}", text.len());
        let read = Token::parse(&format!(" {}\n", text.to_uppercase())).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.verify(&genesis(), NOW), Ok(NOW + DAY));
        assert_eq!(read.verify(&genesis(), NOW + DAY), Ok(NOW + DAY));
        assert_eq!(read.verify(&genesis(), NOW + DAY + 1), Err(TokenError::Expired));
        assert_eq!(read.issuer(&genesis()).0, key(1).peer());
        assert!(Token::is_like(text.as_bytes()) && !Token::is_like(b"st1abc") && !Token::is_like(b"st"));
    }

    #[test]
    fn a_token_ends_with_the_certificate_that_it_stands_on() {
        let short = Terms { not_after_ms: NOW + 10, ..terms(NOW) };
        let chain = Chain::default().issue(&genesis(), &key(0), key(1).peer(), short).unwrap();
        let made =
            Token::issue(&genesis(), chain, &key(1), ByteArray::new([7; 16]), app(), NOW + DAY).unwrap();
        assert_eq!(made.verify(&genesis(), NOW), Ok(NOW + 10));
        assert_eq!(made.verify(&genesis(), NOW + 11), Err(TokenError::Issuer(Refusal::Expired)));
    }

    #[test]
    fn clients_strangers_and_other_networks_give_none() {
        let serial = ByteArray::new([7; 16]);
        let issue = |chain: &Chain, n, scope| {
            Token::issue(&genesis(), chain.clone(), &key(n), serial, scope, NOW + DAY)
        };
        let client = Terms { role: Role::Client, ..terms(NOW) };
        let client = Chain::default().issue(&genesis(), &key(0), key(1).peer(), client).unwrap();
        assert_eq!(issue(&client, 1, app()), None);
        assert_eq!(issue(&Chain::default(), 5, app()), None, "no certificate");
        assert!(issue(&Chain::default(), 0, app()).is_some(), "the founder");
        assert_eq!(issue(&Chain::default(), 0, Scope { read: false, ..app() }), None, "allows nothing");
        let long = Scope { prefix: ByteBuf::from(vec![b'x'; PREFIX_MAX + 1]), ..app() };
        assert_eq!(issue(&Chain::default(), 0, long), None);
        // Signed by one with another's chain, or put together of two good ones.
        let mut forged = token();
        forged.signature = sign(&key(2), Purpose::Token, &forged.body());
        assert_eq!(forged.verify(&genesis(), NOW), Err(TokenError::Untrusted));
        let mut wider = token();
        wider.scope.write = true;
        assert_eq!(wider.verify(&genesis(), NOW), Err(TokenError::Untrusted));
        let mut moved = token();
        moved.network = NetworkId([9; 32]);
        moved.signature = sign(&key(1), Purpose::Token, &moved.body());
        assert_eq!(moved.verify(&genesis(), NOW), Err(TokenError::OtherNetwork));
    }

    #[test]
    fn what_is_no_token_is_told_from_one_that_was_mistyped() {
        assert_eq!(Token::parse("correct horse"), Err(TokenError::Prefix));
        assert_eq!(Token::parse("stk1"), Err(TokenError::Mistyped));
        let text = token().text();
        assert_eq!(Token::parse(&text[..text.len() - 3]), Err(TokenError::Mistyped));
        assert_eq!(Token::parse(&("stk1".to_owned() + &"a".repeat(5000))), Err(TokenError::Mistyped));
        assert_eq!(Token::parse(&armour::text(TOKEN_PREFIX, vec![0x80])), Err(TokenError::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn no_change_of_a_token_is_believed(at in 0..2000usize, by in 1..=255u8) {
            static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let token = token();
                canonical::encode(&Wire(ByteBuf::from(token.body()), token.signature))
            });
            static HOME: LazyLock<SignedGenesis> = LazyLock::new(genesis);
            let mut changed = GOOD.clone();
            changed[at % GOOD.len()] ^= by;
            let believed = Token::decode(&changed).is_some_and(|token| token.verify(&HOME, NOW).is_ok());
            prop_assert!(!believed);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,300}") {
            prop_assert_eq!(Token::decode(&bytes), None);
            prop_assert!(Token::parse(&text).is_err());
            prop_assert!(Token::parse(&(TOKEN_PREFIX.to_owned() + &text)).is_err());
        }
    }
}
