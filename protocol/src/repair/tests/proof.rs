use super::*;
use serde_bytes::ByteBuf;
use starling_crdt::{Cell, Field, Key, Target};

const FOUR: Fixed = Fixed { four: true, ..TWO };
/// As `FOUR`, but for this peer.
const NONE: Fixed = Fixed { idle: true, ..FOUR };

fn hear(repair: &mut Repair, map: &Fixed, from: u64, theirs: u64, ours: u64) {
    repair.received(&scene(map), PeerId::numbered(from), report(map, seen(theirs)));
    answered(repair, map, &seen(ours));
    repair.drain();
}

/// The same of one whose copy is not whole.
fn hear_unfilled(repair: &mut Repair, map: &Fixed, from: u64, theirs: u64, ours: u64) {
    let held = vec![Held { partition: 0, session: 1, context: seen(theirs), filled: false }];
    let message = Message::Report { view: map.view(), held };
    repair.received(&scene(map), PeerId::numbered(from), message);
    answered(repair, map, &seen(ours));
    repair.drain();
}

/// Who is asked at the next tick what it holds; `ours` is what storage has then.
fn tick(repair: &mut Repair, map: &Fixed, ours: u64) -> Vec<PeerId> {
    repair.next_tick = Time(0);
    repair.timeout(&scene(map));
    let sent = answered(repair, map, &seen(ours));
    repair.drain();
    let asked = sent.into_iter().filter_map(|out| match out {
        Out::Send { to, message: Message::Ask { .. } } => Some(to),
        _ => None,
    });
    asked.collect()
}

fn is_proven(repair: &Repair, map: &Fixed) -> bool {
    repair.is_proven(PeerId::numbered(ME), &map.seats(0), 2)
}

#[test]
fn what_was_told_proves_our_copy_as_soon_as_all_of_it_has_come() {
    let mut repair = begun(&FOUR);
    for other in [OTHER, COMING, 4] {
        hear(&mut repair, &FOUR, other, 2, 1);
    }
    tick(&mut repair, &FOUR, 1);
    assert!(!is_proven(&repair, &FOUR), "something is on its way");
    tick(&mut repair, &FOUR, 2);
    assert!(is_proven(&repair, &FOUR));
    assert_eq!(tick(&mut repair, &FOUR, 2), [], "nobody is asked any more");
    assert!(repair.unproven.is_empty());
}

#[test]
fn other_owners_are_asked_one_at_a_time_and_none_that_has_proven_it() {
    let mut repair = begun(&FOUR);
    let (first, second, third) = (PeerId::numbered(OTHER), PeerId::numbered(COMING), PeerId::numbered(4));
    assert_eq!(tick(&mut repair, &FOUR, 1), [first]);
    assert_eq!(tick(&mut repair, &FOUR, 1), [second]);
    assert_eq!(tick(&mut repair, &FOUR, 1), [third]);
    hear(&mut repair, &FOUR, OTHER, 1, 1);
    assert_eq!(tick(&mut repair, &FOUR, 1), [second], "one has proven it");
    assert!(!is_proven(&repair, &FOUR), "it takes two");
    hear(&mut repair, &FOUR, 4, 1, 1);
    assert!(is_proven(&repair, &FOUR));
}

#[test]
fn what_one_told_before_it_owned_the_partition_proves_nothing() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&TWO);
    for other in [OTHER, COMING] {
        repair.received(&scene(&TWO), PeerId::numbered(other), report(&TWO, seen(1)));
    }
    // It is weighed when owners have changed already.
    repair.replanned(&scene(&after));
    for _ in 0..3 {
        answered(&mut repair, &after, &seen(1));
    }
    tick(&mut repair, &after, 1);
    assert!(!is_proven(&repair, &after));
    for other in [OTHER, COMING] {
        hear(&mut repair, &after, other, 1, 1);
    }
    assert!(is_proven(&repair, &after));
}

