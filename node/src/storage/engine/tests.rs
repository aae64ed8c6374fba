use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// All that begins so.
    DeleteAll(Begin),
    /// This row of a log, once.
    Log(u8),
    /// The rows of the log up to this one.
    Cut(u8),
    Commit(bool),
    Get(Vec<u8>),
    /// Stop after so many rows.
    Scan(Vec<u8>, Vec<u8>, usize),
}

/// Both halves of a store.
struct Disk {
    engine: Engine,
    writer: Writer,
    sealed: Sealed,
}

impl Disk {
    fn open_with(path: &Path, recent_max: usize) -> Result<Self, StorageError> {
        let (engine, writer) = Engine::open_with(path, 1, recent_max)?;
        Ok(Self { engine, writer, sealed: Sealed::default() })
    }

    fn open(path: &Path) -> Result<Self, StorageError> {
        Self::open_with(path, RECENT_MAX)
    }

    fn commit(&mut self, synced: bool) {
        self.engine.seal(&mut self.sealed);
        assert_eq!(self.engine.uncommitted(), 0);
        self.writer.write(&mut self.sealed, synced).unwrap();
        self.writer.tidy(&mut self.sealed).unwrap();
    }
}

/// Few and short rows, so that they meet; empty ones and prefixes of each other among them.
fn row() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (row(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(r, v)| Step::Put(r, v)),
        3 => row().prop_map(Step::Delete),
        1 => prop_oneof![Just([0, 0]), Just([0, 1]), Just([255, 0])].prop_map(Step::DeleteAll),
        1 => any::<bool>().prop_map(Step::Commit),
        2 => row().prop_map(Step::Get),
        2 => (row(), row(), 0..20usize).prop_map(|(from, to, most)| Step::Scan(from, to, most)),
        // The cells of a few keys, again and again.
        4 => cell().prop_map(|row| Step::Scan(row[..6].to_vec(), [&row[..6], &[255]].concat(), usize::MAX)),
        4 => (cell(), any::<u8>()).prop_map(|(row, value)| Step::Put(row, vec![value])),
        2 => cell().prop_map(Step::Delete),
        6 => (0..8u8).prop_map(Step::Log),
        2 => (0..8u8).prop_map(Step::Cut),
    ]
}

/// A field of a key of one byte, in the first partition.
fn cell() -> impl Strategy<Value = Vec<u8>> {
    (0..2u8, 0..3u8).prop_map(|(key, field)| vec![0, 0, 1, 0, 1, key, field])
}

