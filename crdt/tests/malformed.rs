//! What comes from elsewhere is refused where it is not well formed, and never a panic.

mod common;

use common::{P, Peer, bytes, cbor, set};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use starling_crdt::cell::{FIELD_MAX, KEY_MAX, VALUE_MAX};
use starling_crdt::context::{COUNTER_MAX, RANGES_MAX};
use starling_crdt::{
    Actor, Cell, Command, CommandError, Context, Dot, Event, Field, Fingerprint, Key, Memory, Missing, Piece,
    Replica, Reply, Scrubbed, Slice, Stamp, Storage, Target, Version,
};
use std::collections::BTreeSet;

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    ciborium::from_reader(bytes).ok()
}

fn cell(key: &str, field: Field) -> Cell {
    Cell { key: Key::from(key), field }
}

fn sample() -> Event {
    let dot = Dot::new(Actor(7), 2);
    let seen = Context::from(Dot::new(Actor(7), 1));
    Event {
        dot,
        stamp: Stamp(9),
        puts: vec![(cell("k", Field::Register), Some(bytes("v")))],
        drops: vec![(Target::Cell(cell("k", Field::Register)), seen)],
    }
}

#[test]
fn an_event_comes_back_as_it_went() {
    assert_eq!(read::<Event>(&cbor(&sample())), Some(sample()));
    assert!(cbor(&sample()).len() <= sample().size());
    assert!(cbor(&sample()).len() < 80, "{}", cbor(&sample()).len());
}

#[test]
fn malformed_events_are_refused_by_decoding_and_by_applying() {
    let of = |size| "x".repeat(size);
    let with = |change: &dyn Fn(&mut Event)| {
        let mut event = sample();
        change(&mut event);
        event
    };
    let put = |cell, value: &str| {
        let value = bytes(value);
        with(&|event| event.puts = vec![(Cell::clone(&cell), Some(value.clone()))])
    };
    let bad = [
        with(&|event| event.dot.counter = 0),
        with(&|event| event.dot.counter = COUNTER_MAX + 1),
        with(&|event| event.dot.counter = u64::MAX),
        with(&|event| event.drops[0].1.insert(event.dot)),
        with(&|event| event.puts.push(event.puts[0].clone())),
        with(&|event| event.drops.push(event.drops[0].clone())),
        with(&|event| event.drops[0].0 = Target::Key(Key::from(of(KEY_MAX + 1)))),
        put(cell(&of(KEY_MAX + 1), Field::Register), ""),
        put(cell(&of(70_000), Field::Register), ""),
        put(cell("k", Field::Member(bytes(&of(FIELD_MAX + 1)))), ""),
        put(cell("k", Field::Entry(bytes(&of(FIELD_MAX + 1)))), ""),
        put(cell("k", Field::Register), &of(VALUE_MAX + 1)),
    ];
    let mut peer = Peer::new(1);
    for event in &bad {
        assert!(event.check().is_err());
        assert!(!peer.apply(event));
        assert_eq!(read::<Event>(&cbor(event)), None);
    }
    assert!(peer.context().is_empty() && peer.cells().is_empty());
    assert_eq!(peer.disk.rows().count(), 0);
}

#[test]
fn surplus_and_missing_elements_are_refused() {
    let event = sample();
    let long = (event.dot, event.stamp, &event.puts, &event.drops, 1);
    let short = (event.dot, event.stamp, &event.puts);
    assert_eq!(read::<Event>(&cbor(&long)), None);
    assert_eq!(read::<Event>(&cbor(&short)), None);
    assert_eq!(read::<Dot>(&cbor(&(1, 2, 3))), None);
    assert_eq!(read::<Dot>(&cbor(&(1, 2))), Some(Dot::new(Actor(1), 2)));
}

/// A peer with some of everything, a waiting removal as well.
fn full() -> Peer {
    let mut other = Peer::new(2);
    let unseen = other.execute("s", &Command::SAdd { members: vec![bytes("gone")] }, 1).event.unwrap();
    let removal = other.execute("s", &Command::SRem { members: vec![bytes("gone")] }, 2).event.unwrap();
    let mut peer = Peer::new(1);
    assert!(unseen.dot < removal.dot && peer.apply(&removal));
    for i in 0..20 {
        peer.execute(&format!("k{i}"), &set("value"), 3);
        peer.execute("n", &Command::IncrBy { by: i }, 4);
    }
    peer
}

