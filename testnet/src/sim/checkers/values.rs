//! In the end every peer answers what the naive model holds: the values that were written, of several written at once
//! the latest, and of a counter the sum.

use super::super::ledger::Ledger;
use super::super::model::Cells;
use super::super::world::World;
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Context, Dot, Field, Reply, Stamp};
use starling_protocol::ids::PartitionId;
use starling_protocol::placement::Placement;

/// What `Get` or `HGetAll` of a key was answered, when all is healed.
pub fn check(world: &World, key: &str, command: &Command, reply: &Reply) -> Result<(), String> {
    let (name, model) = (key.as_bytes(), &world.ledger.model);
    let p = Placement::new(world.plan.partitions, world.plan.n).partition_of(name);
    let context = held(world, p).ok_or("no owner is there")?;
    let cells = model.cells(p, name, context);
    let should = match (command, key.starts_with(['n', 'c'])) {
        // It may show what was deleted.
        (_, true) if !model.is_whole(p, name, context) => return Ok(()),
        (_, true) => return counts(key, reply, model.count(p, name, context)),
        (Command::HGetAll, _) => Reply::Map(entries(&world.ledger, p, &cells)),
        _ => match latest(&world.ledger, p, &cells, &Field::Register) {
            Some(value) => Reply::Bytes(value),
            None => Reply::Nil,
        },
    };
    if *reply == should {
        return Ok(());
    }
    Err(format!("{command:?} of {key} is {}, and should be {}", short(reply), short(&should)))
}

/// By the owners, which agree.
fn held(world: &World, p: PartitionId) -> Option<&Context> {
    let owns = |at: &usize| {
        let node = &world.nodes[*at];
        let seats = node.peer.as_ref().map(|peer| peer.seats(p));
        seats.is_some_and(|seats| seats.owners().iter().any(|seat| seat.peer == node.id))
    };
    let owner = world.up().into_iter().find(owns)?;
    world.nodes[owner].replica.as_ref().map(|replica| replica.context(p))
}

fn counts(key: &str, reply: &Reply, should: i64) -> Result<(), String> {
    let count = match reply {
        Reply::Nil => Some(0),
        Reply::Bytes(bytes) => String::from_utf8_lossy(bytes).parse().ok(),
        _ => None,
    };
    if count == Some(should) { Ok(()) } else { Err(format!("{key} is {reply:?}, and should be {should}")) }
}

fn entries(ledger: &Ledger, p: PartitionId, cells: &Cells) -> Vec<(ByteBuf, ByteBuf)> {
    let fields = cells.keys().filter_map(|field| match field {
        Field::Entry(name) => Some((name.clone(), latest(ledger, p, cells, field)?)),
        _ => None,
    });
    let mut entries: Vec<_> = fields.collect();
    entries.sort();
    entries
}

/// The value of the latest of the events that are live in a field: by its stamp, then by its dot.
fn latest(ledger: &Ledger, p: PartitionId, cells: &Cells, field: &Field) -> Option<ByteBuf> {
    let live = cells.get(field).into_iter().flatten();
    let all = live.filter_map(|dot| Some((written(ledger, (p, *dot), field)?, *dot)));
    all.max_by_key(|((stamp, _), dot)| (*stamp, *dot)).map(|((_, value), _)| value.clone())
}

/// What an event has put into a field, and its stamp.
pub fn written<'a>(
    ledger: &'a Ledger,
    name: (PartitionId, Dot),
    field: &Field,
) -> Option<(Stamp, &'a ByteBuf)> {
    let event = &ledger.events.get(&name)?.event;
    let (_, value) = event.puts.iter().find(|(cell, _)| cell.field == *field)?;
    Some((event.stamp, value.as_ref()?))
}

fn short(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(200).collect()
}
