//! Nothing acknowledged is lost, nothing is there that nobody wrote or that was refused, and nothing
//! that was removed comes back.

use super::super::clients::{Op, Outcome};
use super::super::ledger::{Ledger, label};
use serde_bytes::ByteBuf;
use starling_crdt::Command;
use std::collections::BTreeSet;

/// What was found under a key: elements of a set, values of a string, fields of a hash.
pub fn check(ops: &[Op], ledger: &Ledger, key: &str, found: &[ByteBuf]) -> Result<(), String> {
    let found: BTreeSet<&[u8]> = found.iter().map(|name| &name[..]).collect();
    let mut wrote = BTreeSet::new();
    for op in ops.iter().filter(|op| op.key == key) {
        let Some(name) = written(&op.command) else { continue };
        if op.outcome != Outcome::Refused {
            wrote.insert(name);
        }
        if matches!(op.outcome, Outcome::Ok(_)) && !found.contains(name) {
            kept_or_removed(ledger, op)?;
        }
        if found.contains(name) {
            not_removed(ledger, op)?;
        }
    }
    match found.iter().find(|name| !wrote.contains(**name)) {
        Some(name) => Err(format!("{key} has {}, which nobody wrote", String::from_utf8_lossy(name))),
        None => Ok(()),
    }
}

fn written(command: &Command) -> Option<&[u8]> {
    match command {
        Command::SAdd { members } => members.first().map(|name| &name[..]),
        Command::Set { value } => Some(value),
        Command::HSet { entries } => entries.first().map(|(field, _)| &field[..]),
        _ => None,
    }
}

/// Each event of it must have been dropped by another that was issued.
fn kept_or_removed(ledger: &Ledger, op: &Op) -> Result<(), String> {
    let label = label(op.key.as_bytes(), &op.command);
    let lost = ledger
        .of(&label)
        .find(|(name, issued)| issued.synced != 0 && ledger.droppers(*name).next().is_none());
    match lost {
        Some((name, _)) => Err(format!("acknowledged and lost: {label}, event {name:?}, dropped by none")),
        None => Ok(()),
    }
}

/// Not every event of it may have been dropped by others that were acknowledged.
fn not_removed(ledger: &Ledger, op: &Op) -> Result<(), String> {
    let label = label(op.key.as_bytes(), &op.command);
    let mut events = ledger.of(&label).peekable();
    let any = events.peek().is_some();
    if any
        && events
            .all(|(name, _)| ledger.droppers(name).any(|dropper| dropper.acknowledged && dropper.synced != 0))
    {
        return Err(format!("removed, acknowledged, and there again: {label}"));
    }
    Ok(())
}
