//! Every queue and table stays within its stated bound.

use super::super::world::World;

pub fn check(world: &World) -> Result<(), String> {
    for node in &world.nodes {
        let tables = node.peer.as_ref().map(|peer| peer.tables()).unwrap_or_default();
        if let Some((table, length, most)) = tables.into_iter().find(|(_, length, most)| length > most) {
            return Err(format!(
                "{} has {length} entries in its table of {table}; the most is {most}",
                node.name
            ));
        }
    }
    Ok(())
}
