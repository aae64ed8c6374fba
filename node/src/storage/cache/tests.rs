use super::*;

fn row(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.into(), value.into())
}

impl Cache {
    fn find_text(&mut self, from: &str, to: &str) -> Option<String> {
        let rows = self.find(from.as_bytes(), to.as_bytes())?;
        let text = rows.iter().map(|(row, value)| [&row[..], b"=", value].concat());
        Some(String::from_utf8(text.collect::<Vec<_>>().join(&b' ')).unwrap())
    }

    fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }

    /// What `bytes` must be.
    fn recount(&self) -> usize {
        let ranges = self.young.ranges.iter().chain(&self.old.ranges);
        ranges.map(|(from, range)| from.len() + range.size()).sum()
    }
}

#[test]
fn a_range_that_is_kept_follows_what_is_committed() {
    let mut cache = Cache::default();
    cache.keep(b"a", b"b", vec![]);
    cache.keep(b"b", b"c", vec![row("b1", "x")]);
    cache.changed(b"a2", Some(b"2"));
    cache.changed(b"a1", Some(b"1"));
    cache.changed(b"b1", None);
    cache.changed(b"b9", None);
    cache.changed(b"c", Some(b"elsewhere"));
    assert_eq!(cache.find_text("a", "b").unwrap(), "a1=1 a2=2");
    assert_eq!(cache.find_text("b", "c").unwrap(), "");
    assert_eq!(cache.find_text("c", "d"), None);
    cache.changed(b"a1", Some(b"longer"));
    assert_eq!(cache.find_text("a", "b").unwrap(), "a1=longer a2=2");
    assert_eq!(cache.bytes(), cache.recount());
}

#[test]
fn a_range_is_found_only_as_it_was_kept_and_overlaps_none() {
    let mut cache = Cache::default();
    cache.keep(b"b", b"d", vec![row("c", "1")]);
    for (from, to) in [("b", "c"), ("b", "e"), ("a", "d"), ("c", "d")] {
        assert_eq!(cache.find_text(from, to), None);
    }
    for (from, to) in [(b"a", b"c"), (b"c", b"d"), (b"c", b"e"), (b"a", b"z"), (b"b", b"c")] {
        cache.keep(from, to, vec![]);
    }
    assert_eq!(cache.young.ranges.len(), 1);
    cache.keep(b"a", b"b", vec![]);
    cache.keep(b"d", b"e", vec![]);
    assert_eq!(cache.young.ranges.len(), 3);
}

#[test]
fn a_range_that_grows_long_is_given_up() {
    let mut cache = Cache::default();
    cache.keep(b"a", b"b", vec![]);
    for n in 0..=ROWS_MAX as u8 {
        assert!(cache.find(b"a", b"b").is_some());
        cache.changed(&[b'a', n], Some(b""));
    }
    assert!(cache.find(b"a", b"b").is_none());
    cache.keep(b"a", b"b", vec![]);
    cache.changed(b"a", Some(&[0; RANGE_MAX]));
    assert!(cache.find(b"a", b"b").is_none());
    cache.keep(b"a", b"b", vec![row("a", &"v".repeat(RANGE_MAX))]);
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn what_is_read_stays_and_the_rest_makes_room() {
    let mut cache = Cache::default();
    let key = |n: usize| format!("{n:08}").into_bytes();
    let value = "v".repeat(RANGE_MAX / 2);
    let enough = 3 * GENERATION_MAX / value.len();
    for n in 1..enough {
        cache.keep(&key(0), &key(1), vec![row("hot", "v")]);
        cache.keep(&key(n), &key(n + 1), vec![row("cold", &value)]);
        assert!(cache.find(&key(0), &key(1)).is_some());
        assert!(cache.bytes() <= 2 * GENERATION_MAX + RANGE_MAX);
    }
    assert_eq!(cache.bytes(), cache.recount());
    assert!(cache.find(&key(1), &key(2)).is_none());
    assert!(cache.find(&key(enough - 1), &key(enough)).is_some());
}
