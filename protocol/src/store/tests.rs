use super::*;
use starling_crdt::cell::FIELD_MAX;
use starling_crdt::{Actor, Cell, Dot, Field, Key, Memory, Stamp, Target};

const P: PartitionId = 3;

/// A peer's storage, without a peer.
struct Store {
    replica: Replica,
    rows: Memory,
}

impl Store {
    fn new(actor: u64) -> Self {
        let rows = Memory::default();
        Self { replica: Replica::open(&rows, Actor(actor), actor).unwrap(), rows }
    }

    fn ask(&mut self, question: Question) -> Answer {
        answer(&mut self.replica, &mut self.rows, Time(0), &question).unwrap()
    }

    fn execute(&mut self, key: &str, command: Command) -> (Reply, Option<Event>) {
        let Answer::Executed { reply, event, .. } = self.ask(execute(key, command)) else { panic!() };
        (reply, event)
    }

    fn set(&mut self, key: &str, value: &str) -> Event {
        self.execute(key, set(value)).1.unwrap()
    }

    fn get(&mut self, key: &str) -> Reply {
        let question = Question::Read { partition: P, key: bytes(key), command: Command::Get };
        let Answer::Read { slice, .. } = self.ask(question) else { panic!() };
        Command::Get.answer(&slice).reply
    }

    fn context(&mut self) -> Context {
        let Answer::Contexts { contexts } = self.ask(Question::Contexts { partitions: vec![P] }) else {
            panic!()
        };
        let [(P, context)] = &contexts[..] else { panic!() };
        context.clone()
    }

    /// What a survey tells: events that are held, and those of them in the log.
    fn log(&mut self) -> Option<(u64, u64)> {
        let Answer::Surveyed { contexts, logs, .. } = self.ask(Question::Survey) else { panic!() };
        let held = contexts.iter().find(|(partition, _)| *partition == P);
        held.zip(logs.iter().find(|(partition, _)| *partition == P)).map(|(held, log)| (held.1.len(), log.1))
    }

    fn keys(&mut self, after: Option<&str>, limit: u16) -> (Vec<ByteBuf>, bool) {
        let question = Question::Keys { partition: P, after: after.map(bytes), limit };
        let Answer::Keys { keys, more } = self.ask(question) else { panic!() };
        (keys, more)
    }
}

fn bytes(text: &str) -> ByteBuf {
    text.as_bytes().to_vec().into()
}

fn set(value: &str) -> Command {
    Command::Set { value: bytes(value) }
}

fn execute(key: &str, command: Command) -> Question {
    Question::Execute { partition: P, key: bytes(key), command, wall_ms: 1_000, until: None }
}

#[test]
fn what_one_store_executes_another_applies_and_reads() {
    let (mut a, mut b) = (Store::new(1), Store::new(2));
    let event = a.set("k", "v");
    assert_eq!(b.get("k"), Reply::Nil);
    let applied =
        b.ask(Question::Apply { partition: P, events: vec![event.clone(), event], held_for_others: false });
    assert_eq!(applied, Answer::Applied { refused: 0 });
    assert_eq!(b.get("k"), Reply::Bytes(bytes("v")));
    assert_eq!(a.context(), b.context());
}

#[test]
fn a_read_executed_issues_no_event() {
    let mut a = Store::new(1);
    a.set("k", "v");
    assert_eq!(a.execute("k", Command::Get), (Reply::Bytes(bytes("v")), None));
}

#[test]
fn malformed_events_are_counted_and_the_others_kept() {
    let (mut a, mut b) = (Store::new(1), Store::new(2));
    let good = [a.set("k", "1"), a.set("l", "2")];
    let mut bad = a.set("m", "3");
    bad.puts[0].0.key = vec![0; starling_crdt::cell::KEY_MAX + 1].into();
    let [first, second] = good;
    let applied =
        b.ask(Question::Apply { partition: P, events: vec![first, bad, second], held_for_others: false });
    assert_eq!(applied, Answer::Applied { refused: 1 });
    assert_eq!(b.keys(None, 9), (vec![bytes("k"), bytes("l")], false));
}

