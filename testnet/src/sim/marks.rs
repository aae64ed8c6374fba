//! Marks of rare branches: seeds that never go there show nothing about them. Without the feature `mutants` there
//! are none.

use super::plan::Profile;
use std::collections::BTreeMap;

/// A run of so many seeds must reach every mark.
const SEEDS_ENOUGH: u64 = 1_000;

/// Marks by name, and what happens there.
pub type Marks = BTreeMap<String, &'static str>;

#[cfg(feature = "mutants")]
mod real {
    use super::Marks;
    use starling_crdt::mark::{self, Mark};

    fn named(marks: impl IntoIterator<Item = Mark>) -> Marks {
        marks.into_iter().map(|mark| (format!("{mark:?}"), mark.what())).collect()
    }

    pub fn all() -> Marks {
        named(Mark::ALL.iter().copied())
    }

    pub fn taken() -> Marks {
        named(mark::take())
    }
}

#[cfg(not(feature = "mutants"))]
mod real {
    use super::Marks;

    pub fn all() -> Marks {
        Marks::new()
    }

    pub fn taken() -> Marks {
        Marks::new()
    }
}

/// Those reached on this thread since the last call.
pub fn taken() -> Marks {
    real::taken()
}

/// Those that are not among the ones reached.
pub fn unreached(reached: &Marks) -> Marks {
    let mut all = real::all();
    all.retain(|name, _| !reached.contains_key(name));
    all
}

/// Whether so many seeds of a profile ought to have reached them all. Where owners change all the time no disk is
/// lost, so some cannot be reached.
pub fn must_be_reached(profile: Profile, seeds: u64) -> bool {
    seeds >= SEEDS_ENOUGH && profile != Profile::Churn
}