#[test]
fn one_that_comes_new_and_one_that_is_being_filled_again_need_more() {
    let mut repair = begun(&TWO);
    assert!(is_proven(&repair, &TWO), "any write has reached both");
    let mut seats = TWO.seats(0);
    seats.old.retain(|seat| seat.peer != PeerId::numbered(ME));
    assert!(!repair.is_proven(PeerId::numbered(ME), &seats, 2), "and none has reached one that comes");
    repair.refilling.insert(0);
    assert!(!is_proven(&repair, &TWO), "what was there is given up");
}

#[test]
fn one_that_becomes_an_owner_without_a_step_of_its_own_needs_more_until_it_is_proven() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&NONE);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &Context::new());
    for other in [OTHER, COMING] {
        hear(&mut repair, &after, other, 1, 1);
        assert!(!is_proven(&repair, &after), "none of those who were owners sent what is written to it");
    }
    hear(&mut repair, &after, 4, 1, 1);
    assert!(is_proven(&repair, &after));
    repair.replanned(&scene(&Fixed { steps: 3, ..FOUR }));
    assert!(is_proven(&repair, &after), "it is an owner like any other");
}

#[test]
fn what_an_owner_held_before_this_life_counts() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&FOUR);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &seen(1));
    for other in [OTHER, COMING] {
        hear(&mut repair, &after, other, 1, 1);
    }
    assert!(is_proven(&repair, &after));
}

#[test]
fn nothing_is_proven_before_storage_has_told_what_was_given_up() {
    let mut repair = Repair::new(Config::default(), 7, Time(0));
    repair.replanned(&scene(&TWO));
    assert!(!is_proven(&repair, &TWO));
    answered(&mut repair, &TWO, &Context::new());
    assert!(is_proven(&repair, &TWO));
}

#[test]
fn a_copy_on_its_way_to_be_whole_proves_nothing() {
    let mut repair = begun(&FOUR);
    for other in [OTHER, COMING] {
        hear_unfilled(&mut repair, &FOUR, other, 1, 1);
    }
    tick(&mut repair, &FOUR, 1);
    assert!(!is_proven(&repair, &FOUR));
    for other in [OTHER, COMING] {
        hear(&mut repair, &FOUR, other, 1, 1);
    }
    assert!(is_proven(&repair, &FOUR), "they have been filled");
}

#[test]
fn what_was_not_taken_for_want_of_room_is_proven_anew_when_there_is_some() {
    let mut repair = begun(&FOUR);
    for other in [OTHER, COMING] {
        hear(&mut repair, &FOUR, other, 1, 1);
    }
    assert!(is_proven(&repair, &FOUR));
    let removes = |dot| Event { drops: vec![(Target::Key(Key::from("k")), seen(1))], ..event(dot) };
    let low = Scene { is_low: true, ..scene(&FOUR) };
    assert!(!repair.misses(&low, 0, &[removes(2)]) && is_proven(&repair, &FOUR), "a removal takes no room");
    let mut brings = event(3);
    brings.puts.push((Cell { key: Key::from("k"), field: Field::Register }, Some(ByteBuf::new())));
    assert!(repair.misses(&low, 0, &[brings]) && !is_proven(&repair, &FOUR));
    assert!(!repair.misses(&low, 0, &[removes(4)]), "it may wait for what was not taken");

    repair.next_tick = Time(0);
    repair.timeout(&low);
    let asks = |out: &Out| matches!(out, Out::Send { message: Message::Ask { .. }, .. });
    assert!(!repair.drain().iter().any(asks), "it would be sent in vain");
    repair.room_again();
    for other in [OTHER, COMING] {
        assert!(!is_proven(&repair, &FOUR));
        hear(&mut repair, &FOUR, other, 3, 3);
    }
    assert!(is_proven(&repair, &FOUR));
}

