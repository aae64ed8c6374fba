//! A network in a test: peers, what is on its way between them, and one seed.

use super::super::signing::Unsigned;
use super::super::{Membership, Out};
use crate::config::Config;
use crate::ids::PeerId;
use crate::member::{Health, Record, Standing, Step, View};
use crate::message::{Gossip, GossipBody, Message};
use crate::time::{Duration, Time};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a connection to a peer that is cut off takes to fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
enum Event {
    Message { from: usize, gossip: Gossip },
    Connected { peer: usize },
    Disconnected { peer: usize },
    Unreachable { peer: usize },
    Refused { peer: usize },
}

struct Host {
    /// None: the process does not run.
    peer: Option<Membership>,
    lives: u64,
    paused: bool,
    /// Whose addresses its transport was told, or saw.
    reaches: BTreeSet<usize>,
    saved: Vec<Record>,
}

pub struct Net {
    seed: u64,
    rng: ChaCha8Rng,
    pub now: Time,
    pub config: Config,
    hosts: Vec<Host>,
    /// By time, and by what makes the time unique.
    events: BTreeMap<(Time, u64), (usize, Event)>,
    events_made: u64,
    connections: BTreeSet<(usize, usize)>,
    cut: BTreeSet<(usize, usize)>,
    /// Of a thousand messages, how many are lost.
    pub loss: u32,
    /// Whether messages are encoded and read again, and their bytes counted; slow without optimization.
    pub over_the_wire: bool,
    pub sent: u64,
    pub bytes: u64,
    pub records_sent: u64,
    pub tables_sent: u64,
    /// What each peer told, and when.
    pub told: Vec<(Time, usize, Out)>,
}

pub fn id(host: usize) -> PeerId {
    PeerId::numbered(host as u64 + 1)
}

fn host(peer: PeerId) -> usize {
    usize::from(peer.0[31]) + 256 * usize::from(peer.0[30]) - 1
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

pub fn record(host: usize, life: u64) -> Record {
    Record {
        standing: Standing { version: 0, step: Step::Waiting },
        life,
        started_ms: life,
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{}", 7000 + host)],
        ..Record::numbered(host as u64 + 1)
    }
}

pub fn gossip(records: Vec<Record>, body: GossipBody) -> Gossip {
    Gossip { view: View::default(), records, accusations: Vec::new(), sent: None, body }
}

impl Drop for Net {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = std::thread::current().name().unwrap_or("").to_owned();
            eprintln!("replay: STARLING_SEED={} cargo test -p starling-protocol {test}", self.seed);
        }
    }
}

/// Plays a scenario under many seeds, or under that of STARLING_SEED alone.
pub fn play(seeds: u64, scenario: impl Fn(u64)) {
    let chosen = std::env::var("STARLING_SEED").ok().and_then(|seed| seed.parse().ok());
    match chosen {
        Some(seed) => scenario(seed),
        None => (0..seeds).for_each(scenario),
    }
}

