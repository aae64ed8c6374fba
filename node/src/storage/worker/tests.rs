use super::*;
use crate::clock::Clock;
use crate::storage::store::{GROUP_MAX, GROUP_MAX_BYTES, Store};
use crate::storage::{StorageFailure, run};
use starling_crdt::cell::Visit;
use starling_crdt::{Actor, Command, Memory, Replica, Storage};
use starling_protocol::ids::StoreId;
use starling_protocol::store::Answer;
use starling_protocol::time::Time;
use std::sync::mpsc::{self, Sender};

/// Rows that tell how many bytes were changed, and panic when they are told to.
#[derive(Default)]
struct Rows {
    rows: Memory,
    uncommitted: usize,
    panics: bool,
}

/// A disk that tells what it does, and breaks when it is told to.
struct Disk {
    rows: Rows,
    journal: Sender<String>,
    commits_left: usize,
}

impl Storage for Rows {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.rows.get(row)
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        assert!(!self.panics, "a fault, on purpose");
        self.uncommitted += row.len() + value.len();
        self.rows.put(row, value);
    }

    fn delete(&mut self, row: &[u8]) {
        self.uncommitted += row.len();
        self.rows.delete(row);
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        self.rows.scan(from, to, visit)
    }
}

impl Commit for Rows {
    type Sealed = ();

    fn uncommitted(&self) -> usize {
        self.uncommitted
    }

    fn seal(&mut self, (): &mut ()) {
        self.uncommitted = 0;
    }

    fn prefetch(&self, _: &[Vec<u8>]) {}

    fn in_memory<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        work(self).map(Some)
    }
}

impl Log<()> for Disk {
    fn write(&mut self, (): &mut (), synced: bool) -> Result<(), StorageError> {
        let left = self.commits_left.checked_sub(1);
        self.commits_left = left.ok_or(StorageError("the disk refused".into()))?;
        let _ = self.journal.send(if synced { "commit, synced".into() } else { "commit".into() });
        Ok(())
    }

    fn tidy(&mut self, (): &mut ()) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let _ = self.journal.send("sync".into());
        Ok(())
    }
}

struct Played {
    journal: Vec<String>,
    outcome: Result<(), StorageFailure>,
    failures: Vec<StorageFailure>,
}

impl Played {
    fn times(&self, what: &str) -> usize {
        self.journal.iter().filter(|line| *line == what).count()
    }
}

fn disk() -> Disk {
    Disk { rows: Rows::default(), journal: mpsc::channel().0, commits_left: usize::MAX }
}

fn kind(told: &Answer) -> &'static str {
    match told {
        Answer::Executed { .. } => "executed",
        Answer::Synced => "synced",
        Answer::Late => "late",
        Answer::Read { .. } => "read",
        Answer::Contexts { .. } => "contexts",
        Answer::Scrubbed(_) | Answer::GivenUp => "scrubbed",
        _ => "another",
    }
}

fn worker(mut disk: Disk, durability: Durability) -> Worker<Rows, Disk, impl Fn(Answers)> {
    let journal = disk.journal.clone();
    let answers = move |answers: Answers| {
        for (id, told) in answers.list {
            let _ = journal.send(format!("{} {}", kind(&told), id.0));
        }
    };
    let rows = std::mem::take(&mut disk.rows);
    let replica = Replica::open(&rows, Actor(1), 2).unwrap();
    let clock = Clock::start(Arc::default());
    while clock.time() == Time(0) {
        std::hint::spin_loop();
    }
    let shared = Shared::new(Store::new(replica, rows, clock));
    // Nobody says here that it has taken them.
    shared.unheard.close();
    Worker::new(disk, durability, answers, Arc::new(shared))
}

/// Has all these questions waiting before the first is taken.
fn play(disk: Disk, durability: Durability, questions: impl IntoIterator<Item = Question>) -> Played {
    let (asks, asked) = mpsc::channel();
    let (journal, happened) = mpsc::channel();
    let worker = worker(Disk { journal, ..disk }, durability);
    for (id, question) in (1..).map(StoreId).zip(questions) {
        worker.shared.queued.fetch_add(1, Ordering::Relaxed);
        asks.send(vec![Ask { id, question, size: 0 }]).unwrap();
    }
    drop(asks);
    let mut failures = Vec::new();
    let outcome = run(worker, &asked, |failure| failures.push(failure));
    Played { journal: happened.iter().collect(), outcome, failures }
}

