//! What peers say to one another: CBOR, versioned, bounded, rejected when malformed.

mod call;

pub use call::{APPLIED_MAX, Call, Refusal};

use crate::ids::{PartitionId, PeerId};
use crate::member::{Accusation, Record, View};
use crate::time::Moment;
use cbor4ii::core::dec::{Read, Reference};
use cbor4ii::core::enc::Write;
use cbor4ii::serde::{Deserializer, Serializer};
use serde::{Deserialize, Serialize};
use starling_crdt::{Context, Event, Piece};
use std::convert::Infallible;

/// The first byte of every frame.
pub const WIRE_VERSION: u8 = 5;
/// Longest frame in bytes: the longest value twice over, with room for its event.
pub const FRAME_MAX: usize = 20 * 1024 * 1024;
/// Deepest nesting of CBOR that is read.
const DEPTH_MAX: usize = 24;

/// Which stream a message travels on, so that probes never queue behind data, nor requests behind repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Probe,
    Request,
    Bulk,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Probe, Class::Request, Class::Bulk];

    pub fn name(self) -> &'static str {
        match self {
            Class::Probe => "probe",
            Class::Request => "request",
            Class::Bulk => "bulk",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    #[serde(rename = "G")]
    Gossip(Gossip),
    #[serde(rename = "C")]
    Call(Call),
    #[serde(rename = "R")]
    Repair(Repair),
}

/// Membership. Every one carries the sender's view and a few records to spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gossip {
    #[serde(rename = "v")]
    pub view: View,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub accusations: Vec<Accusation>,
    /// When it was sent, in the sender's own time.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Moment>,
    #[serde(rename = "b")]
    pub body: GossipBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GossipBody {
    #[serde(rename = "P")]
    Ping {
        #[serde(rename = "s")]
        seq: u64,
    },
    #[serde(rename = "A")]
    Ack {
        #[serde(rename = "s")]
        seq: u64,
    },
    /// Please ping `target` for me (SWIM, section 3.1).
    #[serde(rename = "Q")]
    PingReq {
        #[serde(rename = "s")]
        seq: u64,
        #[serde(rename = "t")]
        target: PeerId,
    },
    /// I tried for you and had no answer (Lifeguard, section IV-A).
    #[serde(rename = "N")]
    Nack {
        #[serde(rename = "s")]
        seq: u64,
    },
    /// The sender's whole table in `records`; `reply` asks for the receiver's.
    #[serde(rename = "E")]
    Exchange {
        #[serde(rename = "r")]
        reply: bool,
    },
    /// A hash of the sender's whole table; should the receiver's differ, it begins an exchange.
    #[serde(rename = "C")]
    Compare {
        #[serde(rename = "d")]
        digest: u64,
    },
    /// Only records to spread.
    #[serde(rename = "U")]
    Update,
}

/// Repair, handoff and rebalancing: one exchange of contexts per partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Repair {
    /// One hash over the synced contexts of all partitions that both own. Equal: answered by `Same`.
    Compare { view: View, hash: u64 },
    /// Mine is that hash as well.
    Same { view: View, hash: u64 },
    /// It differs: a hash for each.
    Hashes { view: View, hashes: Vec<(PartitionId, u64)> },
    /// A read saw that you and this peer differ: please compare.
    Meet { partition: PartitionId, with: PeerId },
    /// Please tell me what you have synced of these.
    Ask { partitions: Vec<PartitionId> },
    /// What I have synced, in this life, under this view (rules `report-synced`, `view`, `session`).
    Report { view: View, held: Vec<Held> },
    /// What your context lacked, newest first. `session`: the receiver's, that it was made for.
    Events { session: u64, partition: PartitionId, events: Vec<Event> },
    /// A piece of a state transfer (rule `staged`).
    State { session: u64, partition: PartitionId, transfer: u64, index: u32, count: u32, piece: Piece },
    /// That piece is staged; send the next.
    Staged { partition: PartitionId, transfer: u64, index: u32 },
}

