//! Acknowledged means: synced on W disks at that very moment.

use super::super::clients::Op;
use super::super::ledger::{Ledger, label};

/// Of what was said before in the same words the copies do not count.
pub fn check(ledger: &Ledger, op: &Op, w: u8) -> Result<(), String> {
    if !op.command.writes() {
        return Ok(());
    }
    let label = label(op.key.as_bytes(), &op.command);
    let events = ledger.of(&label).filter(|(_, issued)| issued.at >= op.began);
    match events.map(|(_, issued)| issued.synced.count_ones()).max() {
        Some(copies) if copies >= u32::from(w) => Ok(()),
        Some(copies) => Err(format!("acknowledged with {copies} synced copies, W={w}: {label}")),
        None => Err(format!("acknowledged, and no event was ever issued for it: {label}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::clients::Outcome;
    use crate::sim::ledger::example::{issue, one};
    use starling_crdt::Reply;
    use starling_protocol::time::Time;

    #[test]
    fn copies_of_an_earlier_removal_in_the_same_words_do_not_count() {
        let (mut ledger, [_, remove]) = (Ledger::default(), one());
        issue(&mut ledger, (1, Time(10)), &remove, &[], 2);
        issue(&mut ledger, (2, Time(20)), &remove, &[], 1);
        let asked = |began| {
            Op::done("s0".into(), remove.clone(), Outcome::Ok(Reply::Int(1))).between(began, Time(30))
        };
        assert!(check(&ledger, &asked(Time(10)), 2).is_ok());
        assert!(check(&ledger, &asked(Time(15)), 2).is_err());
        assert!(check(&ledger, &asked(Time(25)), 1).is_err(), "nothing was issued for it");
    }
}