#[test]
fn what_is_missing_goes_as_events_or_else_as_state() {
    let (mut a, mut b, mut c) = (Store::new(1), Store::new(2), Store::new(3));
    (0..5).for_each(|n| drop(a.set(&format!("k{n}"), "v")));
    let missing = Question::Missing { partition: P, context: b.context(), max_bytes: 1 << 20 };
    let Answer::Missing(Missing::Events { events, more: false }) = a.ask(missing.clone()) else { panic!() };
    assert_eq!(
        b.ask(Question::Apply { partition: P, events, held_for_others: false }),
        Answer::Applied { refused: 0 }
    );
    assert_eq!(a.context(), b.context());

    assert_eq!(a.log(), Some((5, 5)));
    let below = a.context();
    assert_eq!(a.ask(Question::CutLog { partition: P, below }), Answer::Cut { left: Context::new() });
    assert_eq!(a.log(), Some((5, 0)));
    assert_eq!(a.ask(missing), Answer::Missing(Missing::Cut));
    let Answer::Snapshot { mut pieces } = a.ask(Question::Snapshot { partition: P, max_bytes: 64 }) else {
        panic!()
    };
    assert!(pieces.len() > 1);
    let rest = pieces.split_off(1);
    let install = |pieces| Question::Install { partition: P, pieces };
    assert_eq!(c.ask(install(pieces.clone())), Answer::Installed { done: false }, "not all of it");
    pieces.extend(rest);
    assert_eq!(c.ask(install(pieces)), Answer::Installed { done: true });
    assert_eq!(a.context(), c.context());
    assert_eq!(c.get("k4"), Reply::Bytes(bytes("v")));
}

#[test]
fn a_long_log_is_cut_in_stretches_that_tell_what_is_left() {
    let (mut a, mut b) = (Store::new(1), Store::new(2));
    (0..5_000).for_each(|n| drop(a.set(&n.to_string(), "v")));
    let event = b.set("k", "v");
    a.ask(Question::Apply { partition: P, events: vec![event.clone()], held_for_others: false });
    let mut below = a.context();
    let logs: Vec<_> = std::iter::from_fn(|| {
        let cut = Question::CutLog { partition: P, below: below.clone() };
        let Answer::Cut { left } = a.ask(cut) else { panic!() };
        let again = !below.is_empty();
        below = left;
        again.then(|| (a.log(), below.len()))
    })
    .collect();
    assert_eq!(logs, [(Some((5_001, 905)), 905), (Some((5_001, 0)), 0)]);
}

#[test]
fn a_partition_is_let_go_only_when_all_of_it_is_held_elsewhere() {
    let mut a = Store::new(1);
    a.set("k", "v");
    let held = a.context();
    a.set("k", "w");
    assert_eq!(a.ask(Question::LetGo { partition: P, held }), Answer::LetGo { done: false });
    let held = a.context();
    assert_eq!(a.ask(Question::LetGo { partition: P, held }), Answer::LetGo { done: true });
    assert_eq!(a.keys(None, 9), (vec![], false));
}

#[test]
fn keys_come_in_parts_that_know_whether_there_are_more() {
    let mut a = Store::new(1);
    (0..5).for_each(|n| drop(a.set(&format!("k{n}"), "v")));
    assert_eq!(a.keys(None, 2), (vec![bytes("k0"), bytes("k1")], true));
    assert_eq!(a.keys(Some("k1"), 3), (vec![bytes("k2"), bytes("k3"), bytes("k4")], false));
    assert_eq!(a.keys(Some("k4"), 3), (vec![], false));
    (0..KEYS_MAX + 1).for_each(|n| drop(a.set(&format!("l{n}"), "v")));
    let (keys, more) = a.keys(None, u16::MAX);
    assert_eq!((keys.len(), more), (usize::from(KEYS_MAX), true));
}

#[test]
fn questions_and_answers_weigh_what_they_carry() {
    let mut a = Store::new(1);
    let long = "v".repeat(1000);
    assert!(execute("k", set(&long)).size() >= 1000);
    let event = a.set("k", &long);
    let read = Question::Read { partition: P, key: bytes("k"), command: Command::Get };
    assert!(a.ask(read).size() >= 1000);
    let snapshot = a.ask(Question::Snapshot { partition: P, max_bytes: 1 << 20 });
    assert!(snapshot.size() >= 1000);
    assert!(
        Question::Apply { partition: P, events: vec![event.clone(), event], held_for_others: false }.size()
            >= 2000
    );
    let nameless = Command::HMGet { fields: vec![bytes(""); 1000] };
    let ask = Question::Read { partition: P, key: bytes("k"), command: nameless };
    assert!(ask.size() >= 1000 * size_of::<ByteBuf>(), "a short name takes memory as well");
    let members = (0..1000).map(|n| bytes(&n.to_string())).collect();
    drop(a.execute("set", Command::SAdd { members }));
    let read = Question::Read { partition: P, key: bytes("set"), command: Command::SMembers };
    assert!(a.ask(read).size() >= 1000 * size_of::<ByteBuf>());
    assert_eq!(Answer::Synced.size(), 0);
}

#[test]
fn a_command_is_carried_out_until_its_time_and_not_after_it() {
    let mut disk = Memory::default();
    let mut replica = Replica::open(&disk, Actor(1), 1).unwrap();
    let mut at = |now| {
        let command = Command::IncrBy { by: 1 };
        let until = Some(Time(5));
        let question = Question::Execute { partition: P, key: bytes("n"), command, wall_ms: 1_000, until };
        answer(&mut replica, &mut disk, Time(now), &question).unwrap()
    };
    assert_eq!(at(6), Answer::Late);
    assert!(matches!(at(5), Answer::Executed { reply: Reply::Int(1), .. }));
}