#[test]
fn pieces_that_are_not_one_whole_snapshot_are_refused() {
    let from = full();
    let pieces = from.snapshot(200);
    assert!(pieces.len() > 5);
    let mut later = full();
    later.execute("more", &set("v"), 9);
    let mut mixed = pieces.clone();
    mixed[2] = later.snapshot(200)[2].clone();
    let mut swapped = pieces.clone();
    swapped.swap(1, 2);
    let mut doubled = pieces.clone();
    doubled[2] = doubled[1].clone();
    let refused: [&[Piece]; 7] =
        [&[], &pieces[1..], &pieces[..pieces.len() - 1], &pieces[..1], &mixed, &swapped, &doubled];
    let mut to = Peer::new(3);
    for pieces in refused {
        assert!(!to.install(pieces));
    }
    assert_eq!(to.disk.rows().count(), 0);
    assert!(to.install(&pieces) && to.canonical() == from.canonical());
}

/// The piece that these numbers and cells make, put together from outside.
fn forged(context: Context, cells: Vec<(Cell, Vec<Version>)>) -> Option<Piece> {
    let mut sum = Fingerprint::default();
    for (cell, versions) in &cells {
        versions.iter().for_each(|version| sum.add(cell, version));
    }
    read(&cbor(&(1_u64, 0_u32, 1_u32, context, sum, Stamp(1), cells, Vec::<(Target, Context)>::new())))
}

#[test]
fn forged_pieces_are_refused() {
    let version = |counter| Version { dot: Dot::new(Actor(9), counter), stamp: Stamp(1), value: bytes("v") };
    let at = || cell("k", Field::Register);
    let seen = |end| {
        let mut context = Context::new();
        context.insert_range(Actor(9), 1, end);
        context
    };
    let good = forged(seen(2), vec![(at(), vec![version(1), version(2)])]).unwrap();
    assert!(Peer::new(1).install(&[good]));
    assert!(forged(seen(2), vec![(at(), vec![])]).is_none());
    assert!(forged(seen(2), vec![(at(), vec![version(2), version(1)])]).is_none());
    assert!(forged(seen(2), vec![(at(), vec![version(1), version(1)])]).is_none());
    let beyond = forged(seen(1), vec![(at(), vec![version(2)])]).unwrap();
    assert!(!Peer::new(1).install(&[beyond]), "a version that its context does not have");
    for again in [1, 2] {
        let cells = vec![(at(), vec![version(2)]), (at(), vec![version(again)])];
        let twice = forged(seen(2), cells).unwrap();
        assert!(!Peer::new(1).install(&[twice]), "a cell again, with a version that is no later");
    }
    let empty = read(&cbor(&(1, 0, 1, seen(2), Fingerprint([1; 4]), Stamp(1), [(); 0], [(); 0]))).unwrap();
    assert!(!Peer::new(1).install(&[empty]), "cells that do not add up");
}

#[test]
fn a_context_does_not_grow_beyond_what_can_be_stored() {
    let holes = (1..=RANGES_MAX as u64).map(|i| Dot::new(Actor(9), 2 * i)).collect::<Context>();
    let mut peer = Peer::new(1);
    assert!(peer.install(&[forged(holes.clone(), vec![]).unwrap()]));
    let other = |counter| Event { dot: Dot::new(Actor(9), counter), puts: vec![], drops: vec![], ..sample() };
    assert!(!peer.apply(&other(4 * RANGES_MAX as u64)), "no room");
    assert!(!peer.apply(&sample()), "no room");
    let more = forged(Context::from(Dot::new(Actor(8), 1)), vec![]).unwrap();
    assert!(!peer.install(&[more]), "no room");
    let command = set("v");
    let refused = peer.execute("k", &command, 1);
    assert!(matches!(refused.reply, Reply::Error(CommandError::Torn { .. })) && refused.event.is_none());
    let mut reopened = Peer::on(peer.disk.clone(), 2);
    assert_eq!(*reopened.context(), holes);
    assert!(reopened.apply(&other(3)), "a gap filled makes room");
    assert!(reopened.execute("k", &command, 1).event.is_some());
    // The same for what a target waits for.
    let drops = |dots: &Context| vec![(Target::Key(Key::from("k")), dots.clone())];
    let event = |counter, dots| Event { drops: drops(dots), ..other(counter) };
    let mut peer = Peer::new(1);
    assert!(peer.apply(&event(1, &holes)));
    let odd = (1..=9).map(|i| Dot::new(Actor(8), 2 * i)).collect::<Context>();
    assert!(!peer.apply(&event(3, &odd)));
    assert!(Peer::on(peer.disk.clone(), 2).canonical() == peer.canonical());
}

