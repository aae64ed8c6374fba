//! What peers know of one another.

use crate::config::NAME_MAX;
use crate::ids::PeerId;
use serde::{Deserialize, Serialize};

/// Most addresses of one peer, and the longest of them in bytes.
pub const ADDRESSES_MAX: usize = 16;
pub const ADDRESS_LEN_MAX: usize = 256;

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
/// but for an operator who forgets a peer that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Standing {
    pub version: u64,
    pub step: Step,
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
    pub name: String,
    /// Where it listens, as the transport writes addresses.
    pub addresses: Vec<String>,
    /// Copies are spread over distinct zones where there are enough. Empty: no zone.
    pub zone: String,
    /// Its share of the partitions, relative to the others'. 100 is usual; 0 owns nothing.
    pub weight: u32,
}

impl Record {
    /// Checks bounds. A record that breaks one is dropped whole.
    pub fn is_sane(&self) -> bool {
        self.name.len() <= NAME_MAX
            && self.zone.len() <= NAME_MAX
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|a| a.len() <= ADDRESS_LEN_MAX)
            && self.weight <= 10_000
            && self.incarnation < u64::MAX / 2
            && self.standing.version < u64::MAX / 2
    }
}

/// What a peer knows of all steps taken, in short. Equal hashes: the same owners everywhere. Of two
/// that differ, the one with fewer steps knows less (rules `view` and `settling`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The sum of all standings' versions.
    pub steps: u64,
    pub hash: u64,
}

impl View {
    /// True if whoever has this view lacks a step that `other` knows.
    pub fn is_behind(&self, other: &View) -> bool {
        self.hash != other.hash && self.steps <= other.steps
    }
}
