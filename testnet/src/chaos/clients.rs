//! Clients: threads that ask any peer, one thing at a time, and note what they were told.

use crate::local::resp;
use crate::sim::chance::{Chance, Concern};
use crate::sim::clients::{Op, Outcome};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::time::Time;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 4;
/// Keys of each type.
pub const KEYS: u64 = 6;
/// Between two operations of a client.
const THINK: Duration = Duration::from_millis(15);

#[derive(PartialEq)]
pub enum Kind {
    Acknowledged,
    Refused,
    Unknown,
}

pub fn kind(outcome: &Outcome) -> Kind {
    match outcome {
        Outcome::Ok(_) => Kind::Acknowledged,
        Outcome::Refused => Kind::Refused,
        Outcome::Open | Outcome::Unknown => Kind::Unknown,
    }
}

struct Shared {
    ops: Mutex<Vec<Op>>,
    /// Every element and every increment is another one.
    last: AtomicU64,
    stop: AtomicBool,
    began: Instant,
}

impl Shared {
    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn start(ports: Vec<u16>, seed: u64) -> Self {
        let (ops, last, stop) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { ops, last, stop, began: Instant::now() });
        let threads = (0..CLIENTS).map(|client| {
            let (shared, ports) = (shared.clone(), ports.clone());
            let chance = Chance::new(seed.wrapping_add(client << 32), Concern::Clients);
            thread::spawn(move || work(&shared, &ports, chance))
        });
        Self { threads: threads.collect(), shared }
    }

    /// They begin nothing any more. Waits for what is under way.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
    }

    /// Writes once by this peer. True where that was acknowledged.
    pub fn write_by(&self, port: u16) -> bool {
        let name = ByteBuf::from((self.shared.last.fetch_add(1, Ordering::Relaxed) + 1).to_string());
        let op = tried(&self.shared, port, "s0".into(), Command::SAdd { members: vec![name] });
        let is_acknowledged = kind(&op.outcome) == Kind::Acknowledged;
        lock(&self.shared.ops).push(op);
        is_acknowledged
    }

    /// All that was tried.
    pub fn into_ops(self) -> Vec<Op> {
        std::mem::take(&mut lock(&self.shared.ops))
    }
}

fn lock(ops: &Mutex<Vec<Op>>) -> MutexGuard<'_, Vec<Op>> {
    ops.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(shared: &Shared, ports: &[u16], mut chance: Chance) {
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(port) = chance.pick(ports).copied() else { return };
        let (key, command) = next(shared, &mut chance);
        let op = tried(shared, port, key, command);
        lock(&shared.ops).push(op);
        thread::sleep(THINK);
    }
}

fn tried(shared: &Shared, port: u16, key: String, command: Command) -> Op {
    let (began, outcome, answered) = (shared.now(), ask(port, &key, &command), shared.now());
    Op::done(key, command, outcome).between(began, answered)
}

fn next(shared: &Shared, chance: &mut Chance) -> (String, Command) {
    let (number, key) = (shared.last.fetch_add(1, Ordering::Relaxed) + 1, chance.below(KEYS));
    let name = ByteBuf::from(number.to_string());
    match chance.below(8) {
        0..=1 => (format!("s{key}"), Command::SAdd { members: vec![name] }),
        2 => removal(shared, chance).unwrap_or((format!("s{key}"), Command::SAdd { members: vec![name] })),
        3..=4 => (format!("n{key}"), Command::IncrBy { by: i64::try_from(number).unwrap_or(1) }),
        5 => (format!("h{key}"), Command::HSet { entries: vec![(name.clone(), name)] }),
        6 if chance.one_in(6) => (format!("r{key}"), Command::Del),
        _ => (format!("r{key}"), Command::Set { value: name }),
    }
}

/// Of an element or a field that somebody has tried to add.
fn removal(shared: &Shared, chance: &mut Chance) -> Option<(String, Command)> {
    let ops = lock(&shared.ops);
    let op = chance.pick(&ops)?;
    match &op.command {
        Command::SAdd { members } => Some((op.key.clone(), Command::SRem { members: members.clone() })),
        Command::HSet { entries } => {
            let fields = entries.iter().map(|(field, _)| field.clone()).collect();
            Some((op.key.clone(), Command::HDel { fields }))
        }
        _ => None,
    }
}

fn ask(port: u16, key: &str, command: &Command) -> Outcome {
    let text = |name: &ByteBuf| String::from_utf8_lossy(name).into_owned();
    let (verb, arguments) = match command {
        Command::SAdd { members } => ("SADD", members.iter().map(text).collect()),
        Command::SRem { members } => ("SREM", members.iter().map(text).collect()),
        Command::HSet { entries } => {
            ("HSET", entries.iter().flat_map(|(field, value)| [text(field), text(value)]).collect())
        }
        Command::HDel { fields } => ("HDEL", fields.iter().map(text).collect()),
        Command::IncrBy { by } => ("INCRBY", vec![by.to_string()]),
        Command::Set { value } => ("SET", vec![text(value)]),
        Command::Del => ("DEL", Vec::new()),
        _ => return Outcome::Refused,
    };
    let words: Vec<&str> = [verb, key].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    match resp::ask(port, &words) {
        Ok(answer) => Outcome::Ok(answer.parse().map_or(Reply::Ok, Reply::Int)),
        Err(why) if ["BUSY ", "NOTREADY ", "ERR "].iter().any(|word| why.starts_with(word)) => {
            Outcome::Refused
        }
        Err(_) => Outcome::Unknown,
    }
}
