//! What the tests of the replica share.
#![allow(dead_code)]

use proptest::prelude::*;
use serde_bytes::ByteBuf;
use starling_crdt::{
    Actor, Cell, Command, Context, Event, Executed, Memory, Missing, Piece, Replica, Scrubbed, Target,
    Version,
};
use std::collections::BTreeMap;

/// The partition that the tests work on.
pub const P: u16 = 513;

/// A replica with its disk.
pub struct Peer {
    pub replica: Replica,
    pub disk: Memory,
    /// Its own clock, where a test does not say the time of each command.
    pub wall_ms: u64,
}

impl Peer {
    pub fn new(actor: u64) -> Self {
        Self::on(Memory::default(), actor)
    }

    /// A new life on a disk.
    pub fn on(disk: Memory, actor: u64) -> Self {
        let replica = Replica::open(&disk, Actor(actor), actor).unwrap();
        Self { replica, disk, wall_ms: 1_000 }
    }

    pub fn execute(&mut self, key: &str, command: &Command, wall_ms: u64) -> Executed {
        self.replica.execute(&mut self.disk, P, key.as_bytes(), command, wall_ms).unwrap()
    }

    pub fn apply(&mut self, event: &Event) -> bool {
        self.replica.apply(&mut self.disk, P, event).unwrap()
    }

    pub fn context(&self) -> &Context {
        self.replica.context(P)
    }

    pub fn snapshot(&self, max_bytes: usize) -> Vec<Piece> {
        self.replica.snapshot(&self.disk, P, max_bytes).unwrap()
    }

    pub fn install(&mut self, pieces: &[Piece]) -> bool {
        self.replica.install(&mut self.disk, P, pieces).unwrap()
    }

    pub fn cells(&self) -> BTreeMap<Cell, Vec<Version>> {
        self.snapshot(usize::MAX).iter().flat_map(|piece| piece.cells().to_vec()).collect()
    }

    pub fn deferred(&self) -> BTreeMap<Target, Context> {
        self.snapshot(usize::MAX).iter().flat_map(|piece| piece.deferred().to_vec()).collect()
    }

    /// All that is a function of the events applied, as bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let summary = self.replica.summary(P);
        cbor(&(self.context(), summary, self.cells().into_iter().collect::<Vec<_>>(), self.deferred()))
    }

    /// One stretch of the scrub.
    pub fn scrub(&mut self, max_bytes: usize) -> Scrubbed {
        self.replica.scrub(&self.disk, P, max_bytes).unwrap()
    }

    /// Ends the scrub under way, which has seen changes come and go, and then looks at all at once.
    pub fn scrubs(&mut self) -> bool {
        let under_way = loop {
            match self.scrub(100) {
                Scrubbed::More => {}
                end => break end,
            }
        };
        [under_way, self.scrub(usize::MAX)] == [Scrubbed::Sound; 2]
    }
}

pub fn cbor(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

pub fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text)
}

pub fn set(value: &str) -> Command {
    Command::Set { value: bytes(value) }
}

/// Runs `run` with every seed below `seeds`, on all cores.
pub fn for_seeds(seeds: u64, run: impl Fn(u64) + Sync) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = &run;
    std::thread::scope(|scope| {
        for core in 0..cores {
            scope.spawn(move || {
                for seed in (core..seeds).step_by(usize::try_from(cores).unwrap()) {
                    run(seed);
                }
            });
        }
    });
}

/// `to` learns what `from` has, from its log or, where that is cut, by state transfer.
pub fn pull(to: &mut Peer, from: &mut Peer, max_bytes: usize) {
    loop {
        let context = to.context().clone();
        match from.replica.missing(&from.disk, P, &context, max_bytes).unwrap() {
            Missing::Nothing => return,
            Missing::Events { events, .. } => assert!(events.iter().all(|event| to.apply(event))),
            Missing::Cut => assert!(to.install(&from.snapshot(max_bytes))),
        }
    }
}

/// One step of a schedule of commands.
#[derive(Clone, Debug)]
pub enum Step {
    Execute { at: usize, key: &'static str, command: Command },
    Pull { to: usize, from: usize },
}

/// Plays a schedule on three peers; returns them, and the events in the order of issue.
pub fn play(steps: &[Step]) -> (Vec<Peer>, Vec<Event>) {
    let mut peers: Vec<Peer> = (1..=3).map(Peer::new).collect();
    let mut events = Vec::new();
    for (wall, step) in (1_000..).zip(steps) {
        match step {
            Step::Execute { at, key, command } => {
                // Clocks that go different ways.
                let wall = wall + 500 * (*at as u64 % 2);
                events.extend(peers[*at].execute(key, command, wall).event);
            }
            Step::Pull { to, from } if to != from => {
                let (a, b) = (*to.min(from), *to.max(from));
                let (left, right) = peers.split_at_mut(b);
                let (low, high) = (&mut left[a], &mut right[0]);
                let (to, from) = if to < from { (low, high) } else { (high, low) };
                pull(to, from, usize::MAX);
            }
            Step::Pull { .. } => {}
        }
    }
    (peers, events)
}

pub fn strings() -> BoxedStrategy<Command> {
    prop_oneof![
        4 => "[ab]".prop_map(|value| set(&value)),
        1 => Just(Command::Del),
    ]
    .boxed()
}

pub fn counters() -> BoxedStrategy<Command> {
    prop_oneof![
        6 => (-3_i64..9).prop_map(|by| Command::IncrBy { by }),
        2 => Just(Command::Del),
        1 => Just(set("0")),
    ]
    .boxed()
}

fn names() -> impl Strategy<Value = Vec<ByteBuf>> {
    proptest::collection::vec("[a-e]".prop_map(|name| bytes(&name)), 1..4)
}

pub fn sets() -> BoxedStrategy<Command> {
    prop_oneof![
        4 => names().prop_map(|members| Command::SAdd { members }),
        2 => names().prop_map(|members| Command::SRem { members }),
        1 => Just(Command::Del),
    ]
    .boxed()
}

pub fn hashes() -> BoxedStrategy<Command> {
    let value = "[vw]".prop_map(|value| bytes(&value));
    prop_oneof![
        4 => (names(), value).prop_map(|(fields, value)| Command::HSet {
            entries: fields.into_iter().map(|field| (field, value.clone())).collect()
        }),
        2 => names().prop_map(|fields| Command::HDel { fields }),
        1 => Just(Command::Del),
    ]
    .boxed()
}

/// Commands of all types, so that they meet under one key.
pub fn mixed() -> BoxedStrategy<Command> {
    prop_oneof![strings(), counters(), sets(), hashes()].boxed()
}

pub fn schedule(commands: BoxedStrategy<Command>) -> impl Strategy<Value = Vec<Step>> {
    let key = prop_oneof![Just("k"), Just("k"), Just("other")];
    let execute =
        (0..3_usize, key, commands).prop_map(|(at, key, command)| Step::Execute { at, key, command });
    let pull = (0..3_usize, 0..3_usize).prop_map(|(to, from)| Step::Pull { to, from });
    proptest::collection::vec(prop_oneof![3 => execute, 2 => pull], 0..40)
}
