//! Reads meet writes whoever knows which owners: a write that owners have acknowledged is held by enough of those
//! whom any peer would ask that no R of them can answer without it. Looked at when a write is acknowledged, of every
//! peer; and when a peer takes a step, of all writes before.

use super::super::ledger::Name;
use super::super::world::{Node, World};
use starling_crdt::Context;
use starling_protocol::ids::{PartitionId, PeerId};
use starling_protocol::member::Step;
use starling_protocol::time::Time;

/// A write that was acknowledged by owners alone.
pub struct Acknowledged {
    /// A copy that was synced before it was acknowledged may have gone with its disk.
    pub began: Time,
    pub label: String,
    /// The events that may be it: one of them is. At least one, all of one partition.
    pub events: Vec<Name>,
}

/// Whether `reader`, reading now, may get R answers of owners that lack one of these writes.
pub fn check<'a>(
    world: &World,
    reader: usize,
    partition: PartitionId,
    mut writes: impl Iterator<Item = &'a Acknowledged>,
) -> Result<(), String> {
    // One whose disk was put back to an older copy may ask former owners, until it is told of newer ones.
    let Some(peer) = world.nodes[reader].peer.as_ref().filter(|_| !world.nodes[reader].was_put_back) else {
        return Ok(());
    };
    let (asked, view) = (peer.seats(partition).read, peer.known());
    let r = usize::from(world.plan.r).min(asked.len()).max(1);
    let node = |peer: PeerId| world.nodes.iter().find(|node| node.id == peer);
    let answers = |node: &Node| match &node.peer {
        // It has lost what it knew and held; that is made good when it has been told.
        _ if node.was_put_back => false,
        Some(other) => {
            let counts = !view.is_behind(&other.known()) && peer.knows_view(other.known().hash);
            is_whole(node, partition) && (node.id == world.nodes[reader].id || counts && is_filled(node))
        }
        None => false,
    };
    let held = |node: &'_ Node| node.replica.as_ref().map(|replica| replica.context(partition).clone());
    let answering = asked.iter().filter_map(|seat| node(seat.peer)).filter(|node| answers(node));
    let answering: Vec<(&str, Context)> =
        answering.filter_map(|node| Some((&node.name[..], held(node)?))).collect();
    let lacks =
        |held: &Context, write: &Acknowledged| !write.events.iter().any(|(_, dot)| held.contains(*dot));
    let missed = writes.find(|write| {
        let without = answering.iter().filter(|(_, held)| lacks(held, write)).count();
        without >= r && !write.events.iter().any(|name| world.ledger.is_dropped(*name))
    });
    let Some(write) = missed else { return Ok(()) };
    let without = answering.iter().filter(|(_, held)| lacks(held, write));
    let without: Vec<_> = without.map(|(name, _)| *name).collect();
    Err(format!(
        "{}: acknowledged by owners, and {} may read partition {partition} from {} without it",
        write.label,
        world.nodes[reader].name,
        without.join(" and ")
    ))
}

/// It was not damaged, or has been filled again.
fn is_whole(node: &Node, partition: PartitionId) -> bool {
    node.replica.as_ref().is_some_and(|replica| !replica.given_up().contains(&partition))
}

fn is_filled(node: &Node) -> bool {
    let mut members = node.peer.iter().flat_map(|peer| peer.members());
    let own = members.find(|record| record.id == node.id);
    own.is_some_and(|own| matches!(own.standing.step, Step::Arriving | Step::Member | Step::Leaving))
}
