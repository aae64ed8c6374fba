//! Clients: threads that ask any peer, one thing at a time, and note what they were told.

use crate::local::resp;
use crate::sim::chance::{Chance, Concern};
use crate::sim::clients::{Op, Outcome};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
}

pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn start(ports: Vec<u16>, seed: u64) -> Self {
        let (ops, last, stop) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { ops, last, stop });
        let threads = (0..CLIENTS).map(|client| {
            let (shared, ports) = (shared.clone(), ports.clone());
            let chance = Chance::new(seed.wrapping_add(client << 32), Concern::Clients);
            thread::spawn(move || work(&shared, &ports, chance))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Waits for what is under way.
    pub fn stop(self) -> Vec<Op> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
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
        let outcome = ask(port, &key, &command);
        lock(&shared.ops).push(Op::done(key, command, outcome));
        thread::sleep(THINK);
    }
}

fn next(shared: &Shared, chance: &mut Chance) -> (String, Command) {
    let (number, key) = (shared.last.fetch_add(1, Ordering::Relaxed) + 1, chance.below(KEYS));
    let name = ByteBuf::from(number.to_string());
    match chance.below(6) {
        0..=1 => (format!("s{key}"), Command::SAdd { members: vec![name] }),
        2 => removal(shared, chance).unwrap_or((format!("s{key}"), Command::SAdd { members: vec![name] })),
        3..=4 => (format!("n{key}"), Command::IncrBy { by: i64::try_from(number).unwrap_or(1) }),
        _ => (format!("r{key}"), Command::Set { value: name }),
    }
}

/// Of an element that somebody has tried to add.
fn removal(shared: &Shared, chance: &mut Chance) -> Option<(String, Command)> {
    let ops = lock(&shared.ops);
    let op = chance.pick(&ops)?;
    match &op.command {
        Command::SAdd { members } => Some((op.key.clone(), Command::SRem { members: members.clone() })),
        _ => None,
    }
}

fn ask(port: u16, key: &str, command: &Command) -> Outcome {
    let text = |name: &ByteBuf| String::from_utf8_lossy(name).into_owned();
    let (verb, argument) = match command {
        Command::SAdd { members } => ("SADD", members.first().map(text).unwrap_or_default()),
        Command::SRem { members } => ("SREM", members.first().map(text).unwrap_or_default()),
        Command::IncrBy { by } => ("INCRBY", by.to_string()),
        Command::Set { value } => ("SET", text(value)),
        _ => return Outcome::Refused,
    };
    match resp::ask(port, &[verb, key, &argument]) {
        Ok(answer) => Outcome::Ok(answer.parse().map_or(Reply::Ok, Reply::Int)),
        Err(why) if ["BUSY ", "NOTREADY ", "ERR "].iter().any(|word| why.starts_with(word)) => {
            Outcome::Refused
        }
        Err(_) => Outcome::Unknown,
    }
}
