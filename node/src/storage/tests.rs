use super::*;
use starling_crdt::{Command, Dot, Event, PartitionId, Reply, Scrubbed};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Barrier};

const SECOND: Duration = Duration::from_secs(1);
/// Set for the process that a test starts: the store to write to, and at what durability.
const CHILD: &str = "STARLING_TEST_STORE";

struct Store {
    handle: StorageHandle,
    answers: Receiver<(StoreId, Answer)>,
    actor: Actor,
    id: u64,
    empty: bool,
}

fn open_with(directory: &Path, durability: Durability) -> Store {
    let (told, answers) = mpsc::channel();
    let tell = move |answers: Answers| answers.list.into_iter().for_each(|answer| drop(told.send(answer)));
    let failed = |failure| panic!("{failure}");
    let (handle, actor, opened) =
        spawn(directory, durability, Clock::start(Arc::default()), tell, failed).unwrap();
    Store { handle, answers, actor, id: opened.id, empty: opened.empty }
}

fn open(directory: &Path) -> Store {
    open_with(directory, Durability::Synced)
}

fn key(n: u64) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

fn partition(n: u64) -> PartitionId {
    (n % 7) as u16
}

fn set(n: u64) -> Question {
    set_to(n, &n.to_string())
}

fn set_to(n: u64, value: &str) -> Question {
    execute(n, Command::Set { value: value.as_bytes().to_vec().into() })
}

fn execute(n: u64, command: Command) -> Question {
    Question::Execute { partition: partition(n), key: key(n).into(), command, wall_ms: 1, until: None }
}

fn again(n: u64) -> String {
    format!("{n} again")
}

fn get(n: u64) -> Question {
    execute(n, Command::Get)
}

impl StorageHandle {
    fn send(&mut self, id: StoreId, question: Question) {
        self.ask(id, question);
        self.flush();
    }
}

impl Store {
    fn next(&self) -> (StoreId, Answer) {
        self.answers.recv_timeout(60 * SECOND).unwrap()
    }

    /// What was replied, and the dot that was issued; once that is synced.
    fn execute(&mut self, question: Question) -> (Reply, Option<Dot>) {
        self.handle.send(StoreId(1), question);
        let (_, Answer::Executed { reply, event, .. }) = self.next() else { panic!("no reply") };
        assert_eq!(self.next(), (StoreId(1), Answer::Synced));
        (reply, event.map(|event| event.dot))
    }

    /// Writes these keys; the dots that were issued, each with its partition.
    fn dots(&mut self, keys: std::ops::Range<u64>) -> Vec<(PartitionId, Dot)> {
        keys.map(|n| (partition(n), self.execute(set(n)).1.unwrap())).collect()
    }
}

/// The writes that are carried out at once are numbered from here.
const AGAIN: u64 = 1 << 32;

/// Writes key after key, 8 at a time, each once more when it is acknowledged, which is then carried out at once;
/// and says what is acknowledged, until it is killed.
fn write_until_killed(what: &str) {
    let (durability, directory) = what.split_once(' ').unwrap();
    let interval = Durability::Interval(3600 * SECOND);
    let mut store =
        open_with(Path::new(directory), if durability == "synced" { Durability::Synced } else { interval });
    let mut asked = 0;
    loop {
        while asked < 8 {
            asked += 1;
            store.handle.send(StoreId(asked), set(asked));
        }
        let (StoreId(n), Answer::Synced) = store.next() else { continue };
        println!("acknowledged {n}");
        if n < AGAIN {
            let (id, question) = (StoreId(AGAIN + n), set_to(n, &again(n)));
            if !store.handle.carry_out_now(id, &question, &mut Answers::default()) {
                store.handle.ask(id, question);
            }
        } else {
            asked += 1;
            store.handle.ask(StoreId(asked), set(asked));
        }
        store.handle.flush();
    }
}

