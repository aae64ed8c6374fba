//! The replica: all partitions of one peer, and the dots it issues.

use crate::{
    Actor, Command, Context, Event, Fingerprint, Key, Reply, Slice, Storage, StorageError,
};
use serde::{Deserialize, Serialize};

pub type PartitionId = u16;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub reply: Reply,
    /// Concurrent values that the reply does not show.
    pub hidden: u32,
    /// What other replicas need. `None`: nothing has changed.
    pub event: Option<Event>,
}

/// A partition in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Hash of the context: equal hashes, equal data.
    pub context: u64,
    /// Sum over the live cells, for the scrub.
    pub fingerprint: Fingerprint,
    /// Dots in the context.
    pub events: u64,
    /// Keys with live cells.
    pub keys: u64,
    /// Live cells.
    pub cells: u64,
}

/// What another replica lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Nothing,
    /// Newest first (rule `newest-first`). `more`: ask again with these applied.
    Events {
        events: Vec<Event>,
        more: bool,
    },
    /// The log no longer has all of it, or it is too much: send the state.
    Cut,
}

/// One part of the whole state of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    index: u32,
    count: u32,
}

/// All partitions of one peer.
pub struct Replica {
    actor: Actor,
}

impl Replica {
    pub fn open(
        storage: &(impl Storage + ?Sized),
        actor: Actor,
        seed: u64,
    ) -> Result<Self, StorageError> {
        let _ = (storage, seed);
        Ok(Self { actor })
    }

    /// The actor of the next dot.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// The partitions of which something is held.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        std::iter::empty()
    }

    pub fn context(&self, p: PartitionId) -> &Context {
        let _ = p;
        unimplemented!()
    }

    pub fn summary(&self, p: PartitionId) -> Summary {
        let _ = p;
        unimplemented!()
    }

    pub fn execute(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        key: &[u8],
        command: &Command,
        wall_ms: u64,
    ) -> Result<Executed, StorageError> {
        let _ = (s, p, key, command, wall_ms);
        unimplemented!()
    }

    pub fn apply(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        event: &Event,
    ) -> Result<bool, StorageError> {
        let _ = (s, p, event);
        unimplemented!()
    }

    pub fn read(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        key: &[u8],
        command: &Command,
    ) -> Result<Slice, StorageError> {
        let _ = (s, p, key, command);
        unimplemented!()
    }

    pub fn missing(
        &mut self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        context: &Context,
        max_bytes: usize,
    ) -> Result<Missing, StorageError> {
        let _ = (s, p, context, max_bytes);
        unimplemented!()
    }

    pub fn snapshot(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        max_bytes_per_piece: usize,
    ) -> Result<Vec<Piece>, StorageError> {
        let _ = (s, p, max_bytes_per_piece);
        unimplemented!()
    }

    pub fn install(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        pieces: &[Piece],
    ) -> Result<bool, StorageError> {
        let _ = (s, p, pieces);
        unimplemented!()
    }

    pub fn let_go(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        held: &Context,
    ) -> Result<bool, StorageError> {
        let _ = (s, p, held);
        unimplemented!()
    }

    pub fn cut_log(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        below: &Context,
    ) -> Result<(), StorageError> {
        let _ = (s, p, below);
        unimplemented!()
    }

    pub fn log_len(&self, p: PartitionId) -> u64 {
        let _ = p;
        unimplemented!()
    }

    pub fn keys(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, StorageError> {
        let _ = (s, p, after, limit);
        unimplemented!()
    }

    pub fn scrub(&self, s: &(impl Storage + ?Sized), p: PartitionId) -> Result<bool, StorageError> {
        let _ = (s, p);
        unimplemented!()
    }
}
