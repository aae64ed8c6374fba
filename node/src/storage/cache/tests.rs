use super::*;

/// What the rows of this key begin with.
fn key(name: &str) -> Vec<u8> {
    [&[0, 0, 1, 0, name.len() as u8][..], name.as_bytes()].concat()
}

fn row(name: &str, field: &str) -> Vec<u8> {
    [&key(name)[..], field.as_bytes()].concat()
}

/// A key with at most one row.
fn rows(name: &str, row: Option<(&str, &[u8])>) -> Rows {
    let row = row.map(|(field, value)| (self::row(name, field), value));
    let rows: Vec<_> = row.iter().map(|(row, value)| (&row[..], *value)).collect();
    Rows::new(&key(name), rows)
}

impl Cache {
    fn find_text(&mut self, name: &str) -> Option<String> {
        let key = key(name);
        let rows = self.find(&key)?;
        let text = rows.iter().map(|(row, value)| [&row[key.len()..], b"=", value].concat());
        Some(String::from_utf8(text.collect::<Vec<_>>().join(&b' ')).unwrap())
    }

    fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }

    /// What `bytes` must be.
    fn recount(&self) -> usize {
        self.young.keys.iter().chain(&self.old.keys).map(size).sum()
    }
}

#[test]
fn a_key_that_is_kept_follows_its_changes() {
    let mut cache = Cache::default();
    cache.keep(rows("a", None));
    cache.keep(rows("b", Some(("1", b"x"))));
    cache.changed(&row("a", "2"), Some(b"2"));
    cache.changed(&row("a", "1"), Some(b"1"));
    cache.changed(&row("b", "1"), None);
    cache.changed(&row("b", "9"), None);
    cache.changed(&row("c", "1"), Some(b"elsewhere"));
    cache.changed(b"no cell", Some(b"of another kind"));
    assert_eq!(cache.find_text("a").unwrap(), "1=1 2=2");
    assert_eq!(cache.find_text("b").unwrap(), "");
    assert_eq!(cache.find_text("c"), None);
    cache.changed(&row("a", "1"), Some(b"longer"));
    assert_eq!(cache.find_text("a").unwrap(), "1=longer 2=2");
    assert_eq!(cache.bytes(), cache.recount());
}

#[test]
fn a_key_that_grows_long_is_given_up() {
    let mut cache = Cache::default();
    cache.keep(rows("a", None));
    for n in 0..=ROWS_MAX {
        assert!(cache.find(&key("a")).is_some());
        cache.changed(&row("a", &n.to_string()), Some(b""));
    }
    assert!(cache.find(&key("a")).is_none());
    cache.keep(rows("a", None));
    cache.changed(&row("a", ""), Some(&[0; KEY_BYTES_MAX]));
    assert!(cache.find(&key("a")).is_none());
    cache.keep(rows("a", Some(("1", &[0; KEY_BYTES_MAX]))));
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn what_is_read_stays_and_the_rest_makes_room() {
    let mut cache = Cache::default();
    let value = vec![0; KEY_BYTES_MAX / 2];
    let enough = 3 * GENERATION_MAX / value.len();
    for n in 1..enough {
        let name = n.to_string();
        cache.keep(rows("hot", Some(("1", b"v"))));
        cache.keep(rows(&name, Some(("1", &value))));
        assert!(cache.find(&key("hot")).is_some());
        assert!(cache.bytes() <= 2 * GENERATION_MAX + KEY_BYTES_MAX);
    }
    assert_eq!(cache.bytes(), cache.recount());
    assert!(cache.find(&key("1")).is_none());
    assert!(cache.find(&key(&(enough - 1).to_string())).is_some());
}

#[test]
fn keys_that_grow_where_they_are_make_room_too() {
    let mut cache = Cache::default();
    let names: Vec<_> = (0..2 * GENERATION_MAX / KEY_BYTES_MAX).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| cache.keep(rows(name, None)));
    let value = vec![0; KEY_BYTES_MAX - 100];
    names.iter().for_each(|name| cache.changed(&row(name, "1"), Some(&value)));
    assert_eq!(cache.bytes(), cache.recount());
    assert!(cache.bytes() > GENERATION_MAX && cache.bytes() <= GENERATION_MAX + 2 * KEY_BYTES_MAX);
    // What was given up is not kept as it was before.
    assert!(names.iter().all(|name| cache.find(&key(name)).is_none_or(|rows| rows.iter().count() == 1)));
}
