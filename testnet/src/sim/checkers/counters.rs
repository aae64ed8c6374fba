//! Counters are exact: every acknowledged increment once, every one of unknown outcome at most once.

use super::super::clients::{Op, Outcome};
use starling_crdt::Command;
use std::collections::BTreeSet;

/// Beyond so many possible sums only the range is checked.
const SUMS_MAX: usize = 100_000;

pub fn check(ops: &[Op], key: &str, value: i64) -> Result<(), String> {
    let mut sums = BTreeSet::from([0]);
    let (mut least, mut unknown) = (0, 0);
    for op in ops.iter().filter(|op| op.key == key) {
        let Command::IncrBy { by } = op.command else { continue };
        match op.outcome {
            Outcome::Ok(_) => least += by,
            Outcome::Refused => {}
            Outcome::Open | Outcome::Unknown => {
                unknown += by;
                if sums.len() <= SUMS_MAX {
                    sums.extend(sums.iter().map(|sum| sum + by).collect::<Vec<_>>());
                }
            }
        }
    }
    let is_sum = sums.len() > SUMS_MAX || sums.contains(&(value - least));
    if (least..=least + unknown).contains(&value) && is_sum {
        return Ok(());
    }
    Err(format!("{key} is {value}; {least} were acknowledged, and {unknown} may have been counted"))
}
