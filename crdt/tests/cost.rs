//! What commands cost in rows: it does not grow with the size of what they do not touch.

mod common;

use common::{P, bytes, set};
use starling_crdt::cell::Visit;
use starling_crdt::{Actor, Command, Context, Event, Memory, Missing, Replica, Storage, StorageError};
use std::cell::Cell;

/// A disk that counts.
#[derive(Default)]
struct Counted {
    rows: Memory,
    gets: Cell<u32>,
    scans: Cell<u32>,
    visited: Cell<u32>,
    puts: u32,
    deletes: u32,
}

impl Storage for Counted {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.gets.update(|n| n + 1);
        self.rows.get(row)
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.puts += 1;
        self.rows.put(row, value);
    }

    fn delete(&mut self, row: &[u8]) {
        self.deletes += 1;
        self.rows.delete(row);
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        self.scans.update(|n| n + 1);
        self.rows.scan(from, to, &mut |row, value| {
            self.visited.update(|n| n + 1);
            visit(row, value)
        })
    }
}

struct Peer {
    replica: Replica,
    disk: Counted,
}

impl Peer {
    fn new(actor: u64) -> Self {
        let disk = Counted::default();
        Self { replica: Replica::open(&disk, Actor(actor), 1).unwrap(), disk }
    }

    /// (scans, rows visited, gets, puts, deletes) of one command, and its event.
    fn cost(&mut self, key: &str, command: &Command) -> ([u32; 5], Option<Event>) {
        self.count(|peer| peer.replica.execute(&mut peer.disk, P, key.as_bytes(), command, 1).unwrap().event)
    }

    fn cost_of_applying(&mut self, event: &Event) -> [u32; 5] {
        self.count(|peer| assert!(peer.replica.apply(&mut peer.disk, P, event).unwrap())).0
    }

    fn count<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> ([u32; 5], T) {
        self.disk = Counted { rows: std::mem::take(&mut self.disk.rows), ..Counted::default() };
        let out = run(self);
        let Counted { gets, scans, visited, puts, deletes, .. } = &self.disk;
        ([scans.get(), visited.get(), gets.get(), *puts, *deletes], out)
    }
}

#[test]
fn a_string_is_written_with_one_short_scan_and_three_puts() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let (cost, event) = a.cost("k", &set("v"));
    assert_eq!(cost, [1, 0, 0, 3, 0]);
    assert_eq!(b.cost_of_applying(&event.unwrap()), [1, 0, 1, 3, 0]);
    let (cost, event) = a.cost("k", &set("w"));
    assert_eq!(cost, [1, 1, 0, 3, 0]);
    assert_eq!(b.cost_of_applying(&event.unwrap()), [0, 0, 1, 3, 0]);
    assert_eq!(a.cost("k", &Command::Get).0, [1, 1, 0, 0, 0]);
    assert_eq!(a.cost("n", &Command::IncrBy { by: 1 }).0, [1, 0, 0, 3, 0]);
    assert_eq!(a.cost("n", &Command::IncrBy { by: 1 }).0, [1, 1, 0, 3, 0]);
    assert_eq!(a.cost("k", &Command::Del).0, [1, 1, 0, 2, 1]);
}

#[test]
fn elements_cost_the_same_in_a_small_and_in_a_large_collection() {
    let names = |range: std::ops::Range<u32>| range.map(|i| bytes(&format!("{i:06}"))).collect::<Vec<_>>();
    let mut costs = Vec::new();
    for size in [20, 20_000] {
        let (mut a, mut b) = (Peer::new(1), Peer::new(2));
        let fill = a.cost("s", &Command::SAdd { members: names(1..size) }).1.unwrap();
        b.cost_of_applying(&fill);
        let entries = names(1..size).into_iter().map(|name| (name, bytes("v"))).collect();
        b.cost_of_applying(&a.cost("h", &Command::HSet { entries }).1.unwrap());
        let (old, new) = (names(10..11), names(size..size + 1));
        let entry = |name: &[serde_bytes::ByteBuf]| (name[0].clone(), bytes("w"));
        let commands = [
            ("s", Command::SAdd { members: new.clone() }),
            ("s", Command::SRem { members: old.clone() }),
            ("s", Command::SIsMember { member: new[0].clone() }),
            ("h", Command::HSet { entries: vec![entry(&new), entry(&old)] }),
            ("h", Command::HGet { field: old[0].clone() }),
            ("h", Command::HDel { fields: old.clone() }),
            ("s", Command::Exists),
            ("h", Command::Type),
            ("s", Command::Get),
        ];
        for (key, command) in commands {
            let (cost, event) = a.cost(key, &command);
            assert!(cost[0] <= 2 && cost[1] <= 10, "{command:?}: {cost:?}");
            costs.push((size, cost, event.map(|event| b.cost_of_applying(&event))));
        }
    }
    let (small, large) = costs.split_at(costs.len() / 2);
    for (small, large) in small.iter().zip(large) {
        assert_eq!((small.1, small.2), (large.1, large.2));
    }
}

