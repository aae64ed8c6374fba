use super::*;
use proptest::prelude::*;

/// Rows of the log, of which few actors' counters grow, and others; short ones and prefixes of each other too.
fn row() -> impl Strategy<Value = Vec<u8>> {
    let log = (0..2u8, prop_oneof![Just(0u8), Just(1), Just(255)], 0..6u8)
        .prop_map(|(p, actor, counter)| [&[0, p, 2][..], &[actor; 8], &[0; 7], &[counter]].concat());
    prop_oneof![
        3 => log.clone(),
        1 => (log, 0..19usize).prop_map(|(row, length)| row[..length].to_vec()),
        2 => prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(255)], 0..6),
    ]
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..3))
}

proptest! {
    #[test]
    fn the_rows_are_those_of_a_plain_ordered_map(
        changes in prop::collection::vec((row(), value(), prop::bool::weighted(0.05)), 0..80),
        mut bounds in [row(), row()],
        is_played in any::<bool>(),
    ) {
        let mut recent = if is_played { Recent::played() } else { Recent::default() };
        let (mut model, mut new, mut cleared) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (row, value, clears) in changes {
            match row.first_chunk().filter(|_| clears) {
                Some(begin) => {
                    recent.clear(*begin);
                    model.retain(|row: &Vec<u8>, _| !row.starts_with(begin));
                    cleared.insert(*begin);
                }
                None => {
                    let is_new = value.is_some() && is_of_log(&row) && !model.contains_key(&row);
                    if is_new && !is_played {
                        new.insert(row.clone());
                    }
                    recent.change(&row, value.as_deref());
                    let is_gone = value.is_none() && recent.change_of(&row).is_none();
                    if is_gone && new.remove(&row) {
                        model.remove(&row);
                    } else {
                        model.insert(row, value);
                    }
                }
            }
        }
        let plain = |(row, value): (&[u8], Option<&[u8]>)| (row.to_vec(), value.map(<[u8]>::to_vec));
        let all: Vec<_> = recent.iter().map(plain).collect();
        prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
        for (row, value) in &model {
            prop_assert_eq!(recent.get(row), Some(value.as_deref()));
        }
        bounds.sort();
        let [from, to] = bounds;
        let is_cleared = from.first_chunk().is_some_and(|begin| cleared.contains(begin));
        prop_assert_eq!(recent.get(&from).is_some(), model.contains_key(&from) || is_cleared);
        prop_assert_eq!(recent.has_cleared(&from), is_cleared);
        prop_assert_eq!(recent.cleared().collect::<Vec<_>>(), cleared.iter().copied().collect::<Vec<_>>());
        if from < to {
            let found: Vec<_> = recent.range(&from, &to).map(plain).collect();
            let expected: Vec<_> = model.range(from..to).map(|(row, value)| (row.clone(), value.clone())).collect();
            prop_assert_eq!(found, expected);
        }
        let size = |change: Change<'_>| if recent.place(change.0).is_some() { size(change) } else { line::size(change) };
        let bytes = model.iter().map(|(row, value)| size((row, value.as_deref())));
        prop_assert_eq!(recent.bytes(), bytes.sum::<usize>() + OVERHEAD * cleared.len());
    }
}

fn log(counter: u16) -> Vec<u8> {
    [&[0, 0, 2][..], &[7; 8], &[0; 6], &counter.to_be_bytes()].concat()
}

/// How many rows are in lines.
fn in_lines(recent: &Recent) -> usize {
    recent.lines.iter().map(Lines::len).sum()
}

#[test]
fn rows_of_the_log_are_in_lines_for_as_long_as_they_come_in_order_and_keep_their_length() {
    let lines = || {
        let mut recent = Recent::played();
        [11, 12, 12, 11, 15].into_iter().for_each(|counter| recent.change(&log(counter), Some(b"one")));
        recent.change(&log(12), None);
        recent
    };
    assert_eq!(in_lines(&lines()), 3);
    for (counter, value, count) in [(13, None, 4), (12, Some(&b"one"[..]), 3), (11, Some(b"longer"), 3)] {
        let mut recent = lines();
        recent.change(&log(counter), value);
        assert_eq!(in_lines(&recent), 0);
        assert_eq!(recent.get(&log(counter)), Some(value));
        assert_eq!(recent.iter().count(), count);
    }
}

/// Rows of the log, most of which are cut: from before these came, and on into them.
fn cut(mut recent: Recent, value: &[u8]) -> Recent {
    (1000..2000).for_each(|counter| recent.change(&log(counter), Some(value)));
    (500..1900).for_each(|counter| recent.change(&log(counter), None));
    (2000..2100).for_each(|counter| recent.change(&log(counter), Some(value)));
    recent
}

#[test]
fn of_a_log_that_is_cut_nothing_is_left_but_deletions_of_what_tables_may_have() {
    let value = [1; 100];
    for (recent, deleted) in [(Recent::default(), 500..1000), (Recent::played(), 500..1900)] {
        let recent = cut(recent, &value);
        let rows = recent.iter().map(|(row, value)| (row.to_vec(), value.is_some()));
        let expected = deleted.clone().map(|counter| (log(counter), false));
        let expected = expected.chain((1900..2100).map(|counter| (log(counter), true)));
        assert!(rows.eq(expected));
        assert_eq!(recent.get(&log(1500)), deleted.contains(&1500).then_some(None));
        // They stay in lines, and free what they took.
        assert!(recent.places.is_empty());
        let needed = deleted.len() * (3 + log(0).len()) + 200 * (3 + log(0).len() + value.len());
        let held: usize = recent.lines.iter().map(Lines::bytes).sum();
        assert!((needed..2 * needed + 4096).contains(&held), "{held} bytes, {needed} needed");
    }
}

#[test]
fn a_log_that_is_cut_to_its_end_leaves_no_line_that_rows_from_before_it_would_come_into() {
    let mut recent = Recent::default();
    (100..120).for_each(|counter| recent.change(&log(counter), None));
    [1000, 1001].into_iter().for_each(|counter| recent.change(&log(counter), Some(&[1; 5000])));
    [1000, 1001].into_iter().for_each(|counter| recent.change(&log(counter), None));
    (110..130).for_each(|counter| recent.change(&log(counter), None));
    assert!(recent.iter().map(|(row, _)| row.to_vec()).eq((100..130).map(log)));
    assert_eq!(in_lines(&recent), 30);
}

#[test]
fn what_comes_backwards_is_soon_in_places() {
    let mut recent = Recent::default();
    (0..100).rev().for_each(|counter| recent.change(&log(counter), Some(b"v")));
    assert_eq!(in_lines(&recent), 0);
    assert!(recent.iter().map(|(row, _)| row.to_vec()).eq((0..100).map(log)));
}
