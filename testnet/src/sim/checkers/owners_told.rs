//! A partition is let go only when every owner has told, under the table that the one who lets go has, what it
//! holds (rule `view`). Whether that is all is looked at by `handoff`.

use super::super::world::{Node, World};
use starling_protocol::effect::Effect;
use starling_protocol::ids::{PartitionId, PeerId};
use starling_protocol::message::{Message, Repair};
use starling_protocol::store::Question;

/// A report, as far as it matters here: under which view, and of what.
pub fn told(message: &Message) -> Option<(u64, Vec<PartitionId>)> {
    match message {
        Message::Repair(Repair::Report { view, held }) => {
            Some((view.hash, held.iter().map(|held| held.partition).collect()))
        }
        _ => None,
    }
}

/// Storage is asked to let go, in `effects`.
pub fn check(world: &World, node: &Node, effects: &[Effect]) -> Result<(), String> {
    let Some(peer) = &node.peer else { return Ok(()) };
    let view = peer.known().hash;
    let told = |owner: PeerId, partition| {
        world.told.get(&(node.id, node.boot, owner, partition)).is_some_and(|told| *told == view)
    };
    for effect in effects {
        let Effect::Store { question: Question::LetGo { partition, .. }, .. } = effect else { continue };
        let owners = peer.seats(*partition).owners();
        if owners.iter().any(|seat| !told(seat.peer, *partition)) {
            return Err(format!("lets partition {partition} go on what was told under another table"));
        }
    }
    Ok(())
}
