//! Quiescence: when nobody works and all is repaired, soon nobody calls, repair only compares, and peers say no more to
//! one another than it takes to watch who is there.

use super::super::world::World;
use starling_protocol::time::Duration;

const WATCHED: Duration = Duration::from_secs(12);
/// What is on its way to one who has it already by another is sent to its end. With the smallest batches and the
/// longest ways that are drawn, a piece of two bytes in 0.1 s, a state takes more than a minute, and one may follow
/// another.
const UNTIL_QUIET: u32 = 15;

/// Most frames of gossip that a peer sends in that time: three times what each of many does (1.4 a second, see the
/// README).
const GOSSIP_MAX: u64 = 50;

pub fn check(world: &mut World) -> Result<(), String> {
    let (mut noise, most) = ((0, 0, 0), GOSSIP_MAX * world.up().len() as u64);
    for _ in 0..UNTIL_QUIET {
        let before = (world.counts.calls, world.counts.repairs, world.counts.gossip);
        world.run(WATCHED);
        let now = (world.counts.calls, world.counts.repairs, world.counts.gossip);
        noise = (now.0 - before.0, now.1 - before.1, now.2 - before.2);
        if (noise.0, noise.1) == (0, 0) && noise.2 <= most {
            return Ok(());
        }
    }
    let (calls, repairs, gossip) = noise;
    Err(format!(
        "nobody works, all is repaired, and still in {WATCHED:?} there were {calls} calls, {repairs} repairs and \
         {gossip} frames of gossip (at most {most})"
    ))
}
