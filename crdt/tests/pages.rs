//! Sets and hashes read a page at a time, from several replicas that do not hold the same: random schedules,
//! compared with what is read at once.

mod common;

use common::{P, Peer, bytes, for_seeds};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Event, Reply, Slice};
use std::collections::BTreeSet;

const SEEDS: u64 = 3_000;
/// Names that are near one another, the shortest one too.
const NAMES: [&str; 10] = ["", "\0", "a", "a\0", "a\0\0", "aa", "b", "b\u{7f}", "c", "cc"];

/// Three replicas of a set `s` and a hash `h`, and events on their way.
struct World {
    rng: SmallRng,
    peers: Vec<Peer>,
    in_flight: Vec<(usize, Event)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { rng, peers: (1..=3).map(Peer::new).collect(), in_flight: Vec::new() }
    }

    fn write(&mut self, at: usize, key: &str, command: &Command) -> Option<Event> {
        let event = self.peers[at].execute(key, command, 1_000).event?;
        let others = (0..3).filter(|other| *other != at);
        self.in_flight.extend(others.map(|other| (other, event.clone())));
        Some(event)
    }

    /// Some of the events arrive, in any order.
    fn deliver(&mut self, share: f64) {
        self.in_flight.shuffle(&mut self.rng);
        for (to, event) in std::mem::take(&mut self.in_flight) {
            if self.rng.random_bool(share) {
                self.peers[to].apply(&event);
            } else {
                self.in_flight.push((to, event));
            }
        }
    }

    fn change(&mut self, names: &[&str]) {
        let (at, count) = (self.rng.random_range(0..3), self.rng.random_range(1..4));
        let mut names = names.to_vec();
        names.shuffle(&mut self.rng);
        let names: Vec<_> = names.iter().take(count).map(|name| bytes(name)).collect();
        let value = bytes(["v", "w", ""].choose(&mut self.rng).unwrap());
        let (key, command) = match self.rng.random_range(0..40) {
            0..12 => ("s", Command::SAdd { members: names }),
            12..19 => ("s", Command::SRem { members: names }),
            19..32 => (
                "h",
                Command::HSet { entries: names.into_iter().map(|name| (name, value.clone())).collect() },
            ),
            32..39 => ("h", Command::HDel { fields: names }),
            _ => ("s", Command::Del),
        };
        self.write(at, key, &command);
    }

    /// What so many replicas know together.
    fn read(&mut self, among: &[usize], key: &str, command: &Command) -> Reply {
        let slice = |at: &usize| {
            let peer = &self.peers[*at];
            peer.replica.read(&peer.disk, P, key.as_bytes(), command).unwrap()
        };
        let merged = among.iter().map(slice).reduce(Slice::merge).unwrap();
        command.answer(&merged).reply
    }

    fn page(&mut self, among: &[usize], key: &str, command: &Command) -> (Vec<ByteBuf>, Option<ByteBuf>) {
        match self.read(among, key, command) {
            Reply::Page { elements, next } => (elements, next),
            other => panic!("{other:?}"),
        }
    }

    /// All pages, each as long as it happens.
    fn pages(
        &mut self,
        among: &[usize],
        key: &str,
        command: fn(Option<ByteBuf>, u32) -> Command,
    ) -> Vec<ByteBuf> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let command = command(after.clone(), self.rng.random_range(0..4));
            let (elements, next) = self.page(among, key, &command);
            found.extend(elements);
            assert!(next.is_none() || next > after, "it gets on");
            if next.is_none() {
                return found;
            }
            after = next;
        }
    }
}

fn members(after: Option<ByteBuf>, limit: u32) -> Command {
    Command::SScan { after, limit }
}

fn list(reply: Reply) -> Vec<ByteBuf> {
    match reply {
        Reply::Set(members) => members,
        Reply::Map(entries) => entries.into_iter().flat_map(|(field, value)| [field, value]).collect(),
        Reply::Array(names) => names.into_iter().flat_map(|name| list(Reply::Array(vec![name]))).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_pages_of_replicas_that_differ_are_together_what_they_give_at_once() {
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.change(&NAMES);
            let share = world.rng.random_range(0.0..0.4);
            world.deliver(share);
        }
        let mut among: Vec<usize> = (0..3).collect();
        among.shuffle(&mut world.rng);
        among.truncate(world.rng.random_range(1..=3));
        let fields = |after, limit| Command::HScan { after, limit, values: true };
        let all = [("s", Command::SMembers, members as fn(_, _) -> _), ("h", Command::HGetAll, fields)];
        for (key, whole, pages) in all {
            let expected = list(world.read(&among, key, &whole));
            assert_eq!(world.pages(&among, key, pages), expected, "seed {seed}: {key}");
        }
        let fields = |after, limit| Command::HScan { after, limit, values: false };
        let Reply::Array(names) = world.read(&among, "h", &Command::HKeys) else { panic!() };
        let names: Vec<_> =
            names.into_iter().map(|name| if let Reply::Bytes(n) = name { n } else { panic!() }).collect();
        assert_eq!(world.pages(&among, "h", fields), names, "seed {seed}: names");
    });
}

