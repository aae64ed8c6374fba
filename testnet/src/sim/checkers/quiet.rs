//! Quiescence: when nobody works and all is repaired, nobody calls, and repair only compares.

use super::super::world::World;
use starling_protocol::time::Duration;

const WATCHED: Duration = Duration::from_secs(12);

pub fn check(world: &mut World) -> Result<(), String> {
    let (calls, repairs) = (world.counts.calls, world.counts.repairs);
    world.run(WATCHED);
    let (calls, repairs) = (world.counts.calls - calls, world.counts.repairs - repairs);
    if calls == 0 && repairs == 0 {
        return Ok(());
    }
    Err(format!(
        "nobody works, all is repaired, and in {WATCHED:?} there were {calls} calls and {repairs} repairs"
    ))
}
