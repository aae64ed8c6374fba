//! The law, for each type: whatever the order and the repetitions, by event, by log or by state transfer,
//! replicas that have seen the same events hold the same bytes.

mod common;

use common::{P, Peer, Step, counters, hashes, mixed, play, pull, schedule, sets, strings};
use proptest::prelude::*;
use proptest::sample::Index;
use starling_crdt::{Command, Event, Head, Reply};

/// What a fresh replica holds of these events.
fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Peer {
    let mut peer = Peer::new(99);
    for event in events {
        peer.apply(event);
    }
    peer
}

fn all_orders_are_one(steps: &[Step], order: &[Index], cut: bool) -> Result<(), TestCaseError> {
    let (mut peers, events) = play(steps);
    let mut issued = replay(&events);
    let bytes = issued.canonical();
    prop_assert!(issued.deferred().is_empty() && issued.scrubs());
    prop_assert!(replay(events.iter().rev()).canonical() == bytes, "backwards");
    if !events.is_empty() {
        let picked: Vec<&Event> = order.iter().map(|index| index.get(&events)).collect();
        // A random part, in random order, some of it twice: then all of it, or a repair.
        let mut shuffled = replay(picked.iter().copied().chain(&events));
        prop_assert!(shuffled.canonical() == bytes, "shuffled");
        let mut full = replay(&events);
        if cut {
            let seen = full.context().clone();
            full.replica.cut_log(&mut full.disk, P, &seen).unwrap();
        }
        let mut repaired = replay(picked.iter().copied());
        pull(&mut repaired, &mut full, 100);
        prop_assert!(repaired.canonical() == bytes, "repaired");
        let mut reopened = Peer::on(replay(picked.iter().copied()).disk, 98);
        pull(&mut reopened, &mut full, 100);
        prop_assert!(reopened.canonical() == bytes, "reopened");
        pull(&mut shuffled, &mut repaired, 1);
        prop_assert!(shuffled.canonical() == bytes, "nothing to repair");
    }
    for _ in 0..2 {
        for (to, from) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            let (a, b) = peers.split_at_mut(to.max(from));
            let (low, high) = (&mut a[to.min(from)], &mut b[0]);
            if to < from {
                pull(low, high, 100)
            } else {
                pull(high, low, 100)
            };
        }
    }
    for peer in &peers {
        prop_assert!(peer.canonical() == bytes, "issuers");
    }
    Ok(())
}

/// Reads of several replicas, merged, answer as one replica that has seen what they have. Each has any part of
/// the events, removals before what they remove as well.
fn merged_reads_are_right(steps: &[Step], parts: &[u8]) -> Result<(), TestCaseError> {
    let (_, events) = play(steps);
    let parts = || events.iter().zip(parts.iter().chain(std::iter::repeat(&7)));
    let part = |bit: u8| replay(parts().filter(|(_, part)| *part >> bit & 1 == 1).map(|(event, _)| event));
    let peers = [part(0), part(1), part(2)];
    let union = replay(parts().filter(|(_, part)| *part & 7 != 0).map(|(event, _)| event));
    let name = common::bytes("a");
    let asked = [
        Command::Get,
        Command::Siblings,
        Command::Exists,
        Command::Type,
        Command::SMembers,
        Command::SIsMember { member: name.clone() },
        Command::HGetAll,
        Command::HGet { field: name },
    ];
    for command in &asked {
        let read = |peer: &Peer| peer.replica.read(&peer.disk, P, b"k", command).unwrap();
        let one = read(&peers[0]).merge(read(&peers[1])).merge(read(&peers[2]));
        let two = read(&peers[2]).merge(read(&peers[0]).merge(read(&peers[1])));
        let whole = read(&union);
        prop_assert_eq!(command.answer(&one), command.answer(&whole), "{:?}", command);
        prop_assert_eq!(one.digest(), whole.digest());
        prop_assert_eq!(&one, &two);
        let bytes = common::cbor(&one);
        let decoded: starling_crdt::Slice = ciborium::from_reader(&bytes[..]).unwrap();
        prop_assert_eq!(decoded, one);
    }
    Ok(())
}

macro_rules! laws_of {
    ($($name:ident),+) => {
        $(mod $name {
            use super::*;

            proptest! {
                #[test]
                fn all_orders_are_one(
                    steps in schedule(super::$name()),
                    order: Vec<Index>,
                    cut: bool,
                ) {
                    super::all_orders_are_one(&steps, &order, cut)?;
                }

                #[test]
                fn merged_reads_are_right(steps in schedule(super::$name()), parts: Vec<u8>) {
                    super::merged_reads_are_right(&steps, &parts)?;
                }
            }
        })+
    };
}

laws_of!(strings, counters, sets, hashes, mixed);

#[test]
fn a_large_set_that_replicas_see_differently_is_still_a_set() {
    let members = |range: std::ops::Range<u32>| range.map(|i| common::bytes(&format!("m{i:03}"))).collect();
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.execute("s", &Command::SAdd { members: members(0..100) }, 1);
    pull(&mut b, &mut a, usize::MAX);
    b.execute("s", &Command::SRem { members: members(0..50) }, 2);
    let read = |peer: &Peer| peer.replica.read(&peer.disk, P, b"s", &Command::Type).unwrap();
    let merged = read(&a).merge(read(&b));
    assert_eq!(merged.members, Head { more: true, ..Head::default() });
    assert_eq!(Command::Type.answer(&merged).reply, Reply::Word("set".into()));
    b.execute("s", &Command::Del, 3);
    let merged = read(&b).merge(read(&b));
    assert_eq!(Command::Type.answer(&merged).reply, Reply::Word("none".into()));
}
