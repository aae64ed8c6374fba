//! Scripts that read aloud: commands, then `----`, then what they are expected to print.
//!
//! `STARLING_REWRITE=1 cargo test -p starling-protocol --test scenarios` writes what was printed into the
//! scripts; only commit what you understand.

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::input::Input;
use starling_protocol::request::{Failure, Request, Response, ScanCursor};
use starling_protocol::time::Duration;
use std::fmt::Write as _;
use std::path::Path;
use world::World;

#[test]
fn scripts_print_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scripts: Vec<_> = std::fs::read_dir(&folder).expect("the folder is there").flatten().collect();
    scripts.sort_by_key(|entry| entry.path());
    assert!(!scripts.is_empty());
    let failed: Vec<_> = scripts.iter().filter_map(|entry| play(&entry.path())).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Plays one script; what went wrong, if anything did.
fn play(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).expect("the script can be read");
    let (mut stage, mut written, mut problem) = (Stage::default(), String::new(), None);
    for block in text.trim().split("\n\n") {
        let (commands, expected) = block.split_once("\n----\n").unwrap_or((block, ""));
        let printed = stage.run(commands);
        if printed.trim() != expected.trim() && problem.is_none() {
            problem =
                Some(format!("{}:\n{commands}\nprinted\n{printed}\ninstead of\n{expected}", path.display()));
        }
        match printed.trim() {
            "" => write!(written, "{commands}\n\n"),
            printed => write!(written, "{commands}\n----\n{printed}\n\n"),
        }
        .expect("writing to memory does not fail");
    }
    if std::env::var_os("STARLING_REWRITE").is_some() {
        std::fs::write(path, written.trim_end().to_owned() + "\n").expect("the script can be written");
        return None;
    }
    problem
}

#[derive(Default)]
struct Stage {
    world: Option<World>,
}

impl Stage {
    fn run(&mut self, commands: &str) -> String {
        let mut printed = String::new();
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            let said = match words[..] {
                ["network", ..] => self.found(&words[1..]),
                _ => self.act(&words),
            };
            if !said.is_empty() {
                writeln!(printed, "{said}").expect("writing to memory does not fail");
            }
        }
        printed
    }

    fn found(&mut self, words: &[&str]) -> String {
        let option = |name: &str, otherwise: u64| -> u64 {
            let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map_or(otherwise, |value| value.parse().expect("a number"))
        };
        let peers = words[0].parse().expect("how many peers");
        let (n, r, w) = (option("n", 3) as u8, option("r", 2) as u8, option("w", 2) as u8);
        let mut world = World::new(option("q", 8) as u16, n, r, w, option("seed", 1));
        let zones = words.iter().find_map(|word| word.strip_prefix("zones="));
        world.zones = zones.into_iter().flat_map(|zones| zones.split(',')).map(str::to_owned).collect();
        for _ in 0..peers {
            world.add();
        }
        let took = settle(&mut world, peers);
        self.world = Some(world);
        took
    }

    fn act(&mut self, words: &[&str]) -> String {
        let world = self.world.as_mut().expect("a script begins with `network`");
        match *words {
            ["run", span] => {
                world.run(Duration::from_secs_f64(span.trim_end_matches('s').parse().expect("seconds")));
                String::new()
            }
            ["kill", name] => {
                world.stop(world.index(name));
                String::new()
            }
            ["restart", name] => {
                world.start(world.index(name), false);
                String::new()
            }
            ["wipe", name] => {
                let index = world.index(name);
                world.wipe(index);
                world.start(index, true);
                String::new()
            }
            ["lose", name] => {
                let index = world.index(name);
                world.lose_store(index);
                world.start(index, true);
                String::new()
            }
            ["damage", name, key] => {
                world.damage(world.index(name), key);
                String::new()
            }
            ["full", name] => {
                world.input(world.index(name), Input::Room { is_low: true });
                String::new()
            }
            ["room", name] => {
                world.input(world.index(name), Input::Room { is_low: false });
                String::new()
            }
            ["damages"] => std::mem::take(&mut world.damages).join("\n"),
            ["add"] => {
                world.add();
                String::new()
            }
            ["settle", peers] => settle(world, peers.parse().expect("how many members")),
            ["cut", ..] => {
                let groups: Vec<Vec<usize>> = words[1..]
                    .split(|word| *word == "|")
                    .map(|group| group.iter().map(|name| world.index(name)).collect())
                    .collect();
                world.cut(&groups);
                String::new()
            }
            ["heal"] => {
                world.heal();
                String::new()
            }
            ["copies", key] => copies(world, key),
            ["members", name] => members(world, name),
            ["walk", name] => walk(world, name),
            // It starts again with another zone.
            ["move", name, zone] => {
                let index = world.index(name);
                world.stop(index);
                world.zones[index] = zone.to_owned();
                world.start(index, false);
                String::new()
            }
            ["forget", name, other] => {
                let peer = world.id(world.index(other));
                format!("{:?}", world.ask(world.index(name), Request::Forget { peer }))
            }
            ["leave", name] => format!("{:?}", world.ask(world.index(name), Request::Leave)),
            ["log", ..] => {
                world.log = Some(Vec::new());
                let said = client(world, &words[1..]);
                world.run(Duration::from_millis(50));
                let mut lines = world.log.take().unwrap_or_default();
                lines.push(said);
                lines.join("\n")
            }
            _ => client(world, words),
        }
    }
}

