//! Counters under concurrent increments, deletions and overwriting, compared after every step with what the
//! contexts alone say (rule `counter-base`): of each chain, what was counted less what deletions had seen.
//!
//! A deletion has also seen what deletions that it had seen had seen. A replica that has the one and not the
//! other shows less than that, for as long as a cause of what it has is still under way: compared is where
//! none is.

mod common;

use common::{P, Peer, bytes, for_seeds, pull, set};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use starling_crdt::{Actor, Command, Context, Dot, Event, Field, Reply, Target};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

type Chain = (Actor, u64);

/// Increments and decrements.
type Pair = [u64; 2];

/// An event, what its issuer had seen, and of each chain what is deleted by it.
struct Known {
    event: Event,
    causes: Context,
    kills: BTreeMap<Chain, Pair>,
}

#[derive(Default)]
struct Oracle {
    events: BTreeMap<Dot, Known>,
}

impl Oracle {
    /// Takes note of an event that was issued by one that had seen `context`.
    fn add(&mut self, event: Event, context: &Context) {
        let clears = event.drops.iter().any(|(target, _)| matches!(target, Target::Key(_)));
        let mut kills = BTreeMap::new();
        if clears {
            let (counted, killed) = self.sums(context);
            higher(&mut kills, &counted);
            higher(&mut kills, &killed);
        }
        for (target, _) in &event.drops {
            // An actor ends a chain of its own of which all is deleted.
            if let Some(Field::Base { actor, chain }) = target.field() {
                let of = self.sums(context).0.get(&(*actor, *chain)).copied();
                higher(&mut kills, &of.into_iter().map(|pair| ((*actor, *chain), pair)).collect());
            }
        }
        assert!(self.events.insert(event.dot, Known { event, causes: context.clone(), kills }).is_none());
    }

    /// Of each chain: the highest total, and the highest that a deletion saw.
    fn sums(&self, context: &Context) -> (BTreeMap<Chain, Pair>, BTreeMap<Chain, Pair>) {
        let (mut counted, mut killed) = (BTreeMap::new(), BTreeMap::new());
        for known in self.events.values().filter(|known| context.contains(known.event.dot)) {
            for (cell, value) in &known.event.puts {
                if let (Field::Total { actor, chain }, Some(value)) = (&cell.field, value) {
                    let half = |at: usize| u64::from_be_bytes(value[at..at + 8].try_into().unwrap());
                    higher(&mut counted, &BTreeMap::from([((*actor, *chain), [half(0), half(8)])]));
                }
            }
            higher(&mut killed, &known.kills);
        }
        (counted, killed)
    }

    /// True where the causes of all that is in the context are in it too.
    fn is_closed(&self, context: &Context) -> bool {
        let mut known = self.events.values().filter(|known| context.contains(known.event.dot));
        known.all(|known| context.contains_all(&known.causes))
    }

    fn value(&self, context: &Context) -> i64 {
        let (counted, killed) = self.sums(context);
        let left = |(chain, [up, down]): (&Chain, &Pair)| {
            let [seen_up, seen_down] = killed.get(chain).copied().unwrap_or_default();
            up.saturating_sub(seen_up) as i64 - down.saturating_sub(seen_down) as i64
        };
        counted.iter().map(left).sum()
    }
}

fn higher(into: &mut BTreeMap<Chain, Pair>, from: &BTreeMap<Chain, Pair>) {
    for (chain, [up, down]) in from {
        let pair = into.entry(*chain).or_default();
        *pair = [pair[0].max(*up), pair[1].max(*down)];
    }
}

fn compare(oracle: &Oracle, peer: &mut Peer) {
    let want = oracle.value(peer.context());
    match peer.execute("n", &Command::Get, 0).reply {
        Reply::Nil => assert_eq!(want, 0),
        Reply::Bytes(value) => assert_eq!(value, bytes(&want.to_string())),
        other => panic!("{other:?}"),
    }
}

struct Run {
    rng: SmallRng,
    peers: Vec<Peer>,
    oracle: Oracle,
    in_flight: Vec<(usize, Event)>,
    wall: u64,
    /// How often a replica was compared.
    compared: u64,
}

