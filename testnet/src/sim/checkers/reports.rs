//! What a peer tells of its contexts is what it has synced (rule `report-synced`), or has let go in that sync.

use super::super::world::Node;
use starling_protocol::message::{Held, Message, Repair};

pub fn check(node: &Node, message: &Message) -> Result<(), String> {
    let Message::Repair(Repair::Report { held, .. }) = message else { return Ok(()) };
    match held.iter().find(|held| !is_synced(node, held)) {
        Some(held) => Err(format!("tells of events in partition {} that it has not synced", held.partition)),
        None => Ok(()),
    }
}

fn is_synced(node: &Node, held: &Held) -> bool {
    let mut rest = held.context.clone();
    let known = [&node.durable, &node.releasing].into_iter().filter_map(|all| all.get(&held.partition));
    known.for_each(|known| rest.subtract(known));
    rest.is_empty()
}
