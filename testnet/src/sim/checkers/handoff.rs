//! Whoever lets a partition go leaves every event of it on the disks of W others (rules `letgo-now`, `enough`).

use super::super::world::World;
use starling_crdt::{Context, Dot};
use starling_protocol::ids::PartitionId;
use starling_protocol::time::Time;

/// `gone`: what was held when it was let go.
pub fn check(world: &World, index: usize, partition: PartitionId, gone: &Context) -> Result<(), String> {
    // Disks that were lost since the owners told what they hold took copies with them.
    let need = if world.disk_lost == Time(0) { usize::from(world.plan.w) } else { 1 };
    let others = || world.nodes.iter().enumerate().filter(|(other, _)| *other != index);
    for (actor, start, end) in gone.ranges() {
        for dot in (start..=end).map(|counter| Dot::new(actor, counter)) {
            let holds = |context: &Context| context.contains(dot);
            let copies = others().filter(|(_, node)| node.durable.get(&partition).is_some_and(holds)).count();
            if copies < need {
                let name = &world.nodes[index].name;
                return Err(format!(
                    "{name} let {dot:?} of partition {partition} go, and {copies} others have it"
                ));
            }
        }
    }
    Ok(())
}
