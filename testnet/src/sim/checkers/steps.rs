//! Steps of owners that change: one change at a time, and each step only when N-W+1 of the owners that matter, and
//! more than half of them, know the last one (rule `settling`); and W go on keeping copies (rule `enough`). What the others know is looked up, not asked.

use super::super::world::{Node, World};
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Record, Standing, Step};
use starling_protocol::placement::{Lists, Placement, turn};

/// A peer has just gone from `before` to where it is now.
pub fn check(world: &World, index: usize, before: Standing) -> Result<(), String> {
    let Some(peer) = &world.nodes[index].peer else { return Ok(()) };
    let me = world.nodes[index].id;
    let mut records: Vec<Record> = peer.members().cloned().collect();
    let Some(own) = records.iter_mut().find(|record| record.id == me) else { return Ok(()) };
    let now = std::mem::replace(&mut own.standing, before);
    let keeps_copies = own.weight > 0;
    // One that others know was taken in a life that this peer has forgotten: it has just heard of it.
    let is_heard = |node: &Node| node.id != me && node.knew.get(&me).is_some_and(|known| *known >= now);
    if world.nodes.iter().any(is_heard) {
        return Ok(());
    }
    let taken = (before.step, now.step);
    match taken {
        (Step::Waiting, Step::Joining) if keeps_copies && turn(records.iter()) != Some(me) => {
            Err("begins to join, and it is not its turn".into())
        }
        (Step::Member, Step::Leaving) if keeps_copies && !records.iter().all(is_settled) => {
            Err("begins to leave while other owners change".into())
        }
        (Step::Arriving, Step::Member) => is_known(world, me, before, &records, |lists| &lists.old),
        (Step::Departing, Step::Left) => enough_stay(world, me, &records)
            .and_then(|()| is_known(world, me, before, &records, |lists| &lists.new)),
        _ => Ok(()),
    }
}

fn is_settled(record: &Record) -> bool {
    record.weight == 0 || matches!(record.standing.step, Step::Member | Step::Waiting | Step::Left)
}

/// Rule `enough`. One that has begun to leave meanwhile is still there, and looks before it goes; one that was lost for
/// good was there when all was handed over.
fn enough_stay(world: &World, me: PeerId, records: &[Record]) -> Result<(), String> {
    let is_lost = |id: PeerId| world.nodes.iter().any(|node| node.is_gone && node.id == id);
    let stays =
        |record: &Record| matches!(record.standing.step, Step::Member | Step::Leaving) || is_lost(record.id);
    let keeps = |record: &&Record| record.weight > 0 && (record.id == me || stays(record));
    let (kept, w) = (records.iter().filter(keeps).count(), usize::from(world.plan.w));
    let has_kept = records.iter().any(|record| record.id == me && record.weight > 0);
    match has_kept && kept <= w {
        true => Err(format!("leaves, and {} others keep copies", kept - 1)),
        false => Ok(()),
    }
}

fn is_known(
    world: &World,
    me: PeerId,
    last: Standing,
    records: &[Record],
    owners: fn(&Lists) -> &Vec<PeerId>,
) -> Result<(), String> {
    let mut placement = Placement::new(world.plan.partitions, world.plan.n);
    placement.update(records.iter());
    let knows = |peer: &&PeerId| {
        let mut nodes = world.nodes.iter().filter(|node| node.id == **peer);
        **peer == me || nodes.any(|node| node.knew.get(&me).is_some_and(|known| *known >= last))
    };
    for partition in placement.partitions_of(me) {
        let lists = placement.lists(partition);
        let owners = owners(lists);
        let meets_writes = owners.len() + 1 - usize::from(world.plan.w).min(owners.len());
        let needed = meets_writes.max(owners.len() / 2 + 1);
        let known = owners.iter().filter(knows).count();
        if lists.old != lists.new && !owners.is_empty() && known < needed {
            let step = last.step;
            return Err(format!(
                "goes on from {step:?}, which {known} owners of partition {partition} know, of {needed}"
            ));
        }
    }
    Ok(())
}
