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
        changes in prop::collection::vec((row(), value()), 0..80),
        mut bounds in [row(), row()],
    ) {
        let (mut recent, mut model) = (Recent::default(), BTreeMap::new());
        for (row, value) in changes {
            recent.change(&row, value.as_deref());
            model.insert(row, value);
        }
        let plain = |(row, value): (&[u8], Option<&[u8]>)| (row.to_vec(), value.map(<[u8]>::to_vec));
        let all: Vec<_> = recent.iter().map(plain).collect();
        prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
        for (row, value) in &model {
            prop_assert_eq!(recent.get(row), Some(value.as_deref()));
        }
        bounds.sort();
        let [from, to] = bounds;
        prop_assert_eq!(recent.get(&from).is_some(), model.contains_key(&from));
        if from < to {
            let found: Vec<_> = recent.range(&from, &to).map(plain).collect();
            let expected: Vec<_> = model.range(from..to).map(|(row, value)| (row.clone(), value.clone())).collect();
            prop_assert_eq!(found, expected);
        }
        let bytes = model.iter().map(|(row, value)| row.len() + OVERHEAD + value.as_ref().map_or(0, Vec::len));
        prop_assert_eq!(recent.bytes(), bytes.sum::<usize>());
    }
}

#[test]
fn rows_of_the_log_are_a_line_for_as_long_as_they_come_in_order_and_keep_their_length() {
    let log = |counter: u8| [&[0, 0, 2][..], &[7; 8], &[0; 7], &[counter]].concat();
    let line = || {
        let mut recent = Recent::default();
        [1, 2, 2, 1, 5].into_iter().for_each(|counter| recent.change(&log(counter), Some(b"one")));
        recent.change(&log(2), None);
        recent
    };
    let is_line = |recent: &Recent| matches!(recent.shelves.values().next(), Some(Shelf::Line(at)) if recent.lines[*at].len() == 3);
    assert!(is_line(&line()));
    for (counter, value, count) in [(3, None, 4), (2, Some(&b"one"[..]), 3), (1, Some(b"longer"), 3)] {
        let mut recent = line();
        recent.change(&log(counter), value);
        assert!(!is_line(&recent));
        assert_eq!(recent.get(&log(counter)), Some(value));
        assert_eq!(recent.iter().count(), count);
    }
}