#[test]
fn a_damaged_partition_is_given_up_and_filled_again_under_another_actor() {
    let (mut peer, from) = (full(), full());
    peer.replica.give_up(&mut peer.disk, P).unwrap();
    assert_ne!(peer.replica.actor(), Actor(1));
    assert_eq!(peer.disk.rows().count(), 1, "that it was given up");
    let mut peer = Peer::on(peer.disk, 2);
    assert!(peer.replica.given_up().contains(&P), "that is remembered over a restart");
    assert!(peer.install(&from.snapshot(100)) && peer.canonical() == from.canonical());
    peer.replica.filled(&mut peer.disk, P);
    assert!(
        peer.replica.given_up().is_empty() && Peer::on(peer.disk.clone(), 3).replica.given_up().is_empty()
    );
    let event = peer.execute("n", &Command::IncrBy { by: 1 }, 1).event.unwrap();
    assert_eq!(event.dot, Dot::new(peer.replica.actor(), 1));
}

#[test]
fn what_has_come_and_is_not_filled_is_remembered_over_a_restart() {
    let mut peer = Peer::new(1);
    peer.replica.note_came(&mut peer.disk, &BTreeSet::from([1, 2, 3, 4]));
    peer.replica.note_came(&mut peer.disk, &BTreeSet::from([2, 3, 4, 5]));
    let mut peer = Peer::on(peer.disk, 2);
    assert_eq!(*peer.replica.came(), BTreeSet::from([2, 3, 4, 5]));
    // Of these nothing is left, or only that they were given up.
    assert!(peer.replica.let_go(&mut peer.disk, 2, &Context::new()).unwrap());
    peer.replica.give_up(&mut peer.disk, 3).unwrap();
    assert_eq!(*peer.replica.came(), BTreeSet::from([4, 5]));
    assert_eq!(*Peer::on(peer.disk, 3).replica.came(), BTreeSet::from([4, 5]));
}

/// Keys and elements that come and go before and behind the scrub, and where it stands.
#[test]
fn a_scrub_is_not_misled_by_what_changes_meanwhile() {
    let mut peer = Peer::new(1);
    let mut drawn = 7_u64;
    let mut draw = |n: u64| {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (drawn >> 33) % n
    };
    for wall in 1..20_000 {
        let (key, members) = (format!("s{}", draw(6)), vec![bytes(&draw(4).to_string())]);
        let command = match draw(8) {
            0 => Command::Del,
            1..4 => Command::SRem { members },
            _ => Command::SAdd { members },
        };
        peer.execute(&key, &command, wall);
        if draw(2) == 0 {
            assert_ne!(peer.scrub(1), Scrubbed::Damaged, "after {wall} changes");
        }
    }
}

/// Whatever byte of whatever cell is another than was written, a full pass of the scrub sees it.
#[test]
fn no_damaged_cell_is_overlooked() {
    let sound = full();
    let rows: Vec<_> = sound.disk.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
    let cells = rows.iter().filter(|(row, _)| row[2] == 1);
    for (row, value) in cells {
        for at in 0..value.len() {
            let mut peer = Peer::on(sound.disk.clone(), 7);
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            starling_crdt::Storage::put(&mut peer.disk, row, &damaged);
            assert!(!peer.scrubs(), "byte {at} of row {row:02x?}");
        }
        let mut peer = Peer::on(sound.disk.clone(), 7);
        starling_crdt::Storage::delete(&mut peer.disk, row);
        assert!(!peer.scrubs(), "row {row:02x?} is gone");
    }
}

#[test]
fn a_slice_with_versions_beyond_its_context_is_refused() {
    let peer = full();
    let slice = peer.replica.read(&peer.disk, P, b"k1", &Command::Get).unwrap();
    assert_eq!(read::<Slice>(&cbor(&slice)), Some(slice.clone()));
    let bare = Slice { context: Context::new(), ..slice };
    assert_eq!(read::<Slice>(&cbor(&bare)), None);
}

