//! What clients ask of a peer, and what they are told.

use crate::ids::{NetworkId, PartitionId, PeerId};
use crate::member::{Health, Step};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};

#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A command on one key. `r` and `w`: copies to ask, copies to sync; `None`: the network's.
    Data {
        key: ByteBuf,
        command: Command,
        r: Option<u8>,
        w: Option<u8>,
        explain: bool,
    },
    /// Keys in no particular order. The default cursor begins; the answer's `next` goes on, `None` ends.
    Scan {
        cursor: ScanCursor,
        limit: u16,
    },
    Status,
    /// Who holds a key.
    Where {
        key: ByteBuf,
    },
    /// Go: hand everything over, then be `left`.
    Leave,
    /// A peer that is dead will not come back: others take its place.
    Forget {
        peer: PeerId,
    },
}

/// Where a scan goes on: a partition, and the key after which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCursor {
    pub partition: PartitionId,
    pub after: Option<ByteBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Data(Result<Outcome, Failure>),
    /// `next`: none at the end.
    Keys {
        keys: Vec<ByteBuf>,
        next: Option<ScanCursor>,
    },
    Status(Box<Status>),
    Where(Whereabouts),
    Done,
    Failed(Failure),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub reply: Reply,
    /// Concurrent values that `reply` does not show.
    pub hidden: u32,
    pub trace: Option<Box<Trace>>,
}

/// Why an operation was not carried out as asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// What happened, in one sentence for people.
    pub why: String,
    /// What holds now: whether it may have taken, or may yet take, effect.
    pub state: String,
    /// What to do.
    pub hint: String,
    pub trace: Option<Box<Trace>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Too few copies were read or synced in time; a write may still take effect.
    Quorum,
    /// Whoever was asked to coordinate did not answer; the outcome is unknown.
    Timeout,
    /// Too much is under way, there is no room, or none of those who may carry it out is whole; nothing was done.
    Busy,
    /// This peer is not a member yet; nothing was done.
    NotReady,
    /// The request itself is wrong; nothing was done.
    Invalid,
}

impl Failure {
    /// Whether it says that nothing was done.
    pub fn is_undone(&self) -> bool {
        matches!(self.kind, FailureKind::Busy | FailureKind::NotReady | FailureKind::Invalid)
    }
}

/// How an operation went, for `explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    pub partition: PartitionId,
    pub coordinator: Named,
    pub n: u8,
    pub r: u8,
    pub w: u8,
    pub write: bool,
    /// Every owner, asked or not, and the stand-ins that were asked.
    pub asked: Vec<Asked>,
    /// Who would have stood in next, in order.
    pub stand_ins: Vec<Named>,
    pub took_us: u64,
    /// What it means, in one sentence.
    pub verdict: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub id: PeerId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub peer: Named,
    pub role: Role,
    /// What the coordinator believed of it when it asked.
    pub health: Health,
    pub answer: AnswerKind,
    /// Microseconds from asking to the answer.
    pub took_us: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Owner,
    /// In the place of an owner that did not answer.
    StandIn {
        instead_of: Named,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerKind {
    /// Not asked: believed dead, or not needed.
    NotAsked,
    /// No answer before the verdict.
    Pending,
    /// Synced, or read.
    Ok,
    /// Read, and different from the first.
    Differs,
    Refused,
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Whereabouts {
    pub partition: PartitionId,
    /// The owners, in order of preference.
    pub owners: Vec<SeatView>,
    /// Who stands in, in order, should owners not answer.
    pub stand_ins: Vec<SeatView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeatView {
    pub peer: PeerId,
    pub name: String,
    pub health: Health,
    pub step: Step,
}

/// What one peer knows of itself and the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub me: PeerId,
    pub network: NetworkId,
    pub network_name: String,
    pub partitions: u16,
    pub n: u8,
    pub r: u8,
    pub w: u8,
    pub members: Vec<MemberView>,
    /// Partitions that this peer owns.
    pub owned: u32,
    /// Partitions of which this peer holds events for others.
    pub held_for_others: u32,
    /// Partitions of which this peer knows that a co-owner's copy differed when last compared.
    pub repairing: u32,
    /// Operations under way.
    pub operations: u32,
    /// The disk is nearly full: writes that bring more are left to others.
    pub is_low: bool,
    /// Records of members that came since the start and that their subjects have not signed.
    pub forged: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberView {
    pub id: PeerId,
    pub name: String,
    pub health: Health,
    pub step: Step,
    pub incarnation: u64,
    pub addresses: Vec<String>,
    pub zone: String,
    pub weight: u32,
    /// Share of all partitions that it owns, in thousandths.
    pub share: u32,
}
