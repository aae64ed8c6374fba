//! Convergence: all agree who is there, owners hold the same to the byte, nobody else holds anything.

use super::super::world::World;
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Health, Step};
use starling_protocol::peer::Peer;
use starling_protocol::placement::Placement;

/// `Err`: what is not so yet.
pub fn check(world: &World) -> Result<(), String> {
    membership(world)?;
    if let Some(index) = world.up().into_iter().find(|index| !world.is_whole(*index)) {
        return Err(format!("{} has not filled again what was damaged", world.nodes[index].name));
    }
    owners(world)
}

fn membership(world: &World) -> Result<(), String> {
    let up: Vec<_> =
        world.up().into_iter().filter(|index| world.step_of(*index) != Some(Step::Left)).collect();
    if let Some(index) = up.iter().find(|index| world.step_of(**index) != Some(Step::Member)) {
        return Err(format!("{} is {:?}", world.nodes[*index].name, world.step_of(*index)));
    }
    for index in &up {
        let node = &world.nodes[*index];
        let members = node.peer.iter().flat_map(|peer| peer.members());
        let present = members.filter(|record| record.standing.step != Step::Left);
        let (mut count, name) = (0, &node.name);
        for record in present {
            if is_frozen(world, record.id) && record.health == Health::Dead {
                continue;
            }
            if record.health != Health::Alive || record.standing.step != Step::Member {
                let (health, step) = (record.health, record.standing.step);
                return Err(format!("{name} believes {} to be {health:?} and {step:?}", record.name));
            }
            let same = world.nodes.iter().find(|node| node.id == record.id);
            let wiped_at = same.and_then(|node| node.wiped_at);
            let is_as_before = wiped_at.is_some_and(|version| record.standing.version <= version);
            // One that owns nothing has nothing to be filled with before it is a member again.
            if is_as_before && node.peer.as_ref().is_some_and(|peer| owns(world, peer, record.id)) {
                return Err(format!("{} lost its disk and went on as the member it was", record.name));
            }
            count += 1;
        }
        if count != up.len() {
            return Err(format!("{name} knows {count} members of {}", up.len()));
        }
    }
    Ok(())
}

fn owns(world: &World, judge: &Peer, id: PeerId) -> bool {
    let mut placement = Placement::new(world.plan.partitions, world.plan.n);
    placement.update(judge.members());
    placement.partitions_of(id).next().is_some()
}

fn owners(world: &World) -> Result<(), String> {
    let up = world.up();
    let judge =
        up.iter().find(|index| world.step_of(**index) == Some(Step::Member)).ok_or("nobody is there")?;
    let mut placement = Placement::new(world.plan.partitions, world.plan.n);
    let peer = world.nodes[*judge].peer.as_ref().ok_or("nobody is there")?;
    placement.update(peer.members());
    for partition in 0..world.plan.partitions {
        let lists = placement.lists(partition);
        let mut first = None;
        for node in up.iter().map(|index| &world.nodes[*index]) {
            let Some(replica) = &node.replica else { continue };
            if !lists.owns(node.id) {
                // What the one that stays away lacks is kept for it.
                let waits = world.nodes.iter().any(|away| away.is_frozen && lists.owns(away.id));
                if !waits && !replica.context(partition).is_empty() {
                    return Err(format!("{} holds partition {partition} and does not own it", node.name));
                }
                continue;
            }
            let summary = replica.summary(partition);
            let (name, same) = *first.get_or_insert((&node.name, summary));
            if (same.context, same.fingerprint) != (summary.context, summary.fingerprint) {
                return Err(format!("{name} and {} differ in partition {partition}", node.name));
            }
        }
    }
    Ok(())
}

fn is_frozen(world: &World, id: PeerId) -> bool {
    world.nodes.iter().any(|node| node.is_frozen && node.id == id)
}