/// Waits until all know each other as members and nothing is left to repair.
fn settle(world: &mut World, expected: usize) -> String {
    for _ in 0..600 {
        let up: Vec<_> = (0..world.len()).filter(|index| world.is_up(*index)).collect();
        let agreed = up.iter().all(|index| {
            let status = world.status(*index);
            let member = |m: &&_| format!("{:?}", member_step(m)) == "Member";
            status.members.iter().filter(member).count() == expected
        });
        if agreed && world.is_settled() {
            return String::new();
        }
        world.run(Duration::from_millis(100));
    }
    let up: Vec<_> = (0..world.len()).filter(|i| world.is_up(*i)).map(|i| world.name(i).to_owned()).collect();
    let status: Vec<_> = up.iter().map(|name| format!("{name}:\n{}", members(world, name))).collect();
    format!("not settled after a minute:\n{}", status.join("\n"))
}

fn member_step(member: &starling_protocol::request::MemberView) -> starling_protocol::member::Step {
    member.step
}

fn members(world: &mut World, name: &str) -> String {
    let status = world.status(world.index(name));
    let lines = status.members.iter().map(|m| format!("{} {:?} {:?}", m.name, m.health, m.step));
    lines.collect::<Vec<_>>().join("\n")
}

fn copies(world: &mut World, key: &str) -> String {
    let Response::Where(found) = world.ask(first_up(world), Request::Where { key: ByteBuf::from(key) })
    else {
        return "nobody knows".into();
    };
    let owners: Vec<_> = found.owners.iter().map(|owner| owner.peer).collect();
    let mut lines = Vec::new();
    for index in 0..world.len() {
        if let Some(reply) = world.copy(index, found.partition, key) {
            let role = if owners.contains(&world.id(index)) { "owner" } else { "holds for others" };
            lines.push(format!("{} {role}: {}", world.name(index), in_words(&reply)));
        }
    }
    lines.join("\n")
}

/// The keys of all partitions, by name.
fn walk(world: &mut World, name: &str) -> String {
    let (index, mut names, mut next) = (world.index(name), Vec::new(), Some(ScanCursor::default()));
    while let Some(cursor) = next {
        match world.ask(index, Request::Scan { cursor, limit: 2 }) {
            Response::Keys { keys, next: more } => {
                names.extend(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
                next = more;
            }
            Response::Failed(Failure { kind, why, .. }) => return format!("{kind:?}: {why}"),
            other => return format!("{other:?}"),
        }
    }
    names.sort();
    names.join(" ")
}

fn first_up(world: &World) -> usize {
    (0..world.len()).find(|index| world.is_up(*index)).expect("somebody is up")
}

/// `p1 set k v [r=1] [w=1] [explain]`
fn client(world: &mut World, words: &[&str]) -> String {
    let index = world.index(words[0]);
    let option = |name: &str| {
        words.iter().find_map(|w| w.strip_prefix(name)).map(|n| n.parse::<u8>().expect("a number"))
    };
    let (r, w) = (option("r="), option("w="));
    let explain = words.contains(&"explain");
    let rest: Vec<_> = words[1..].iter().filter(|w| !w.contains('=') && **w != "explain").copied().collect();
    let bytes = |word: &str| ByteBuf::from(word);
    let command = match rest[..] {
        ["get", _] => Command::Get,
        ["set", _, value] => Command::Set { value: bytes(value) },
        ["incr", _] => Command::IncrBy { by: 1 },
        ["del", _] => Command::Del,
        ["sadd", _, member] => Command::SAdd { members: vec![bytes(member)] },
        ["srem", _, member] => Command::SRem { members: vec![bytes(member)] },
        ["smembers", _] => Command::SMembers,
        ["siblings", _] => Command::Siblings,
        _ => panic!("what is {words:?}?"),
    };
    let request = Request::Data { key: bytes(rest[1]), command, r, w, explain };
    match world.ask(index, request) {
        Response::Data(Ok(outcome)) => {
            let mut said = in_words(&outcome.reply);
            if outcome.hidden > 0 {
                write!(said, " ({} hidden)", outcome.hidden).expect("writing to memory does not fail");
            }
            if let Some(trace) = outcome.trace {
                write!(said, "\n{}", trace.verdict).expect("writing to memory does not fail");
            }
            said
        }
        Response::Data(Err(Failure { kind, why, state, .. })) => format!("{kind:?}: {why}; {state}"),
        other => format!("{other:?}"),
    }
}

fn in_words(reply: &Reply) -> String {
    let text = |bytes: &ByteBuf| String::from_utf8_lossy(bytes).into_owned();
    match reply {
        Reply::Nil => "nil".into(),
        Reply::Ok => "OK".into(),
        Reply::Int(n) => n.to_string(),
        Reply::Bytes(bytes) => text(bytes),
        Reply::Set(members) => format!("{{{}}}", members.iter().map(text).collect::<Vec<_>>().join(" ")),
        Reply::Siblings(all) => all.iter().map(|s| text(&s.value)).collect::<Vec<_>>().join(" | "),
        other => format!("{other:?}"),
    }
}
