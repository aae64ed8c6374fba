//! Records are signed by their subjects, who show by which certificates they are in the network, and vouch for their
//! own steps: nobody can speak for another peer, nor accuse it at an incarnation that it has not reached, nor invent
//! one. The one step that another can take, to forget a peer, is signed by whoever took it.

use crate::admission::certificate::{Chain, Grant, Refusal, Role};
use crate::canonical;
use crate::genesis::SignedGenesis;
use crate::ids::{NetworkId, PeerId};
use crate::member::{Health, Record, Standing, Step, Voucher};
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde_bytes::ByteBuf;
use std::fmt;

/// How records are signed and verified.
pub trait Signing: fmt::Debug + Send + Sync {
    /// This peer's certificates, encoded.
    fn certificates(&self) -> ByteBuf;
    /// Signs a record of this peer.
    fn sign(&self, record: &Record) -> Option<Signature>;
    /// Vouches for the standing of a peer, this one or another.
    fn vouch(&self, peer: PeerId, standing: Standing) -> Option<Voucher>;
    /// True if others believe this peer that another has left.
    fn may_forget(&self) -> bool;
    /// True if the record is one that was saved when records had neither certificates nor vouchers.
    fn lacks_proof(&self, record: &Record) -> bool;
    /// True if the record's subject has signed it.
    fn is_signed(&self, record: &Record) -> bool;
    /// True if its subject was let into the network, to be no more than the record says.
    fn is_certified(&self, record: &Record) -> bool;
    /// True if whoever may take the record's step has vouched for it.
    fn is_vouched(&self, record: &Record) -> bool;
}

/// Of networks that are only simulated: nobody signs, and everybody is believed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned;

impl Signing for Unsigned {
    fn certificates(&self) -> ByteBuf {
        ByteBuf::new()
    }

    fn sign(&self, _: &Record) -> Option<Signature> {
        None
    }

    fn vouch(&self, _: PeerId, _: Standing) -> Option<Voucher> {
        None
    }

    fn may_forget(&self) -> bool {
        true
    }

    fn lacks_proof(&self, _: &Record) -> bool {
        false
    }

    fn is_signed(&self, _: &Record) -> bool {
        true
    }

    fn is_certified(&self, _: &Record) -> bool {
        true
    }

    fn is_vouched(&self, _: &Record) -> bool {
        true
    }
}

/// Ed25519, with the key that is the peer's name.
pub struct Signed<S> {
    genesis: SignedGenesis,
    certificates: ByteBuf,
    signer: S,
}

impl<S: Signer> Signed<S> {
    /// `certificates`: the signer's own, encoded.
    pub fn new(genesis: SignedGenesis, certificates: ByteBuf, signer: S) -> Self {
        Self { genesis, certificates, signer }
    }

    fn network(&self) -> NetworkId {
        self.genesis.network_id()
    }

    /// What these certificates grant this peer, at whatever time: the transport sees to it that nobody is heard whose
    /// certificate has expired or was revoked, and what such a peer was stays true.
    fn grant(&self, peer: PeerId, certificates: &[u8]) -> Result<Grant, Refusal> {
        Chain::decode(certificates)?.verify_for_ever(&self.genesis, peer)
    }
}

impl<S> fmt::Debug for Signed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed")
    }
}

impl<S: Signer + Send + Sync> Signing for Signed<S> {
    fn certificates(&self) -> ByteBuf {
        self.certificates.clone()
    }

    fn sign(&self, record: &Record) -> Option<Signature> {
        Some(sign(&self.signer, Purpose::Record, &described(&self.network(), record)))
    }

    fn vouch(&self, peer: PeerId, standing: Standing) -> Option<Voucher> {
        let by = self.signer.peer();
        let certificates = if peer == by { ByteBuf::new() } else { self.certificates.clone() };
        let signature = sign(&self.signer, Purpose::Standing, &stood(&self.network(), peer, standing));
        Some(Voucher { by, certificates, signature })
    }

    fn may_forget(&self) -> bool {
        self.grant(self.signer.peer(), &self.certificates).is_ok_and(|grant| grant.role == Role::Storage)
    }

    fn lacks_proof(&self, record: &Record) -> bool {
        let is_proven =
            |voucher: &Voucher| !record.certificates.is_empty() || is_bare(record) && voucher.by != record.id;
        !record.voucher.as_ref().is_some_and(is_proven)
    }

    fn is_signed(&self, record: &Record) -> bool {
        let bytes = described(&self.network(), record);
        is_bare(record)
            || record.signature.is_some_and(|found| verify(&record.id, Purpose::Record, &bytes, &found))
    }

    fn is_certified(&self, record: &Record) -> bool {
        let by_another = record.voucher.as_ref().is_some_and(|voucher| voucher.by != record.id);
        let granted = || self.grant(record.id, &record.certificates);
        match is_bare(record) {
            // Who vouches for it is certified instead; but certificates that it has must be its own.
            true => by_another && record.certificates.is_empty() || granted().is_ok(),
            false => granted().is_ok_and(|grant| keeps_within(record, &grant)),
        }
    }

    fn is_vouched(&self, record: &Record) -> bool {
        let Some(voucher) = &record.voucher else { return false };
        let bytes = stood(&self.network(), record.id, record.standing);
        let may_forget = || {
            let granted = self.grant(voucher.by, &voucher.certificates);
            record.standing.step == Step::Left && granted.is_ok_and(|grant| grant.role == Role::Storage)
        };
        verify(&voucher.by, Purpose::Standing, &bytes, &voucher.signature)
            && (voucher.by == record.id || may_forget())
    }
}

fn keeps_within(record: &Record, grant: &Grant) -> bool {
    record.weight <= grant.weight_max && grant.zone.as_ref().is_none_or(|zone| *zone == record.zone)
}

/// What a subject signs of itself: all but the health, which others judge, the standing, which it vouches for, and the
/// certificates, which are signed by others.
fn described(network: &NetworkId, record: &Record) -> Vec<u8> {
    let Record { id, incarnation, life, started_ms, name, addresses, zone, weight, .. } = record;
    canonical::encode(&(network, id, incarnation, life, started_ms, name, addresses, zone, weight))
}

fn stood(network: &NetworkId, peer: PeerId, Standing { version, step }: Standing) -> Vec<u8> {
    canonical::encode(&(network, peer, version, step))
}

/// What is kept of a peer that was forgotten says nothing but that it has left.
fn is_bare(record: &Record) -> bool {
    let is_gone = record.standing.step == Step::Left && record.health == Health::Dead;
    is_gone && record.incarnation == 0 && record.addresses.is_empty() && record.name.is_empty()
}
