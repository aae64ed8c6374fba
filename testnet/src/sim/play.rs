//! One seed: a network grows, works under faults, is healed, and must converge and answer.

use super::checkers::{contents, convergence, counters, quiet};
use super::faults::PAUSE_MS;
use super::marks::{self, Marks};
use super::plan::{Plan, Wishes};
use super::world::{Counts, Event, World};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::member::Step;
use starling_protocol::time::Duration;

/// How long a network may take to form, and to converge once it is healed: with the smallest batches and the longest
/// ways that are drawn, a piece of two bytes in 0.1 s, one state alone took four minutes.
const FORMING_MAX: Duration = Duration::from_secs(120);
const CONVERGENCE_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How a seed went.
pub struct Played {
    pub simulated: Duration,
    pub operations: u64,
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

/// Every peer answers, and rightly.
fn read_all(world: &mut World) -> Result<(), String> {
    for at in world.up() {
        if world.broken.is_some() || world.step_of(at) == Some(Step::Left) {
            continue;
        }
        for key in 0..world.plan.keys {
            read_counter(world, at, &format!("n{key}"))?;
            read(world, at, &format!("c{key}"), Command::Get)?;
            for (kind, command) in [("s", Command::SMembers), ("r", Command::Siblings), ("h", Command::HKeys)]
            {
                read_names(world, at, &format!("{kind}{key}"), command)?;
            }
        }
    }
    Ok(())
}

fn read(world: &mut World, at: usize, key: &str, command: Command) -> Result<Reply, String> {
    let silent = format!("all is healed, and {} does not answer {command:?} of {key}", world.nodes[at].name);
    world.ask(at, key, command).ok_or(silent)
}

fn read_counter(world: &mut World, at: usize, key: &str) -> Result<(), String> {
    let value = match read(world, at, key, Command::Get)? {
        Reply::Nil => 0,
        Reply::Bytes(bytes) => {
            String::from_utf8_lossy(&bytes).parse().map_err(|_| format!("{key}: {bytes:?}"))?
        }
        other => return Err(format!("{key} is {other:?}")),
    };
    counters::check(&world.clients.ops, key, value)
}

fn read_names(world: &mut World, at: usize, key: &str, command: Command) -> Result<(), String> {
    let reply = read(world, at, key, command)?;
    let found = names(reply).map_err(|other| format!("{key} is {other:?}"))?;
    contents::check(&world.clients.ops, &world.ledger, key, &found)
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
