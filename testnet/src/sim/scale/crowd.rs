//! A large network of which only the membership runs: machines that run, stall or are gone, connections
//! between them, and one queue of all that is to happen.

use super::super::chance::{Chance, Concern};
use super::super::schedule::Scheduled;
use starling_protocol::config::Config;
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Health, Record, Standing, Step};
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::membership::{Membership, Out};
use starling_protocol::message::{Gossip, Message};
use starling_protocol::time::{Duration, Moment, Time};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Microseconds from one peer to another; of each pair always the same, so that frames keep their order.
const LATENCY_US: (u64, u64) = (100, 2_000);
/// How long a dial to a machine that is gone takes to fail, in milliseconds.
const DIAL_MS: (u64, u64) = (500, 5_000);

/// How a machine is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    /// Its peer was killed; the machine says so to whoever asks.
    Killed,
    /// It is gone, and nothing answers.
    Gone,
}

struct Machine {
    membership: Membership,
    fate: Fate,
    wake: Option<Time>,
    /// Until then nothing that it sends leaves it, and it reads nothing; its timers go on.
    stalled_until: Time,
    /// To whom it has a connection, and whom it dials.
    links: BTreeSet<usize>,
    dials: BTreeSet<usize>,
}

enum Event {
    Frame { from: usize, to: usize, gossip: Box<Gossip> },
    Dial { from: usize, to: usize },
    Connected { at: usize, to: usize },
    Disconnected { at: usize, from: usize },
    Unreachable { at: usize, to: usize },
    Refused { at: usize, to: usize },
    Wake { at: usize, due: Time },
}

/// What a peer has come to believe of another.
pub struct Belief {
    pub at: Time,
    pub by: usize,
    pub of: usize,
    pub health: Health,
}

pub struct Crowd {
    pub now: Time,
    machines: Vec<Machine>,
    queue: BinaryHeap<Reverse<Scheduled<Event>>>,
    sequence: u64,
    chance: Chance,
    pub frames: u64,
    /// Bytes sent, while they are counted: that takes longer than all else.
    pub bytes: u64,
    pub weighs: bool,
    /// Whose health was believed to change, since this was last emptied.
    pub beliefs: Vec<Belief>,
}

impl Crowd {
    /// Peers that have each other in their tables, and begin.
    pub fn new(peers: usize, seed: u64, config: &Config) -> Self {
        let mut chance = Chance::new(seed, Concern::Lives);
        let table: Vec<Record> = (0..peers).map(record).collect();
        let machines = (0..peers).map(|index| {
            let (me, signing) = (table[index].clone(), Arc::new(Unsigned));
            let others = table.iter().enumerate().filter(|(other, _)| *other != index);
            let (known, seed) = (others.map(|(_, record)| record.clone()).collect(), chance.any());
            let membership = Membership::new(me, known, signing, config.clone(), seed, Time(0));
            let (wake, stalled_until) = (None, Time(0));
            let (links, dials) = (BTreeSet::new(), BTreeSet::new());
            Machine { membership, fate: Fate::Runs, wake, stalled_until, links, dials }
        });
        let (machines, queue) = (machines.collect(), BinaryHeap::new());
        let (now, weighs, beliefs) = (Time(0), false, Vec::new());
        let mut crowd =
            Self { now, machines, queue, sequence: 0, chance, frames: 0, bytes: 0, weighs, beliefs };
        (0..peers).for_each(|index| crowd.set_wake(index));
        crowd
    }

    pub fn runs(&self, index: usize) -> bool {
        self.machines[index].fate == Fate::Runs
    }

    /// How many run.
    pub fn running(&self) -> usize {
        (0..self.machines.len()).filter(|index| self.runs(*index)).count()
    }

    /// Until then nothing that it sends leaves it, and it reads nothing; its timers go on.
    pub fn stall(&mut self, index: usize, until: Time) {
        self.machines[index].stalled_until = until;
    }

    /// Its peer is killed: whoever has a connection to it hears so.
    pub fn kill(&mut self, index: usize) {
        self.machines[index].fate = Fate::Killed;
        for other in std::mem::take(&mut self.machines[index].links) {
            self.machines[other].links.remove(&index);
            let after = latency(index, other);
            self.schedule(self.now + after, Event::Disconnected { at: other, from: index });
        }
    }

    /// The machine is gone, without a word.
    pub fn vanish(&mut self, index: usize) {
        self.machines[index].fate = Fate::Gone;
    }