impl Net {
    pub fn new(seed: u64, hosts: usize) -> Self {
        let host =
            || Host { peer: None, lives: 0, paused: false, reaches: BTreeSet::new(), saved: Vec::new() };
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Time(1_000_000_000),
            config: Config::default(),
            hosts: (0..hosts).map(|_| host()).collect(),
            events: BTreeMap::new(),
            events_made: 0,
            connections: BTreeSet::new(),
            cut: BTreeSet::new(),
            loss: 0,
            over_the_wire: false,
            sent: 0,
            bytes: 0,
            records_sent: 0,
            tables_sent: 0,
            told: Vec::new(),
        }
    }

    /// All hosts run, know each other, are members, and nothing is left to tell.
    pub fn settled(seed: u64, hosts: usize) -> Self {
        let mut net = Self::new(seed, hosts);
        for host in 0..hosts {
            net.start(host);
            net.take_step(host, Step::Member);
            net.discover(host, 0);
        }
        net.run_until("all agree", Duration::from_secs(60), Net::agree);
        net.run(Duration::from_secs(30));
        net.told.clear();
        net
    }

    pub fn hosts(&self) -> std::ops::Range<usize> {
        0..self.hosts.len()
    }

    /// The process starts, with what it has saved and no incarnation of its own.
    pub fn start(&mut self, host: usize) {
        self.hosts[host].lives += 1;
        self.hosts[host].reaches.clear();
        let life = 1000 * host as u64 + self.hosts[host].lives;
        let (me, seed) = (record(host, life), self.rng.random());
        let saved = self.hosts[host].saved.clone();
        self.hosts[host].peer =
            Some(Membership::new(me, saved, Arc::new(Unsigned), self.config.clone(), seed, self.now));
    }

    /// The process is gone, and its connections break: kill -9 on a machine that lives.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host].peer = None;
        for other in self.hosts() {
            self.disconnect(host, other);
        }
    }

    pub fn wipe(&mut self, host: usize) {
        self.hosts[host].saved.clear();
    }

    pub fn pause(&mut self, host: usize) {
        self.hosts[host].paused = true;
    }

    /// What came meanwhile is read first, or only after the timers, as it happens.
    pub fn resume(&mut self, host: usize) {
        self.hosts[host].paused = false;
        if self.rng.random() {
            self.act(host, |peer, now, out| peer.timeout(now, out));
        }
    }

    /// Nothing gets from one side to the other, and no connection breaks.
    pub fn cut(&mut self, side: &[usize], other: &[usize]) {
        self.cut.extend(side.iter().flat_map(|a| other.iter().map(move |b| pair(*a, *b))));
    }

    pub fn cut_off(&mut self, host: usize) {
        let others: Vec<usize> = self.hosts().filter(|other| *other != host).collect();
        self.cut(&[host], &others);
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// The connection breaks, with all that is on its way, and both ends are told.
    pub fn disconnect(&mut self, a: usize, b: usize) {
        if self.connections.remove(&pair(a, b)) {
            let lost = |to: usize, event: &Event| match event {
                Event::Message { from, .. } => pair(*from, to) == pair(a, b),
                _ => false,
            };
            self.events.retain(|_, (to, event)| !lost(*to, event));
            self.event(a, Duration::from_millis(1), Event::Disconnected { peer: b });
            self.event(b, Duration::from_millis(1), Event::Disconnected { peer: a });
        }
    }

    pub fn discover(&mut self, host: usize, other: usize) {
        let addresses = record(other, 0).addresses;
        self.act(host, |peer, _, out| peer.discovered(id(other), addresses, out));
    }

    pub fn take_step(&mut self, host: usize, step: Step) {
        self.act(host, |peer, now, out| peer.take_step(now, step, out));
    }

    /// `host` receives records as if `from` had sent them.
    pub fn receive(&mut self, host: usize, from: PeerId, records: Vec<Record>, body: GossipBody) {
        self.act(host, |peer, now, out| peer.received(now, from, gossip(records, body), out));
    }

    pub fn peer(&self, host: usize) -> &Membership {
        self.hosts[host].peer.as_ref().expect("the test asks a process that runs")
    }

    pub fn running(&self) -> Vec<usize> {
        self.hosts().filter(|host| self.hosts[*host].peer.is_some()).collect()
    }

    /// What `host` believes of `other`.
    pub fn health(&self, host: usize, other: usize) -> Health {
        self.peer(host).health(id(other))
    }

    /// Every other process that runs believes this of `host`.
    pub fn all_believe(&self, host: usize, health: Health) -> bool {
        self.running().iter().all(|other| *other == host || self.health(*other, host) == health)
    }

    /// All processes that run believe each other alive, and have the same view.
    pub fn agree(&self) -> bool {
        let running = self.running();
        let view = |host: &usize| self.peer(*host).view();
        running.windows(2).all(|two| view(&two[0]) == view(&two[1]))
            && running.iter().all(|host| self.all_believe(*host, Health::Alive))
    }

    /// All that was told by anybody of `host`'s health.
    pub fn told_dead(&self, host: usize) -> bool {
        let dead = Out::Health { peer: id(host), health: Health::Dead };
        self.told.iter().any(|(_, _, out)| *out == dead)
    }

    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
    }

    /// How long it took, to a millisecond.
    pub fn run_until(&mut self, what: &str, most: Duration, is_so: impl Fn(&Net) -> bool) -> Duration {
        let begin = self.now;
        while !is_so(self) {
            assert!(self.now.since(begin) < most, "{what}: not so after {most:?}");
            self.run(Duration::from_millis(1));
        }
        self.now.since(begin)
    }

    /// One event, or one timeout. False, and `until`, if there is none before.
    fn step(&mut self, until: Time) -> bool {
        let ready = |host: usize| !self.hosts[host].paused;
        let event = self.events.iter().find(|(_, (to, _))| ready(*to)).map(|(key, _)| *key);
        let timeouts = self.hosts().filter(|host| ready(*host)).filter_map(|host| {
            let timeout = self.hosts[host].peer.as_ref()?.next_timeout()?;
            Some((timeout, host))
        });
        let timeout = timeouts.min();
        let event_first = match (event, timeout) {
            (Some(event), Some(timeout)) => event.0 <= timeout.0,
            (event, _) => event.is_some(),
        };
        let at = if event_first { event.map(|(at, _)| at) } else { timeout.map(|(at, _)| at) };
        let Some(at) = at.filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        if event_first {
            let (to, event) = event.and_then(|key| self.events.remove(&key)).expect("it was just found");
            self.happen(to, event);
        } else if let Some((_, host)) = timeout {
            self.act(host, |peer, now, out| peer.timeout(now, out));
            let next = self.peer(host).next_timeout();
            assert!(next > Some(self.now), "a timeout that does not pass is a busy loop");
        }
        true
    }

    fn happen(&mut self, to: usize, event: Event) {
        if self.hosts[to].peer.is_none() {
            return;
        }
        match event {
            Event::Message { from, gossip } => {
                self.act(to, |peer, now, out| peer.received(now, id(from), gossip, out));
            }
            Event::Connected { peer: other } => {
                self.act(to, |peer, now, out| peer.connected(now, id(other), out));
            }
            Event::Disconnected { peer: other } => {
                self.act(to, |peer, now, out| peer.disconnected(now, id(other), out));
            }
            Event::Unreachable { peer: other } => {
                self.act(to, |peer, now, out| peer.unreachable(now, id(other), out));
            }
            Event::Refused { peer: other } => {
                self.act(to, |peer, now, out| peer.refused(now, id(other), out));
            }
        }
    }

    pub fn act(&mut self, host: usize, act: impl FnOnce(&mut Membership, Time, &mut Vec<Out>)) {
        let (now, mut out) = (self.now, Vec::new());
        let peer = self.hosts[host].peer.as_mut().expect("the test acts on a process that runs");
        act(peer, now, &mut out);
        for out in out {
            self.carry_out(host, out);
        }
    }

    fn carry_out(&mut self, from: usize, out: Out) {
        match out {
            Out::Send { to, gossip } => self.send(from, host(to), gossip),
            Out::Connect { peer, addresses } => {
                if addresses == record(host(peer), 0).addresses {
                    self.hosts[from].reaches.insert(host(peer));
                }
                self.connect(from, host(peer));
            }
            Out::Changed => self.hosts[from].saved = self.peer(from).table(),
            told => self.told.push((self.now, from, told)),
        }
    }

    fn send(&mut self, from: usize, to: usize, gossip: Gossip) {
        if !self.connect(from, to) {
            return;
        }
        self.sent += 1;
        self.records_sent += gossip.records.len() as u64;
        self.tables_sent += u64::from(matches!(gossip.body, GossipBody::Exchange { .. }));
        let gossip = if self.over_the_wire { self.carry(gossip) } else { gossip };
        let lost = self.rng.random_range(0..1000) < self.loss || self.cut.contains(&pair(from, to));
        if !lost {
            let delay = Duration::from_micros(self.rng.random_range(200..5000));
            self.event(to, delay, Event::Message { from, gossip });
        }
    }

    fn carry(&mut self, gossip: Gossip) -> Gossip {
        let frame = Message::Gossip(gossip).encode();
        self.bytes += frame.len() as u64;
        match Message::decode(&frame) {
            Ok(Message::Gossip(gossip)) => gossip,
            other => panic!("what is sent cannot be read: {other:?}"),
        }
    }

    /// True if there is a connection now; else the other, or the failure, will be told.
    fn connect(&mut self, from: usize, to: usize) -> bool {
        if self.connections.contains(&pair(from, to)) {
            return true;
        }
        if self.cut.contains(&pair(from, to)) {
            self.event(from, CONNECT_TIMEOUT, Event::Unreachable { peer: to });
            return false;
        }
        if !self.hosts[from].reaches.contains(&to) {
            self.event(from, Duration::from_millis(1), Event::Unreachable { peer: to });
            return false;
        }
        if self.hosts[to].peer.is_none() {
            self.event(from, Duration::from_millis(1), Event::Refused { peer: to });
            return false;
        }
        self.connections.insert(pair(from, to));
        self.hosts[to].reaches.insert(from);
        self.event(from, Duration::from_millis(1), Event::Connected { peer: to });
        self.event(to, Duration::from_millis(1), Event::Connected { peer: from });
        true
    }

    fn event(&mut self, to: usize, delay: Duration, event: Event) {
        self.events_made += 1;
        self.events.insert((self.now + delay, self.events_made), (to, event));
    }

    /// Draws a number below `n`, for scenarios that choose.
    pub fn draw(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }
}