/// Runs this test again as a process of its own.
fn writer(test: &str, what: &str) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, what)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_acknowledged_write_is_there_after_a_kill() {
    if let Some(what) = std::env::var_os(CHILD) {
        return write_until_killed(what.to_str().unwrap());
    }
    let test = "storage::tests::every_acknowledged_write_is_there_after_a_kill";
    for durability in ["synced", "interval"] {
        let place = tempfile::tempdir().unwrap();
        let mut child = writer(test, &format!("{durability} {}", place.path().display()));
        let mut acknowledged = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Some(n) = line.unwrap().strip_prefix("acknowledged ").map(|n| n.parse().unwrap()) else {
                continue;
            };
            acknowledged.push(n);
            if acknowledged.len() == 300 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        let twice: BTreeSet<u64> = acknowledged.iter().filter_map(|n: &u64| n.checked_sub(AGAIN)).collect();
        assert!(acknowledged.len() >= 300 && twice.len() >= 100);
        let mut store = open(place.path());
        assert!(!store.empty);
        for n in acknowledged.into_iter().filter(|n| *n < AGAIN) {
            let there = store.execute(get(n)).0;
            let is = |value: String| there == Reply::Bytes(value.into_bytes().into());
            let once = !twice.contains(&n) && is(n.to_string());
            assert!(is(again(n)) || once, "key {n} is {there:?}, {durability}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_start_from_the_same_directory_or_a_copy_never_issues_a_dot_again() {
    let place = tempfile::tempdir().unwrap();
    let (original, copied) = (place.path().join("original"), place.path().join("copy"));
    let mut first = open(&original);
    let mut dots = first.dots(0..20);
    first.handle.close().unwrap();
    copy(&original, &copied);
    let mut stores = [open(&original), open(&copied)];
    dots.extend(stores.iter_mut().flat_map(|store| store.dots(0..20)));
    let [again, _beside] = stores;
    again.handle.close().unwrap();
    dots.extend(open(&original).dots(0..20));
    assert_eq!(dots.len(), 80);
    assert_eq!(dots.iter().collect::<BTreeSet<_>>().len(), 80);
}

#[test]
fn an_emptied_directory_is_a_new_actor_that_knows_it_has_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    assert!(store.empty);
    let (dots, store_id) = (store.dots(0..1), store.id);
    assert_eq!(dots[0].1.actor, store.actor);
    store.handle.close().unwrap();
    let again = open(place.path());
    assert_eq!((again.empty, again.id), (false, store_id));
    again.handle.close().unwrap();

    fs::remove_dir_all(place.path()).unwrap();
    let wiped = open(place.path());
    assert!(wiped.empty);
    assert_ne!(wiped.id, store_id);
    assert_ne!(wiped.actor, dots[0].1.actor);
}

impl StorageHandle {
    /// The answers that come at once; none where the question has to be asked.
    fn now(&mut self, id: u64, question: &Question) -> Option<Vec<&'static str>> {
        let mut early = Answers::default();
        let done = self.carry_out_now(StoreId(id), question, &mut early);
        assert!(done || early.list.is_empty());
        let kind = |(_, answer): &(StoreId, Answer)| match answer {
            Answer::Executed { .. } => "executed",
            Answer::Synced => "synced",
            Answer::Read { .. } => "read",
            _ => "another",
        };
        done.then(|| early.list.iter().map(kind).collect())
    }
}

fn read(n: u64) -> Question {
    Question::Read { partition: partition(n), key: key(n).into(), command: Command::Get }
}

#[test]
fn what_is_in_memory_is_carried_out_at_once_and_acknowledged_once_it_is_synced() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    assert_eq!(store.handle.now(1, &set(1)), Some(vec!["executed"]), "the disk has no key yet");
    store.handle.flush();
    assert_eq!(store.next(), (StoreId(1), Answer::Synced));
    assert_eq!(store.handle.now(2, &get(1)), Some(vec!["executed", "synced"]));
    assert_eq!(store.handle.now(3, &set(1)), Some(vec!["executed"]));
    assert_eq!(store.handle.now(4, &read(1)), Some(vec![]), "it tells of what is not synced");
    store.handle.flush();
    assert_eq!(store.next(), (StoreId(3), Answer::Synced));
    assert!(matches!(store.next(), (StoreId(4), Answer::Read { .. })));
    assert_eq!(store.handle.now(5, &read(1)), Some(vec!["read"]));
    store.handle.close().unwrap();
}

