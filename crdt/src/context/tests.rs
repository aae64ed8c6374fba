use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

type Oracle = BTreeSet<(u64, u64)>;

fn dot(actor: u64, counter: u64) -> Dot {
    Dot::new(Actor(actor), counter)
}

fn context(dots: &Oracle) -> Context {
    dots.iter().map(|&(actor, counter)| dot(actor, counter)).collect()
}

fn dots(context: &Context) -> Oracle {
    context.ranges().flat_map(|(actor, start, end)| (start..=end).map(move |c| (actor.0, c))).collect()
}

fn to_cbor(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn from_cbor(bytes: &[u8]) -> Option<Context> {
    ciborium::from_reader(bytes).ok()
}

fn some_dots() -> impl Strategy<Value = Oracle> {
    proptest::collection::btree_set((0_u64..3, 1_u64..16), 0..30)
}

proptest! {
    #[test]
    fn a_context_is_a_set_of_dots(a in some_dots(), b in some_dots()) {
        let (x, y) = (context(&a), context(&b));
        prop_assert_eq!(dots(&x), a.clone());
        prop_assert_eq!(x.len(), a.len() as u64);
        prop_assert_eq!(x.is_empty(), a.is_empty());
        let mut both = x.clone();
        both.union(&y);
        prop_assert_eq!(&both, &context(&a.union(&b).copied().collect()));
        let mut less = x.clone();
        less.subtract(&y);
        prop_assert_eq!(&less, &context(&a.difference(&b).copied().collect()));
        prop_assert_eq!(&x.difference(&y), &less);
        prop_assert_eq!(&x.intersect(&y), &context(&a.intersection(&b).copied().collect()));
        prop_assert_eq!(x.contains_all(&y), b.is_subset(&a));
        prop_assert_eq!(x.meets(&y), !a.is_disjoint(&b));
        prop_assert_eq!(x.hash() == y.hash(), a == b);
        for actor in 0..4 {
            let max = a.iter().filter(|(id, _)| *id == actor).map(|(_, c)| *c).max();
            prop_assert_eq!(x.max(Actor(actor)), max.unwrap_or(0));
            for counter in 0..18 {
                prop_assert_eq!(x.contains(dot(actor, counter)), a.contains(&(actor, counter)));
                let (mut less, mut oracle) = (x.clone(), a.clone());
                less.remove(dot(actor, counter));
                oracle.remove(&(actor, counter));
                prop_assert_eq!(less, context(&oracle));
            }
        }
    }

    #[test]
    fn ranges_are_sets_of_dots(ranges in proptest::collection::vec((0_u64..2, 0_u64..20, 0_u64..20), 0..12)) {
        let (mut set, mut oracle) = (Context::new(), Oracle::new());
        for (actor, start, end) in ranges {
            set.insert_range(Actor(actor), start, end);
            oracle.extend((start.max(1)..=end).map(|counter| (actor, counter)));
            prop_assert_eq!(&set, &context(&oracle));
        }
    }

    #[test]
    fn equal_sets_are_equal_bytes_and_come_back(a in some_dots()) {
        let bytes = to_cbor(&context(&a));
        prop_assert_eq!(from_cbor(&bytes), Some(context(&a)));
        prop_assert_eq!(context(&a).wire_len(), bytes.len());
        let reversed: Context = a.iter().rev().map(|&(actor, counter)| dot(actor, counter)).collect();
        prop_assert_eq!(to_cbor(&reversed), bytes);
    }

    #[test]
    fn what_is_accepted_is_canonical(numbers in proptest::collection::vec(0_u64..4, 0..12)) {
        if let Some(context) = from_cbor(&to_cbor(&numbers)) {
            prop_assert_eq!(to_cbor(&context), to_cbor(&numbers));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let _ = from_cbor(&bytes);
    }
}

#[test]
fn a_context_of_one_dot_is_small() {
    let bytes = to_cbor(&Context::from(dot(u64::MAX, 1)));
    assert_eq!(bytes.len(), 13);
    let later = to_cbor(&Context::from(dot(u64::MAX, 1 << 20)));
    assert_eq!(later.len(), 17);
}

#[test]
fn ends_of_the_number_range_do_no_harm() {
    let mut all = Context::new();
    all.insert_range(Actor(1), 0, u64::MAX);
    assert_eq!(all.len(), COUNTER_MAX);
    all.insert(dot(1, u64::MAX));
    all.insert(dot(2, 0));
    all.insert_range(Actor(3), 9, 3);
    assert_eq!(all.ranges().collect::<Vec<_>>(), [(Actor(1), 1, COUNTER_MAX)]);
    assert!(all.difference(&all).is_empty());
    let mut holes = all.clone();
    holes.subtract(&Context::from(dot(1, 5)));
    assert_eq!(holes.len(), COUNTER_MAX - 1);
    assert!(!holes.contains_all(&all) && all.contains_all(&holes));
}

#[test]
fn malformed_contexts_are_refused() {
    let good = [1, 2, 0, 3, 2, 1];
    assert!(from_cbor(&to_cbor(&good)).is_some());
    let bad: [(&str, &[u64]); 9] = [
        ("too short", &[1, 1, 0]),
        ("too long", &[1, 1, 0, 1, 7]),
        ("no ranges", &[1, 0]),
        ("an empty range", &[1, 1, 4, 0]),
        ("touching ranges", &[1, 2, 0, 3, 0, 3]),
        ("actors out of order", &[2, 1, 0, 1, 1, 1, 0, 1]),
        ("an actor twice", &[1, 1, 0, 1, 1, 1, 0, 1]),
        ("a counter too high", &[1, 1, COUNTER_MAX, 1]),
        ("an overflow", &[1, 1, u64::MAX, u64::MAX]),
    ];
    for (why, numbers) in bad {
        assert_eq!(from_cbor(&to_cbor(&numbers)), None, "{why}");
    }
}

#[test]
fn a_context_from_elsewhere_has_a_bounded_number_of_ranges() {
    let holes = |count: u64| (1..=count).map(|i| dot(1, 2 * i)).collect::<Context>();
    let most = RANGES_MAX as u64;
    assert!(from_cbor(&to_cbor(&holes(most))).is_some());
    assert!(from_cbor(&to_cbor(&holes(most + 1))).is_none());
    let claimed = [1, u64::MAX, 1, 1];
    assert!(from_cbor(&to_cbor(&claimed)).is_none());
}
