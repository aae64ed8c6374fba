//! Random schedules of one partition, compared with a naive oracle after every step: a put lives unless an
//! event that was applied too supersedes it. Events arrive in any order, again, or never; logs are cut,
//! disks are lost, replicas start anew on their disks, let go, and come back.

mod common;

use common::{P, Peer, bytes, for_seeds};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use starling_crdt::{Actor, Cell, Context, Dot, Event, FOLLOWED_MS, Field, Key, Missing, Scrubbed, Target};
use std::collections::BTreeMap;

const SEEDS: u64 = 20_000;
const STEPS: usize = 100;

/// A set of issued events, by their numbers.
type Set = u128;

/// What has been issued, and what kills what.
#[derive(Default)]
struct Oracle {
    events: Vec<Event>,
    numbers: BTreeMap<Dot, usize>,
    /// Of each put of each event: the events that supersede it.
    killers: Vec<Vec<Set>>,
}

impl Oracle {
    fn add(&mut self, event: Event) {
        let number = self.events.len();
        assert!(self.numbers.insert(event.dot, number).is_none(), "dot issued twice: {:?}", event.dot);
        for (target, dots) in &event.drops {
            for (old, killers) in self.events.iter().zip(&mut self.killers) {
                for ((cell, _), killers) in old.puts.iter().zip(killers) {
                    if dots.contains(old.dot) && target.covers(cell) {
                        *killers |= 1 << number;
                    }
                }
            }
        }
        self.killers.push(vec![0; event.puts.len()]);
        self.events.push(event);
    }

    fn has(set: Set, number: usize) -> bool {
        set >> number & 1 == 1
    }

    fn context(&self, set: Set) -> Context {
        self.events.iter().enumerate().filter(|(i, _)| Self::has(set, *i)).map(|(_, e)| e.dot).collect()
    }

    /// The law: what a replica that has applied these events must hold.
    fn live(&self, set: Set) -> BTreeMap<&Cell, Vec<(Dot, &[u8])>> {
        let mut live: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, event) in self.events.iter().enumerate().filter(|(i, _)| Self::has(set, *i)) {
            for ((cell, value), killers) in event.puts.iter().zip(&self.killers[number]) {
                if killers & set == 0 {
                    let value = value.as_ref().expect("issued with values");
                    live.entry(cell).or_default().push((event.dot, &value[..]));
                }
            }
        }
        live.values_mut().for_each(|versions| versions.sort());
        live
    }
}