/// A row of the log of the first partition.
fn log(counter: u8) -> Vec<u8> {
    [&[0, 0, 2][..], &[7; 8], &[0; 7], &[counter]].concat()
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

fn play(disk: &mut Disk, step: Step, model: &mut starling_crdt::Memory) {
    let engine = &mut disk.engine;
    match step {
        Step::Put(row, value) => {
            engine.put(&row, &value);
            model.put(&row, &value);
        }
        Step::Delete(row) => {
            engine.delete(&row);
            model.delete(&row);
        }
        Step::DeleteAll(begin) => {
            engine.delete_all(begin).unwrap();
            let rows: Vec<_> = model.rows().map(|(row, _)| row.to_vec()).collect();
            rows.iter().filter(|row| row.starts_with(&begin)).for_each(|row| model.delete(row));
        }
        Step::Log(counter) => {
            let row = log(counter);
            if model.get(&row).unwrap().is_none() {
                engine.put(&row, &[counter]);
                model.put(&row, &[counter]);
            }
        }
        Step::Cut(last) => {
            let (from, to) = (log(0), [&log(last)[..], &[0]].concat());
            for (row, _) in scan(engine, &from, &to, usize::MAX) {
                engine.delete(&row);
                model.delete(&row);
            }
        }
        Step::Commit(synced) => disk.commit(synced),
        Step::Get(row) => {
            // It changes nothing.
            engine.prefetch(&[row.clone(), [&row[..], &[0; 24]].concat()]);
            assert_eq!(engine.get(&row), model.get(&row));
        }
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
        cleared_min in prop_oneof![3 => Just(0), 1 => Just(2)],
    ) {
        let place = tempfile::tempdir().unwrap();
        // So little that a generation goes to tables every few commits.
        let mut disk = Disk::open_with(place.path(), few).unwrap();
        disk.engine.cleared_min = cleared_min;
        let mut model = starling_crdt::Memory::default();
        for step in steps {
            play(&mut disk, step, &mut model);
        }
        disk.commit(false);
        drop(disk);
        let Disk { engine, mut writer, .. } = Disk::open(place.path()).unwrap();
        writer.wait_for_keys();
        for key in 0..3 {
            let cell = cell_of(0, key);
            let (from, to) = span(&cell);
            prop_assert_eq!(scan(&engine, from, &to, usize::MAX), scan(&model, from, &to, usize::MAX));
        }
        let all: Vec<_> = model.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(engine.is_empty().unwrap(), all.is_empty());
        prop_assert_eq!(scan(&engine, &[], &[255; 8], usize::MAX), all);
    }
}

#[test]
fn what_was_not_committed_is_gone_when_it_opens_again() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(place.path()).unwrap();
    disk.engine.put(b"kept", b"1");
    disk.commit(true);
    disk.engine.put(b"lost", b"2");
    disk.engine.delete(b"kept");
    drop(disk);
    let disk = Disk::open(place.path()).unwrap();
    assert_eq!(scan(&disk.engine, b"", b"z", 9), [(b"kept".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_store_that_is_open_or_damaged_says_so_in_words() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::open(place.path()).unwrap();
    let error = Disk::open(place.path()).err().unwrap();
    assert_eq!(error.0, "another process has it open");
    drop(disk);
    std::fs::write(place.path().join("version"), "what is this").unwrap();
    let error = Disk::open(place.path()).err().unwrap();
    assert_eq!(error.0, "another version of the storage engine has written it");
}

/// The engine makes what is missing anew, empty: all that was there would count as removed.
#[test]
fn a_store_that_has_lost_a_part_is_not_opened() {
    for keyspace in ["0", "1", "2"] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        drop(Disk::open(&path).unwrap());
        std::fs::remove_file(path.join("keyspaces").join(keyspace).join("current")).unwrap();
        let error = Disk::open(&path).err().unwrap();
        assert!(error.0.starts_with("its files are damaged"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_looks_into_a_store_that_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    drop(Disk::open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Each of the files that the engine makes is the last that was made whole, once.
#[test]
fn a_store_of_which_a_part_was_made_is_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let (whole, path) = (place.path().join("whole"), place.path().join("store"));
    drop(Disk::open(&whole).unwrap());
    let files: Vec<_> = std::fs::read_dir(&whole).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 2);
    for file in files.iter().filter(|file| file.is_file()) {
        let part = path.with_extension("new");
        std::fs::create_dir(&part).unwrap();
        std::fs::copy(file, part.join(file.file_name().unwrap())).unwrap();
        let mut disk = Disk::open(&path).unwrap();
        assert!(!part.exists() && disk.engine.is_empty().unwrap());
        disk.engine.put(b"kept", b"1");
        disk.commit(true);
        drop(disk);
        assert!(!Disk::open(&path).unwrap().engine.is_empty().unwrap());
        std::fs::remove_dir_all(&path).unwrap();
    }
    // Nothing is made in the store's own place.
    std::fs::write(path.with_extension("new"), "in the way").unwrap();
    assert!(Disk::open(&path).is_err() && !path.exists());
}

#[test]
fn what_is_in_tables_needs_no_journal_and_what_changed_since_hides_it() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    for value in [b"1", b"2", b"3"] {
        disk.engine.put(b"changed", value);
        disk.engine.put(b"deleted", value);
        disk.commit(true);
    }
    disk.engine.delete(b"deleted");
    disk.commit(true);
    // What was behind leaves with the next one.
    disk.commit(true);
    drop(disk);
    let files = std::fs::read_dir(place.path().join("recent")).unwrap();
    assert_eq!(files.count(), 1, "all but the last have gone");
    let Disk { engine, .. } = &Disk::open(place.path()).unwrap();
    assert_eq!(engine.recent.bytes(), 0);
    assert_eq!(scan(engine, b"", b"z", 9), [(b"changed".to_vec(), b"3".to_vec())]);
}

#[test]
fn what_comes_while_a_commit_is_written_belongs_to_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    disk.engine.put(b"a", b"1");
    disk.engine.seal(&mut disk.sealed);
    // Now that the generation of the first is on its way.
    disk.engine.put(b"a", b"2");
    disk.engine.put(b"b", b"2");
    disk.writer.write(&mut disk.sealed, true).unwrap();
    disk.writer.tidy(&mut disk.sealed).unwrap();
    assert_eq!(disk.engine.get(b"a").unwrap(), Some(b"2".to_vec()));
    drop(disk);
    let disk = Disk::open(place.path()).unwrap();
    assert_eq!(scan(&disk.engine, b"", b"z", 9), [(b"a".to_vec(), b"1".to_vec())]);
}

#[test]
fn what_is_in_memory_is_told_from_what_is_not() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    let cell = [0, 0, 1, 0, 1, 7, 0];
    let (key, end) = span(&cell);
    disk.engine.put(&[key, b"another"].concat(), b"0");
    disk.commit(true);
    drop(disk);
    let mut disk = Disk::open(place.path()).unwrap();
    disk.engine.put(&cell, b"1");
    disk.engine.delete(b"gone");
    let engine = &mut disk.engine;
    assert_eq!(engine.in_memory(|rows| rows.get(&cell)), Ok(Some(Some(b"1".to_vec()))));
    assert_eq!(engine.in_memory(|rows| rows.get(b"gone")), Ok(Some(None)));
    assert_eq!(engine.in_memory(|rows| rows.get(b"never heard of")), Ok(None));
    let whole = |rows: &mut Engine| rows.scan(key, &end, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(engine.in_memory(whole), Ok(None), "tables may have other cells of the key");
    whole(engine).unwrap();
    assert_eq!(engine.in_memory(whole), Ok(Some(())), "now all are known");
    let failed = |_: &mut Engine| Err::<(), _>(StorageError("a fault".into()));
    assert_eq!(engine.in_memory(failed), Err(StorageError("a fault".into())));
}

#[test]
fn a_walk_in_memory_is_stopped_where_it_is_long_and_goes_on_where_others_do_not_wait_for_it() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(place.path()).unwrap();
    let engine = &mut disk.engine;
    let cell = |key: u8, n: usize| [&[0, 0, 1, 0, 1, key, 4][..], &(n as u32).to_be_bytes()].concat();
    let (from, to) = ([0, 0, 1, 0, 1, 7], [0, 0, 1, 0, 1, 7, 255]);
    let whole = |rows: &mut Engine| {
        let mut count = 0;
        rows.scan(&from, &to, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    };
    (0..WALKED_MAX).for_each(|n| engine.put(&cell(7, n), b"1"));
    assert_eq!(engine.in_memory(whole), Ok(Some(WALKED_MAX)));
    assert_eq!(engine.in_memory(whole), Ok(Some(WALKED_MAX)), "each time anew");
    assert_eq!(
        engine.in_memory(|rows| whole(rows).and(whole(rows))),
        Ok(None),
        "all that is for one question"
    );
    engine.put(&cell(7, WALKED_MAX), b"1");
    assert_eq!(engine.in_memory(whole), Ok(None));
    assert_eq!(whole(engine), Ok(WALKED_MAX + 1));
    // Those take as long.
    (0..WALKED_MAX).for_each(|n| engine.delete(&cell(7, n)));
    assert_eq!(engine.in_memory(whole), Ok(None));
    assert_eq!(whole(engine), Ok(1));
}

#[test]
fn a_row_that_changes_again_and_again_does_not_fill_the_journal() {
    let (dir, recent_max) = (tempfile::tempdir().unwrap(), 64 * 1024);
    let size = || {
        let files = std::fs::read_dir(dir.path().join("recent")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len() as usize).sum::<usize>()
    };
    for life in 0..3u8 {
        let mut disk = Disk::open_with(dir.path(), recent_max).unwrap();
        for n in 0..1000u32 {
            disk.engine.put(b"row", &[life; 4096]);
            disk.engine.put(b"n", &n.to_be_bytes());
            disk.commit(false);
            // One generation on its way and one that is full, and the room that is made ahead.
            assert!(size() < 3 * JOURNAL_TIMES * recent_max + 1024 * 1024, "{}", size());
        }
        assert_eq!(disk.engine.get(b"n").unwrap().unwrap(), 999u32.to_be_bytes());
    }
}

/// The cell of a key of one byte in this partition.
fn cell_of(partition: u8, key: u8) -> [u8; 7] {
    [0, partition, 1, 0, 1, key, 0]
}

/// All cells of the key of this cell.
fn span(cell: &[u8; 7]) -> (&[u8], Vec<u8>) {
    (&cell[..6], [&cell[..6], &[255]].concat())
}

/// Whether it is known without a look at the disk what cells the key of this cell has.
fn is_known(engine: &mut Engine, cell: [u8; 7]) -> bool {
    let (from, to) = span(&cell);
    let seen = engine.in_memory(|rows| rows.scan(from, &to, &mut |_, _| ControlFlow::Continue(())));
    seen.unwrap().is_some()
}

/// Two keys in each of two partitions, and rows of every other kind about them, all in tables.
fn some_in_tables(place: &Path) -> Vec<[u8; 7]> {
    let cells: Vec<_> = [(1, 5), (1, 6), (2, 5), (2, 6)].map(|(p, key)| cell_of(p, key)).into();
    let mut disk = Disk::open_with(place, 1).unwrap();
    for (partition, kind) in (0..4).flat_map(|p| [0, 2, 3, 4, 5].map(|kind| (p, kind))) {
        disk.engine.put(&[0, partition, kind, 9, 9, 9], b"1");
    }
    cells.iter().for_each(|cell| disk.engine.put(cell, b"1"));
    disk.commit(true);
    cells
}

#[test]
fn a_key_that_is_new_is_not_looked_for_in_tables() {
    let place = tempfile::tempdir().unwrap();
    let cells = some_in_tables(place.path());
    let mut disk = Disk::open(place.path()).unwrap();
    disk.writer.wait_for_keys();
    for new in [cell_of(0, 5), cell_of(1, 7), cell_of(2, 4), cell_of(3, 5)] {
        // First, since a scan leaves what it has seen in the cache.
        assert_eq!(disk.engine.in_memory(|rows| rows.get(&new)), Ok(Some(None)));
        assert!(is_known(&mut disk.engine, new));
    }
    for cell in cells {
        assert!(!is_known(&mut disk.engine, cell));
        assert_eq!(disk.engine.in_memory(|rows| rows.get(&cell)), Ok(None));
        let (from, to) = span(&cell);
        assert_eq!(scan(&disk.engine, from, &to, 9).len(), 1);
    }
}

#[test]
fn a_key_that_has_gone_to_tables_is_looked_for_there() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    let cell = cell_of(1, 5);
    disk.engine.recent.change(&cell, Some(b"1"));
    disk.engine.record.push(&cell, Some(b"1"));
    disk.commit(true);
    // What was behind leaves with the next ones.
    for n in 0..2 {
        disk.engine.put(&cell_of(9, n), b"1");
        disk.commit(true);
    }
    assert!(!is_known(&mut disk.engine, cell));
    assert_eq!(disk.engine.get(&cell), Ok(Some(b"1".to_vec())));
}

#[test]
fn a_generation_is_full_at_another_size_each_time_and_never_above_the_most() {
    let sizes: std::collections::BTreeSet<_> = (0..100).map(|_| full(RECENT_MAX)).collect();
    assert!(sizes.len() > 50);
    assert!(sizes.iter().all(|size| (RECENT_MAX / 3 * 2..=RECENT_MAX).contains(size)), "{sizes:?}");
    assert_eq!((full(0), full(1), full(2)), (0, 1, 2));
}

/// Were it not so, a partition of millions would be in memory whole, for one commit.
#[test]
fn all_of_a_partition_is_deleted_in_one_small_change_which_outlasts_a_crash_and_empties_tables() {
    let place = tempfile::tempdir().unwrap();
    let row = |partition: u8, n: u32| [&[0, partition, 1, 0, 1, 7, 4][..], &n.to_be_bytes()].concat();
    let many = 20 * CLEARED_MIN;
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    for (partition, n) in (1..4).flat_map(|partition| (0..many).map(move |n| (partition, n))) {
        disk.engine.put(&row(partition, n as u32), &[1; 100]);
    }
    disk.commit(true);
    drop(disk);
    let count = |engine: &Engine| [1, 2, 3].map(|p| scan(engine, &[0, p, 0], &[0, p, 255], usize::MAX).len());
    let mut disk = Disk::open(place.path()).unwrap();
    assert_eq!((disk.engine.recent.bytes(), count(&disk.engine)), (0, [many; 3]));
    disk.engine.delete_all([0, 2]).unwrap();
    disk.engine.put(&row(2, 5), b"new");
    assert!(disk.engine.uncommitted() < 100 && disk.engine.recent.bytes() < 1000);
    assert_eq!(count(&disk.engine), [many, 1, many]);
    // It is killed when this is in the journal, and nowhere else.
    disk.engine.seal(&mut disk.sealed);
    disk.writer.write(&mut disk.sealed, true).unwrap();
    drop(disk);
    let mut disk = Disk::open(place.path()).unwrap();
    assert_eq!(count(&disk.engine), [many, 1, many]);
    disk.engine.put(b"next", b"1");
    disk.commit(true);
    assert_eq!(count(&disk.engine), [many, 1, many], "on its way to tables");
    drop(disk);
    let disk = Disk::open(place.path()).unwrap();
    assert_eq!((disk.engine.recent.bytes(), count(&disk.engine)), (0, [many, 1, many]));
}

#[test]
fn few_rows_of_a_partition_are_deleted_one_by_one_and_write_no_tables() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(place.path()).unwrap();
    (0..9).for_each(|key| disk.engine.put(&cell_of(1, key), b"1"));
    disk.engine.delete_all([0, 1]).unwrap();
    disk.commit(true);
    assert!(disk.engine.leaving.is_none() && disk.engine.is_empty().unwrap());
}

/// A file that a journal in this directory has left for the next one.
fn file_left(journal: &Path) -> std::path::PathBuf {
    let mut record = Record::default();
    record.push(&cell_of(9, 9), None);
    let mut left = Journal::open(journal, &[], &mut |_| {}).unwrap();
    left.commit(&mut record, true).unwrap();
    left.turn().unwrap();
    journal.join("000000000001")
}

/// Played back without it, what was acknowledged is missing under contexts that count it as there.
#[test]
fn a_journal_that_has_lost_its_first_file_is_refused_unless_tables_hold_what_was_in_it() {
    for recent_max in [1, RECENT_MAX] {
        let place = tempfile::tempdir().unwrap();
        let mut disk = Disk::open_with(place.path(), recent_max).unwrap();
        for n in 0..4 {
            disk.engine.put(&cell_of(n, 1), b"1");
            disk.commit(true);
        }
        let tables = disk.engine.tables.clone();
        drop(disk);
        let said = tables.journals().unwrap();
        drop(tables);
        let first = said[0];
        assert_eq!(said, if recent_max == 1 { vec![first; 2] } else { vec![1] });
        assert_eq!(first > 1, recent_max == 1);
        let file = |number: u64| place.path().join(format!("recent/{number:012}"));
        let error = || Disk::open(place.path()).err().map(|e| e.0).unwrap_or_default();
        // One before it: it was killed before that went, or when it had gone.
        std::fs::copy(file_left(&place.path().join("other")), file(first - 1)).unwrap();
        assert_eq!(error(), "");
        std::fs::remove_file(file(first - 1)).unwrap();
        assert_eq!(error(), "");
        std::fs::rename(file(first), file(first + 1)).unwrap();
        let lost =
            format!("its journal is damaged: {} is missing, or a file after it", file(first).display());
        assert_eq!(error(), lost);
        // Only one is left that tables hold already.
        std::fs::rename(file(first + 1), file(first - 1)).unwrap();
        assert_eq!(error(), lost);
        std::fs::remove_dir_all(place.path().join("recent")).unwrap();
        assert_eq!(error(), lost);
    }
}

/// The one before it would count as the last, which may end anywhere.
#[test]
fn a_journal_that_has_lost_its_newest_file_is_refused_while_the_one_before_it_is_still_needed() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(place.path()).unwrap();
    disk.engine.put(&cell_of(1, 1), b"1");
    disk.commit(true);
    let tables = disk.engine.tables.clone();
    drop(disk);
    // As when it is killed while a generation is on its way.
    let (journal, newest) = (place.path().join("recent"), place.path().join("recent/000000000002"));
    Journal::open(&journal, &[], &mut |_| {}).unwrap().turn().unwrap();
    tables.journal_goes_on(2).unwrap();
    drop(tables);
    assert!(Disk::open(place.path()).is_ok());
    std::fs::remove_file(&newest).unwrap();
    let error = Disk::open(place.path()).err().unwrap().0;
    let lost = format!("its journal is damaged: {} is missing, or a file after it", newest.display());
    assert_eq!(error, lost);
}