/// Removes fields that nobody here has seen, with names as long as they may be.
fn removal(counter: u64) -> Event {
    let name = |n: u32| ByteBuf::from([&n.to_be_bytes()[..], &[b'x'; FIELD_MAX - 4]].concat());
    let cell = |n| Cell { key: Key::from("k"), field: Field::Entry(name(n)) };
    let first = counter as u32 * NAMES;
    let seen: Context = [Dot::new(Actor(1), 1)].into_iter().collect();
    let drops = (first..first + NAMES).map(|n| (Target::Cell(cell(n)), seen.clone())).collect();
    Event { dot: Dot::new(Actor(1), counter), stamp: Stamp(1), puts: Vec::new(), drops }
}

const NAMES: u32 = 200;

#[test]
fn removals_held_for_others_wait_for_what_they_remove_up_to_a_bound_over_restarts_too() {
    let apply = |store: &mut Store, event: &Event, held_for_others| {
        store.ask(Question::Apply { partition: P, events: vec![event.clone()], held_for_others })
    };
    let (mut store, applied) = (Store::new(2), Answer::Applied { refused: 0 });
    let fit = WAITING_MAX / (NAMES as usize * (FIELD_MAX + 600));
    let events: Vec<_> = (2..).take(fit + 2).map(removal).collect();
    let (held, rest) = events.split_at(fit);
    let [one, more] = rest else { panic!() };
    held.iter().for_each(|event| assert_eq!(apply(&mut store, event, true), applied));
    assert_eq!(apply(&mut store, one, true), Answer::NoRoom);
    assert!(!store.context().contains(one.dot));
    assert_eq!(apply(&mut store, &held[0], true), applied, "it is here already");

    store.replica = Replica::open(&store.rows, Actor(2), 2).unwrap();
    assert_eq!(apply(&mut store, one, true), Answer::NoRoom);
    assert_eq!(apply(&mut store, one, false), applied, "what an owner lacks it is sent");
    let seen = Event { dot: Dot::new(Actor(1), 1), drops: Vec::new(), ..removal(1) };
    assert_eq!(apply(&mut store, &seen, true), applied);
    assert_eq!(apply(&mut store, more, true), applied, "nothing waits any more");
}

/// Else what one answers could be longer than a frame, and never arrive.
#[test]
fn more_removals_of_a_key_than_may_be_told_make_it_too_large() {
    let mut store = Store::new(2);
    for (counter, oversized) in [(2, false), (3, true)] {
        let mut event = removal(counter);
        event.drops.truncate(20);
        let events = vec![event];
        store.ask(Question::Apply { partition: P, events, held_for_others: true });
        let question = Question::Read { partition: P, key: bytes("k"), command: Command::HGetAll };
        let answer = store.ask(question);
        let size = answer.size();
        let Answer::Read { slice, .. } = answer else { panic!() };
        assert_eq!((slice.oversized, slice.removed.is_empty()), (oversized, oversized));
        assert!(oversized || size > 20 * FIELD_MAX, "{size}");
    }
    let (reply, _) = store.execute("k", Command::HGetAll);
    assert_eq!(reply, Reply::Map(Vec::new()), "where nothing merges it matters not");
}

#[test]
fn what_is_damaged_goes_only_where_all_of_it_is_elsewhere_at_that_moment() {
    let mut store = Store::new(1);
    store.set("k", "value");
    let (row, mut value) = {
        let is_cell = |(row, _): &(&[u8], &[u8])| row.starts_with(&[&P.to_be_bytes()[..], &[1]].concat());
        let (row, value) = store.rows.rows().find(is_cell).unwrap();
        (row.to_vec(), value.to_vec())
    };
    *value.last_mut().unwrap() ^= 1;
    store.rows.put(&row, &value);
    let before = store.replica.context(P).clone();
    store.set("l", "came after it was told what another has");
    let all = store.replica.context(P).clone();
    // What was found once is told at once after that, however little is looked at.
    for (max_bytes, elsewhere, told) in [
        (usize::MAX, None, Answer::Scrubbed(Scrubbed::Damaged)),
        (1, Some(before), Answer::Scrubbed(Scrubbed::Damaged)),
        (1, Some(all), Answer::GivenUp),
    ] {
        let gives_up = told == Answer::GivenUp;
        assert_eq!(store.ask(Question::Scrub { partition: P, max_bytes, elsewhere }), told);
        assert_eq!(store.rows.get(&row).unwrap().is_none(), gives_up);
        assert_eq!(store.replica.given_up().contains(&P), gives_up);
    }
}
