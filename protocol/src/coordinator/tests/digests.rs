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

/// It had a digest that differs, was asked for its cells, and fell silent.
#[test]
fn one_that_does_not_send_its_cells_is_not_waited_for_once_others_have_sent_enough() {
    let (own, second) = (copy(&[1], Some(1)), copy(&[], None));
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let begin = Begin { r: 2, ..begin(Command::Get, owned_with(&[OTHER, THIRD], 1)) };
    coordinator.read(Now::default(), begin);
    let op = OpId(coordinator.last);
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(OTHER), false)]);
    coordinator.stored(Now::default(), op, Answer::Read { slice: Arc::new(own.clone()), digest: None });
    let call = Call::ReadDigest { op, under: 1, digest: second.digest() };
    coordinator.answered(Now::default(), PeerId::numbered(OTHER), call);
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(OTHER), true)]);

    let time = coordinator.next_timeout().expect("it has some patience");
    coordinator.timeout(Now { time, ..Now::default() });
    assert_eq!(wanted(&mut coordinator), [(PeerId::numbered(THIRD), true)]);
    answer(&mut coordinator, THIRD, &own);
    assert_eq!(reply(&mut coordinator), Some(Reply::Bytes(ByteBuf::from("v"))));
}
