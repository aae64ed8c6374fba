//! Ed25519 signatures (RFC 8032) of peers, each for one purpose.

use crate::ids::PeerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is signed. It stands before the bytes that are signed, so that a signature made for one purpose
/// is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Genesis,
    Certificate,
    Revocation,
    Record,
    Standing,
    Token,
}

impl Purpose {
    fn text(self) -> &'static str {
        match self {
            Purpose::Genesis => "starling genesis 1\n",
            Purpose::Certificate => "starling certificate 1\n",
            Purpose::Record => "starling record 1\n",
            Purpose::Standing => "starling standing 1\n",
            Purpose::Token => "starling token 1\n",
            Purpose::Revocation => "starling revocation 1\n",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.text().as_bytes(), bytes].concat()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whoever holds a peer's private key.
pub trait Signer {
    fn peer(&self) -> PeerId;
    /// The Ed25519 signature of exactly these bytes.
    fn sign_bytes(&self, message: &[u8]) -> Signature;
}

pub fn sign(signer: &dyn Signer, purpose: Purpose, bytes: &[u8]) -> Signature {
    signer.sign_bytes(&purpose.message(bytes))
}

/// True if this peer has signed these bytes for this purpose. Keys and signatures that RFC 8032 leaves to
/// taste (small order, not canonical) are refused, so that one signature has one form.
pub fn verify(peer: &PeerId, purpose: Purpose, bytes: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    ed25519_dalek::VerifyingKey::from_bytes(&peer.0)
        .is_ok_and(|key| key.verify_strict(&purpose.message(bytes), &signature).is_ok())
}

/// A key whose secret is its number: for tests and simulations.
#[derive(Clone, Debug)]
pub struct NumberedKey(ed25519_dalek::SigningKey);

impl NumberedKey {
    pub fn new(n: u64) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&n.to_le_bytes());
        Self(ed25519_dalek::SigningKey::from_bytes(&secret))
    }
}

impl Signer for NumberedKey {
    fn peer(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    fn sign_bytes(&self, message: &[u8]) -> Signature {
        Signature(ed25519_dalek::Signer::sign(&self.0, message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_peer_one_purpose_and_one_text() {
        let (one, two) = (NumberedKey::new(1), NumberedKey::new(2));
        let signature = sign(&one, Purpose::Genesis, b"text");
        assert!(verify(&one.peer(), Purpose::Genesis, b"text", &signature));
        assert!(!verify(&two.peer(), Purpose::Genesis, b"text", &signature));
        assert!(!verify(&one.peer(), Purpose::Genesis, b"texts", &signature));
        let other_purpose = one.sign_bytes(b"text");
        assert!(!verify(&one.peer(), Purpose::Genesis, b"text", &other_purpose));
        for bit in 0..512 {
            let mut changed = signature;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&one.peer(), Purpose::Genesis, b"text", &changed), "bit {bit}");
        }
    }

    /// The neutral element as a key would make many texts look signed.
    #[test]
    fn weak_keys_sign_nothing() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(&PeerId(neutral), Purpose::Genesis, b"text", &Signature(signature)));
        assert!(!verify(&PeerId([0xff; 32]), Purpose::Genesis, b"text", &Signature(signature)));
    }
}
