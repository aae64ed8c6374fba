//! Nothing acknowledged is lost, nothing is there that nobody wrote or that was refused, and nothing
//! that was removed comes back.

use super::super::clients::{Op, Outcome};
use super::super::ledger::{Issued, Ledger, label};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Field};
use std::collections::{BTreeMap, BTreeSet};

/// What was found under a key: elements of a set, values of a string, fields of a hash.
pub fn check(ops: &[Op], ledger: &Ledger, key: &str, found: &[ByteBuf]) -> Result<(), String> {
    let found: BTreeSet<&[u8]> = found.iter().map(|name| &name[..]).collect();
    // Of each name, whether some event may still hold it.
    let mut wrote: BTreeMap<&[u8], bool> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.key == key) {
        for (name, field) in written(&op.command) {
            if op.outcome != Outcome::Refused {
                *wrote.entry(name).or_default() |= !is_removed(ledger, op, &field);
            }
            if matches!(op.outcome, Outcome::Ok(_)) && !found.contains(name) {
                kept_or_removed(ledger, op, &field)?;
            }
        }
    }
    for name in found {
        let text = String::from_utf8_lossy(name);
        match wrote.get(name) {
            Some(true) => {}
            Some(false) => {
                return Err(format!("{key}: {text} was removed, acknowledged, and is there again"));
            }
            None => return Err(format!("{key} has {text}, which nobody wrote")),
        }
    }
    Ok(())
}

/// What a read of the key shows of a command, and the fields where that is.
pub fn written(command: &Command) -> Vec<(&[u8], Field)> {
    match command {
        Command::SAdd { members } => {
            members.iter().map(|name| (&name[..], Field::Member(name.clone()))).collect()
        }
        Command::Set { value } => vec![(value, Field::Register)],
        Command::HSet { entries } => {
            entries.iter().map(|(name, _)| (&name[..], Field::Entry(name.clone()))).collect()
        }
        _ => Vec::new(),
    }
}

/// Each event of it must have been dropped by another that some disk has had.
fn kept_or_removed(ledger: &Ledger, op: &Op, field: &Field) -> Result<(), String> {
    let label = label(op.key.as_bytes(), &op.command);
    let is_dropped = |name| ledger.droppers(name, op.key.as_bytes(), field).any(|by| ledger.is_kept(by));
    let lost = ledger.of(&label).find(|(name, issued)| {
        ledger.is_kept(issued) && issued.event.puts_field(op.key.as_bytes(), field) && !is_dropped(*name)
    });
    match lost {
        Some((name, _)) => Err(format!("acknowledged and lost: {label}, event {name:?}, dropped by none")),
        None => Ok(()),
    }
}

/// True if it has events, and each has been dropped by another that was acknowledged.
fn is_removed(ledger: &Ledger, op: &Op, field: &Field) -> bool {
    let (key, label) = (op.key.as_bytes(), label(op.key.as_bytes(), &op.command));
    let mut events = ledger.of(&label).filter(|(_, issued)| issued.event.puts_field(key, field)).peekable();
    let gone = |dropper: &Issued| dropper.acknowledged && ledger.is_kept(dropper);
    events.peek().is_some() && events.all(|(name, _)| ledger.droppers(name, key, field).any(gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::example::{issue, one};
    use starling_crdt::Reply;
    use starling_protocol::time::Time;

    #[test]
    fn what_was_removed_by_an_event_that_no_disk_has_had_must_be_there() {
        let [add, remove] = one();
        let added = Op::done("s0".into(), add.clone(), Outcome::Ok(Reply::Int(1)));
        let removed = Op::done("s0".into(), remove.clone(), Outcome::Unknown);
        let ops = [added, removed];
        for (copies, is_right) in [(0, false), (1, true)] {
            let mut ledger = Ledger::default();
            issue(&mut ledger, (1, Time(1)), &add, &[], 2);
            issue(&mut ledger, (2, Time(2)), &remove, &[1], copies);
            assert_eq!(check(&ops, &ledger, "s0", &[]).is_ok(), is_right, "{copies}");
        }
    }
}
