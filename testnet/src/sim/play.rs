//! One seed: a network grows, works under faults, is healed, and must converge and answer.

use super::checkers::{contents, convergence, counters, quiet, values, walk};
use super::clients::Outcome;
use super::faults::PAUSE_MS;
use super::marks::{self, Marks};
use super::plan::{Plan, Wishes};
use super::world::{Counts, Event, World};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::member::Step;
use starling_protocol::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// How long a network may take to form, and to converge once it is healed: with the smallest batches and the longest
/// ways that are drawn, a piece of two bytes in 0.1 s, one state alone took four minutes.
const FORMING_MAX: Duration = Duration::from_secs(120);
const CONVERGENCE_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How a seed went.
pub struct Played {
    pub simulated: Duration,
    pub operations: u64,
    /// Operations that were answered.
    pub answered: u64,
    pub counts: Counts,
    pub trace: u64,
    pub marks: Marks,
    pub broken: Option<String>,
}

pub fn play(seed: u64, wishes: &Wishes, aloud: bool) -> Played {
    let plan = Plan::draw(seed, wishes);
    let mut world = World::new(plan, aloud);
    let outcome = phases(&mut world);
    world.check(outcome);
    Played {
        simulated: Duration::from_micros(world.now.0),
        operations: world.clients.ops.len() as u64,
        answered: world.clients.answered(),
        counts: world.counts,
        trace: world.trace,
        marks: marks::taken(),
        broken: world.broken,
    }
}

fn phases(world: &mut World) -> Result<(), String> {
    for _ in 0..world.plan.peers {
        let index = world.add();
        world.start(index);
    }
    converge(world, FORMING_MAX).map_err(|why| format!("the network has not formed: {why}"))?;
    for client in 0..world.plan.clients {
        world.schedule(Duration::ZERO, Event::Client { client });
    }
    world.schedule(Duration::ZERO, Event::Fault);
    world.heals_at = world.now + world.plan.span;
    world.run(world.plan.span);
    if world.broken.is_some() {
        return Ok(());
    }
    world.heal();
    world.run(Duration::from_millis(PAUSE_MS.1));
    converge(world, CONVERGENCE_MAX)
        .map_err(|why| format!("not converged {CONVERGENCE_MAX:?} after healing: {why}"))?;
    write_all(world)?;
    converge(world, FORMING_MAX)
        .map_err(|why| format!("not converged {FORMING_MAX:?} after the last writes: {why}"))?;
    world.run(Duration::from_secs(6));
    if world.broken.is_some() {
        return Ok(());
    }
    quiet::check(world)?;
    convergence::check(world).map_err(|why| format!("converged, and then no more: {why}"))?;
    read_all(world)
}

fn converge(world: &mut World, most: Duration) -> Result<(), String> {
    let end = world.now + most;
    loop {
        world.run(LOOK_EVERY);
        if world.broken.is_some() {
            return Ok(());
        }
        match convergence::check(world) {
            Err(why) if world.now >= end => return Err(why),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// Those that serve.
fn serving(world: &World) -> Vec<usize> {
    world.up().into_iter().filter(|at| world.step_of(*at) != Some(Step::Left)).collect()
}

/// Every peer acknowledges writes: one that refuses all of them never loses any.
fn write_all(world: &mut World) -> Result<(), String> {
    for at in serving(world) {
        for kind in ['n', 's', 'r'] {
            let (number, key) = (world.clients.ops.len() as u64 + 1, format!("{kind}0"));
            let name = ByteBuf::from(number.to_string());
            let command = match kind {
                'n' => Command::IncrBy { by: i64::try_from(number).unwrap_or(1) },
                's' => Command::SAdd { members: vec![name] },
                _ => Command::Set { value: name },
            };
            answer(world, at, &key, command)?;
        }
    }
    Ok(())
}

/// Every peer answers, rightly, and all of them the same.
fn read_all(world: &mut World) -> Result<(), String> {
    let mut all = BTreeMap::new();
    for at in serving(world) {
        if world.broken.is_some() {
            return Ok(());
        }
        let mut there = BTreeSet::new();
        for key in 0..world.plan.keys {
            for (kind, command) in READ {
                let key = format!("{kind}{key}");
                let reply = answer(world, at, &key, command.clone())?;
                judge(world, &key, &command, &reply)?;
                if !is_nothing(&reply) {
                    there.insert(key.clone());
                }
                let first = all.entry(format!("{command:?} {key}")).or_insert(reply.clone());
                if *first != reply {
                    return Err(format!(
                        "{} answers {command:?} of {key} as others do not",
                        world.nodes[at].name
                    ));
                }
            }
        }
        walk_all(world, at, &there)?;
    }
    Ok(())
}

/// What is asked of each key, by its type.
const READ: [(char, Command); 7] = [
    ('n', Command::Get),
    ('c', Command::Get),
    ('s', Command::SMembers),
    ('r', Command::Siblings),
    ('r', Command::Get),
    ('h', Command::HKeys),
    ('h', Command::HGetAll),
];

fn is_nothing(reply: &Reply) -> bool {
    match reply {
        Reply::Nil => true,
        Reply::Set(names) => names.is_empty(),
        Reply::Siblings(values) => values.is_empty(),
        Reply::Array(all) => all.is_empty(),
        Reply::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn judge(world: &World, key: &str, command: &Command, reply: &Reply) -> Result<(), String> {
    if matches!(command, Command::Get | Command::HGetAll) {
        values::check(world, key, command, reply)?;
    }
    match key.as_bytes().first() {
        Some(b'n') => judge_counter(world, key, reply),
        Some(b's' | b'h' | b'r') if !matches!(command, Command::Get | Command::HGetAll) => {
            let found = names(reply.clone()).map_err(|other| format!("{key} is {other:?}"))?;
            contents::check(&world.clients.ops, &world.ledger, key, &found)
        }
        _ => Ok(()),
    }
}

fn walk_all(world: &mut World, at: usize, there: &BTreeSet<String>) -> Result<(), String> {
    let found = world.walk(at);
    let name = &world.nodes[at].name;
    walk::check(
        name,
        &found.ok_or(format!("all is healed, and a walk over all keys at {name} has no end"))?,
        there,
    )
}

/// What is answered now that all is healed.
fn answer(world: &mut World, at: usize, key: &str, command: Command) -> Result<Reply, String> {
    let told = format!("all is healed, and of {command:?} of {key} {} says:", world.nodes[at].name);
    match world.ask(at, key, command) {
        Outcome::Ok(reply) => Ok(reply),
        other => Err(format!("{told} {other:?}")),
    }
}

fn judge_counter(world: &World, key: &str, reply: &Reply) -> Result<(), String> {
    let value = match reply {
        Reply::Nil => 0,
        Reply::Bytes(bytes) => {
            String::from_utf8_lossy(bytes).parse().map_err(|_| format!("{key}: {bytes:?}"))?
        }
        other => return Err(format!("{key} is {other:?}")),
    };
    counters::check(&world.clients.ops, key, value)
}

fn names(reply: Reply) -> Result<Vec<ByteBuf>, Reply> {
    match reply {
        Reply::Nil => Ok(Vec::new()),
        Reply::Set(names) => Ok(names),
        Reply::Siblings(values) => Ok(values.into_iter().map(|sibling| sibling.value).collect()),
        Reply::Array(all) => all
            .into_iter()
            .map(|one| match one {
                Reply::Bytes(name) => Ok(name),
                other => Err(other),
            })
            .collect(),
        other => Err(other),
    }
}
