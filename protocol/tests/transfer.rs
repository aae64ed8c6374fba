//! State transfer: what the logs no longer have is sent as a whole, piece by piece.

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::request::Response;
use starling_protocol::time::Duration;
use world::World;

const EVENTS: u32 = 700;

#[test]
fn a_wiped_peer_is_filled_from_owners_that_have_cut_their_logs() {
    let mut world = World::new(1, 3, 2, 2, 1);
    // Logs are cut early, and the state takes several pieces.
    (world.config.log_step, world.config.repair_batch) = (256, 4 * 1024);
    for _ in 0..3 {
        world.add();
    }
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(3)), "three members");
    for element in 0..EVENTS {
        let members = vec![ByteBuf::from(element.to_be_bytes())];
        let response = world.command(0, "set", Command::SAdd { members }, None, None);
        assert!(matches!(response, Response::Data(Ok(_))), "{response:?}");
    }
    world.run(Duration::from_secs(30));
    assert!(world.log_len(1, 0) < u64::from(EVENTS) / 2, "the log was cut: {}", world.log_len(1, 0));
    world.stop(2);
    world.wipe(2);
    world.start(2, true);
    assert!(world.run_until(Duration::from_secs(60), |world| world.all_members(3)), "member again");
    let response = world.command(2, "set", Command::SCard, Some(1), None);
    let Response::Data(Ok(outcome)) = response else { panic!("{response:?}") };
    assert_eq!(outcome.reply, Reply::Int(EVENTS.into()));
    assert!(world.owners_agree());
}
