//! A crash takes back what was not committed, all of it together: the replica that opens again is consistent,
//! takes another actor, and catches up.

mod common;

use common::{P, Step, bytes, mixed, pull, schedule, set};
use proptest::prelude::*;
use starling_crdt::cell::Visit;
use starling_crdt::{
    Actor, Command, Context, Event, Memory, Missing, Replica, Reply, Scrubbed, Storage, StorageError,
};

/// A disk whose uncommitted rows a crash drops.
#[derive(Default)]
struct Disk {
    committed: Memory,
    current: Memory,
}

impl Disk {
    fn commit(&mut self) {
        self.committed = self.current.clone();
    }

    fn crash(&mut self) {
        self.current = self.committed.clone();
    }
}

impl Storage for Disk {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.current.get(row)
    }

    fn put(&mut self, row: &[u8], value: &[u8]) {
        self.current.put(row, value);
    }

    fn delete(&mut self, row: &[u8]) {
        self.current.delete(row);
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        self.current.scan(from, to, visit)
    }
}

/// An engine that fails: nothing may be told to have happened.
struct Broken;

impl Storage for Broken {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Err(StorageError("broken".into()))
    }

    fn put(&mut self, _: &[u8], _: &[u8]) {}

    fn delete(&mut self, _: &[u8]) {}

    fn scan(&self, _: &[u8], _: &[u8], _: Visit<'_>) -> Result<(), StorageError> {
        Err(StorageError("broken".into()))
    }
}

#[derive(Clone, Debug)]
enum Action {
    Play(Step),
    Commit,
    Crash,
}

fn actions() -> impl Strategy<Value = Vec<Vec<Action>>> {
    let actions = schedule(mixed()).prop_flat_map(|steps| {
        let after = proptest::collection::vec(0..10_u8, steps.len());
        after.prop_map(move |after| {
            let played = steps.iter().cloned().map(Action::Play);
            let then = after.into_iter().map(|roll| match roll {
                0..3 => Some(Action::Commit),
                3 => Some(Action::Crash),
                _ => None,
            });
            played.zip(then).flat_map(|(step, then)| [Some(step), then]).flatten().collect()
        })
    });
    proptest::collection::vec(actions, 1..3)
}

struct Crashing {
    disk: Disk,
    replica: Replica,
    lives: u64,
    /// What survived the last crash.
    context: Context,
}

impl Crashing {
    fn new() -> Self {
        let disk = Disk::default();
        let replica = Replica::open(&disk, Actor(100), 100).unwrap();
        Self { disk, replica, lives: 100, context: Context::new() }
    }

    fn commit(&mut self) {
        self.disk.commit();
        self.context = self.replica.context(P).clone();
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.lives += 1;
        self.replica = Replica::open(&self.disk, Actor(self.lives), self.lives).unwrap();
        assert_eq!(*self.replica.context(P), self.context);
        assert_eq!(self.replica.scrub(&self.disk, P, usize::MAX).unwrap(), Scrubbed::Sound);
    }
}

/// A sound peer that got every event of the crashing one, before its disk lost some.
fn tell(other: &mut common::Peer, event: Option<Event>) {
    if let Some(event) = event {
        assert!(other.apply(&event));
    }
}

proptest! {
    #[test]
    fn a_crash_leaves_a_consistent_replica(lives in actions()) {
        let (mut crashing, mut other) = (Crashing::new(), common::Peer::new(1));
        for action in lives.into_iter().flatten() {
            match action {
                Action::Commit => crashing.commit(),
                Action::Crash => crashing.crash(),
                Action::Play(Step::Execute { key, command, .. }) => {
                    let Crashing { disk, replica, .. } = &mut crashing;
                    tell(&mut other, replica.execute(disk, P, key.as_bytes(), &command, 5).unwrap().event);
                }
                Action::Play(Step::Pull { .. }) => catch_up(&mut crashing, &mut other),
            }
        }
        catch_up(&mut crashing, &mut other);
        prop_assert_eq!(crashing.replica.summary(P), other.replica.summary(P));
        let pieces = crashing.replica.snapshot(&crashing.disk, P, usize::MAX).unwrap();
        prop_assert!(pieces == other.snapshot(usize::MAX));
    }
}

fn catch_up(crashing: &mut Crashing, other: &mut common::Peer) {
    let context = crashing.replica.context(P).clone();
    if let Missing::Events { events, .. } =
        other.replica.missing(&other.disk, P, &context, usize::MAX).unwrap()
    {
        for event in events {
            assert!(crashing.replica.apply(&mut crashing.disk, P, &event).unwrap());
        }
    }
}

