//! The genesis record with the founder's signature: what a data directory keeps and newcomers are told.

use crate::canonical;
use crate::config::{Genesis, GenesisError};
use crate::ids::NetworkId;
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Longest signed record that is read, in bytes. Today's have about 250.
pub const SIGNED_GENESIS_MAX: usize = 4096;

/// A genesis record that its founder has signed, so that nobody can make people join a network in the
/// name of another. It can only be had by signing one, or by reading one whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedGenesis {
    genesis: Genesis,
    network: NetworkId,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, Signature);

impl SignedGenesis {
    /// Errors: the record is out of range, or names another founder than the signer.
    pub fn sign(genesis: Genesis, founder: &dyn Signer) -> Result<Self, GenesisError> {
        genesis.validate()?;
        if genesis.founder != founder.peer() {
            return Err(GenesisError::Signature);
        }
        let signature = sign(founder, Purpose::Genesis, &genesis.encode());
        Ok(Self { network: genesis.network_id(), genesis, signature })
    }

    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Blake3 of the record without the signature.
    pub fn network_id(&self) -> NetworkId {
        self.network
    }

    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(&Wire(ByteBuf::from(self.genesis.encode()), self.signature))
    }

    /// Errors: damaged, of another format, out of range, or not signed by the founder that it names.
    pub fn decode(bytes: &[u8]) -> Result<Self, GenesisError> {
        let Wire(record, signature) = canonical::decode(bytes, SIGNED_GENESIS_MAX)?;
        let genesis: Genesis = canonical::decode(&record, SIGNED_GENESIS_MAX)?;
        genesis.validate()?;
        if !verify(&genesis.founder, Purpose::Genesis, &record, &signature) {
            return Err(GenesisError::Signature);
        }
        Ok(Self { network: genesis.network_id(), genesis, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::NumberedKey;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn genesis(founder: &NumberedKey) -> Genesis {
        Genesis::made_up(founder.peer())
    }

    fn signed() -> SignedGenesis {
        let founder = NumberedKey::new(1);
        SignedGenesis::sign(genesis(&founder), &founder).unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let signed = signed();
        assert_eq!(SignedGenesis::decode(&signed.encode()), Ok(signed.clone()));
        assert_eq!(signed.network_id(), signed.genesis().network_id());
    }

    #[test]
    fn only_the_founder_that_is_named_can_sign() {
        let (founder, other) = (NumberedKey::new(1), NumberedKey::new(2));
        assert_eq!(SignedGenesis::sign(genesis(&founder), &other), Err(GenesisError::Signature));
        let forged = SignedGenesis { genesis: genesis(&other), ..signed() };
        assert_eq!(SignedGenesis::decode(&forged.encode()), Err(GenesisError::Signature));
        let changed = SignedGenesis { genesis: Genesis { w: 1, ..genesis(&founder) }, ..signed() };
        assert_eq!(SignedGenesis::decode(&changed.encode()), Err(GenesisError::Signature));
    }

    #[test]
    fn out_of_range_is_refused_even_when_signed() {
        let founder = NumberedKey::new(1);
        let bad = Genesis { w: 4, ..genesis(&founder) };
        let signature = sign(&founder, Purpose::Genesis, &bad.encode());
        let bytes = canonical::encode(&Wire(ByteBuf::from(bad.encode()), signature));
        assert!(matches!(SignedGenesis::decode(&bytes), Err(GenesisError::Range { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_but_those_that_were_signed(at in 0..200usize, by in 1..=255u8, cut in 0..200usize) {
            static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| signed().encode());
            let good = &*GOOD;
            let mut changed = good.clone();
            let at = at % good.len();
            changed[at] ^= by;
            prop_assert!(SignedGenesis::decode(&changed).is_err());
            prop_assert!(SignedGenesis::decode(&good[..cut % good.len()]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedGenesis::decode(&bytes).is_err());
        }
    }
}
