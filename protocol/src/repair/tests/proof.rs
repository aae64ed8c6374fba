use super::*;

const FOUR: Fixed = Fixed { four: true, ..TWO };

fn tell(repair: &mut Repair, map: &Fixed, from: u64, theirs: u64, ours: u64) {
    repair.received(&scene(map), PeerId::numbered(from), report(map, seen(theirs)));
    answered(repair, map, &seen(ours));
    repair.drain();
}

/// With whom hashes are compared at the next tick, and what storage is asked there for proof.
fn tick(repair: &mut Repair, map: &Fixed, ours: u64) -> Vec<PeerId> {
    repair.met(&scene(map), PeerId::numbered(9));
    repair.meet.clear();
    repair.timeout(&scene(map));
    answered(repair, map, &seen(ours));
    let compared = repair.drain().into_iter().filter_map(|out| match out {
        Out::Send { to, message: Message::Compare { .. } } => Some(to),
        _ => None,
    });
    compared.collect()
}

fn is_proven(repair: &Repair) -> bool {
    repair.is_proven(0, 4, 2)
}

#[test]
fn what_was_told_proves_our_copy_as_soon_as_all_of_it_has_come() {
    let mut repair = begun(&FOUR);
    for other in [OTHER, COMING, 4] {
        tell(&mut repair, &FOUR, other, 2, 1);
    }
    assert!(!is_proven(&repair), "something is on its way");
    assert_eq!(tick(&mut repair, &FOUR, 1), [], "all have told");
    assert!(!is_proven(&repair), "and still is");
    tick(&mut repair, &FOUR, 2);
    assert!(is_proven(&repair));
    repair.timeout(&scene_at(&FOUR, Time(0) + Duration::from_secs(2)));
    let asked = repair.drain();
    let proves = |out: &Out| matches!(out, Out::Store { question: Question::Contexts { .. }, .. });
    assert!(!asked.iter().any(proves), "nothing is asked any more: {asked:?}");
}

#[test]
fn what_one_told_before_it_owned_the_partition_proves_nothing_and_it_is_compared_with_at_once() {
    let before = Fixed { steps: 1, ..TWO };
    let after = Fixed { steps: 2, ..FOUR };
    let mut repair = begun(&before);
    for other in [OTHER, COMING] {
        tell(&mut repair, &before, other, 1, 0);
    }
    repair.replanned(&scene(&after));
    let (first, second) = (tick(&mut repair, &after, 1), tick(&mut repair, &after, 1));
    assert!(!is_proven(&repair));
    assert_eq!([first, second], [[PeerId::numbered(OTHER)], [PeerId::numbered(COMING)]], "one at a time");
    for other in [OTHER, COMING] {
        tell(&mut repair, &after, other, 1, 1);
    }
    assert!(is_proven(&repair));
}
