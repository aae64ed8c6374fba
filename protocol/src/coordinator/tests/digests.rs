//! Reads of which some copies were asked for a digest alone.

use super::*;
use starling_crdt::{Context, Field, Slice, Version};
use std::collections::BTreeMap;

const THIRD: u64 = 3;

/// What a copy has of a key: of events of these numbers it has seen, the value of one.
fn copy(seen: &[u64], live: Option<u64>) -> Slice {
    let dot = |counter| Dot::new(Actor(1), counter);
    let version =
        |counter| Version { dot: dot(counter), stamp: Stamp::at(counter), value: ByteBuf::from("v") };
    let cells = live.map(|counter| (Field::Register, vec![version(counter)])).into_iter();
    let context: Context = seen.iter().map(|counter| dot(*counter)).collect();
    Slice { context, cells: cells.collect::<BTreeMap<_, _>>(), ..Slice::default() }
}

/// Who is asked for cells (true) or for a digest.
fn wanted(coordinator: &mut Coordinator) -> Vec<(PeerId, bool)> {
    let sent = coordinator.drain().into_iter().filter_map(|out| match out {
        Out::Send { to, call: Call::Read { digest, .. } } => Some((to, !digest)),
        _ => None,
    });
    sent.collect()
}

fn reply(coordinator: &mut Coordinator) -> Option<Reply> {
    coordinator.drain().into_iter().find_map(|out| match out {
        Out::Done { result: Ok(outcome), .. } => Some(outcome.reply),
        _ => None,
    })
}

/// A read of all three owners: this peer's copy and what both others have, of which digests have come.
fn read_of_three([own, second, third]: [&Slice; 3]) -> Coordinator {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let begin = Begin { r: 3, ..begin(Command::Get, owned_with(&[OTHER, THIRD], 1)) };
    coordinator.read(Now::default(), begin);
    let op = OpId(coordinator.last);
    assert_eq!(wanted(&mut coordinator), [OTHER, THIRD].map(|peer| (PeerId::numbered(peer), false)));
    coordinator.stored(Now::default(), op, Answer::Read { slice: Arc::new(own.clone()), digest: None });
    for (peer, copy) in [(OTHER, second), (THIRD, third)] {
        let call = Call::ReadDigest { op, under: 1, digest: copy.digest() };
        coordinator.answered(Now::default(), PeerId::numbered(peer), call);
    }
    coordinator
}

fn answer(coordinator: &mut Coordinator, peer: u64, copy: &Slice) {
    let call = Call::ReadSlice { op: OpId(coordinator.last), under: 1, slice: Arc::new(copy.clone()) };
    coordinator.answered(Now::default(), PeerId::numbered(peer), call);
}

/// The second has seen the value and its removal, this peer neither, and the third the value alone.
#[test]
fn what_one_owner_knows_to_be_removed_is_not_answered_though_its_digest_is_that_of_one_that_knows_nothing() {
    let (own, second, third) = (copy(&[], None), copy(&[1, 2], None), copy(&[1], Some(1)));
    assert_eq!(own.digest(), second.digest());
    let mut coordinator = read_of_three([&own, &second, &third]);
    assert_eq!(wanted(&mut coordinator), [OTHER, THIRD].map(|peer| (PeerId::numbered(peer), true)));
    answer(&mut coordinator, THIRD, &third);
    assert_eq!(reply(&mut coordinator), None, "one may know more than its digest tells");
    answer(&mut coordinator, OTHER, &second);
    assert_eq!(reply(&mut coordinator), Some(Reply::Nil));
}

#[test]
fn where_all_digests_agree_nobody_is_asked_for_cells() {
    let own = copy(&[1], Some(1));
    let mut coordinator = read_of_three([&own, &own, &copy(&[1, 2], Some(1))]);
    assert_eq!(reply(&mut coordinator), Some(Reply::Bytes(ByteBuf::from("v"))));
}

/// A read of this peer's copy and another's, whose digest differed, which was asked for its cells, and fell silent; a
/// third one is asked in its place.
fn read_with_a_silent_one(seats: Seats, own: &Slice, second: &Slice) -> Coordinator {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), begin(Command::Get, seats));
    let op = OpId(coordinator.last);
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(OTHER), false)]);
    coordinator.stored(Now::default(), op, Answer::Read { slice: Arc::new(own.clone()), digest: None });
    let call = Call::ReadDigest { op, under: 1, digest: second.digest() };
    coordinator.answered(Now::default(), PeerId::numbered(OTHER), call);
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(OTHER), true)]);
    next_alarm(&mut coordinator);
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(THIRD), true)]);
    coordinator
}

fn next_alarm(coordinator: &mut Coordinator) -> Time {
    let time = coordinator.next_timeout().expect("it waits for something");
    coordinator.timeout(Now { time, ..Now::default() });
    time
}

#[test]
fn one_that_does_not_send_its_cells_is_not_waited_for_once_others_have_sent_enough() {
    let (own, second) = (copy(&[1], Some(1)), copy(&[], None));
    let mut coordinator = read_with_a_silent_one(owned_with(&[OTHER, THIRD], 1), &own, &second);
    answer(&mut coordinator, THIRD, &own);
    assert_eq!(reply(&mut coordinator), Some(Reply::Bytes(ByteBuf::from("v"))));
}

/// It is slow, and has what this peer lacks.
#[test]
fn an_owner_that_differs_is_waited_for_where_a_stand_in_holds_nothing() {
    let (own, second, empty) = (copy(&[1], Some(1)), copy(&[1, 2], None), copy(&[], None));
    let preference = owned_with(&[OTHER, THIRD], 1).preference;
    let seats = Seats { preference, ..owned_with(&[OTHER], 1) };
    let mut coordinator = read_with_a_silent_one(seats.clone(), &own, &second);
    answer(&mut coordinator, THIRD, &empty);
    assert_eq!(reply(&mut coordinator), None);
    answer(&mut coordinator, OTHER, &second);
    assert_eq!(reply(&mut coordinator), Some(Reply::Nil));

    // Until the deadline, where nobody is left to ask: then what there is is told.
    let mut coordinator = read_with_a_silent_one(seats, &own, &second);
    answer(&mut coordinator, THIRD, &empty);
    next_alarm(&mut coordinator);
    assert_eq!(reply(&mut coordinator), None);
    assert_eq!(next_alarm(&mut coordinator), Time(0) + Config::default().deadline);
    assert_eq!(reply(&mut coordinator), Some(Reply::Bytes(ByteBuf::from("v"))));
}