/// What is told of the partition to one that asks; `ours` is what storage has.
fn tells(repair: &mut Repair, map: &Fixed, ours: u64) -> bool {
    repair.received(&scene(map), PeerId::numbered(OTHER), Message::Ask { partitions: vec![0] });
    answered(repair, map, &seen(ours));
    let told = repair.drain().into_iter().find_map(|out| match out {
        Out::Send { message: Message::Report { held, .. }, .. } => Some(held),
        _ => None,
    });
    told.expect("who asks is told")[0].filled
}

#[test]
fn one_that_has_become_an_owner_tells_that_it_is_not_filled_until_it_is() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&NONE);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &Context::new());
    assert!(!tells(&mut repair, &after, 0));

    // That it is the same would be taken for a whole copy.
    let (view, other) = (after.view(), PeerId::numbered(OTHER));
    let hash = super::exchange::hash(&[(0, Context::new())]);
    repair.received(&scene(&after), other, Message::Compare { view, hash });
    let told = answered(&mut repair, &after, &Context::new());
    let told: Vec<_> = told.into_iter().chain(repair.drain()).collect();
    let is_same = |out: &Out| matches!(out, Out::Send { message: Message::Same { .. }, .. });
    assert!(!told.iter().any(is_same), "{told:?}");

    for other in [OTHER, COMING, 4] {
        hear(&mut repair, &after, other, 1, 1);
    }
    assert!(tells(&mut repair, &after, 1));
}

/// Else they would wait for one another.
#[test]
fn those_that_become_owners_at_once_are_filled_when_each_has_all_that_there_is() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&NONE);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &Context::new());
    hear(&mut repair, &after, OTHER, 2, 2);
    for other in [COMING, 4] {
        assert!(!is_proven(&repair, &after));
        assert!(!tells(&mut repair, &after, 2));
        hear_unfilled(&mut repair, &after, other, 1, 2);
    }
    assert!(is_proven(&repair, &after) && tells(&mut repair, &after, 2));
}

/// It may wait for an owner that is away, and so for ever.
#[test]
fn one_that_is_to_be_filled_itself_is_not_asked_again_and_again_but_heard_when_it_compares() {
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&NONE);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &Context::new());
    for other in [OTHER, COMING] {
        hear_unfilled(&mut repair, &after, other, 1, 1);
    }
    for _ in 0..3 {
        assert_eq!(tick(&mut repair, &after, 1), [PeerId::numbered(4)]);
    }
    assert!(!is_proven(&repair, &after));
    let (view, hash) = (after.view(), super::exchange::hash(&[(0, seen(1))]));
    for other in [OTHER, COMING, 4] {
        assert!(!is_proven(&repair, &after));
        repair.received(&scene(&after), PeerId::numbered(other), Message::Compare { view, hash });
        answered(&mut repair, &after, &seen(1));
    }
    assert!(is_proven(&repair, &after), "all three say that they have the same, and are whole");
}

/// That it had not been, storage may not have been told: its table is not waited for where reads go to others anyway.
#[test]
fn one_that_comes_for_another_that_leaves_is_not_filled_after_a_start() {
    let comes = Fixed { leaving: true, ..NONE };
    let mut repair = begun(&comes);
    assert!(!tells(&mut repair, &comes, 0));
    for other in [OTHER, COMING, 4] {
        hear(&mut repair, &comes, other, 1, 1);
    }
    assert!(tells(&mut repair, &comes, 1));
    assert!(tells(&mut begun(&FOUR), &FOUR, 0), "what it owned all along it has");
}

#[test]
fn one_that_lacked_nothing_but_the_word_of_those_that_are_forgotten_is_filled() {
    let (after, last) = (Fixed { steps: 2, ..FOUR }, Fixed { steps: 3, ..TWO });
    let mut repair = begun(&NONE);
    repair.replanned(&scene(&after));
    answered(&mut repair, &after, &Context::new());
    hear(&mut repair, &after, OTHER, 1, 1);
    assert!(!tells(&mut repair, &after, 1));
    repair.replanned(&scene(&last));
    tick(&mut repair, &last, 1);
    assert!(tells(&mut repair, &last, 1));
}
