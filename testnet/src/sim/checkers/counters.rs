//! Counters are exact: every acknowledged increment once, every one of unknown outcome at most once.

use super::super::clients::{Op, Outcome};
use starling_crdt::Command;

/// Where increments of unknown outcome add up to more, only the range is checked.
const UNKNOWN_MAX: usize = 1 << 20;

pub fn check(ops: &[Op], key: &str, value: i64) -> Result<(), String> {
    let (mut least, mut unknown) = (0, Vec::new());
    for op in ops.iter().filter(|op| op.key == key) {
        let Command::IncrBy { by } = op.command else { continue };
        match op.outcome {
            Outcome::Ok(_) => least += by,
            Outcome::Refused => {}
            Outcome::Open | Outcome::Unknown => unknown.push(usize::try_from(by).unwrap_or(0)),
        }
    }
    let most = unknown.iter().sum();
    let extra = usize::try_from(value - least).ok().filter(|extra| *extra <= most);
    if extra.is_some_and(|extra| most > UNKNOWN_MAX || is_sum(&unknown, most, extra)) {
        return Ok(());
    }
    Err(format!("{key} is {value}; {least} were acknowledged, and {most} may have been counted"))
}

/// Whether some of these add up to that. Of each sum that is possible a bit is set.
fn is_sum(parts: &[usize], most: usize, sum: usize) -> bool {
    let mut possible = vec![0_u64; most / 64 + 1];
    possible[0] = 1;
    for part in parts {
        let (words, bits) = (part / 64, part % 64);
        for at in (words..possible.len()).rev() {
            let carried = if bits == 0 || at == words { 0 } else { possible[at - words - 1] >> (64 - bits) };
            possible[at] |= possible[at - words] << bits | carried;
        }
    }
    possible[sum / 64] >> (sum % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(by: i64, outcome: Outcome) -> Op {
        Op::done("n".into(), Command::IncrBy { by }, outcome)
    }

    #[test]
    fn what_is_unknown_counts_once_or_not_at_all() {
        let ok = Outcome::Ok(starling_crdt::Reply::Nil);
        let ops = [counted(5, ok), counted(7, Outcome::Refused), counted(64, Outcome::Unknown)];
        let ops = ops.into_iter().chain([counted(100, Outcome::Unknown), counted(3, Outcome::Open)]);
        let ops: Vec<_> = ops.collect();
        let right = (0..300).filter(|value| check(&ops, "n", *value).is_ok());
        assert_eq!(right.collect::<Vec<_>>(), [5, 8, 69, 72, 105, 108, 169, 172]);
        assert!(check(&ops, "n", -1).is_err());
    }
}
