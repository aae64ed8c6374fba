//! Cutting the log.

use super::*;

const STEP: u64 = 10;
const MAX: u64 = 40;
const FOUR: Fixed = Fixed { four: true, ..TWO };

/// One of four owners, begun with so many events, of which so many are in the log.
fn started(events: u64, log: u64) -> Repair {
    let config = Config { log_step: STEP, log_max: MAX, ..Config::default() };
    let mut repair = Repair::new(config, 7, Time(0));
    repair.replanned(&scene(&FOUR));
    let asked = repair.drain();
    let [Out::Store { ticket, question: Question::Survey }] = asked[..] else { panic!("{asked:?}") };
    let (contexts, logs) = (vec![(0, seen(events))], vec![(0, log)]);
    let answer = Answer::Surveyed { contexts, logs, given_up: Vec::new() };
    repair.stored(&scene(&FOUR), ticket, answer);
    repair
}

/// These tell what they hold, while this peer holds so many events: below how many of them it cuts its log.
fn cuts(repair: &mut Repair, events: u64, tellers: &[(u64, u64)]) -> Vec<u64> {
    let mut cuts = Vec::new();
    for (teller, held) in tellers {
        repair.received(&scene(&FOUR), PeerId::numbered(*teller), report(&FOUR, seen(*held)));
        for _ in 0..2 {
            for out in repair.drain() {
                match out {
                    Out::Store { question: Question::CutLog { below, .. }, .. } => cuts.push(below.len()),
                    Out::Store { ticket, .. } => {
                        let contexts = vec![(0, seen(events))];
                        repair.stored(&scene(&FOUR), ticket, Answer::Contexts { contexts });
                    }
                    _ => {}
                }
            }
        }
    }
    cuts
}

#[test]
fn the_log_is_cut_below_what_all_owners_hold() {
    let mut repair = started(0, 0);
    assert_eq!(cuts(&mut repair, 30, &[(OTHER, 30), (COMING, 20)]), [], "of one nothing is known");
    assert_eq!(cuts(&mut repair, 30, &[(4, 25)]), [20]);
    assert_eq!(cuts(&mut repair, 32, &[(OTHER, 32), (COMING, 29), (4, 32)]), [], "too little");
    assert_eq!(cuts(&mut repair, 32, &[(COMING, 30)]), [30]);
}

/// Else it would grow until that one comes back, though what it lacks by then it is sent as a state.
#[test]
fn an_owner_that_has_told_and_is_away_does_not_keep_the_log_from_being_cut() {
    let mut repair = started(0, 0);
    cuts(&mut repair, 5, &[(COMING, 5)]);
    let (mut cut, mut longest) = (0, 0);
    for events in 6..200 {
        cut = cuts(&mut repair, events, &[(OTHER, events), (4, events)]).last().copied().unwrap_or(cut);
        longest = longest.max(events - cut);
    }
    assert_eq!((cut, longest), (160, MAX - 1));
}

/// Else each start would cost all those a whole state that were away for a moment.
#[test]
fn a_start_cuts_no_log_that_is_short() {
    let all = |held| [(OTHER, held), (COMING, held), (4, held)];
    let mut repair = started(1_000, 9);
    assert_eq!(cuts(&mut repair, 1_000, &all(1_000)), [], "all but nine were cut in an earlier life");
    assert_eq!(cuts(&mut repair, 1_001, &all(1_001)), [1_001]);
    // However often it starts: what is stored counts.
    let mut repair = started(1_000, MAX - 1);
    assert_eq!(cuts(&mut repair, 1_000, &[(OTHER, 1_000), (COMING, 5)]), []);
    assert_eq!(cuts(&mut repair, 1_001, &[(OTHER, 1_000), (COMING, 5)]), [1_001]);
}

#[test]
fn others_are_compared_with_sooner_while_much_is_written() {
    let mut repair = begun(&TWO);
    let Config { log_step, repair_period, .. } = Config::default();
    let (sooner, usual) = (Time(0) + repair_period / 10, Time(0) + repair_period);
    for _ in 0..log_step / 4 {
        repair.kept(&scene(&TWO), 0);
    }
    assert_eq!(repair.next_compare(), usual);
    repair.kept(&scene(&TWO), 0);
    assert_eq!(repair.next_compare(), sooner);
    repair.timeout(&scene_at(&TWO, sooner));
    assert_eq!(repair.compared, Some(PeerId::numbered(OTHER)));
    assert_eq!(repair.next_compare(), sooner + repair_period);
}

#[test]
fn what_is_left_of_a_long_log_is_cut_too() {
    let mut repair = started(0, 0);
    repair.ask_cut(0, seen(30));
    let left: Context = seen(30).difference(&seen(20));
    for left in [left, Context::new()] {
        let asked = repair.drain();
        let [Out::Store { ticket, question: Question::CutLog { .. } }] = asked[..] else {
            panic!("{asked:?}")
        };
        repair.stored(&scene(&FOUR), ticket, Answer::Cut { left: left.clone() });
        let again: Vec<_> = repair
            .out
            .iter()
            .filter_map(|out| match out {
                Out::Store { question: Question::CutLog { below, .. }, .. } => Some(below.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(again, if left.is_empty() { vec![] } else { vec![left] });
    }
}
