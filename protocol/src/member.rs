//! What peers know of one another.

use crate::admission::certificate::CHAIN_BYTES_MAX;
use crate::config::NAME_MAX;
use crate::ids::PeerId;
use crate::signature::Signature;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use starling_crdt::wire::{Malformed, array_shaped};

/// Most addresses of one peer, and the longest of them in bytes.
pub const ADDRESSES_MAX: usize = 16;
pub const ADDRESS_LEN_MAX: usize = 256;
/// Largest weight, of which a peer's share of the data follows: a hundred times the usual.
pub const WEIGHT_MAX: u32 = 10_000;

/// Largest incarnation, and largest version of a standing. Both grow by one at a time.
const COUNT_MAX: u64 = u64::MAX / 2;

/// Whether a peer answers. Of two claims with one incarnation the later in this order wins (SWIM, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    Alive,
    Suspect,
    Dead,
}

/// How far a peer has come on the way in or out (rule `settling`). What a step means for owners:
/// see `placement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Knows the network, owns nothing, waits for its turn.
    Waiting,
    /// Writes reach the owners with it and without it; reads go to those without it.
    Joining,
    /// It is filled. Writes as before; reads go to the owners with it.
    Arriving,
    Member,
    /// Writes reach the owners with it and without it; reads go to those with it.
    Leaving,
    /// The others are filled. Writes as before; reads go to the owners without it.
    Departing,
    Left,
}

/// A step, and how many steps were taken before it. The higher wins; only the subject takes steps,
/// but for an operator who forgets a peer that is dead: see [`Voucher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Standing {
    pub version: u64,
    pub step: Step,
}

/// Who vouches for a standing: its subject, or the peer by which it was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    pub by: PeerId,
    /// Of `by`; those of the subject itself stand in its record.
    pub certificates: ByteBuf,
    /// Over the subject and the standing.
    pub signature: Signature,
}

/// All that is gossiped of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: PeerId,
    /// Raised by the subject alone: to refute, or because what follows has changed.
    pub incarnation: u64,
    pub health: Health,
    pub standing: Standing,
    /// The actor of its present life; another one after every start.
    pub life: u64,
    /// When that life began: milliseconds of Unix time by the peer's own clock, but after all its lives before. Of
    /// two processes with one key the one that started earlier stops.
    pub started_ms: u64,
    pub name: String,
    /// Where it listens, as the transport writes addresses.
    pub addresses: Vec<String>,
    /// Copies are spread over distinct zones where there are enough. Empty: no zone.
    pub zone: String,
    /// Its share of the partitions, relative to the others'. 100 is usual; 0 owns nothing.
    pub weight: u32,
    /// The subject's, over all but health, standing and certificates. `None`: of a forgotten peer, or a simulated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// By which the subject is in the network, encoded. Empty: of a simulated peer, or saved before records had them.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub certificates: ByteBuf,
    /// `None`: as empty certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<Voucher>,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

impl Record {
    /// A made-up member, for tests and simulations.
    pub fn numbered(n: u64) -> Self {
        Self {
            id: PeerId::numbered(n),
            incarnation: 1,
            health: Health::Alive,
            standing: Standing { version: 1, step: Step::Member },
            life: n,
            started_ms: n,
            name: format!("p{n}"),
            addresses: vec![format!("/memory/{n}")],
            zone: String::new(),
            weight: 100,
            signature: None,
            certificates: ByteBuf::new(),
            voucher: None,
        }
    }

    /// Checks bounds. A record that breaks one is dropped whole.
    pub fn is_sane(&self) -> bool {
        is_plain(&self.name, NAME_MAX)
            && is_plain(&self.zone, NAME_MAX)
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|a| is_plain(a, ADDRESS_LEN_MAX))
            && self.weight <= WEIGHT_MAX
            && self.incarnation < COUNT_MAX
            && self.started_ms < COUNT_MAX
            && self.standing.version < COUNT_MAX
            && self.certificates.len() <= CHAIN_BYTES_MAX
            && self.voucher.as_ref().is_none_or(|voucher| voucher.certificates.len() <= CHAIN_BYTES_MAX)
    }

    /// True if it has left by another's word, not by its own. Where nobody signs, it may be either.
    pub fn was_forgotten(&self) -> bool {
        let by_itself = |voucher: &Voucher| voucher.by == self.id;
        self.standing.step == Step::Left && !self.voucher.as_ref().is_some_and(by_itself)
    }

    /// True if this is of a life of the same peer that began after `other`'s did.
    pub fn started_after(&self, other: &Record) -> bool {
        self.life != other.life && (self.started_ms, self.life) > (other.started_ms, other.life)
    }

    /// True if both say the same of the peer itself, whatever they say of its health and standing.
    pub fn describes_like(&self, other: &Record) -> bool {
        (self.id, self.life, self.started_ms) == (other.id, other.life, other.started_ms)
            && self.weight == other.weight
            && self.name == other.name
            && self.zone == other.zone
            && self.addresses == other.addresses
    }
}

/// Short, and without control characters: names end up on people's terminals.
fn is_plain(text: &str, len_max: usize) -> bool {
    text.len() <= len_max && !text.chars().any(char::is_control)
}

/// `by` has probed `suspect`, directly and through others, and had no answer. Lifeguard's suspicion
/// timeouts count who accuses, so an accusation names its author and travels apart from records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Accusation {
    pub suspect: PeerId,
    /// The suspect's, when it did not answer.
    pub incarnation: u64,
    pub by: PeerId,
}

/// What a peer knows of all steps taken, in short. Equal hashes: the same owners everywhere (the hash is
/// over the standing, weight and zone of all that have not left). Of two that differ, the one with fewer steps
/// lacks one (rules `view` and `settling`); the other may lack one too: see `Membership::knows_view`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The sum of all standings' versions, of those that have left as well.
    pub steps: u64,
    pub hash: u64,
}

array_shaped!(View: steps, hash);

impl View {
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// True if whoever has this view lacks a step that `other` knows.
    pub fn is_behind(&self, other: &View) -> bool {
        self.hash != other.hash && self.steps <= other.steps
    }
}
