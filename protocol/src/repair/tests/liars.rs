//! Members that say what no honest one would.

use super::*;
use starling_crdt::{Command, RANGES_MAX};

/// Of which partitions storage was asked what is held.
fn contexts_asked(out: &[Out]) -> Vec<Vec<PartitionId>> {
    let asked = out.iter().filter_map(|out| match out {
        Out::Store { question: Question::Contexts { partitions }, .. } => Some(partitions.clone()),
        _ => None,
    });
    asked.collect()
}

/// A whole state, in pieces of a kilobyte.
fn pieces(keys: u64) -> Vec<Piece> {
    let mut storage = Memory::default();
    let mut replica = Replica::open(&storage, Actor(1), 1).expect("memory does not fail");
    for key in 0..keys {
        let command = Command::Set { value: vec![0; 500].into() };
        replica.execute(&mut storage, 0, &key.to_be_bytes(), &command, 1).expect("memory does not fail");
    }
    replica.snapshot(&storage, 0, 1000).expect("memory does not fail")
}

fn state_of(pieces: &[Piece], index: usize) -> Message {
    let (count, piece) = (pieces.len() as u32, pieces[index].clone());
    Message::State { session: 7, partition: 0, transfer: 1, index: index as u32, count, piece }
}

/// The places of the pieces that are sent.
fn sent(out: Vec<Out>) -> Vec<u32> {
    let sent = out.into_iter().filter_map(|out| match out {
        Out::Send { message: Message::State { index, .. }, .. } => Some(index),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_partition_that_is_named_often_is_read_once_and_one_that_is_none_not_at_all() {
    let mut repair = begun(&TWO);
    let hashes = vec![(0, 1), (0, 2), (u16::MAX, 3), (0, 4)];
    repair.received(&scene(&TWO), PeerId::numbered(OTHER), Message::Hashes { view: TWO.view(), hashes });
    assert_eq!(contexts_asked(&repair.drain()), [[0]]);
}

#[test]
fn one_is_introduced_to_who_is_there_and_not_to_itself() {
    let mut repair = begun(&TWO);
    repair.drain();
    for (with, expected) in [(ME, vec![]), (COMING, vec![vec![0]])] {
        let meet = Message::Meet { partition: 0, with: PeerId::numbered(with) };
        repair.received(&scene(&TWO), PeerId::numbered(OTHER), meet);
        assert_eq!(contexts_asked(&repair.drain()), expected);
    }
}

#[test]
fn to_the_same_acknowledgement_said_again_no_piece_is_sent() {
    let other = PeerId::numbered(OTHER);
    let mut repair = begun(&TWO);
    repair.received(&scene(&TWO), other, report(&TWO, Context::new()));
    answered(&mut repair, &TWO, &seen(2));
    for answer in [Answer::Missing(Missing::Cut), Answer::Snapshot { pieces: pieces(9) }] {
        let asked = repair.drain();
        let last = asked.iter().rev().find_map(|out| match out {
            Out::Store { ticket, .. } => Some(*ticket),
            _ => None,
        });
        repair.stored(&scene(&TWO), last.expect("storage is asked"), answer);
    }
    assert_eq!(sent(repair.drain()), [0]);
    for (index, expected) in [(0, vec![1]), (0, vec![]), (3, vec![]), (1, vec![2])] {
        let staged = Message::Staged { partition: 0, transfer: 1, index };
        repair.received(&scene(&TWO), other, staged);
        assert_eq!(sent(repair.drain()), expected, "after {index}");
    }
}

#[test]
fn a_piece_out_of_order_ends_its_transfer() {
    let pieces = pieces(9);
    let other = PeerId::numbered(OTHER);
    for (next, goes_on) in [(1, true), (0, true), (2, false)] {
        let mut repair = begun(&TWO);
        repair.received(&scene(&TWO), other, state_of(&pieces, 0));
        repair.received(&scene(&TWO), other, state_of(&pieces, next));
        assert_eq!(repair.staging[&(0, other)].bytes > 0, goes_on, "after 0 comes {next}");
    }
}

#[test]
fn of_what_is_sent_as_a_whole_no_more_is_kept_aside_than_there_is_room_for() {
    let pieces = pieces(40);
    let half = pieces.iter().map(Piece::size).sum::<usize>() / 2;
    let config = Config { staged_max: half, ..Config::default() };
    let mut repair = Repair::new(config, 7, Time(0));
    let mut taken = 0;
    for index in 0..pieces.len() {
        repair.received(&scene(&TWO), PeerId::numbered(OTHER), state_of(&pieces, index));
        let staged = |out: &Out| matches!(out, Out::Send { message: Message::Staged { .. }, .. });
        taken += usize::from(repair.drain().iter().any(staged));
        assert!(repair.staging.values().all(|staging| staging.bytes <= half));
    }
    assert!((pieces.len() / 3..pieces.len() * 2 / 3).contains(&taken), "{taken} of {}", pieces.len());
}

/// Before, one piece was a whole state, and left its place free while all before it waited for the disk.
#[test]
fn what_is_being_written_takes_a_place_too() {
    let piece = pieces(0);
    let mut repair = begun(&TWO);
    repair.drain();
    for partition in 0..9 {
        for from in [OTHER, COMING] {
            let Message::State { session, transfer, index, count, piece, .. } = state_of(&piece, 0) else {
                panic!()
            };
            let state = Message::State { session, partition, transfer, index, count, piece };
            repair.received(&scene(&TWO), PeerId::numbered(from), state);
        }
    }
    let asked = repair.drain();
    let installs =
        asked.iter().filter(|o| matches!(o, Out::Store { question: Question::Install { .. }, .. }));
    assert_eq!(installs.count(), push::TRANSFERS_MAX);
}

#[test]
fn one_that_never_ends_makes_room_after_a_while_and_before_that_leaves_some() {
    let pieces = pieces(9);
    let [liar, honest] = [OTHER, COMING].map(PeerId::numbered);
    let mut repair = begun(&TWO);
    let begins = |repair: &mut Repair, from, partition, at| {
        let Message::State { session, transfer, index, count, piece, .. } = state_of(&pieces, 0) else {
            panic!()
        };
        let state = Message::State { session, partition, transfer, index, count, piece };
        repair.received(&scene_at(&TWO, at), from, state);
        repair.staging.contains_key(&(partition, from))
    };
    let start = Time(0) + Duration::from_secs(1);
    let taken = (0..9).filter(|partition| begins(&mut repair, liar, *partition, start)).count();
    assert_eq!(taken, push::TRANSFERS_MAX - 1);
    assert!(begins(&mut repair, honest, 0, start));
    assert!(!begins(&mut repair, honest, 1, start));
    // However often it begins anew, by itself or after pieces out of order.
    repair.received(&scene_at(&TWO, start), liar, state_of(&pieces, 5));
    let later = start + coming::PATIENCE;
    assert!(begins(&mut repair, liar, 0, later));
    assert!(begins(&mut repair, honest, 1, later));
    assert_eq!(repair.incoming(), push::TRANSFERS_MAX);
}

#[test]
fn one_that_takes_long_because_it_is_large_is_not_given_up_for_another() {
    let start = Time(0) + Duration::from_secs(1);
    let staging = |bytes| {
        let mut repair = begun(&TWO);
        repair.received(&scene_at(&TWO, start), PeerId::numbered(OTHER), state_of(&pieces(9), 0));
        let staging = repair.staging.values_mut().next().expect("it is kept aside");
        staging.bytes = bytes;
        staging.is_late(start + coming::PATIENCE)
    };
    assert!(staging(30 << 20));
    assert!(!staging(40 << 20));
}

#[test]
fn of_what_one_tells_no_more_ranges_are_kept_than_so_many() {
    let torn: Context = (1..=RANGES_MAX as u64).map(|counter| Dot::new(Actor(1), 2 * counter)).collect();
    let held = |partition| Held { partition, session: 1, context: torn.clone(), filled: true };
    let mut repair = begun(&TWO);
    let view = TWO.view();
    for _ in 0..2 {
        let message = Message::Report { view, held: (0..9).map(held).collect() };
        repair.received(&scene(&TWO), PeerId::numbered(OTHER), message);
    }
    let told = repair.told.values().flat_map(BTreeMap::values);
    assert_eq!(told.map(|told| told.context.range_count()).sum::<usize>(), 4 * RANGES_MAX);
}