fn execute(key: &str, command: Command) -> Question {
    Question::Execute { partition: 0, key: key.as_bytes().to_vec().into(), command, wall_ms: 1, until: None }
}

fn set(key: &str, size: usize) -> Question {
    execute(key, Command::Set { value: vec![b'v'; size].into() })
}

fn read(key: &str) -> Question {
    Question::Read { partition: 0, key: key.as_bytes().to_vec().into(), command: Command::Get }
}

#[test]
fn what_was_executed_is_told_at_once_and_that_it_is_synced_after_one_commit_for_all() {
    let played = play(disk(), Durability::Synced, [set("a", 1), set("b", 1), set("a", 1)]);
    let expected = "executed 1, executed 2, executed 3, commit, synced, synced 1, synced 2, synced 3";
    assert_eq!(played.journal.join(", "), expected);
    assert_eq!(played.outcome, Ok(()));
}

#[test]
fn nothing_leaves_that_was_read_after_a_change_before_that_is_synced() {
    let contexts = Question::Contexts { partitions: vec![0] };
    let played = play(disk(), Durability::Synced, [read("a"), set("a", 1), read("a"), contexts]);
    let expected = "read 1, executed 2, commit, synced, synced 2, read 3, contexts 4";
    assert_eq!(played.journal.join(", "), expected);
}

#[test]
fn what_was_asked_before_a_scrub_is_synced_before_it() {
    let scrub = Question::Scrub { partition: 0, max_bytes: 100, elsewhere: None };
    let played = play(disk(), Durability::Synced, [set("a", 1), scrub, set("a", 1)]);
    let expected = "executed 1, commit, synced, synced 1, scrubbed 2, executed 3, commit, synced, synced 3";
    assert_eq!(played.journal.join(", "), expected);
}

#[test]
fn what_changes_nothing_is_not_synced() {
    let nothing = execute("a", Command::IncrBy { by: i64::MAX });
    let played = play(disk(), Durability::Synced, [read("a"), execute("a", Command::Get), read("b")]);
    assert_eq!(played.journal, ["read 1", "executed 2", "synced 2", "read 3"]);
    let played = play(disk(), Durability::Synced, [nothing.clone(), nothing]);
    assert_eq!(played.times("commit, synced"), 1, "the second would overflow: {:?}", played.journal);
}

#[test]
fn a_group_ends_when_it_is_large_in_number_or_in_bytes() {
    let many = (0..GROUP_MAX * 2 + 1).map(|n| set(&format!("k{n}"), 1));
    assert_eq!(play(disk(), Durability::Synced, many).times("commit, synced"), 3);
    let large = (0..6).map(|n| set(&format!("k{n}"), GROUP_MAX_BYTES / 2));
    assert_eq!(play(disk(), Durability::Synced, large).times("commit, synced"), 3);
}

#[test]
fn a_group_ends_when_the_answers_that_wait_are_large() {
    let large = set("k", GROUP_MAX_BYTES / 2);
    let reads = (0..8).map(|_| read("k"));
    let questions = [large].into_iter().chain(reads).chain([set("a", 1), set("b", 1)]);
    let played = play(disk(), Durability::Synced, questions);
    assert_eq!(played.times("commit, synced"), 2, "amid the reads, and at the end: {:?}", played.journal);
}

#[test]
fn at_an_interval_answers_do_not_wait_for_the_sync_which_comes_in_time_and_at_the_end() {
    let hour = Durability::Interval(Duration::MAX);
    let questions = || (0..GROUP_MAX + 1).map(|n| set(&format!("k{n}"), 1));
    let played = play(disk(), hour, questions());
    assert_eq!((played.times("commit"), played.times("sync")), (2, 1));
    assert_eq!(played.journal.last().unwrap(), "sync");
    let played = play(disk(), Durability::Interval(Duration::ZERO), questions());
    assert_eq!((played.times("commit"), played.times("sync")), (2, 2), "due after each");
}

