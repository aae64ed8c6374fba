//! Causality and data: the state of one partition, as a dotted causal store.
//!
//! The law: **a replica's cells are a function of the set of events in its context.** Apply events in
//! any order, any number of times, with any gaps filled later: replicas with equal contexts hold equal
//! cells. Everything else follows from it.
//!
//! This crate has no clock, socket, thread, async, OS randomness or unordered iteration.

pub mod cell;
pub mod clock;
pub mod command;
pub mod context;
pub mod dot;
pub mod event;
pub mod fingerprint;
pub mod memory;
mod partition;
pub mod replica;
mod rows;
pub mod slice;
mod types;
mod wire;

pub use cell::{Cell, Field, Key, Storage, StorageError, Version};
pub use clock::{Clock, Stamp};
pub use command::{Command, CommandError, Reply, Sibling};
pub use context::Context;
pub use dot::{Actor, Dot};
pub use event::{Event, Target};
pub use fingerprint::Fingerprint;
pub use memory::Memory;
pub use partition::{Missing, Piece};
pub use replica::{Executed, PartitionId, Replica, Summary};
pub use slice::{Head, Slice};
pub use types::Answered;
pub use wire::Malformed;
