//! What repair costs: in proportion to what differs, and next to nothing where nothing does.

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Cell, Command, Dot, Event, Field, Key, Stamp};
use starling_protocol::message::{Message, Repair};
use starling_protocol::request::Response;
use starling_protocol::time::Duration;
use world::World;

/// Of a network as it is founded. Contexts go to and fro for each that differs, some 600 bytes in all; so small values
/// cost more than twice their size when few differ in each partition.
const PARTITIONS: u16 = 256;
const VALUE: usize = 200;
/// How long two peers are watched that hold the same; each of them compares once in five minutes at most.
const IN_SYNC: Duration = Duration::from_secs(600);
const COMPARISONS: u64 = 4;
/// Most bytes of one comparison and its answer.
const IN_SYNC_MAX: u64 = 150;
/// How long repair may take.
const REPAIRED: Duration = Duration::from_secs(60);

/// Two peers that each hold these keys, and then half of `differing` on each side of a cut. Bytes that repair took
/// in a while before it, and after it until both were the same; and the size of what differed.
fn play(common: u32, differing: u32) -> (u64, u64, u64) {
    let mut world = World::new(PARTITIONS, 2, 1, 1, 1);
    world.may_stop = false;
    world.add();
    world.add();
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(2)), "two members");
    (0..common).for_each(|number| set(&mut world, 0, &format!("common{number}")));
    world.run(Duration::from_secs(30));
    assert!(world.owners_agree(), "what is common is everywhere");
    let before = world.repair_bytes;
    world.run(IN_SYNC);
    let in_sync = world.repair_bytes - before;
    world.cut(&[vec![0], vec![1]]);
    let keys: Vec<String> = (0..differing).map(|number| format!("differing{number}")).collect();
    keys.iter().enumerate().for_each(|(number, key)| set(&mut world, number % 2, key));
    let size = keys.iter().map(|key| size_of(key)).sum();
    assert!(!world.owners_agree());
    let before = world.repair_bytes;
    world.heal();
    world.run(REPAIRED);
    assert!(world.owners_agree(), "what differed is everywhere");
    (in_sync, world.repair_bytes - before, size)
}

/// Bytes of the event that sets a key, as peers send it.
fn size_of(key: &str) -> u64 {
    let cell = Cell { key: Key::from(key.as_bytes()), field: Field::Register };
    let (puts, drops) = (vec![(cell, Some(value()))], Vec::new());
    let event =
        Event { dot: Dot::new(Actor(1_000_001), 100), stamp: Stamp::at(1_767_225_600_000), puts, drops };
    let bytes = |events| Message::Repair(Repair::Events { session: 1, partition: 1, events }).encode().len();
    (bytes(vec![event]) - bytes(Vec::new())) as u64
}

fn value() -> ByteBuf {
    ByteBuf::from(vec![b'v'; VALUE])
}

fn set(world: &mut World, at: usize, key: &str) {
    let value = value();
    let response = world.command(at, key, Command::Set { value }, None, None);
    assert!(matches!(response, Response::Data(Ok(_))), "{response:?}");
}

fn check(common: u32, differing: u32) {
    let (in_sync, repair, size) = play(common, differing);
    println!(
        "{common} keys: in sync {in_sync} bytes in ten minutes; {differing} differ by {size} bytes: {repair} bytes"
    );
    assert!(in_sync > 0, "what nobody has noticed is looked for now and then");
    assert!(in_sync <= COMPARISONS * IN_SYNC_MAX, "in sync, and yet {in_sync} bytes");
    assert!(repair <= 2 * size, "{repair} bytes to repair {size}");
}

/// Three owners hold these keys, and one loses its disk. Bytes that repair takes until it is a member again, and the
/// size of what it had lost.
fn refill(keys: u32) -> (u64, u64) {
    let mut world = World::new(PARTITIONS, 3, 2, 2, 1);
    world.may_stop = false;
    for _ in 0..3 {
        world.add();
    }
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(3)), "three members");
    let keys: Vec<String> = (0..keys).map(|number| format!("key{number}")).collect();
    keys.iter().for_each(|key| set(&mut world, 0, key));
    world.run(Duration::from_secs(30));
    world.may_stop = true;
    world.stop(2);
    world.wipe(2);
    world.may_stop = false;
    let before = world.repair_bytes;
    world.start(2, true);
    assert!(world.run_until(Duration::from_secs(60), |world| world.all_members(3)), "it is filled");
    assert!(world.owners_agree());
    (world.repair_bytes - before, keys.iter().map(|key| size_of(key)).sum())
}

#[test]
fn what_a_peer_has_lost_is_sent_to_it_once_though_two_have_it() {
    let (sent, size) = refill(20_000);
    println!("{size} bytes were lost: {sent} bytes");
    assert!(sent <= size * 5 / 4, "{sent} bytes for {size}");
}

#[test]
fn repair_costs_no_more_than_twice_what_differs() {
    check(10_000, 1_000);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn repair_costs_no_more_than_twice_what_differs_of_a_hundred_thousand_keys() {
    check(100_000, 1_000);
}
