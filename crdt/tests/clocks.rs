//! A clock that was far ahead: what was stamped with it is kept, read and replaced like anything else, and moves the
//! clock of nobody.

mod common;

use common::{P, Peer, bytes, pull};
use starling_crdt::{Command, Event, FOLLOWED_MS, Missing, Reply};

const NOW: u64 = 1_000;
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

fn set(peer: &mut Peer, value: &str, wall_ms: u64) -> Event {
    peer.execute("k", &Command::Set { value: bytes(value) }, wall_ms).event.expect("a write makes an event")
}

/// The value, and how many others there are.
fn shown(peer: &mut Peer) -> (Reply, u32) {
    let done = peer.execute("k", &Command::Get, NOW);
    (done.reply, done.hidden)
}

#[test]
fn neither_an_event_nor_a_whole_state_moves_the_clock_of_others_nor_does_a_start() {
    let mut ahead = Peer::new(1);
    let event = set(&mut ahead, "ahead", NOW + YEAR);
    let (mut by_event, mut by_state) = (Peer::new(2), Peer::new(3));
    assert!(by_event.apply(&event));
    assert!(by_state.install(&ahead.snapshot(usize::MAX)));
    for (actor, peer) in (10..).zip([by_event, by_state]) {
        let again = Peer::on(peer.disk.clone(), actor);
        for mut peer in [peer, again] {
            assert!(set(&mut peer, "now", NOW).stamp.wall_ms() <= NOW + FOLLOWED_MS);
        }
    }
    let again = Peer::on(ahead.disk.clone(), 20);
    for mut peer in [ahead, again] {
        assert!(set(&mut peer, "now", NOW).stamp.wall_ms() <= NOW + FOLLOWED_MS, "its own clock, set right");
    }
}

#[test]
fn what_is_written_over_it_replaces_it_in_whatever_order_it_comes() {
    let mut ahead = Peer::new(1);
    let first = set(&mut ahead, "ahead", NOW + YEAR);
    let mut right = Peer::new(2);
    right.apply(&first);
    let second = set(&mut right, "right", NOW);
    assert!(second.stamp < first.stamp);
    for events in [[&first, &second], [&second, &first]] {
        let mut third = Peer::new(3);
        assert!(events.into_iter().all(|event| third.apply(event)));
        assert_eq!(shown(&mut third), (Reply::Bytes(bytes("right")), 0));
    }
}

#[test]
fn a_part_of_the_log_never_has_what_was_replaced_without_what_replaced_it() {
    let (mut ahead, mut right, mut late) = (Peer::new(1), Peer::new(2), Peer::new(3));
    right.apply(&set(&mut ahead, "ahead", NOW + YEAR));
    set(&mut right, "right", NOW);
    let context = late.context().clone();
    let missing = right.replica.missing(&right.disk, P, &context, 1).unwrap();
    assert_eq!(missing, Missing::Cut, "in parts, newest first, the old one would come alone");
    pull(&mut late, &mut right, 1);
    assert_eq!(shown(&mut late), (Reply::Bytes(bytes("right")), 0));
}