#[test]
fn a_page_is_read_where_all_of_it_lies_before_its_end() {
    let mut peer = full();
    peer.execute("t", &Command::SAdd { members: vec![bytes("a"), bytes("b"), bytes("c")] }, 5);
    let command = Command::SScan { after: None, limit: 2 };
    let page = peer.replica.read(&peer.disk, P, b"t", &command).unwrap();
    assert_eq!((page.until.clone(), page.cells.len()), (Some(bytes("b")), 2));
    assert_eq!(read::<Slice>(&cbor(&page)), Some(page.clone()));
    let with = |until: &str| Slice { until: Some(bytes(until)), ..page.clone() };
    assert_eq!(read::<Slice>(&cbor(&with("b\0"))), Some(with("b\0")));
    assert_eq!(read::<Slice>(&cbor(&with("a"))), None);
    assert_eq!(read::<Slice>(&cbor(&with(&"x".repeat(FIELD_MAX + 1)))), None);
    let Slice { context, cells, entries, members, removed, oversized, until } = &page;
    let first = (context, cells, entries, members, removed, oversized);
    assert_eq!(read::<Slice>(&cbor(&first)), Some(Slice { until: None, ..page.clone() }));
    let null = (context, cells, entries, members, removed, oversized, None::<ByteBuf>);
    assert_eq!(read::<Slice>(&cbor(&null)), None, "one spelling");
    let long = (context, cells, entries, members, removed, oversized, until, 1);
    assert_eq!(read::<Slice>(&cbor(&long)), None);
}

#[test]
fn counters_of_any_bytes_count_nothing() {
    let mut peer = Peer::new(1);
    for (counter, value) in (1..).zip(["", "short", "sixteen bytes...", "longer than sixteen"]) {
        let dot = Dot::new(Actor(9), counter);
        let total = cell("n", Field::Total { actor: Actor(9), chain: counter });
        let event =
            Event { dot, stamp: Stamp(u64::MAX), puts: vec![(total, Some(bytes(value)))], drops: vec![] };
        assert!(peer.apply(&event));
    }
    for command in [Command::Get, Command::IncrBy { by: 1 }, Command::Del, Command::IncrBy { by: i64::MIN }] {
        peer.execute("n", &command, u64::MAX);
    }
    assert!(peer.scrubs());
}

fn any_event() -> impl Strategy<Value = Event> {
    let dot = || (0..4_u64, 1..6_u64).prop_map(|(actor, counter)| Dot::new(Actor(actor), counter));
    let field = prop_oneof![
        Just(Field::Register),
        Just(Field::Member(bytes("m"))),
        Just(Field::Entry(bytes("e"))),
        (0..3_u64, 0..3_u64).prop_map(|(actor, chain)| Field::Total { actor: Actor(actor), chain }),
        (0..3_u64, 0..3_u64).prop_map(|(actor, chain)| Field::Base { actor: Actor(actor), chain }),
    ];
    let at = ("[kl]", field).prop_map(|(key, field)| cell(&key, field));
    let value = proptest::option::of("[0-9]{0,2}".prop_map(|value| bytes(&value)));
    let dots = || proptest::collection::vec(dot(), 0..5).prop_map(Context::from_iter);
    let target =
        prop_oneof![at.clone().prop_map(Target::Cell), "[kl]".prop_map(|key| Target::Key(Key::from(key))),];
    let puts = proptest::collection::vec((at, value), 0..3);
    let drops = proptest::collection::vec((target, dots()), 0..3);
    (dot(), any::<u64>(), puts, drops).prop_map(|(dot, stamp, puts, drops)| Event {
        dot,
        stamp: Stamp(stamp),
        puts,
        drops,
    })
}

fn flipped(mut bytes: Vec<u8>, at: &prop::sample::Index, to: u8) -> Vec<u8> {
    let place = at.index(bytes.len());
    bytes[place] = to;
    bytes
}

/// Rows of a good store, some of them with other bytes, or beside them.
fn rotten(changes: Vec<(prop::sample::Index, prop::sample::Index, bool, Vec<u8>)>) -> Memory {
    let good = full().disk;
    let rows: Vec<_> = good.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
    let mut disk = good;
    for (place, at, in_row, new) in changes {
        let (mut row, mut value) = rows[place.index(rows.len())].clone();
        let rotten = if in_row { &mut row } else { &mut value };
        let at = at.index(rotten.len() + 1);
        let end = rotten.len().min(at + new.len());
        rotten.splice(at..end, new);
        disk.put(&row, &value);
    }
    disk
}

