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
    ) {
        let (mut recent, mut model, mut cleared) = (Recent::default(), BTreeMap::new(), BTreeSet::new());
        for (row, value, clears) in changes {
            match row.first_chunk().filter(|_| clears) {
                Some(begin) => {
                    recent.clear(*begin);
                    model.retain(|row: &Vec<u8>, _| !row.starts_with(begin));
                    cleared.insert(*begin);
                }
                None => {
                    recent.change(&row, value.as_deref());
                    model.insert(row, value);
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
        let bytes = model.iter().map(|(row, value)| row_size(row) + value.as_ref().map_or(0, Vec::len));
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
        let mut recent = Recent::default();
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

#[test]
fn a_log_that_is_cut_stays_in_lines_and_frees_what_was_deleted() {
    let (mut recent, value) = (Recent::default(), [1; 100]);
    (1000..2000).for_each(|counter| recent.change(&log(counter), Some(&value)));
    // From before these rows came, and on into them.
    (500..1900).for_each(|counter| recent.change(&log(counter), None));
    (2000..2100).for_each(|counter| recent.change(&log(counter), Some(&value)));
    assert_eq!(in_lines(&recent), 1600);
    let rows: Vec<_> = recent.iter().map(|(row, value)| (row.to_vec(), value.is_some())).collect();
    let expected: Vec<_> = (500..2100).map(|counter| (log(counter), counter >= 1900)).collect();
    assert_eq!(rows, expected);
    let held: usize = recent.lines.iter().map(Lines::bytes).sum();
    let needed = 1600 * (3 + log(0).len()) + 200 * value.len();
    assert!(held <= 2 * needed && held < 1100 * value.len(), "{held} bytes, {needed} needed");
}

#[test]
fn what_comes_backwards_is_soon_in_places() {
    let mut recent = Recent::default();
    (0..100).rev().for_each(|counter| recent.change(&log(counter), Some(b"v")));
    assert_eq!(in_lines(&recent), 0);
    assert!(recent.iter().map(|(row, _)| row.to_vec()).eq((0..100).map(log)));
}