#[test]
fn what_is_named_often_is_read_once() {
    let mut a = Peer::new(1);
    a.cost("h", &Command::HSet { entries: vec![(bytes("f"), bytes("v"))] });
    let fields = vec![bytes("f"); 1_000];
    assert_eq!(a.cost("h", &Command::HMGet { fields: fields.clone() }).0, [1, 1, 1, 0, 0]);
    assert_eq!(a.cost("h", &Command::HDel { fields }).0, [2, 2, 1, 2, 1]);
    let members = vec![bytes("m"); 1_000];
    a.cost("s", &Command::SAdd { members: members.clone() });
    assert_eq!(a.cost("s", &Command::SMIsMember { members }).0, [1, 1, 1, 0, 0]);
}

fn many(names: std::ops::Range<u32>, length: usize) -> Command {
    Command::SAdd { members: names.map(|i| bytes(&format!("{i:0length$}"))).collect() }
}

impl Peer {
    /// What one lacks that has seen the first of these events only, and what it cost.
    fn missing(&mut self, first: &Event, max_bytes: usize) -> ([u32; 5], Missing) {
        let context = Context::from(first.dot);
        self.count(|peer| peer.replica.missing(&peer.disk, P, &context, max_bytes).unwrap())
    }

    fn add(&mut self, key: &str, names: &Command) -> Event {
        self.cost(key, names).1.unwrap()
    }
}

#[test]
fn of_what_is_missing_only_that_is_looked_up_which_is_sent() {
    let mut a = Peer::new(1);
    let first = a.add("first", &set("v"));
    let [.., last] = ["r", "s", "t"].map(|key| a.add(key, &many(0..80, 6)));
    let (cost, missing) = a.missing(&first, last.size() + 100);
    assert_eq!(missing, Missing::Events { events: vec![last.clone()], more: true });
    assert_eq!(cost, [1, 3, 80, 0, 0]);
    // Of values that do not fit, no more is read than shows that.
    let value = bytes(&"v".repeat(1000));
    let entries = (0..50).map(|i| (bytes(&i.to_string()), value.clone())).collect();
    a.add("h", &Command::HSet { entries });
    let newest = a.add("u", &many(0..1, 6));
    let (cost, missing) = a.missing(&first, newest.size() + 5_000);
    assert_eq!(missing, Missing::Events { events: vec![newest], more: true });
    assert!(cost[2] < 1 + 5, "{cost:?}");
}

#[test]
fn long_rows_of_the_log_come_one_by_one_in_the_same_order() {
    let mut a = Peer::new(1);
    let first = a.add("first", &set("v"));
    let mut events: Vec<Event> = (0..4).map(|i| a.add(&i.to_string(), &many(0..60, 30_000))).collect();
    events.reverse();
    let (cost, missing) = a.missing(&first, 1);
    assert_eq!(missing, Missing::Events { events: vec![events[0].clone()], more: true });
    // Two of four rows are more than is kept: the one is read again to be sent, the other to see that it does not fit,
    // and for what it drops.
    assert_eq!(cost, [1, 4, 60 + 1 + 2, 0, 0]);
    assert_eq!(a.missing(&first, usize::MAX).1, Missing::Events { events, more: false });
}

/// In parts, each of them would be worked out from all of the log, and need as many lookups as a state has cells.
#[test]
fn a_few_events_that_put_most_of_all_cells_go_as_a_state_unless_they_go_at_once() {
    let mut a = Peer::new(1);
    let first = a.add("first", &many(0..200, 6));
    a.add("s", &many(0..200, 6));
    a.add("t", &many(0..200, 6));
    assert_eq!(a.missing(&first, 1_000).1, Missing::Cut);
    let (_, missing) = a.missing(&first, 1 << 20);
    assert!(matches!(missing, Missing::Events { events, more: false } if events.len() == 2));
}