proptest! {
    /// That storage has failed may be said; a panic may not.
    #[test]
    fn rows_that_have_rotted_are_read_or_refused(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..6)),
            1..4,
        ),
    ) {
        let mut disk = rotten(changes);
        let Ok(mut replica) = Replica::open(&disk, Actor(99), 99) else { return Ok(()) };
        for key in ["k", "l", "n"] {
            for command in [Command::Get, Command::IncrBy { by: 3 }, Command::HGetAll, Command::SMembers, Command::Del] {
                if replica.execute(&mut disk, P, key.as_bytes(), &command, 1).is_err() {
                    return Ok(());
                }
            }
        }
        let _ = (replica.snapshot(&disk, P, 300), replica.missing(&disk, P, &Context::new(), 300));
        let _ = replica.keys(&disk, P, None, 10);
    }

    #[test]
    fn any_events_leave_a_sound_replica(events in proptest::collection::vec(any_event(), 0..20)) {
        let mut peer = full();
        for event in &events {
            let known = peer.context().contains(event.dot);
            let good = event.check().is_ok();
            prop_assert_eq!(peer.apply(event), good && !known);
            prop_assert_eq!(read::<Event>(&cbor(event)).is_some(), good);
        }
        for key in ["k", "l"] {
            for command in [Command::Get, Command::IncrBy { by: 3 }, Command::HGetAll, Command::Del] {
                peer.execute(key, &command, 1);
            }
        }
        prop_assert!(peer.scrubs());
        let reopened = Peer::on(peer.disk.clone(), 77);
        prop_assert!(reopened.canonical() == peer.canonical());
        let mut copy = Peer::new(78);
        prop_assert!(copy.install(&peer.snapshot(300)) && copy.canonical() == peer.canonical());
        let lacks = copy.replica.missing(&copy.disk, P, &Context::new(), 100).unwrap();
        prop_assert_eq!(lacks, Missing::Cut);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let _ = (read::<Event>(&bytes), read::<Piece>(&bytes), read::<Slice>(&bytes), read::<Dot>(&bytes));
    }

    #[test]
    fn a_changed_byte_does_no_harm(piece in any::<prop::sample::Index>(), at: prop::sample::Index, to: u8) {
        let from = full();
        let mut pieces = from.snapshot(300);
        let place = piece.index(pieces.len());
        let mut to_peer = Peer::new(3);
        if let Some(changed) = read::<Piece>(&flipped(cbor(&pieces[place]), &at, to)) {
            pieces[place] = changed;
            to_peer.install(&pieces);
        }
        prop_assert!(to_peer.scrubs());
        if let Some(event) = read::<Event>(&flipped(cbor(&sample()), &at, to)) {
            to_peer.apply(&event);
        }
        prop_assert!(to_peer.scrubs());
        let slice = from.replica.read(&from.disk, P, b"n", &Command::Get).unwrap();
        if let Some(slice) = read::<Slice>(&flipped(cbor(&slice), &at, to)) {
            let merged = from.replica.read(&from.disk, P, b"n", &Command::Get).unwrap().merge(slice);
            Command::Get.answer(&merged);
        }
    }

    #[test]
    fn damaged_rows_are_errors_and_not_panics(row in any::<prop::sample::Index>(), at: prop::sample::Index, to: u8) {
        use starling_crdt::{Replica, Storage};
        let mut disk = full().disk;
        let rows: Vec<_> = disk.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
        let (row, value) = row.get(&rows);
        disk.put(row, &flipped(value.clone(), &at, to));
        let Ok(mut replica) = Replica::open(&disk, Actor(5), 5) else { return Ok(()) };
        let _ = replica.scrub(&disk, P, 100);
        let _ = replica.snapshot(&disk, P, 100);
        let _ = replica.missing(&disk, P, &Context::new(), 1000);
        let _ = replica.keys(&disk, P, None, 100);
        for key in ["n", "s", "k3"] {
            let _ = replica.execute(&mut disk, P, key.as_bytes(), &Command::Del, 1);
        }
    }
}
