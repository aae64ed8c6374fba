//! What is as large as it may be.

mod common;

use common::{Peer, bytes, cbor, pull, set};
use starling_crdt::cell::{FIELD_MAX, KEY_MAX, VALUE_MAX};
use starling_crdt::command::REMOVED_AT_ONCE;
use starling_crdt::{Command, Event, Reply};

/// Three peers write as much as they may to one key, and none of them knows of the others: the cell is larger than any
/// frame, and who lacks it gets it nonetheless.
#[test]
fn a_cell_with_several_large_versions_is_sent_in_parts() {
    let mut peers: Vec<_> = (1..=3).map(Peer::new).collect();
    for (peer, letter) in peers.iter_mut().zip(["a", "b", "c"]) {
        let value = bytes(&letter.repeat(VALUE_MAX));
        peer.execute("key", &Command::Set { value }, 1);
    }
    let (first, others) = peers.split_first_mut().expect("there are three");
    others.iter_mut().for_each(|other| pull(first, other, usize::MAX));
    let pieces = first.snapshot(256 * 1024);
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| cbor(piece).len() < VALUE_MAX + 1024));

    let mut late = Peer::new(9);
    // What it had seen of one of them does not matter.
    pull(&mut late, &mut others[0], usize::MAX);
    assert!(late.install(&pieces));
    assert!(late.canonical() == first.canonical());
    assert_eq!(late.cells().values().map(Vec::len).sum::<usize>(), 3);
}

fn add(peer: &mut Peer, key: &str, names: impl Iterator<Item = String>) {
    let members = names.map(|name| bytes(&name)).collect();
    peer.execute(key, &Command::SAdd { members }, 1);
}

/// Until nothing is left to do: the events, and the last reply.
fn to_the_end(peer: &mut Peer, key: &str, command: &Command) -> (Vec<Event>, Reply) {
    let mut events = Vec::new();
    loop {
        let done = peer.execute(key, command, 2);
        events.extend(done.event);
        if done.reply != Reply::Partly {
            return (events, done.reply);
        }
    }
}

/// Neither of the commands that end a key holds up a replica for long, whatever the key holds; and what another adds
/// meanwhile stays.
#[test]
fn a_key_with_many_elements_is_removed_in_parts() {
    let count = 2 * REMOVED_AT_ONCE + 1;
    for (command, reply) in [(Command::Del, Reply::Int(1)), (set("v"), Reply::Ok)] {
        let (mut one, mut other) = (Peer::new(1), Peer::new(2));
        add(&mut one, "key", (0..count).map(|n| format!("{n:05}")));
        pull(&mut other, &mut one, usize::MAX);
        add(&mut other, "key", ["late".to_owned()].into_iter());

        let (events, last) = to_the_end(&mut one, "key", &command);
        assert_eq!(last, reply);
        let removed: Vec<_> = events.iter().map(|event| event.drops.len()).collect();
        assert_eq!(removed, [REMOVED_AT_ONCE, REMOVED_AT_ONCE, 1], "by name, and the rest with the key");
        events.iter().rev().for_each(|event| assert!(other.apply(event)));
        let members = other.execute("key", &Command::SMembers, 3).reply;
        match command {
            Command::Del => assert_eq!(members, Reply::Set(vec![bytes("late")])),
            _ => assert_eq!(other.execute("key", &Command::Get, 3).reply, Reply::Bytes(bytes("v"))),
        }
        pull(&mut one, &mut other, usize::MAX);
        assert!(one.canonical() == other.canonical());
    }
}

/// With names as long as they may be, fewer go at once: no event is larger than others take.
#[test]
fn of_long_names_fewer_are_removed_at_once() {
    let (mut peer, key) = (Peer::new(1), "k".repeat(KEY_MAX));
    for part in 0..4 {
        add(&mut peer, &key, (0..64).map(|n| format!("{part}{n:02}{}", "n".repeat(FIELD_MAX - 3))));
    }
    let (events, reply) = to_the_end(&mut peer, &key, &Command::Del);
    assert_eq!(reply, Reply::Int(1));
    assert!(events.len() > 2 && events.iter().all(|event| event.check().is_ok()));
    assert_eq!(peer.cells().len(), 0);
}
