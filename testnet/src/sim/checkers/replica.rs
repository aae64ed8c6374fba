//! After every step each replica holds what the naive model says it must, for the events it has seen.

use super::super::ledger::Ledger;
use super::super::model::Cells;
use super::values::written;
use starling_crdt::{Command, Field, Replica, Reply, Storage, Version};
use starling_protocol::ids::PartitionId;

pub fn check(
    ledger: &Ledger,
    replica: &Replica,
    disk: &impl Storage,
    p: PartitionId,
    key: &[u8],
) -> Result<(), String> {
    let model = &ledger.model;
    let command = match key.first() {
        Some(b's') => Command::SMembers,
        Some(b'h') => Command::HGetAll,
        Some(b'r') => Command::Siblings,
        _ => Command::Get,
    };
    let slice = replica.read(disk, p, key, &command).map_err(|error| error.to_string())?;
    let name = String::from_utf8_lossy(key);
    if command == Command::Get {
        if !model.is_whole(p, key, replica.context(p)) {
            return Ok(());
        }
        let count = model.count(p, key, replica.context(p));
        let found = match command.answer(&slice).reply {
            Reply::Nil => 0,
            Reply::Bytes(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(i64::MIN),
            _ => i64::MIN,
        };
        let matches = found == count;
        return if matches { Ok(()) } else { Err(format!("{name} counts {found}, and should {count}")) };
    }
    let dots = |versions: &[Version]| versions.iter().map(|version| version.dot).collect();
    let plain = |field: &Field| !matches!(field, Field::Total { .. } | Field::Base { .. });
    let cells = slice.cells.iter().filter(|(field, _)| plain(field));
    let found: Cells = cells.clone().map(|(field, versions)| (field.clone(), dots(versions))).collect();
    let should = model.cells(p, key, replica.context(p));
    if found != should {
        return Err(format!("{name} of partition {p} holds {found:?}, and should hold {should:?}"));
    }
    let is_as_written = |field: &Field, version: &Version| {
        written(ledger, (p, version.dot), field) == Some((version.stamp, &version.value))
    };
    match cells.clone().find(|(field, all)| !all.iter().all(|version| is_as_written(field, version))) {
        Some((field, _)) => {
            Err(format!("{name} of partition {p} has in {field:?} what was not written there"))
        }
        None => Ok(()),
    }
}
