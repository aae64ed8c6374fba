//! Quiescence: when nobody works and all is repaired, soon nobody calls, and repair only compares.

use super::super::world::World;
use starling_protocol::time::Duration;

const WATCHED: Duration = Duration::from_secs(12);
/// What is on its way to one who has it already by another is sent to its end. With the smallest batches and the
/// longest ways that are drawn, a piece of two bytes in 0.1 s, a state takes more than a minute, and one may follow
/// another.
const UNTIL_QUIET: u32 = 15;

pub fn check(world: &mut World) -> Result<(), String> {
    let mut noise = (0, 0);
    for _ in 0..UNTIL_QUIET {
        let (calls, repairs) = (world.counts.calls, world.counts.repairs);
        world.run(WATCHED);
        noise = (world.counts.calls - calls, world.counts.repairs - repairs);
        if noise == (0, 0) {
            return Ok(());
        }
    }
    let (calls, repairs) = noise;
    Err(format!(
        "nobody works, all is repaired, and still in {WATCHED:?} there were {calls} calls and {repairs} repairs"
    ))
}