#[test]
fn nothing_is_carried_out_before_what_was_asked_earlier_or_beyond_what_one_group_may_hold() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    store.execute(set(1));
    store.handle.ask(StoreId(1), set(2));
    assert_eq!(store.handle.now(2, &set(1)), None, "not asked yet");
    store.handle.flush();
    assert!(matches!(store.next(), (StoreId(1), Answer::Executed { .. })));
    assert_eq!(store.next(), (StoreId(1), Answer::Synced));
    let own = (0..).take_while(|n| store.handle.now(*n, &set(1)).is_some()).count();
    assert_eq!(own, store::OWN_MAX, "the thread has not been told yet");
    let large = execute(1, Command::Set { value: vec![0; 1 << 20].into() });
    store.handle.flush();
    (0..own).for_each(|_| assert_eq!(store.next().1, Answer::Synced));
    assert_eq!(store.handle.now(1, &large), None);
    let many = (0..100).map(|n: u32| n.to_string().into_bytes().into()).collect();
    let many = Command::SMIsMember { members: many };
    let many = Question::Read { partition: partition(1), key: key(1).into(), command: many };
    assert_eq!(store.handle.now(1, &many), None);
    store.handle.close().unwrap();
}

#[test]
fn the_event_loop_leaves_questions_with_many_names_to_the_thread() {
    const NAMES: usize = 64;
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    let members = (0..NAMES).map(|n| n.to_string().into_bytes().into()).collect();
    let add = execute(1, Command::SAdd { members });
    assert!(store.handle.now(0, &add).is_some());
    let more = (1..).take_while(|n| store.handle.now(*n, &add).is_some()).count();
    assert_eq!((1 + more) * NAMES, store::OWN_NAMES_MAX);
    store.handle.close().unwrap();
}

/// What is in memory may be much: the event loop would not answer others meanwhile.
#[test]
fn the_event_loop_leaves_large_keys_to_the_thread_which_does_all_of_it() {
    const CELLS: u64 = 3_000;
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    let sadd = |n: u64, names: std::ops::Range<u64>| {
        let members = names.map(|name| name.to_be_bytes().to_vec().into()).collect();
        execute(n, Command::SAdd { members })
    };
    store.execute(sadd(1, 0..CELLS));
    store.execute(sadd(2, 0..9));
    let members = Question::Read { partition: partition(1), key: key(1).into(), command: Command::SMembers };
    for question in [execute(1, Command::Del), set(1), execute(1, Command::SMembers), members] {
        assert_eq!(store.handle.now(1, &question), None, "{question:?}");
    }
    assert_eq!(
        store.execute(execute(1, Command::SCard)).0,
        Reply::Int(CELLS as i64),
        "nothing was done by halves"
    );
    assert!(store.handle.now(1, &execute(2, Command::Del)).is_some());
    store.handle.flush();
    assert!(matches!(store.next(), (StoreId(1), Answer::Synced)));

    // Of another: the first is for a small key, the second drops the large one.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = open(elsewhere.path());
    let event = |store: &mut Store, question| {
        store.handle.send(StoreId(1), question);
        let (_, Answer::Executed { event: Some(event), .. }) = store.next() else { panic!("no event") };
        assert_eq!(store.next(), (StoreId(1), Answer::Synced));
        event
    };
    let large = event(&mut other, sadd(1, CELLS..2 * CELLS));
    let mut events = vec![event(&mut other, set(8)), event(&mut other, execute(1, Command::Del))];
    let apply = |events: &[Event]| Question::Apply {
        partition: partition(1),
        events: events.to_vec(),
        held_for_others: false,
    };
    store.handle.send(StoreId(2), apply(&[large]));
    assert_eq!(store.next(), (StoreId(2), Answer::Applied { refused: 0 }));
    for _ in 0..2 {
        assert_eq!(store.handle.now(3, &apply(&events)), None);
        events.rotate_left(1);
    }
    store.handle.send(StoreId(3), apply(&events));
    assert_eq!(store.next(), (StoreId(3), Answer::Applied { refused: 0 }));
    assert_eq!(
        store.execute(execute(1, Command::SCard)).0,
        Reply::Int(CELLS as i64),
        "what that one had seen went"
    );
    assert_eq!(store.execute(get(8)).0, Reply::Bytes(b"8".to_vec().into()));
    store.handle.send(
        StoreId(4),
        Question::Scrub { partition: partition(1), max_bytes: usize::MAX, elsewhere: None },
    );
    assert_eq!(store.next(), (StoreId(4), Answer::Scrubbed(Scrubbed::Sound)));
    store.handle.close().unwrap();
}

