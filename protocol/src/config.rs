//! What is fixed for a network, and what a peer may choose.

use crate::canonical::{self, CanonicalError};
use crate::ids::{NetworkId, PeerId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use std::time::Duration;

/// The format of the genesis record that this version writes.
pub const GENESIS_FORMAT: u16 = 1;
/// Most partitions of a network.
pub const PARTITIONS_MAX: u16 = 4096;
/// Most copies of a key.
pub const REPLICAS_MAX: u8 = 16;
/// Longest name of a peer, a network or a zone, in bytes.
pub const NAME_MAX: usize = 64;

/// What all peers of a network agree on for ever. Its hash is the network's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    pub format: u16,
    /// For people; two networks of one name have different ids.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    pub nonce: ByteArray<16>,
    /// Who made the network: the only peer that may begin it alone.
    pub founder: PeerId,
    /// Q: how many partitions the key space is cut into.
    pub partitions: u16,
    /// N: how many copies of each key.
    pub n: u8,
    /// R: how many copies a read asks, unless the request says otherwise.
    pub r: u8,
    /// W: how many synced copies make a write acknowledged, unless the request says otherwise.
    pub w: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    #[error("the genesis record has format {0}; this version reads format {GENESIS_FORMAT}")]
    Format(u16),
    #[error("{what} is {value}; it must be from {least} to {most}")]
    Range { what: &'static str, value: u64, least: u64, most: u64 },
    #[error("the network's name is longer than {NAME_MAX} bytes")]
    Name,
    #[error("the genesis record is not signed by the founder that it names")]
    Signature,
    #[error("the genesis record is damaged: {0}")]
    Damaged(#[from] CanonicalError),
}

impl Genesis {
    /// A made-up network, for tests and simulations.
    pub fn made_up(founder: PeerId) -> Self {
        Self {
            format: GENESIS_FORMAT,
            name: "test".into(),
            created_ms: 0,
            nonce: ByteArray::default(),
            founder,
            partitions: 256,
            n: 3,
            r: 2,
            w: 2,
        }
    }

    /// The id of the network: blake3 of the record's CBOR.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(*blake3::hash(&self.encode()).as_bytes())
    }

    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    pub fn validate(&self) -> Result<(), GenesisError> {
        if self.format != GENESIS_FORMAT {
            return Err(GenesisError::Format(self.format));
        }
        if self.name.len() > NAME_MAX {
            return Err(GenesisError::Name);
        }
        in_range("the number of partitions", self.partitions.into(), PARTITIONS_MAX.into())?;
        in_range("N", self.n.into(), REPLICAS_MAX.into())?;
        in_range("R", self.r.into(), self.n.into())?;
        in_range("W", self.w.into(), self.n.into())
    }
}

fn in_range(what: &'static str, value: u64, most: u64) -> Result<(), GenesisError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(GenesisError::Range { what, value, least: 1, most })
}

/// What a peer may choose for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// SWIM's protocol period. The paper ran 2 s over a WAN-like network, memberlist's LAN profile 1 s;
    /// half of that because our probes run over connections that are already open.
    pub probe_period: Duration,
    /// While there is no news and no doubt, a peer probes once in so many periods; 1 or 0: in every one. What that
    /// costs in time, when a peer falls silent, is a part of what it saves in traffic: see `membership::quiet`.
    pub quiet_periods: u32,
    /// How long a probe waits for its acknowledgement before others are asked to try. memberlist's LAN
    /// profile: 500 ms for 1 s periods.
    pub probe_timeout: Duration,
    /// How many others are asked to probe one that did not answer. SWIM, section 3.1; memberlist: 3.
    pub indirect_probes: usize,
    /// Suspicion lasts at least this many periods, and longer in a large network: see `membership::suspicion`.
    /// memberlist: 4 times log10 of the members.
    pub suspicion_factor: u32,
    /// At first suspicion lasts up to this many times the least (Lifeguard, section IV-B). memberlist: 6.
    pub suspicion_max_factor: u32,
    /// Whether a peer doubts its own judgement and that of others: Lifeguard's additions, that a pause is noticed, and
    /// that nobody is dead because another says so. Without, it is plain SWIM, which is there to be compared with.
    pub lifeguard: bool,
    /// An update is sent this many times log2 of the members. SWIM, section 4.1; memberlist: 4.
    pub retransmit_factor: u32,
    /// Most member records in one probe message.
    pub updates_per_message: usize,
    /// How often a full exchange of the member table with one other peer happens.
    pub exchange_period: Duration,
    /// Most members in the table; a record of one more is refused.
    pub members_max: usize,
    /// How long an operation may take before the client is told.
    pub deadline: Duration,
    /// How long an owner may stay silent before the next stand-in is asked as well.
    pub patience: Duration,
    /// Milliseconds by which an event's stamp may be ahead of this peer's wall clock, if it is to be kept for its issuer,
    /// who learns so that its clock is wrong. At least twice [`FOLLOWED_MS`](starling_crdt::FOLLOWED_MS): what another
    /// stamps by a clock that is looked after, after what it has seen, is no further ahead.
    pub clock_ahead_ms: u64,
    /// Most operations under way; one more is refused.
    pub operations_max: usize,
    /// How often the contexts of shared partitions are compared with one other owner; more often while much is written.
    pub repair_period: Duration,
    /// Most bytes of events in one repair message.
    pub repair_batch: usize,
    /// Most bytes in memory of partitions that are being sent to this peer as a whole, those not counted that wait for
    /// the disk. Where that is not enough, the largest is given up, and begins anew with a later comparison; of one that
    /// is larger by itself this peer says so, for it never comes.
    pub staged_max: usize,
    /// Most partitions under repair at once.
    pub repairs_max: usize,
    /// A partition's log is cut when all owners hold this many more events than at the last cut. What is
    /// below serves nobody but a peer that joins, and that one gets the state.
    pub log_step: u64,
    /// When so many events have piled up above the last cut, of this life or an earlier one, and still not all owners
    /// are known to hold `log_step` of them, the log is cut without those: who lacks some of them then gets the state.
    pub log_max: u64,
    /// Between two stretches of the scrub.
    pub scrub_pause: Duration,
    /// Bytes of cells in one stretch of the scrub. With the pause: about 4 GB a day, at a millisecond of work
    /// in five seconds.
    pub scrub_batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(500),
            quiet_periods: 3,
            probe_timeout: Duration::from_millis(200),
            indirect_probes: 3,
            suspicion_factor: 4,
            suspicion_max_factor: 3,
            lifeguard: true,
            retransmit_factor: 4,
            updates_per_message: 8,
            exchange_period: Duration::from_secs(10),
            members_max: 4096,
            deadline: Duration::from_secs(2),
            patience: Duration::from_millis(250),
            clock_ahead_ms: 24 * 60 * 60 * 1000,
            operations_max: 16_384,
            repair_period: Duration::from_secs(5),
            repair_batch: 256 * 1024,
            staged_max: 1024 * 1024 * 1024,
            repairs_max: 16,
            log_step: 128,
            log_max: 65_536,
            scrub_pause: Duration::from_secs(5),
            scrub_batch: 256 * 1024,
        }
    }
}
