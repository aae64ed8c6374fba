//! Certificates, and chains of them up to the founder.

use crate::canonical;
use crate::config::NAME_MAX;
use crate::genesis::SignedGenesis;
use crate::ids::{NetworkId, PeerId};
use crate::member::WEIGHT_MAX;
use crate::signature::{Purpose, Signature, Signer, sign, verify};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Most certificates of one chain: the peer's own, and three peers between it and the founder.
pub const CHAIN_MAX: usize = 4;
/// Longest encoded chain that is read, in bytes. One of four certificates with a zone has about 1,200.
pub const CHAIN_BYTES_MAX: usize = 2048;
/// How far the clocks of two machines may differ: a certificate counts from so long before it was made.
pub const CLOCK_TOLERANCE_MS: u64 = 24 * 60 * 60 * 1000;

/// What a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Owns partitions, and may let others in.
    Storage,
    /// Takes requests and owns nothing.
    Client,
}

/// Names one certificate for ever: random.
pub type Serial = ByteArray<16>;

/// What an issuer says of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub network: NetworkId,
    pub issuer: PeerId,
    pub subject: PeerId,
    pub serial: Serial,
    pub role: Role,
    /// The only zone that the peer may name; `None`: any.
    pub zone: Option<String>,
    /// The largest weight that the peer may have.
    pub weight_max: u32,
    /// How many certificates may stand below this one in a chain: 0 lets nobody in.
    pub delegations: u8,
    /// Milliseconds since the Unix epoch; it counts from the first to the second, both included.
    pub not_before_ms: u64,
    pub not_after_ms: u64,
}

/// An array, not a map: one order, no names.
type Wire = (NetworkId, PeerId, PeerId, Serial, Role, Option<String>, u32, u8, u64, u64);

impl Certificate {
    fn encode(&self) -> Vec<u8> {
        let c = self.clone();
        let wire: Wire = (
            c.network,
            c.issuer,
            c.subject,
            c.serial,
            c.role,
            c.zone,
            c.weight_max,
            c.delegations,
            c.not_before_ms,
            c.not_after_ms,
        );
        canonical::encode(&wire)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let wire: Wire = canonical::decode(bytes, CHAIN_BYTES_MAX).ok()?;
        let (network, issuer, subject, serial, role, zone, weight_max, delegations, from, to) = wire;
        let certificate = Self {
            network,
            issuer,
            subject,
            serial,
            role,
            zone,
            weight_max,
            delegations,
            not_before_ms: from,
            not_after_ms: to,
        };
        certificate.is_sane().then_some(certificate)
    }

    fn is_sane(&self) -> bool {
        let is_plain = |zone: &String| zone.len() <= NAME_MAX && !zone.chars().any(char::is_control);
        self.zone.as_ref().is_none_or(is_plain)
            && self.weight_max <= WEIGHT_MAX
            && usize::from(self.delegations) < CHAIN_MAX
            && (self.role == Role::Storage || (self.delegations == 0 && self.weight_max == 0))
    }

    /// True if one who has `self` may give `other`: nothing in it goes further.
    fn allows(&self, other: &Certificate) -> bool {
        self.role == Role::Storage
            && other.delegations < self.delegations
            && other.weight_max <= self.weight_max
            && (self.zone.is_none() || self.zone == other.zone)
    }
}

/// Why somebody is not let in. It is told to the one refused, whose own program has the words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("it has no certificate of this network")]
    NoCertificate,
    #[error("its certificate cannot be read")]
    Malformed,
    #[error("its certificate is of another network")]
    OtherNetwork,
    #[error("its certificate is another peer's")]
    OtherPeer,
    #[error("its certificate does not lead to the founder of the network")]
    Untrusted,
    #[error("its certificate is not valid yet, so one of the clocks is wrong")]
    NotYetValid,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate was revoked")]
    Revoked,
}

/// What a checked chain grants its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub role: Role,
    pub zone: Option<String>,
    pub weight_max: u32,
    pub delegations: u8,
    /// When the first certificate of the chain ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
}

/// What an issuer decides about a peer that it lets in. The rest is the issuer's own, one step less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub role: Role,
    pub serial: Serial,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
}

/// Certificates from the peer's own up to one that the founder has issued. The founder's own is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain(Vec<Signed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    certificate: Certificate,
    signature: Signature,
}

impl Chain {
    /// The certificates, the peer's own first.
    pub fn certificates(&self) -> impl DoubleEndedIterator<Item = &Certificate> {
        self.0.iter().map(|signed| &signed.certificate)
    }

