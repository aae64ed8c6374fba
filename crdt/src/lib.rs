//! Causality and data: the state of one partition, as a dotted causal store.
//!
//! The law: **a replica's cells are a function of the set of events in its context.** Apply events in
//! any order, any number of times, with any gaps filled later: replicas with equal contexts hold equal
//! cells. Everything else follows from it.
//!
//! A [`Replica`] keeps all partitions of one peer over any [`Storage`]. [`Replica::execute`] turns a command into
//! an [`Event`] and applies it; [`Replica::apply`] takes the events of others; what a replica lacks comes by
//! [`Replica::missing`], or, where the log has been cut, by [`Replica::snapshot`] and [`Replica::install`].
//! Reads are [`Slice`]s, which merge, and which [`Command::answer`] turns into replies.
//!
//! What comes from another peer is checked as it is decoded, and is bounded. It may be false, for a member may
//! write and delete as it likes; it never makes a replica panic, grow without end, or fail to open again.
//!
//! Comments cite rules by name; `protocol/src/lib.rs` lists what each says.
//!
//! This crate has no clock, socket, thread, async, OS randomness or unordered iteration.

/// True while this rule is broken on purpose; without the feature `mutants`, never.
#[cfg(feature = "mutants")]
#[macro_export]
#[doc(hidden)]
macro_rules! mutated {
    ($mutant:ident) => {
        $crate::mutant::is($crate::mutant::Mutant::$mutant)
    };
}
#[cfg(not(feature = "mutants"))]
#[macro_export]
#[doc(hidden)]
macro_rules! mutated {
    ($mutant:ident) => {
        false
    };
}

/// Notes that this branch was reached, if the condition holds; without the feature `mutants` it is nothing at all.
#[cfg(feature = "mutants")]
#[macro_export]
#[doc(hidden)]
macro_rules! marked {
    ($mark:ident) => {
        $crate::mark::reach($crate::mark::Mark::$mark)
    };
    ($mark:ident if $reached:expr) => {
        if $reached {
            $crate::marked!($mark);
        }
    };
}
#[cfg(not(feature = "mutants"))]
#[macro_export]
#[doc(hidden)]
macro_rules! marked {
    ($($mark:tt)*) => {{}};
}

pub mod cell;
pub mod clock;
pub mod command;
pub mod context;
pub mod dot;
pub mod event;
pub mod fingerprint;
#[cfg(feature = "mutants")]
pub mod mark;
pub mod memory;
#[cfg(feature = "mutants")]
pub mod mutant;
mod partition;
mod partitions;
pub mod replica;
mod rows;
pub mod slice;
mod types;
pub mod wire;

pub use cell::{Cell, Field, Key, Storage, StorageError, Version};
pub use clock::{Clock, FOLLOWED_MS, Stamp};
pub use command::{Command, CommandError, Reply, Sibling};
pub use context::{Context, RANGES_MAX};
pub use dot::{Actor, Dot};
pub use event::{Event, Target};
pub use fingerprint::Fingerprint;
pub use memory::Memory;
pub use partition::{Missing, Piece, Scrubbed};
pub use replica::{Executed, PartitionId, Replica, Summary};
pub use slice::{Head, Slice};
pub use types::Answered;
pub use wire::Malformed;
