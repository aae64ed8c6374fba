//! Whoever lets a partition go leaves every event of it on the disks of W others (rules `letgo-now`, `enough`).

use super::super::ledger::Issued;
use super::super::world::World;
use starling_crdt::{Context, Dot};
use starling_protocol::ids::PartitionId;
use starling_protocol::time::Time;

/// `gone`: what was held when it was let go.
pub fn check(world: &World, index: usize, partition: PartitionId, gone: &Context) -> Result<(), String> {
    // Disks that were lost took copies of what was issued before with them.
    let lives = |issued: &Issued| world.disk_lost == Time(0) || issued.at > world.disk_lost;
    let others = || world.nodes.iter().enumerate().filter(|(other, _)| *other != index);
    for (actor, start, end) in gone.ranges() {
        for dot in (start..=end).map(|counter| Dot::new(actor, counter)) {
            let holds = |context: &Context| context.contains(dot);
            let copies = others().filter(|(_, node)| node.durable.get(&partition).is_some_and(holds)).count();
            let is_full = world.ledger.events.get(&(partition, dot)).is_some_and(lives);
            if copies < if is_full { usize::from(world.plan.w) } else { 1 } {
                let name = &world.nodes[index].name;
                return Err(format!(
                    "{name} let {dot:?} of partition {partition} go, and {copies} others have it"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::example::{dot, issue, one};
    use crate::sim::plan::{Plan, Profile, Wishes};

    #[test]
    fn w_others_have_what_was_issued_since_a_disk_was_lost() {
        let wishes = Wishes { profile: Profile::Lite, peers: None, minutes: None };
        let (mut world, [add, _]) = (World::new(Plan::draw(0, &wishes), false), one());
        (0..3).for_each(|_| {
            world.add();
        });
        let held: Context = [dot(1)].into_iter().collect();
        world.nodes[1].durable.insert(0, held.clone());
        issue(&mut world.ledger, (1, Time(10)), &add, &[], 2);
        for (lost, is_right) in [(Time(0), false), (Time(5), false), (Time(15), true)] {
            world.disk_lost = lost;
            assert_eq!(check(&world, 0, 0, &held).is_ok(), is_right, "{lost:?}");
        }
    }
}
