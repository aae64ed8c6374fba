//! A peer's key pair, and its public key as libp2p and people write it.

use libp2p::identity::{Keypair, ed25519};
use libp2p::multihash::Multihash;
use starling_protocol::ids::PeerId;
use starling_protocol::signature::{Signature, Signer};

/// What libp2p puts before an Ed25519 key in a peer id: a protobuf of the key's type (1) and length (32).
/// Keys this short stand in the id as they are ("identity" multihash, code 0), so it can be read back.
const KEY_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// The peer's name in the world: whoever holds the private key is the peer.
#[derive(Clone)]
pub struct Keys(Keypair);

impl Keys {
    /// From the 32 secret bytes of Ed25519 (RFC 8032, section 5.1.5).
    pub fn from_secret(mut secret: [u8; 32]) -> Self {
        let secret = ed25519::SecretKey::try_from_bytes(&mut secret).expect("any 32 bytes are a secret key");
        Self(ed25519::Keypair::from(secret).into())
    }

    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    pub fn peer(&self) -> PeerId {
        from_libp2p(&self.0.public().to_peer_id()).expect("the key is Ed25519")
    }

    pub(super) fn pair(&self) -> &Keypair {
        &self.0
    }
}

impl Signer for Keys {
    fn peer(&self) -> PeerId {
        Keys::peer(self)
    }

    fn sign_bytes(&self, message: &[u8]) -> Signature {
        let signature = self.0.sign(message).expect("an Ed25519 key signs anything");
        Signature(signature.try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

/// The id as people see it: `12D3Koo…`.
pub fn peer_text(peer: &PeerId) -> String {
    to_libp2p(peer).to_base58()
}

/// Reads what `peer_text` wrote. `None`: not a peer id, or not one of an Ed25519 key.
pub fn parse_peer(text: &str) -> Option<PeerId> {
    from_libp2p(&text.parse().ok()?)
}

pub(super) fn to_libp2p(peer: &PeerId) -> libp2p::PeerId {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(&KEY_PREFIX);
    bytes[4..].copy_from_slice(&peer.0);
    let hash = Multihash::wrap(0, &bytes).expect("36 bytes fit into the 64 of a multihash");
    libp2p::PeerId::from_multihash(hash).expect("an identity hash of up to 42 bytes is a peer id")
}

/// `None` for keys that are not Ed25519.
pub(super) fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    let hash: &Multihash<64> = peer.as_ref();
    let key = hash.digest().strip_prefix(&KEY_PREFIX)?;
    if hash.code() != 0 {
        return None;
    }
    Some(PeerId(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_survives_the_way_to_libp2p_and_back() {
        for _ in 0..32 {
            let keys = Keys::generate();
            assert_eq!(to_libp2p(&keys.peer()), keys.pair().public().to_peer_id());
            assert_eq!(parse_peer(&peer_text(&keys.peer())), Some(keys.peer()));
        }
    }

    #[test]
    fn one_secret_is_one_peer() {
        assert_eq!(Keys::from_secret([7; 32]).peer(), Keys::from_secret([7; 32]).peer());
        assert!(peer_text(&Keys::from_secret([7; 32]).peer()).starts_with("12D3Koo"));
    }

    #[test]
    fn what_a_key_signs_is_verified_by_its_peer_id() {
        use starling_protocol::signature::{Purpose, sign, verify};
        let keys = Keys::generate();
        let signature = sign(&keys, Purpose::Genesis, b"text");
        assert!(verify(&keys.peer(), Purpose::Genesis, b"text", &signature));
        assert!(!verify(&Keys::generate().peer(), Purpose::Genesis, b"text", &signature));
    }

    #[test]
    fn ids_of_other_keys_and_nonsense_are_refused() {
        assert_eq!(parse_peer("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"), None);
        assert_eq!(parse_peer("p1"), None);
        assert_eq!(parse_peer(""), None);
    }
}