struct Run {
    rng: SmallRng,
    seed: u64,
    peers: Vec<Peer>,
    /// What each peer has applied.
    applied: Vec<Set>,
    in_flight: Vec<(usize, usize)>,
    oracle: Oracle,
    lives: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let count = *[2, 3, 3, 5].choose(&mut rng).unwrap();
        Self {
            rng,
            seed,
            peers: (1..=count).map(Peer::new).collect(),
            applied: vec![0; count as usize],
            in_flight: Vec::new(),
            oracle: Oracle::default(),
            lives: 1000,
        }
    }

    fn step(&mut self) {
        let i = self.rng.random_range(0..self.peers.len());
        match self.rng.random_range(0..1000) {
            0..350 => self.issue(i),
            350..780 => self.deliver(),
            780..880 => self.pull(i),
            880..930 => self.cut(),
            930..960 => self.restart(i),
            960..980 => self.let_go(i),
            980..985 => self.lose(i),
            _ => assert_ne!(self.peers[i].scrub(200), Scrubbed::Damaged, "seed {}", self.seed),
        }
    }

    /// Mostly a put that drops what it sees; also siblings, removals, and clears of a key.
    fn issue(&mut self, i: usize) {
        let key = if self.rng.random() { "a" } else { "b" };
        let mut fields = [Field::Register, Field::Member(bytes("x")), Field::Entry(bytes("y"))];
        let (mut puts, mut drops) = (Vec::new(), Vec::new());
        let roll = self.rng.random_range(0..100);
        let cells = self.peers[i].cells();
        let seen = self.peers[i].context().clone();
        if roll < 12 {
            drops.push((Target::Key(Key::from(key)), seen));
        } else {
            let amount = *[1, 1, 1, 2].choose(&mut self.rng).unwrap();
            fields.shuffle(&mut self.rng);
            for field in fields.into_iter().take(amount) {
                let cell = Cell { key: Key::from(key), field };
                let live = cells.get(&cell).into_iter().flatten().map(|version| version.dot);
                match roll {
                    12..55 => drops.push((Target::Cell(cell.clone()), live.collect())),
                    65..80 => drops.push((Target::Cell(cell.clone()), live.collect())),
                    80.. => drops.push((Target::Cell(cell.clone()), seen.clone())),
                    _ => {}
                }
                if roll < 65 {
                    puts.push((cell, Some(bytes(&format!("{}", self.oracle.events.len())))));
                }
            }
        }
        let peer = &mut self.peers[i];
        // Now and then a clock is further off than others follow.
        let wall_ms = *[5, 5, 5, 5 + 2 * FOLLOWED_MS].choose(&mut self.rng).unwrap();
        let event = peer.replica.issue(&mut peer.disk, P, puts, drops, wall_ms).unwrap();
        assert!(event.stamp.wall_ms() <= wall_ms + FOLLOWED_MS, "seed {}", self.seed);
        let number = self.oracle.events.len();
        self.oracle.add(event);
        self.applied[i] |= 1 << number;
        for other in (0..self.peers.len()).filter(|other| *other != i) {
            if self.rng.random_bool(0.7) {
                self.in_flight.push((other, number));
            }
        }
        self.check(i);
    }

    fn deliver(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.in_flight.len());
        let (to, number) = self.in_flight[at];
        if self.rng.random_bool(0.8) {
            self.in_flight.swap_remove(at);
        }
        if self.rng.random_bool(0.8) {
            let event = self.oracle.events[number].clone();
            self.apply(to, &event);
        }
    }

    fn apply(&mut self, to: usize, event: &Event) {
        self.take(to, event);
        self.check(to);
    }

    fn take(&mut self, to: usize, event: &Event) {
        let bit = 1 << self.oracle.numbers[&event.dot];
        let new = self.peers[to].apply(event);
        assert_eq!(new, self.applied[to] & bit == 0, "seed {}", self.seed);
        self.applied[to] |= bit;
    }

    /// One round of repair, which may stop half way.
    fn pull(&mut self, to: usize) {
        let from = self.rng.random_range(0..self.peers.len());
        let bytes = *[1, 100, usize::MAX].choose(&mut self.rng).unwrap();
        self.pull_from(to, from, bytes);
    }

    fn pull_from(&mut self, to: usize, from: usize, bytes: usize) {
        let context = self.peers[to].context().clone();
        let peer = &mut self.peers[from];
        match peer.replica.missing(&peer.disk, P, &context, bytes).unwrap() {
            Missing::Nothing => assert_eq!(self.applied[from] & !self.applied[to], 0),
            Missing::Events { events, more } => {
                // One step: where clocks were wrong, what supersedes may stand behind what it supersedes.
                for event in &events {
                    self.take(to, event);
                }
                self.check(to);
                assert_eq!(more, self.applied[from] & !self.applied[to] != 0);
            }
            Missing::Cut => {
                let pieces = self.peers[from].snapshot(bytes);
                assert!(self.peers[to].install(&pieces), "seed {}", self.seed);
                self.applied[to] |= self.applied[from];
                self.check(to);
            }
        }
    }

    /// Cuts what every replica has seen, and (a bounded log) a random part.
    fn cut(&mut self) {
        let stable = self.applied.iter().fold(Set::MAX, |all, set| all & set);
        let random = self.rng.random::<Set>() & self.rng.random::<Set>() & self.rng.random::<Set>();
        for i in 0..self.peers.len() {
            let below = self.oracle.context(stable | random);
            let peer = &mut self.peers[i];
            let left = peer.replica.cut_log(&mut peer.disk, P, &below).unwrap();
            assert!(left.is_empty() && logged(peer).all(|dot| !below.contains(dot)), "seed {}", self.seed);
            self.check(i);
        }
    }

    fn restart(&mut self, i: usize) {
        self.lives += 1;
        self.peers[i] = Peer::on(self.peers[i].disk.clone(), self.lives);
        self.check(i);
    }

    fn let_go(&mut self, i: usize) {
        let other = self.rng.random_range(0..self.peers.len());
        if other == i {
            return;
        }
        let held = self.peers[other].context().clone();
        let peer = &mut self.peers[i];
        let gone = peer.replica.let_go(&mut peer.disk, P, &held).unwrap();
        assert_eq!(gone, self.applied[i] & !self.applied[other] == 0);
        if gone {
            self.applied[i] = 0;
        }
        self.check(i);
    }

    /// A disk is lost, where nothing is lost with it, and its peer comes back as another actor.
    fn lose(&mut self, i: usize) {
        let others = (0..self.peers.len()).filter(|other| *other != i);
        let kept = others.fold(0, |all, other| all | self.applied[other]);
        if kept.count_ones() as usize == self.oracle.events.len() {
            self.lives += 1;
            self.peers[i] = Peer::new(self.lives);
            self.applied[i] = 0;
            self.in_flight.retain(|(to, _)| *to != i);
        }
    }

    fn check(&self, i: usize) {
        let (peer, set) = (&self.peers[i], self.applied[i]);
        assert_eq!(*peer.context(), self.oracle.context(set), "seed {}: context", self.seed);
        let pieces = peer.snapshot(usize::MAX);
        let cells = pieces[0].cells();
        let want = self.oracle.live(set);
        let same = cells.len() == want.len()
            && cells.iter().zip(&want).all(|((cell, versions), (wanted, live))| {
                cell == *wanted && versions.iter().map(|v| (v.dot, &v.value[..])).eq(live.iter().copied())
            });
        assert!(same, "seed {}: {cells:?} instead of {want:?}", self.seed);
        let summary = peer.replica.summary(P);
        let keys = cells.chunk_by(|(one, _), (two, _)| one.key == two.key).count();
        assert_eq!((summary.cells, summary.keys), (cells.len() as u64, keys as u64), "seed {}", self.seed);
        assert_eq!(peer.replica.log_len(P), logged(peer).count() as u64, "seed {}: log", self.seed);
    }

    fn heal(&mut self) {
        for _ in 0..2 {
            for to in 0..self.peers.len() {
                for from in 0..self.peers.len() {
                    self.pull_from(to, from, usize::MAX);
                }
            }
        }
        let all = self.peers[0].canonical();
        for (peer, applied) in self.peers.iter_mut().zip(&self.applied) {
            assert_eq!(applied.count_ones() as usize, self.oracle.events.len());
            assert!(peer.canonical() == all, "seed {}: not the same bytes", self.seed);
            assert!(peer.deferred().is_empty() && peer.scrubs(), "seed {}", self.seed);
        }
    }
}

