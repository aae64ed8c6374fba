use super::*;
use starling_crdt::Scrubbed;

const ALONE: Fixed = Fixed { alone: true, ..TWO };

/// One that holds an event, as the other owner has told to do too, or not.
pub(super) fn held(map: &Fixed, elsewhere: bool) -> Repair {
    let mut repair = begun(map);
    repair.kept(&scene(map), 0);
    let told = seen(if elsewhere { 1 } else { 0 });
    repair.received(&scene(map), PeerId::numbered(OTHER), report(map, told));
    answered(&mut repair, map, &seen(1));
    repair.drain();
    repair
}

/// What follows when the next stretch is looked at, and is damaged.
pub(super) fn found_damaged(repair: &mut Repair, map: &Fixed) -> Vec<Out> {
    repair.scrub.next = Time(0);
    repair.scrub_next(&scene(map));
    let asked = repair.drain().into_iter().find_map(|out| match out {
        Out::Store { ticket, question: Question::Scrub { elsewhere, .. } } => Some((ticket, elsewhere)),
        _ => None,
    });
    let (ticket, elsewhere) = asked.expect("what is held is looked at");
    let kept = Answer::Scrubbed(Scrubbed::Damaged);
    repair.stored(&scene(map), ticket, if elsewhere.is_some() { Answer::GivenUp } else { kept });
    repair.drain()
}

/// What is said to be elsewhere when the next stretch is looked at.
fn elsewhere(repair: &mut Repair, map: &Fixed) -> Option<Context> {
    repair.scrub.next = Time(0);
    repair.scrub_next(&scene(map));
    let asked = repair.drain().into_iter().find_map(|out| match out {
        Out::Store { question: Question::Scrub { elsewhere, .. }, .. } => Some(elsewhere),
        _ => None,
    });
    asked.expect("what is held is looked at")
}

#[test]
fn what_is_damaged_is_given_up_only_where_another_owner_is_known_to_have_it() {
    assert_eq!(elsewhere(&mut held(&TWO, true), &TWO), Some(seen(1)));
    assert_eq!(elsewhere(&mut held(&TWO, false), &TWO), None, "it lacks something");
    assert_eq!(elsewhere(&mut held(&ALONE, true), &ALONE), None, "it owns nothing");

    let mut repair = held(&TWO, true);
    let after = Fixed { steps: 2, ..TWO };
    repair.replanned(&scene(&after));
    assert_eq!(elsewhere(&mut repair, &after), None, "owners have changed since");
}

#[test]
fn the_only_copy_stays_and_is_said_to_be_damaged_once() {
    let mut repair = held(&ALONE, false);
    let session = repair.session(0);
    assert_eq!(found_damaged(&mut repair, &ALONE), [Out::OnlyCopyDamaged { partition: 0 }]);
    assert_eq!(found_damaged(&mut repair, &ALONE), []);
    assert!(repair.holding.contains(&0) && repair.refilling.is_empty() && repair.session(0) == session);
}

#[test]
fn what_was_given_up_is_not_filled_again_by_nobody() {
    let fills = |map: &Fixed| {
        let mut repair = begun(map);
        repair.refilling.insert(0);
        repair.remember(vec![(0, seen(1))]);
        repair.received(&scene(map), PeerId::numbered(OTHER), report(map, seen(1)));
        answered(&mut repair, map, &seen(1));
        repair.drain();
        repair.refill(&scene(map));
        let fills = |out: &Out| matches!(out, Out::Store { question: Question::Filled { .. }, .. });
        repair.drain().iter().any(fills)
    };
    assert_eq!([fills(&TWO), fills(&ALONE)], [true, false]);
}