impl Repair {
    /// The sender's view, where it is told.
    pub fn view(&self) -> Option<View> {
        match self {
            Repair::Compare { view, .. } | Repair::Same { view, .. } => Some(*view),
            Repair::Hashes { view, .. } | Repair::Report { view, .. } => Some(*view),
            _ => None,
        }
    }
}

/// What the sender has synced of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub partition: PartitionId,
    /// Names this life of the sender, and how often it has let this partition go since. What is made for
    /// this context must name it too.
    pub session: u64,
    pub context: Context,
    /// False while the sender's copy was damaged and is being filled again: it may lack what was acknowledged.
    pub filled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("a frame of {0} bytes; the limit is {FRAME_MAX}")]
    TooLong(usize),
    #[error("an empty frame")]
    Empty,
    #[error(
        "a frame of wire version {0}, and this peer speaks version {WIRE_VERSION}: update Starling on the older \
         of the two"
    )]
    Version(u8),
    #[error("malformed: {0}")]
    Malformed(String),
}

impl Message {
    pub fn class(&self) -> Class {
        match self {
            Message::Gossip(_) => Class::Probe,
            Message::Call(_) => Class::Request,
            Message::Repair(_) => Class::Bulk,
        }
    }

    /// Appends the frame's bytes, without any length before it.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.push(WIRE_VERSION);
        let encoded = cbor4ii::serde::to_vec(std::mem::take(bytes), self);
        *bytes = encoded.expect("writing to memory does not fail");
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        self.encode_into(&mut bytes);
        bytes
    }

    /// Whether it would be written so, without its version.
    fn is_spelt(&self, body: &[u8]) -> bool {
        let mut serializer = Serializer::new(Compared(body));
        self.serialize(&mut serializer).is_ok() && serializer.into_inner().0.is_empty()
    }

    /// Reads one frame. Errors: too long, another version, malformed, bytes left over, or another spelling
    /// of the message than the one that `encode` has (RFC 8949, section 4.2): so that a message has one form,
    /// whatever is hashed, compared or signed of it.
    pub fn decode(frame: &[u8]) -> Result<Self, MessageError> {
        if frame.len() > FRAME_MAX {
            return Err(MessageError::TooLong(frame.len()));
        }
        let (version, rest) = frame.split_first().ok_or(MessageError::Empty)?;
        if *version != WIRE_VERSION {
            return Err(MessageError::Version(*version));
        }
        let mut decoder = Deserializer::new(Body { rest, depth: DEPTH_MAX });
        let message = Self::deserialize(&mut decoder).map_err(|e| MessageError::Malformed(e.to_string()))?;
        match decoder.into_inner().rest.len() {
            0 if message.is_spelt(rest) => Ok(message),
            0 => Err(MessageError::Malformed("it is not in its canonical form".into())),
            left => Err(MessageError::Malformed(format!("{left} bytes left over"))),
        }
    }
}

/// What is left of a frame that is compared with what would be written.
struct Compared<'a>(&'a [u8]);

#[derive(Debug, thiserror::Error)]
#[error("it differs")]
struct Differs;

impl Write for Compared<'_> {
    type Error = Differs;

    fn push(&mut self, written: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(written).ok_or(Differs)?;
        Ok(())
    }
}

/// A frame that is being read, and how much deeper it may nest.
struct Body<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Read<'a> for Body<'a> {
    type Error = Infallible;

    fn fill<'b>(&'b mut self, want: usize) -> Result<Reference<'a, 'b>, Infallible> {
        Ok(Reference::Long(&self.rest[..want.min(self.rest.len())]))
    }

    fn advance(&mut self, n: usize) {
        self.rest = &self.rest[n.min(self.rest.len())..];
    }

    fn step_in(&mut self) -> bool {
        let deeper = self.depth.checked_sub(1);
        self.depth = deeper.unwrap_or(0);
        deeper.is_some()
    }

    fn step_out(&mut self) {
        self.depth += 1;
    }
}
