//! After every step each replica holds what the naive model says it must, for the events it has seen.

use super::super::model::{Cells, Model};
use starling_crdt::{Command, Field, Replica, Reply, Storage};
use starling_protocol::ids::PartitionId;

pub fn check(
    model: &Model,
    replica: &Replica,
    disk: &impl Storage,
    p: PartitionId,
    key: &[u8],
) -> Result<(), String> {
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
    let dots = |versions: &[starling_crdt::Version]| versions.iter().map(|version| version.dot).collect();
    let plain = |field: &Field| !matches!(field, Field::Total { .. } | Field::Base { .. });
    let cells = slice.cells.iter().filter(|(field, _)| plain(field));
    let found: Cells = cells.map(|(field, versions)| (field.clone(), dots(versions))).collect();
    let should = model.cells(p, key, replica.context(p));
    if found == should {
        return Ok(());
    }
    Err(format!("{name} of partition {p} holds {found:?}, and should hold {should:?}"))
}