/// Each page is read at R=2 of N=3, and what stays was confirmed at W=2: written before the scan, and again
/// meanwhile, while others come and go.
#[test]
fn what_is_there_all_the_time_is_found_while_others_write() {
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed);
        let (stays, changes): (Vec<&str>, Vec<&str>) = NAMES.iter().partition(|_| world.rng.random_bool(0.5));
        stays.iter().for_each(|name| confirm(&mut world, name));
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            for _ in 0..world.rng.random_range(0..4) {
                match stays.choose(&mut world.rng) {
                    Some(name) if world.rng.random_bool(0.2) => confirm(&mut world, name),
                    _ if changes.is_empty() => {}
                    _ => come_or_go(&mut world, &changes),
                }
                world.deliver(0.2);
            }
            let mut among = [0, 1, 2];
            among.shuffle(&mut world.rng);
            let command = members(after, world.rng.random_range(1..3));
            let (elements, next) = world.page(&among[..2], "s", &command);
            found.extend(elements);
            after = next;
            if after.is_none() {
                break;
            }
        }
        let missing: Vec<_> = stays.iter().filter(|name| !found.contains(&bytes(name))).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} of {found:?}");
    });
}

/// An addition that two of three have applied.
fn confirm(world: &mut World, name: &str) {
    let at = world.rng.random_range(0..3);
    let event = world.write(at, "s", &Command::SAdd { members: vec![bytes(name)] }).unwrap();
    let second = (at + world.rng.random_range(1..3)) % 3;
    world.peers[second].apply(&event);
}

fn come_or_go(world: &mut World, names: &[&str]) {
    let (at, name) = (world.rng.random_range(0..3), bytes(names.choose(&mut world.rng).unwrap()));
    let members = vec![name];
    let command = if world.rng.random() { Command::SAdd { members } } else { Command::SRem { members } };
    world.write(at, "s", &command);
}

/// Else to count a hash would be to read all of it.
#[test]
fn a_page_without_values_is_bounded_in_what_is_read_for_it() {
    let mut world = World::new(0);
    let value = bytes(&"x".repeat(1024 * 1024));
    for name in 0..40 {
        let entries = vec![(bytes(&format!("{name:02}")), value.clone())];
        world.write(0, "h", &Command::HSet { entries });
    }
    let scan = Command::HScan { after: None, limit: u32::MAX, values: false };
    assert_eq!(world.page(&[0], "h", &scan).1, Some(bytes("15")));
}

#[test]
fn a_page_is_bounded_in_bytes_and_in_elements_whatever_is_asked_for() {
    let mut world = World::new(0);
    let value = bytes(&"x".repeat(600 * 1024));
    for name in ["a", "b", "c"] {
        world.write(0, "h", &Command::HSet { entries: vec![(bytes(name), value.clone())] });
    }
    let scan = |after, values| Command::HScan { after, limit: u32::MAX, values };
    let (page, next) = world.page(&[0], "h", &scan(None, true));
    assert_eq!((page.len(), next.clone()), (2, Some(bytes("a"))), "one field with its value");
    assert_eq!(world.page(&[0], "h", &scan(next, true)).1, Some(bytes("b")));
    assert_eq!(world.page(&[0], "h", &scan(None, false)), (vec![bytes("a"), bytes("b"), bytes("c")], None));
    let all: Vec<_> = (0..10_050).map(|i| bytes(&format!("{i:05}"))).collect();
    let added = world.write(0, "s", &Command::SAdd { members: all.clone() }).unwrap();
    let (page, next) = world.page(&[0], "s", &members(None, u32::MAX));
    assert_eq!((page.len(), next), (10_000, Some(bytes("09999"))));
    // What waits to be removed is bounded like that too, and told to those that still have it.
    let removed = world.write(0, "s", &Command::SRem { members: all }).unwrap();
    assert!(world.peers[1].apply(&added) && world.peers[2].apply(&removed));
    let (page, next) = world.page(&[2], "s", &members(None, u32::MAX));
    assert_eq!((page.len(), next), (0, Some(bytes("09999"))));
    let after = || Some(bytes("05000"));
    assert_eq!(world.page(&[1], "s", &members(after(), 2)).0, [bytes("05001"), bytes("05002")]);
    assert_eq!(world.page(&[1, 2], "s", &members(after(), 2)), (vec![], Some(bytes("05002"))));
}