/// Whose rows are in the log.
fn logged(peer: &Peer) -> impl Iterator<Item = Dot> {
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let rows = peer.disk.rows().filter(|(row, _)| row[2] == 2);
    rows.map(move |(row, _)| Dot::new(Actor(number(&row[3..11])), number(&row[11..])))
}

#[test]
fn replicas_hold_what_the_oracle_says_after_every_step() {
    for_seeds(SEEDS, |seed| {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.heal();
    });
}

#[test]
fn an_own_dot_that_is_not_known_means_another_actor() {
    let mut old = Peer::new(1);
    let cell = Cell { key: Key::from("k"), field: Field::Register };
    let put = |peer: &mut Peer| {
        let puts = vec![(cell.clone(), Some(bytes("v")))];
        peer.replica.issue(&mut peer.disk, P, puts, Vec::new(), 1).unwrap()
    };
    put(&mut old);
    let copy = old.disk.clone();
    let lost = put(&mut old);
    // A copied disk under the same actor: the second dot is about to be issued again.
    let mut by_event = Peer::on(copy.clone(), 1);
    assert_eq!(by_event.replica.actor(), Actor(1));
    assert!(by_event.apply(&lost));
    let mut by_question = Peer::on(copy.clone(), 1);
    by_question.replica.missing(&by_question.disk, P, old.context(), 1).unwrap();
    let mut by_transfer = Peer::on(copy.clone(), 1);
    assert!(by_transfer.install(&old.snapshot(1)));
    let mut by_drop = Peer::on(copy.clone(), 1);
    let mut other = Peer::new(2);
    let drops = vec![(Target::Cell(cell.clone()), old.context().clone())];
    let event = other.replica.issue(&mut other.disk, P, Vec::new(), drops, 1).unwrap();
    assert!(by_drop.apply(&event));
    let mut by_waiting = Peer::on(copy.clone(), 1);
    assert!(by_waiting.install(&other.snapshot(1)));
    for peer in [&mut by_event, &mut by_question, &mut by_transfer, &mut by_drop, &mut by_waiting] {
        let taken = peer.replica.actor();
        assert_ne!(taken, Actor(1));
        assert_eq!(put(peer).dot, Dot::new(taken, 1));
    }
    assert_eq!(by_event.replica.actor(), by_transfer.replica.actor(), "taken from the seed");
}