#[test]
fn a_transfer_that_is_not_committed_leaves_nothing() {
    let mut from = common::Peer::new(1);
    from.execute("k", &set("v"), 1);
    let mut crashing = Crashing::new();
    assert!(crashing.replica.install(&mut crashing.disk, P, &from.snapshot(1)).unwrap());
    assert_eq!(crashing.replica.partitions().collect::<Vec<_>>(), [P]);
    crashing.crash();
    assert_eq!(crashing.replica.partitions().count(), 0);
    assert!(crashing.replica.install(&mut crashing.disk, P, &from.snapshot(1)).unwrap());
    crashing.commit();
    crashing.crash();
    assert_eq!(crashing.replica.summary(P), from.replica.summary(P));
}

#[test]
fn letting_go_keeps_the_own_counter_for_the_next_clean_start() {
    let mut peer = common::Peer::new(1);
    let mut other = common::Peer::new(2);
    for i in 0..5 {
        let command = set(&i.to_string());
        tell(&mut other, peer.execute("k", &command, 1).event);
    }
    let all = other.context().clone();
    assert!(peer.replica.let_go(&mut peer.disk, P, &all).unwrap());
    assert!(peer.replica.let_go(&mut peer.disk, P, &all).unwrap(), "again");
    let mut same = common::Peer::on(peer.disk.clone(), 1);
    let event = same.execute("k", &set("later"), 1).event.unwrap();
    assert_eq!(event.dot.counter, 6);
    pull(&mut same, &mut other, 100);
    assert_eq!(same.replica.actor(), Actor(1));
    let less = Context::from(event.dot);
    assert!(!same.replica.let_go(&mut same.disk, P, &less).unwrap(), "rule letgo-now");
    assert!(same.scrubs());
}

#[test]
fn all_partitions_are_there_after_a_restart() {
    let mut disk = Memory::default();
    let mut replica = Replica::open(&disk, Actor(1), 1).unwrap();
    let ids = [0, 1, 255, 256, 40_000, u16::MAX];
    for p in ids {
        let command = set(&p.to_string());
        replica.execute(&mut disk, p, b"k", &command, 1).unwrap();
    }
    assert!(replica.let_go(&mut disk, 255, &replica.context(255).clone()).unwrap());
    let replica = Replica::open(&disk, Actor(2), 2).unwrap();
    assert_eq!(replica.partitions().collect::<Vec<_>>(), [0, 1, 256, 40_000, u16::MAX]);
    for p in replica.partitions() {
        let slice = replica.read(&disk, p, b"k", &Command::Get).unwrap();
        assert_eq!(Command::Get.answer(&slice).reply, Reply::Bytes(bytes(&p.to_string())));
        assert_eq!((replica.log_len(p), replica.summary(p).events), (1, 1));
    }
    let slice = replica.read(&disk, 255, b"k", &Command::Get).unwrap();
    assert_eq!(Command::Get.answer(&slice).reply, Reply::Nil);
}

#[test]
fn a_large_partition_goes_as_a_whole() {
    let mut peer = common::Peer::new(1);
    let members = (0..10_000).map(|i: u32| bytes(&i.to_string())).collect();
    peer.execute("s", &Command::SAdd { members }, 1);
    let all = peer.context().clone();
    assert!(peer.replica.let_go(&mut peer.disk, P, &all).unwrap());
    assert_eq!(peer.disk.rows().count(), 1, "the own counter");
}

#[test]
fn a_broken_engine_is_an_error() {
    assert!(Replica::open(&Broken, Actor(1), 1).is_err());
    let mut replica = Replica::open(&Memory::default(), Actor(1), 1).unwrap();
    assert!(replica.execute(&mut Broken, P, b"k", &Command::Get, 1).is_err());
    assert!(replica.execute(&mut Broken, P, b"k", &set("v"), 1).is_err());
    assert!(replica.read(&Broken, P, b"k", &Command::Get).is_err());
    assert!(replica.snapshot(&Broken, P, 1).is_err());
    assert!(replica.keys(&Broken, P, None, 1).is_err());
    assert!(replica.context(P).is_empty());
    replica.execute(&mut Memory::default(), P, b"k", &set("v"), 1).unwrap();
    assert!(replica.scrub(&Broken, P, 1).is_err());
}