impl Run {
    fn step(&mut self) {
        let i = self.rng.random_range(0..self.peers.len());
        match self.rng.random_range(0..100) {
            0..35 => self.execute(i, &Command::IncrBy { by: self.wall as i64 % 7 - 2 }),
            35..43 => self.execute(i, &Command::Del),
            // Zero, so that the value is that of the counters alone.
            43..47 => self.execute(i, &set("0")),
            47..85 => self.deliver(),
            85..92 => {
                let from = self.rng.random_range(0..self.peers.len());
                self.pull(i, from);
            }
            92..97 => self.let_go(i),
            _ => self.restart(i),
        }
        for peer in &mut self.peers {
            if self.oracle.is_closed(peer.context()) {
                self.compared += u64::from(!peer.context().is_empty());
                compare(&self.oracle, peer);
            }
        }
    }

    /// Everybody learns everything.
    fn heal(&mut self) {
        for _ in 0..2 {
            for to in 0..self.peers.len() {
                for from in (0..self.peers.len()).filter(|from| *from != to) {
                    self.pull(to, from);
                }
            }
        }
        for peer in &mut self.peers {
            assert_eq!(peer.context().len(), self.oracle.events.len() as u64);
            compare(&self.oracle, peer);
            assert!(peer.scrubs());
        }
    }

    fn execute(&mut self, i: usize, command: &Command) {
        self.wall += 1;
        let before = self.peers[i].context().clone();
        let Some(event) = self.peers[i].execute("n", command, self.wall).event else {
            return;
        };
        for other in (0..self.peers.len()).filter(|other| *other != i) {
            self.in_flight.push((other, event.clone()));
        }
        self.oracle.add(event, &before);
    }

    fn deliver(&mut self) {
        if !self.in_flight.is_empty() {
            let at = self.rng.random_range(0..self.in_flight.len());
            let (to, event) = self.in_flight.swap_remove(at);
            if self.rng.random_bool(0.8) {
                self.peers[to].apply(&event);
            }
        }
    }

    fn pull(&mut self, to: usize, from: usize) {
        if to != from {
            let (left, right) = self.peers.split_at_mut(to.max(from));
            let (low, high) = (&mut left[to.min(from)], &mut right[0]);
            let (to, from) = if to < from { (low, high) } else { (high, low) };
            if self.rng.random_bool(0.3) {
                let all = from.context().clone();
                from.replica.cut_log(&mut from.disk, P, &all).unwrap();
            }
            pull(to, from, *[1, 1_000].get(self.wall as usize % 2).unwrap());
        }
    }

    /// Gives everything up that another has, and goes on under the same actor.
    fn let_go(&mut self, i: usize) {
        let other = (i + 1) % self.peers.len();
        let held = self.peers[other].context().clone();
        let peer = &mut self.peers[i];
        peer.replica.let_go(&mut peer.disk, P, &held).unwrap();
    }

    /// Stops cleanly, and goes on under the same actor.
    fn restart(&mut self, i: usize) {
        let actor = self.peers[i].replica.actor();
        self.peers[i] = Peer::on(self.peers[i].disk.clone(), actor.0);
        assert_eq!(self.peers[i].replica.actor(), actor);
    }
}

#[test]
fn a_counter_is_what_was_counted_less_what_deletions_saw() {
    const SEEDS: u64 = 3_000;
    let compared = AtomicU64::new(0);
    for_seeds(SEEDS, |seed| {
        let mut run = Run {
            rng: SmallRng::seed_from_u64(seed),
            peers: (1..=3).map(Peer::new).collect(),
            oracle: Oracle::default(),
            in_flight: Vec::new(),
            wall: seed,
            compared: 0,
        };
        for _ in 0..80 {
            run.step();
        }
        run.heal();
        compared.fetch_add(run.compared, Ordering::Relaxed);
    });
    let compared = compared.into_inner();
    assert!(compared > 40 * SEEDS, "only {compared} states compared");
}
