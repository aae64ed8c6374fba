//! Records are signed by their subjects: nobody can speak for another peer, nor accuse it at an
//! incarnation that it has not reached.

use crate::canonical;
use crate::ids::NetworkId;
use crate::member::{Health, Record, Step};
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use std::fmt;

/// How records are signed and verified.
pub trait Signing: fmt::Debug + Send + Sync {
    /// Signs a record of this peer.
    fn sign(&self, record: &Record) -> Option<Signature>;
    /// True if the record's subject has signed it.
    fn is_signed(&self, record: &Record) -> bool;
}

/// Of networks that are only simulated: nobody signs, and everybody is believed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned;

impl Signing for Unsigned {
    fn sign(&self, _: &Record) -> Option<Signature> {
        None
    }

    fn is_signed(&self, _: &Record) -> bool {
        true
    }
}

/// Ed25519, with the key that is the peer's name.
pub struct Signed<S> {
    network: NetworkId,
    signer: S,
}

impl<S: Signer> Signed<S> {
    pub fn new(network: NetworkId, signer: S) -> Self {
        Self { network, signer }
    }
}

impl<S> fmt::Debug for Signed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed")
    }
}

impl<S: Signer + Send + Sync> Signing for Signed<S> {
    fn sign(&self, record: &Record) -> Option<Signature> {
        Some(sign(&self.signer, Purpose::Record, &signed_bytes(&self.network, record)))
    }

    fn is_signed(&self, record: &Record) -> bool {
        let bytes = signed_bytes(&self.network, record);
        is_bare(record)
            || record.signature.is_some_and(|found| verify(&record.id, Purpose::Record, &bytes, &found))
    }
}

/// All but the health, which others judge, and the standing, which an operator may end.
fn signed_bytes(network: &NetworkId, record: &Record) -> Vec<u8> {
    let Record { id, incarnation, life, started_ms, name, addresses, zone, weight, .. } = record;
    canonical::encode(&(network, id, incarnation, life, started_ms, name, addresses, zone, weight))
}

/// What is kept of a peer that was forgotten says nothing but that it has left.
fn is_bare(record: &Record) -> bool {
    let is_gone = record.standing.step == Step::Left && record.health == Health::Dead;
    is_gone && record.incarnation == 0 && record.addresses.is_empty() && record.name.is_empty()
}
