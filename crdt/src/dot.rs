//! Dots: the names of events.

use crate::context::COUNTER_MAX;
use crate::wire::{Malformed, array_shaped, require};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One life of one peer's data directory: a random 64-bit id, new at every start, so that no
/// dot is ever issued twice, not after a crash, a wipe, a roll-back or a copy (rule `actor`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub u64);

/// One event of one partition: the `counter`-th that `actor` issued there, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    pub actor: Actor,
    pub counter: u64,
}

impl Dot {
    pub fn new(actor: Actor, counter: u64) -> Self {
        Self { actor, counter }
    }

    /// A counter outside 1 to [`COUNTER_MAX`] names no event: nobody counts that far, and one such
    /// dot would leave its actor nothing to count on with.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        require((1..=COUNTER_MAX).contains(&self.counter), "counter out of range")
    }
}

array_shaped!(Dot: actor, counter);

impl From<Dot> for crdts::Dot<Actor> {
    fn from(dot: Dot) -> Self {
        crdts::Dot::new(dot.actor, dot.counter)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.actor, self.counter)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.counter)
    }
}
