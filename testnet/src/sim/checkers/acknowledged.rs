//! Acknowledged means: synced on W disks at that very moment.

use super::super::ledger::Ledger;
use starling_crdt::Command;

pub fn check(ledger: &Ledger, label: &str, command: &Command, w: u8) -> Result<(), String> {
    if !command.writes() {
        return Ok(());
    }
    let copies = ledger.of(label).map(|(_, issued)| issued.synced.count_ones()).max();
    match copies {
        Some(copies) if copies >= u32::from(w) => Ok(()),
        Some(copies) => Err(format!("acknowledged with {copies} synced copies, W={w}: {label}")),
        None => Err(format!("acknowledged, and no event was ever issued for it: {label}")),
    }
}
