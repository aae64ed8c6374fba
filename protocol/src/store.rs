//! Storage is asked and answers, like a peer: an acknowledgement can only exist after the answer.
//!
//! `answer` carries one question out; `node` and the simulator call the same one. Whoever drives it
//! commits what a group of questions has changed, syncs, and only then hands the answers to the peer.
//! The one exception is `Executed`, which goes out before the sync, so that other copies are written
//! meanwhile; `Synced` follows it.

use crate::ids::PartitionId;
use serde_bytes::ByteBuf;
use starling_crdt::replica::{Missing, Piece, Replica, Slice};
use starling_crdt::{Command, Context, Event, Reply, Storage, StorageError};

#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    Execute {
        partition: PartitionId,
        key: ByteBuf,
        command: Command,
        wall_ms: u64,
    },
    Apply {
        partition: PartitionId,
        events: Vec<Event>,
    },
    Read {
        partition: PartitionId,
        key: ByteBuf,
        command: Command,
    },
    Keys {
        partition: PartitionId,
        after: Option<ByteBuf>,
        limit: u16,
    },
    /// The synced contexts of these partitions.
    Contexts {
        partitions: Vec<PartitionId>,
    },
    Missing {
        partition: PartitionId,
        context: Context,
        max_bytes: usize,
    },
    Snapshot {
        partition: PartitionId,
        max_bytes: usize,
    },
    Install {
        partition: PartitionId,
        pieces: Vec<Piece>,
    },
    /// Drop the partition if all of it is within `held`, at that moment (rule `letgo-now`).
    LetGo {
        partition: PartitionId,
        held: Context,
    },
    CutLog {
        partition: PartitionId,
        below: Context,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `event`: what was issued, if anything. Not yet synced.
    Executed {
        reply: Reply,
        hidden: u32,
        event: Option<Event>,
    },
    /// What `Executed` told is synced now.
    Synced,
    /// `refused` events were malformed. All others are synced.
    Applied {
        refused: usize,
    },
    Read {
        slice: Slice,
    },
    Keys {
        keys: Vec<ByteBuf>,
        more: bool,
    },
    Contexts {
        contexts: Vec<(PartitionId, Context)>,
    },
    Missing(Missing),
    Snapshot {
        pieces: Vec<Piece>,
    },
    Installed {
        done: bool,
    },
    LetGo {
        done: bool,
    },
    Cut,
}
