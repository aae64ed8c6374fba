//! Clocks that were days ahead, and are set right.

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::{Command, FOLLOWED_MS, Reply};
use starling_protocol::config::Config;
use starling_protocol::request::Response;
use starling_protocol::time::Duration;
use world::World;

const DAYS_MS: u64 = 24 * 60 * 60 * 1000;

fn set(world: &mut World, at: usize, key: &str, value: &str) {
    let response = world.command(at, key, Command::Set { value: ByteBuf::from(value) }, None, None);
    assert!(matches!(response, Response::Data(Ok(_))), "{response:?}");
}

fn get(world: &mut World, at: usize, key: &str) -> Reply {
    match world.command(at, key, Command::Get, None, None) {
        Response::Data(Ok(outcome)) => outcome.reply,
        other => panic!("{other:?}"),
    }
}

fn grow(world: &mut World, peers: usize) {
    while world.len() < peers {
        world.add();
    }
    assert!(world.run_until(Duration::from_secs(60), |world| world.all_members(peers)), "{peers} members");
}

#[test]
fn what_is_stamped_after_others_is_taken_by_all_whose_clocks_are_looked_after() {
    assert!(2 * FOLLOWED_MS <= Config::default().clock_ahead_ms);
}

#[test]
fn a_network_whose_clocks_were_days_ahead_takes_writes_once_they_are_right() {
    let mut world = World::new(1, 3, 2, 2, 1);
    world.ahead_ms = 3 * DAYS_MS;
    grow(&mut world, 3);
    set(&mut world, 0, "key", "ahead");
    world.ahead_ms = 0;
    for (at, value) in [(1, "one"), (0, "two"), (2, "three")] {
        set(&mut world, at, "key", value);
        assert_eq!(get(&mut world, (at + 1) % 3, "key"), Reply::Bytes(ByteBuf::from(value)));
    }
    world.stop(0);
    world.start(0, false);
    world.run(Duration::from_secs(10));
    set(&mut world, 0, "key", "after a start");
    assert_eq!(get(&mut world, 1, "key"), Reply::Bytes(ByteBuf::from("after a start")));
}

#[test]
fn who_joins_a_network_that_was_founded_with_a_wrong_clock_is_filled() {
    let mut world = World::new(1, 3, 2, 2, 1);
    world.ahead_ms = 2 * DAYS_MS;
    grow(&mut world, 1);
    set(&mut world, 0, "key", "ahead");
    world.ahead_ms = 0;
    grow(&mut world, 3);
    assert_eq!(get(&mut world, 2, "key"), Reply::Bytes(ByteBuf::from("ahead")));
    world.run(Duration::from_secs(60));
    assert!(world.owners_agree());
}