/// Whoever stood in for us lets go of what we report to hold, however long ago it was acknowledged.
#[test]
fn at_an_interval_too_what_is_reported_is_synced_before() {
    let contexts = || Question::Contexts { partitions: vec![0] };
    let questions = [contexts(), set("a", 1), read("a"), contexts(), set("b", 1)];
    let played = play(disk(), Durability::Interval(Duration::MAX), questions);
    let expected = "contexts 1, executed 2, commit, synced 2, read 3, sync, contexts 4, executed 5, commit, synced 5, sync";
    assert_eq!(played.journal.join(", "), expected);
}

#[test]
fn an_idle_thread_syncs_when_it_is_due() {
    let (asks, asked) = mpsc::channel();
    let (journal, happened) = mpsc::channel();
    let disk = Disk { journal, ..disk() };
    let interval = Durability::Interval(Duration::from_millis(5));
    let thread = std::thread::spawn(move || run(worker(disk, interval), &asked, |_| {}));
    asks.send(vec![Ask { id: StoreId(1), question: set("a", 1), size: 0 }]).unwrap();
    let next = || happened.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!([next(), next(), next(), next()].join(", "), "executed 1, commit, synced 1, sync");
    drop(asks);
    thread.join().unwrap().unwrap();
    assert_eq!(happened.iter().count(), 0, "once is enough");
}

#[test]
fn a_thread_that_is_asked_all_the_time_syncs_when_it_is_due() {
    let (asks, asked) = mpsc::channel();
    let (journal, happened) = mpsc::channel();
    let disk = Disk { journal, ..disk() };
    let scrub = Question::Scrub { partition: 0, max_bytes: 100, elsewhere: None };
    let questions = [set("a", 1), scrub].into_iter().chain((0..20_000).map(|_| read("a")));
    for (n, question) in (1..).zip(questions) {
        asks.send(vec![Ask { id: StoreId(n), question, size: 0 }]).unwrap();
    }
    drop(asks);
    let interval = Durability::Interval(Duration::from_millis(1));
    run(worker(disk, interval), &asked, |_| {}).unwrap();
    let journal: Vec<_> = happened.try_iter().collect();
    let at = |what| journal.iter().position(|line| line == what).unwrap();
    assert!(at("sync") < at("read 20002"), "the reads take longer than that");
    assert_eq!(journal.iter().filter(|line| *line == "sync").count(), 1);
}

#[test]
fn after_a_failure_nothing_is_answered_any_more() {
    let broken = Disk { commits_left: 1, ..disk() };
    let many = (0..GROUP_MAX * 3).map(|n| set(&format!("k{n}"), 1));
    let played = play(broken, Durability::Synced, many);
    assert_eq!(played.failures, [StorageFailure { why: "the disk refused".into() }]);
    assert_eq!(played.outcome, Err(played.failures[0].clone()));
    let acknowledged = played.journal.iter().filter(|line| line.starts_with("synced")).count();
    assert_eq!(acknowledged, GROUP_MAX, "those of the commit that stood");
    let executed = played.journal.iter().filter(|line| line.starts_with("executed")).count();
    assert_eq!(executed, GROUP_MAX * 2, "nothing after the commit that failed");
}

#[test]
fn a_fault_in_the_program_is_a_failure_too() {
    let broken = Disk { rows: Rows { panics: true, ..Rows::default() }, ..disk() };
    let played = play(broken, Durability::Synced, [set("a", 1), set("b", 1)]);
    assert_eq!(played.journal, [""; 0]);
    assert_eq!(played.failures.len(), 1);
    assert!(played.outcome.is_err());
}

#[test]
fn what_came_too_late_is_not_carried_out() {
    let mut late = set("k", 1);
    let Question::Execute { until, .. } = &mut late else { unreachable!("a SET is executed") };
    *until = Some(Time(0));
    let played = play(disk(), Durability::Synced, [late, read("k")]);
    assert_eq!(played.journal, ["late 1", "read 2"], "nothing is written");
}

#[test]
fn a_failure_of_the_event_loop_s_own_doing_ends_the_thread_too() {
    let (asks, asked) = mpsc::channel();
    let worker = worker(disk(), Durability::Synced);
    let failure = StorageFailure { why: "damaged".into() };
    worker.fail(failure.clone());
    asks.send(vec![Ask { id: StoreId(1), question: set("a", 1), size: 0 }]).unwrap();
    let mut failures = Vec::new();
    assert_eq!(run(worker, &asked, |failure| failures.push(failure)), Err(failure.clone()));
    assert_eq!(failures, [failure]);
}
