use super::*;
use starling_crdt::Scrubbed;

const ALONE: Fixed = Fixed { alone: true, ..TWO };
const KEPT: Answer = Answer::Scrubbed(Scrubbed::Damaged);

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

/// What storage is asked when the next stretch is looked at.
fn looks(repair: &mut Repair, map: &Fixed) -> (u64, Option<Context>) {
    repair.scrub.next = Time(0);
    repair.scrub_next(&scene(map));
    asked_to_look(repair).expect("what is held is looked at")
}

fn asked_to_look(repair: &mut Repair) -> Option<(u64, Option<Context>)> {
    repair.drain().into_iter().find_map(|out| match out {
        Out::Store { ticket, question: Question::Scrub { elsewhere, .. } } => Some((ticket, elsewhere)),
        _ => None,
    })
}

/// What follows when the next stretch is looked at, and is damaged.
pub(super) fn found_damaged(repair: &mut Repair, map: &Fixed) -> Vec<Out> {
    let (ticket, elsewhere) = looks(repair, map);
    repair.stored(&scene(map), ticket, if elsewhere.is_some() { Answer::GivenUp } else { KEPT });
    repair.drain()
}

/// What is said to be elsewhere when the next stretch is looked at.
fn elsewhere(repair: &mut Repair, map: &Fixed) -> Option<Context> {
    looks(repair, map).1
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

/// What another has told is behind soon: the moment to give the copy up is when it tells anew.
#[test]
fn while_writes_go_on_what_is_damaged_is_given_up_when_another_tells_that_it_has_all() {
    let mut repair = held(&TWO, true);
    let (ticket, elsewhere) = looks(&mut repair, &TWO);
    assert_eq!(elsewhere, Some(seen(1)));
    repair.stored(&scene(&TWO), ticket, KEPT);
    let (to, message) = (PeerId::numbered(OTHER), Message::Ask { partitions: vec![0] });
    let said = Out::DamageKept { partition: 0 };
    assert_eq!(repair.drain(), [Out::Send { to, message }, said.clone()], "it is not the only copy");

    for (theirs, ours) in [(1, 2), (3, 3)] {
        repair.received(&scene(&TWO), to, report(&TWO, seen(theirs)));
        answered(&mut repair, &TWO, &seen(ours));
        let asked = asked_to_look(&mut repair);
        assert_eq!(asked.as_ref().and_then(|(_, held)| held.clone()), (theirs == ours).then(|| seen(3)));
        if let Some((ticket, _)) = asked {
            repair.stored(&scene(&TWO), ticket, Answer::GivenUp);
        }
    }
    let out = repair.drain();
    assert!(out.contains(&Out::Damaged { partition: 0 }) && !out.contains(&said), "it is said once: {out:?}");
    assert!(repair.is_refilling(0));
}

/// It goes only once every owner has it, like all that is held for others.
#[test]
fn what_is_damaged_and_owned_no_more_is_not_given_up_for_one_owner_that_has_it() {
    let mut repair = held(&TWO, true);
    let (ticket, _) = looks(&mut repair, &TWO);
    repair.stored(&scene(&TWO), ticket, KEPT);
    let idle = Fixed { steps: 2, four: true, idle: true, ..TWO };
    repair.replanned(&scene(&idle));
    repair.drain();
    for (peer, lets_go) in [(OTHER, false), (COMING, false), (4, true)] {
        repair.received(&scene(&idle), PeerId::numbered(peer), report(&idle, seen(1)));
        let asked = weighed(&mut repair, &idle);
        assert!(!asked.iter().any(|question| matches!(question, Question::Scrub { .. })), "{asked:?}");
        assert_eq!(asked.iter().any(|question| matches!(question, Question::LetGo { .. })), lets_go);
    }
}

/// What storage is asked after what was told was held against what is held.
fn weighed(repair: &mut Repair, map: &Fixed) -> Vec<Question> {
    answered(repair, map, &seen(1));
    let asked = repair.drain().into_iter();
    asked
        .filter_map(|out| if let Out::Store { question, .. } = out { Some(question) } else { None })
        .collect()
}

#[test]
fn a_copy_that_is_not_filled_yet_is_none_beside_one_that_is_damaged() {
    let mut repair = held(&TWO, true);
    let Message::Report { view, mut held } = report(&TWO, seen(1)) else { panic!() };
    held[0].filled = false;
    repair.received(&scene(&TWO), PeerId::numbered(OTHER), Message::Report { view, held });
    answered(&mut repair, &TWO, &seen(1));
    repair.drain();
    assert!(found_damaged(&mut repair, &TWO).contains(&Out::OnlyCopyDamaged { partition: 0 }));
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