#[test]
fn a_handle_that_is_dropped_leaves_nothing_unanswered() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    store.execute(set(1));
    assert_eq!(store.handle.now(2, &set(1)), Some(vec!["executed"]));
    let Store { handle, answers, .. } = store;
    drop(handle);
    assert_eq!(answers.recv_timeout(60 * SECOND), Ok((StoreId(2), Answer::Synced)));
}

#[test]
fn a_scrub_waits_for_the_sync_of_what_was_carried_out_at_once() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    store.execute(set(1));
    assert_eq!(store.handle.now(1, &set(1)), Some(vec!["executed"]));
    store
        .handle
        .send(StoreId(2), Question::Scrub { partition: partition(1), max_bytes: 100, elsewhere: None });
    assert_eq!(store.next(), (StoreId(1), Answer::Synced));
    assert!(matches!(store.next(), (StoreId(2), Answer::Scrubbed(_))));
    store.handle.close().unwrap();
}

#[test]
fn closing_answers_what_was_asked_first() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open_with(place.path(), Durability::Interval(3600 * SECOND));
    (1..=50).for_each(|n| store.handle.ask(StoreId(n), set(n)));
    store.handle.close().unwrap();
    let synced = store.answers.iter().filter(|(_, answer)| *answer == Answer::Synced);
    assert_eq!(synced.count(), 50);
    let mut store = open(place.path());
    assert_eq!(store.execute(get(50)).0, Reply::Bytes(b"50".to_vec().into()));
}

#[test]
fn too_much_that_waits_is_congestion_until_it_is_worked_off() {
    let place = tempfile::tempdir().unwrap();
    let (begun, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let gates = (Arc::clone(&begun), Arc::clone(&go));
    let tell = move |answers: Answers| {
        if matches!(answers.list[..], [(StoreId(0), Answer::Executed { .. }), ..]) {
            gates.0.wait();
            gates.1.wait();
        }
    };
    let (mut handle, ..) =
        spawn(place.path(), Durability::Synced, Clock::start(Arc::default()), tell, |_| {}).unwrap();
    handle.send(StoreId(0), get(0));
    begun.wait();
    assert!(!handle.is_congested());
    (0..QUEUE_HIGH as u64).for_each(|n| handle.send(StoreId(n + 1), get(n)));
    assert!(handle.is_congested());
    go.wait();
    let shared = Arc::clone(&handle.shared);
    handle.close().unwrap();
    assert_eq!(shared.queued.load(Ordering::Relaxed), 0);
    assert_eq!(shared.queued_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_store_that_cannot_be_opened_says_why_and_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let error =
        spawn(place.path(), Durability::Synced, Clock::start(Arc::default()), |_| {}, |_| {}).err().unwrap();
    let error = Error::from(error);
    assert_eq!(error.code(), error::STORAGE);
    let text = error.to_string();
    assert!(text.contains("another process has it open") && text.contains("start it as before"), "{text}");
    store.handle.close().unwrap();
}

/// What the hint says to do is done, word by word.
#[test]
fn a_store_that_is_damaged_is_moved_away_as_its_error_says_and_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("it's the store");
    let mut store = open(&path);
    store.execute(set(1));
    let first = store.id;
    store.handle.close().unwrap();
    let journal = path.join("recent/000000000001");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[20] ^= 1;
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // A record behind it that was written when it was synced.
    let mut behind = open(&place.path().join("other"));
    behind.execute(set(1));
    behind.execute(set(2));
    behind.handle.close().unwrap();
    let other = fs::read(place.path().join("other/recent/000000000001")).unwrap();
    bytes.splice(end.., other);
    fs::write(&journal, &bytes).unwrap();
    let opened = spawn(&path, Durability::Synced, Clock::start(Arc::default()), |_| {}, |_| {});
    let error = Error::from(opened.err().unwrap());
    assert!(error.line().contains("its journal is damaged"), "{error}");
    let hint = error.what_to_do().unwrap();
    assert_eq!(StorageFailure { why: String::new() }.told(&path).what_to_do(), Some(hint));
    let (_, command) = hint.split_once(": mv ").unwrap();
    let (command, _) = command.split_once(';').unwrap();
    let moved = std::process::Command::new("sh").arg("-c").arg(format!("mv {command}")).status().unwrap();
    assert!(moved.success() && place.path().join("it's the store.damaged").exists());
    let store = open(&path);
    assert!(store.empty && store.id != first, "the others are told that it was lost");
    store.handle.close().unwrap();
}
