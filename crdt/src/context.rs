//! Contexts: sets of dots.

use crate::{Actor, Dot};
use crdts::VClock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set of dots: a vector clock, plus the dots beyond it, as intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Context {
    clock: VClock<Actor>,
    beyond: BTreeMap<Actor, BTreeMap<u64, u64>>,
}
