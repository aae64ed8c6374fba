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
    let ticket = repair.drain().iter().find_map(|out| match out {
        Out::Store { ticket, question: Question::Scrub { .. } } => Some(*ticket),
        _ => None,
    });
    let ticket = ticket.expect("what is held is looked at");
    repair.stored(&scene(map), ticket, Answer::Scrubbed(Scrubbed::Damaged));
    repair.drain()
}

fn gives_up(repair: &mut Repair, map: &Fixed) -> Option<bool> {
    repair.scrub.next = Time(0);
    repair.scrub_next(&scene(map));
    repair.drain().iter().find_map(|out| match out {
        Out::Store { question: Question::Scrub { gives_up, .. }, .. } => Some(*gives_up),
        _ => None,
    })
}

#[test]
fn what_is_damaged_is_given_up_only_where_another_owner_is_known_to_have_it() {
    assert_eq!(gives_up(&mut held(&TWO, true), &TWO), Some(true));
    assert_eq!(gives_up(&mut held(&TWO, false), &TWO), Some(false), "it lacks something");
    assert_eq!(gives_up(&mut held(&ALONE, true), &ALONE), Some(false), "it owns nothing");

    let mut repair = held(&TWO, true);
    let after = Fixed { steps: 2, ..TWO };
    repair.replanned(&scene(&after));
    assert_eq!(gives_up(&mut repair, &after), Some(false), "owners have changed since");
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