    /// The peer's own certificate; the founder has none.
    pub fn own(&self) -> Option<&Certificate> {
        self.certificates().next()
    }

    /// Whose chain it is, as far as it says itself.
    pub fn peer(&self, genesis: &SignedGenesis) -> PeerId {
        self.own().map_or(genesis.genesis().founder, |own| own.subject)
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire: Vec<(ByteBuf, Signature)> = self
            .0
            .iter()
            .map(|signed| (ByteBuf::from(signed.certificate.encode()), signed.signature))
            .collect();
        canonical::encode(&wire)
    }

    /// Errors: `Malformed`. Nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let wire: Vec<(ByteBuf, Signature)> =
            canonical::decode(bytes, CHAIN_BYTES_MAX).map_err(|_| Refusal::Malformed)?;
        if wire.len() > CHAIN_MAX {
            return Err(Refusal::Malformed);
        }
        let signed = wire.into_iter().map(|(bytes, signature)| {
            let certificate = Certificate::decode(&bytes).ok_or(Refusal::Malformed)?;
            Ok(Signed { certificate, signature })
        });
        signed.collect::<Result<_, _>>().map(Self)
    }

    /// Checks that the network's founder has let this peer in, itself or through others, each of whom had
    /// the right to. Whether anything was revoked is not looked at. Errors: the first thing that is wrong.
    pub fn verify(&self, genesis: &SignedGenesis, peer: PeerId, now_ms: u64) -> Result<Grant, Refusal> {
        let grant = self.verify_for_ever(genesis, peer)?;
        for certificate in self.certificates() {
            if now_ms < certificate.not_before_ms {
                return Err(Refusal::NotYetValid);
            }
            if now_ms > certificate.not_after_ms {
                return Err(Refusal::Expired);
            }
        }
        Ok(grant)
    }

    /// As `verify`, whatever the time.
    pub fn verify_for_ever(&self, genesis: &SignedGenesis, peer: PeerId) -> Result<Grant, Refusal> {
        let founder = genesis.genesis().founder;
        let Some(own) = self.own() else {
            return if peer == founder { Ok(founders_grant()) } else { Err(Refusal::NoCertificate) };
        };
        if self.certificates().any(|certificate| certificate.network != genesis.network_id()) {
            return Err(Refusal::OtherNetwork);
        }
        if own.subject != peer {
            return Err(Refusal::OtherPeer);
        }
        let issuers = self.certificates().skip(1).map(Some).chain([None]);
        for (signed, issuer) in self.0.iter().zip(issuers) {
            let certificate = &signed.certificate;
            let allowed = match issuer {
                Some(issuer) => issuer.subject == certificate.issuer && issuer.allows(certificate),
                None => certificate.issuer == founder,
            };
            let bytes = certificate.encode();
            if !allowed || !verify(&certificate.issuer, Purpose::Certificate, &bytes, &signed.signature) {
                return Err(Refusal::Untrusted);
            }
        }
        Ok(Grant {
            role: own.role,
            zone: own.zone.clone(),
            weight_max: own.weight_max,
            delegations: own.delegations,
            not_after_ms: self.certificates().map(|c| c.not_after_ms).min().unwrap_or(u64::MAX),
        })
    }

    /// The chain of a peer that the holder of this one lets in. `None`: it may let in nobody.
    pub fn issue(
        &self,
        genesis: &SignedGenesis,
        issuer: &dyn Signer,
        subject: PeerId,
        terms: Terms,
    ) -> Option<Chain> {
        let grant = self.verify_for_ever(genesis, issuer.peer()).ok()?;
        let delegations = grant.delegations.checked_sub(1)?;
        let is_storage = terms.role == Role::Storage;
        let certificate = Certificate {
            network: genesis.network_id(),
            issuer: issuer.peer(),
            subject,
            serial: terms.serial,
            role: terms.role,
            zone: grant.zone,
            weight_max: if is_storage { grant.weight_max } else { 0 },
            delegations: if is_storage { delegations } else { 0 },
            not_before_ms: terms.not_before_ms,
            not_after_ms: terms.not_after_ms,
        };
        let signature = sign(issuer, Purpose::Certificate, &certificate.encode());
        Some(Chain([vec![Signed { certificate, signature }], self.0.clone()].concat()))
    }
}

fn founders_grant() -> Grant {
    Grant {
        role: Role::Storage,
        zone: None,
        weight_max: WEIGHT_MAX,
        delegations: CHAIN_MAX as u8,
        not_after_ms: u64::MAX,
    }
}

#[cfg(test)]
mod tests;