/// Killed before the journal forgets what is in tables, a peer plays it back.
#[test]
fn a_row_of_the_log_that_comes_back_from_the_journal_is_deleted_in_tables_too() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    disk.engine.put(&log(1), b"1");
    disk.commit(true);
    let journal = place.path().join(crate::storage::JOURNAL);
    let old = std::fs::read_dir(&journal).unwrap().map(|file| file.unwrap().path()).min().unwrap();
    let kept = std::fs::read(&old).unwrap();
    drop(disk);
    assert!(!old.exists());
    std::fs::write(&old, kept).unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    assert_eq!(disk.engine.recent.get(&log(1)), Some(Some(&b"1"[..])));
    disk.engine.delete(&log(1));
    disk.commit(true);
    drop(disk);
    assert!(Disk::open(place.path()).unwrap().engine.is_empty().unwrap());
}

/// Taken for absent, what was there would count as removed.
#[test]
fn what_has_rotted_in_tables_is_an_error_and_never_a_row_that_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = Disk::open_with(place.path(), 1).unwrap();
    let row = |n: u16| [&[0, 1, 1, 0, 1, 7, 4][..], &n.to_be_bytes()].concat();
    (0..3000).for_each(|n| disk.engine.put(&row(n), &[n as u8; 40]));
    disk.commit(true);
    drop(disk);
    let tables = std::fs::read_dir(place.path().join("keyspaces/1/tables")).unwrap();
    let files: Vec<_> = tables.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let sound = std::fs::read(&files[0]).unwrap();
    let (mut refused, mut found) = (0, 0);
    for sector in sound.chunks(512).enumerate().map(|(n, _)| 512 * n).step_by(9) {
        let mut bytes = sound.clone();
        bytes[sector..].iter_mut().take(512).for_each(|byte| *byte = !*byte);
        std::fs::write(&files[0], &bytes).unwrap();
        let Ok(disk) = Disk::open(place.path()) else {
            refused += 1;
            continue;
        };
        let mut seen = 0;
        let all = disk.engine.scan(&[0, 1, 0], &[0, 1, 255], &mut |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        });
        assert!(all.is_err() || seen == 3000, "{seen} at {sector}");
        let got = (0..3000).map(|n| disk.engine.get(&row(n)));
        assert!(
            got.into_iter().all(|got| got.is_err() || got.is_ok_and(|value| value.is_some())),
            "{sector}"
        );
        found += usize::from(all.is_err());
    }
    assert!(refused + found > 5, "{refused} {found}");
}
