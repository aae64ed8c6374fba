use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Commit(bool),
    Get(Vec<u8>),
    /// Stop after so many rows.
    Scan(Vec<u8>, Vec<u8>, usize),
}

/// Few and short rows, so that they meet; empty ones and prefixes of each other among them.
fn row() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (row(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(r, v)| Step::Put(r, v)),
        3 => row().prop_map(Step::Delete),
        1 => any::<bool>().prop_map(Step::Commit),
        2 => row().prop_map(Step::Get),
        2 => (row(), row(), 0..20usize).prop_map(|(from, to, most)| Step::Scan(from, to, most)),
        // The cells of a few keys, again and again.
        4 => cell().prop_map(|row| Step::Scan(row[..6].to_vec(), [&row[..6], &[255]].concat(), usize::MAX)),
        4 => (cell(), any::<u8>()).prop_map(|(row, value)| Step::Put(row, vec![value])),
        2 => cell().prop_map(Step::Delete),
    ]
}

/// A field of a key of one byte, in the first partition.
fn cell() -> impl Strategy<Value = Vec<u8>> {
    (0..2u8, 0..3u8).prop_map(|(key, field)| vec![0, 0, 1, 0, 1, key, field])
}

/// At most `most` rows; at least one if there is one, since the visitor is asked before it can stop.
fn scan(storage: &impl Storage, from: &[u8], to: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    storage
        .scan(from, to, &mut |row, value| {
            seen.push((row.to_vec(), value.to_vec()));
            if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
    seen
}

fn play(engine: &mut Engine, step: Step, model: &mut starling_crdt::Memory) {
    match step {
        Step::Put(row, value) => {
            engine.put(&row, &value);
            model.put(&row, &value);
        }
        Step::Delete(row) => {
            engine.delete(&row);
            model.delete(&row);
        }
        Step::Commit(synced) => {
            engine.commit(synced).unwrap();
            assert_eq!(engine.uncommitted(), 0);
        }
        Step::Get(row) => assert_eq!(engine.get(&row), model.get(&row)),
        Step::Scan(from, to, most) => {
            assert_eq!(scan(engine, &from, &to, most), scan(model, &from, &to, most));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn committed_or_not_the_rows_are_those_of_a_plain_ordered_map(
        steps in prop::collection::vec(step(), 1..120),
        few in prop_oneof![Just(1), Just(500), Just(1 << 20)],
    ) {
        let place = tempfile::tempdir().unwrap();
        // So little that a generation goes to tables every few commits.
        let mut engine = Engine::open_with(place.path(), 1, few).unwrap();
        let mut model = starling_crdt::Memory::default();
        for step in steps {
            play(&mut engine, step, &mut model);
        }
        engine.commit(false).unwrap();
        drop(engine);
        let engine = Engine::open(place.path(), 1).unwrap();
        let all: Vec<_> = model.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(engine.is_empty().unwrap(), all.is_empty());
        prop_assert_eq!(scan(&engine, &[], &[255; 8], usize::MAX), all);
    }
}

#[test]
fn what_was_not_committed_is_gone_when_it_opens_again() {
    let place = tempfile::tempdir().unwrap();
    let mut engine = Engine::open(place.path(), 1).unwrap();
    engine.put(b"kept", b"1");
    engine.commit(true).unwrap();
    engine.put(b"lost", b"2");
    engine.delete(b"kept");
    drop(engine);
    let engine = Engine::open(place.path(), 1).unwrap();
    assert_eq!(scan(&engine, b"", b"z", 9), [(b"kept".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_store_that_is_open_or_damaged_says_so_in_words() {
    let place = tempfile::tempdir().unwrap();
    let engine = Engine::open(place.path(), 1).unwrap();
    let error = Engine::open(place.path(), 1).err().unwrap();
    assert_eq!(error.0, "another process has it open");
    drop(engine);
    std::fs::write(place.path().join("version"), "what is this").unwrap();
    let error = Engine::open(place.path(), 1).err().unwrap();
    assert_eq!(error.0, "another version of the storage engine has written it");
}

#[test]
fn what_is_in_tables_needs_no_journal_and_what_changed_since_hides_it() {
    let place = tempfile::tempdir().unwrap();
    let mut engine = Engine::open_with(place.path(), 1, 1).unwrap();
    for value in [b"1", b"2", b"3"] {
        engine.put(b"changed", value);
        engine.put(b"deleted", value);
        engine.commit(true).unwrap();
    }
    engine.delete(b"deleted");
    engine.commit(true).unwrap();
    drop(engine);
    let files = std::fs::read_dir(place.path().join("recent")).unwrap();
    assert_eq!(files.count(), 1, "all but the last have gone");
    let engine = Engine::open(place.path(), 1).unwrap();
    assert_eq!(engine.recent.bytes(), 0);
    assert_eq!(scan(&engine, b"", b"z", 9), [(b"changed".to_vec(), b"3".to_vec())]);
}
