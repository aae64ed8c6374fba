//! A peer whose disk is nearly full, on its way in.

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::Command;
use starling_protocol::input::Input;
use starling_protocol::member::Step;
use starling_protocol::request::Response;
use starling_protocol::time::Duration;
use world::World;

#[test]
fn one_that_joins_without_room_takes_the_copies_that_its_owners_wait_for() {
    let mut world = World::new(1, 3, 2, 2, 1);
    world.add();
    world.add();
    let joins = |world: &World| world.step_seen(0, 1) == Some(Step::Joining);
    assert!(world.run_until(Duration::from_secs(10), joins), "it joins");
    world.input(1, Input::Room { is_low: true });
    let response = world.command(0, "k", Command::Set { value: ByteBuf::from("v") }, None, None);
    assert!(matches!(response, Response::Data(Ok(_))), "two copies are needed: {response:?}");
}