    pub fn run_to(&mut self, end: Time) {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= end
        {
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { return };
        self.now = at;
        let machine = event.machine();
        let until = self.machines[machine].stalled_until;
        if until > at && !matches!(event, Event::Wake { .. }) {
            return self.schedule(until, event);
        }
        match event {
            Event::Dial { from, to } => self.dialled(from, to),
            _ if !self.runs(machine) => {}
            Event::Frame { from, to, gossip } => {
                if self.machines[to].links.contains(&from) {
                    let peer = id(from);
                    self.act(to, |peers, now, out| peers.received(now, peer, *gossip, out));
                }
            }
            Event::Connected { at, to } => self.act(at, |peers, now, out| peers.connected(now, id(to), out)),
            Event::Disconnected { at, from } => {
                self.act(at, |peers, now, out| peers.disconnected(now, id(from), out));
            }
            Event::Unreachable { at, to } => {
                self.machines[at].dials.remove(&to);
                self.act(at, |peers, now, out| peers.unreachable(now, id(to), out));
            }
            Event::Refused { at, to } => {
                self.machines[at].dials.remove(&to);
                self.act(at, |peers, now, out| peers.refused(now, id(to), out));
            }
            Event::Wake { at, due } => {
                if self.machines[at].wake == Some(due) {
                    self.machines[at].wake = None;
                    self.act(at, |peers, now, out| peers.timeout(now, out));
                }
            }
        }
    }

    fn act(&mut self, index: usize, act: impl FnOnce(&mut Membership, Time, &mut Vec<Out>)) {
        let mut out = Vec::new();
        act(&mut self.machines[index].membership, self.now, &mut out);
        out.into_iter().for_each(|out| self.carry_out(index, out));
        self.set_wake(index);
    }

    fn set_wake(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let Some(due) = machine.membership.next_timeout().map(|due| due.max(self.now)) else { return };
        if machine.wake.is_none_or(|wake| due < wake) {
            machine.wake = Some(due);
            self.schedule(due, Event::Wake { at: index, due });
        }
    }

    fn carry_out(&mut self, index: usize, out: Out) {
        match out {
            Out::Send { to, gossip } => self.send(index, number(to), gossip),
            Out::Connect { peer, .. } => self.dial(index, number(peer)),
            Out::Health { peer, health } => {
                self.beliefs.push(Belief { at: self.now, by: index, of: number(peer), health });
            }
            _ => {}
        }
    }

    /// What is sent without a connection is lost: membership asks for one first, and probes again.
    fn send(&mut self, from: usize, to: usize, mut gossip: Gossip) {
        gossip.sent = Some(Moment { life: from as u64 + 1, time: self.now });
        self.frames += 1;
        if self.weighs {
            self.bytes += Message::Gossip(gossip.clone()).encode().len() as u64;
        }
        if self.machines[from].links.contains(&to) {
            let leaves = self.now.max(self.machines[from].stalled_until);
            let gossip = Box::new(gossip);
            self.schedule(leaves + latency(from, to), Event::Frame { from, to, gossip });
        }
    }

    fn dial(&mut self, from: usize, to: usize) {
        let machine = &mut self.machines[from];
        if !machine.links.contains(&to) && machine.dials.insert(to) {
            self.schedule(self.now + latency(from, to), Event::Dial { from, to });
        }
    }

    fn dialled(&mut self, from: usize, to: usize) {
        let at = self.now + latency(from, to);
        match self.machines[to].fate {
            Fate::Runs if self.runs(from) => {
                self.machines[from].dials.remove(&to);
                if self.machines[from].links.insert(to) {
                    self.machines[to].links.insert(from);
                    self.schedule(at, Event::Connected { at: from, to });
                    self.schedule(self.now, Event::Connected { at: to, to: from });
                }
            }
            Fate::Runs => {}
            Fate::Killed => self.schedule(at, Event::Refused { at: from, to }),
            Fate::Gone => {
                let at = self.now + self.chance.span_ms(DIAL_MS);
                self.schedule(at, Event::Unreachable { at: from, to });
            }
        }
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }
}

impl Event {
    /// Whose machine must run for it.
    fn machine(&self) -> usize {
        match self {
            Event::Frame { to, .. } | Event::Dial { to, .. } => *to,
            Event::Connected { at, .. } | Event::Disconnected { at, .. } => *at,
            Event::Unreachable { at, .. } | Event::Refused { at, .. } | Event::Wake { at, .. } => *at,
        }
    }
}

fn id(index: usize) -> PeerId {
    PeerId::numbered(index as u64)
}

fn number(peer: PeerId) -> usize {
    peer.0[24..].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn latency(a: usize, b: usize) -> Duration {
    let mixed = ((a.min(b) << 16 | a.max(b)) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_micros(LATENCY_US.0 + mixed % (LATENCY_US.1 - LATENCY_US.0))
}

fn record(index: usize) -> Record {
    Record {
        id: id(index),
        standing: Standing { version: 3, step: Step::Member },
        started_ms: 0,
        // Of the length of a real one.
        addresses: vec![format!("/ip4/10.0.{}.{}/tcp/47400", index / 250, index % 250)],
        ..Record::numbered(index as u64 + 1)
    }
}
