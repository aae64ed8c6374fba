//! Slices: the part of one key that one command needs, as one replica has it.

use crate::{Command, Context, Field, Reply, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest slice, in bytes of fields and values.
pub const SLICE_MAX: usize = 8 * 1024 * 1024;

/// What one replica has of the part of a key that a command needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    pub context: Context,
    pub cells: BTreeMap<Field, Vec<Version>>,
}

impl Slice {
    /// A hash of the cells, not of the context: equal digests, equal answers.
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }

    /// What both replicas have seen together, as state transfer would give it.
    pub fn merge(self, other: Slice) -> Slice {
        let _ = other;
        unimplemented!()
    }
}

/// The answer to a command, and how many concurrent values it does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub reply: Reply,
    pub hidden: u32,
}

impl Command {
    /// Answers a command that reads, from the part of the key that it needs.
    pub fn answer(&self, slice: &Slice) -> Answered {
        let _ = slice;
        unimplemented!()
    }
}
