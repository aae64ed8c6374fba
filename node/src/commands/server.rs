//! Commands about the peer as a server.

use super::connection::{REDIS_VERSION, no_cluster};
use super::session::Session;
use super::{
    Arguments, BASE, Group, Kind, Run, Spec, help, introspection, keys, refused, subcommand,
    unknown_subcommand, upper,
};
use crate::glob::Pattern;
use crate::render::{StatusPage, plain};
use crate::resp::frame::Frame;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long keys are counted for `INFO`, which monitors ask for every few seconds.
const KEYSPACE_TIME: Duration = Duration::from_millis(250);

/// Most patterns of one `CONFIG GET`: many times the settings that there are.
const PATTERNS_MAX: usize = 256;

const LOCAL: Spec = Spec { group: Group::Server, ..BASE };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "help",
        arity: -1,
        usage: "[command | @group]",
        summary: "What commands there are and how each is used",
        example: "help set",
        run: Run::Here(help::help),
        ..LOCAL
    },
    Spec {
        name: "command",
        arity: -1,
        usage: "[COUNT | LIST | INFO [command ...] | DOCS [command ...] | GETKEYS command [argument ...] | HELP]",
        summary: "The table of commands, for programs",
        example: "command count",
        run: Run::Here(introspection::command),
        ..LOCAL
    },
    Spec {
        name: "info",
        arity: -1,
        usage: "[section ...]",
        summary: "Facts and counts of this peer, in the shape of Redis",
        caveat: "STATUS tells more of the network. Keyspace goes through the keys, so it is there only if it is asked \
                 for by name or with ALL; of more keys than can be counted in a quarter of a second it is an estimate",
        example: "info server",
        run: Run::Ask(|session, args| Box::pin(info(session, args))),
        ..LOCAL
    },
    Spec {
        name: "config",
        kind: Kind::Admin,
        arity: -2,
        usage: "GET pattern [pattern ...] | HELP",
        summary: "Settings that Redis clients ask for",
        caveat: "starling config show prints the peer's own settings",
        example: "config get maxclients",
        run: Run::Here(config),
        ..LOCAL
    },
    Spec {
        name: "time",
        arity: 1,
        summary: "The clock of this peer: seconds and microseconds since 1970",
        example: "time",
        run: Run::Here(time),
        ..LOCAL
    },
    Spec {
        name: "cluster",
        arity: -2,
        usage: "INFO",
        summary: "Refused: for Redis Cluster. Here any peer takes any command",
        example: "cluster info",
        run: Run::Here(|_, _| no_cluster()),
        ..LOCAL
    },
];

fn time(_: &mut Session, _: Arguments) -> Frame {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Frame::Array(vec![Frame::bulk(now.as_secs().to_string()), Frame::bulk(now.subsec_micros().to_string())])
}

fn config(session: &mut Session, args: Arguments) -> Frame {
    let (word, patterns) = subcommand(args);
    match (word.as_str(), patterns.as_slice()) {
        ("GET", [_, ..]) if patterns.len() > PATTERNS_MAX => {
            Frame::error(format!("ERR CONFIG GET takes at most {PATTERNS_MAX} patterns; '*' is all settings"))
        }
        ("GET", [_, ..]) => {
            let read = patterns.iter().map(|pattern| Pattern::new(&pattern.to_ascii_lowercase()));
            match read.collect::<Result<Vec<_>, _>>() {
                Ok(patterns) => settings_like(session, &patterns),
                Err(line) => Frame::error(line),
            }
        }
        ("HELP", []) => help::lines("config"),
        ("SET" | "REWRITE" | "RESETSTAT", _) => Frame::error(refused::line(
            &format!("CONFIG {word}"),
            "settings are read when the peer starts",
            "starling config show lists them; change one and restart",
        )),
        _ => unknown_subcommand("config", &word),
    }
}

fn settings_like(session: &Session, patterns: &[Pattern]) -> Frame {
    let wanted = |name: &str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
    let settings = settings(session).into_iter().filter(|(name, _)| wanted(name));
    Frame::Map(settings.map(|(name, value)| (Frame::bulk(name), Frame::bulk(value))).collect())
}

/// In Redis' names: what its clients and its benchmark ask for.
fn settings(session: &Session) -> Vec<(&'static str, String)> {
    let facts = session.server.peer.facts();
    vec![
        ("appendonly", "yes".into()),
        ("bind", facts.resp.ip().to_string()),
        ("databases", "1".into()),
        ("dir", std::path::absolute(&facts.dir).unwrap_or_else(|_| facts.dir.clone()).display().to_string()),
        ("maxclients", session.server.clients_max.to_string()),
        ("maxmemory", "0".into()),
        ("maxmemory-policy", "noeviction".into()),
        ("port", facts.resp.port().to_string()),
        ("proto-max-bulk-len", crate::resp::request::ARGUMENT_MAX.to_string()),
        ("save", String::new()),
        ("timeout", "0".into()),
    ]
}

type Section = (&'static str, Vec<(&'static str, String)>);

async fn info(session: &mut Session, args: Arguments) -> Frame {
    let wanted: Vec<String> = args.iter().map(|word| upper(word)).collect();
    let all = wanted.is_empty()
        || wanted.iter().any(|word| matches!(word.as_str(), "ALL" | "DEFAULT" | "EVERYTHING"));
    let mut text = String::new();
    let mut sections = sections(session);
    if wanted.iter().any(|word| matches!(word.as_str(), "KEYSPACE" | "ALL" | "EVERYTHING")) {
        sections.push(("Keyspace", keyspace(session).await));
    }
    sections.push(starling(session).await);
    for (name, facts) in sections {
        if !all && !wanted.contains(&name.to_ascii_uppercase()) {
            continue;
        }
        write!(text, "{}# {name}\r\n", if text.is_empty() { "" } else { "\r\n" }).expect(MEMORY);
        facts.iter().for_each(|(fact, value)| write!(text, "{fact}:{value}\r\n").expect(MEMORY));
    }
    Frame::Verbatim(text)
}

const MEMORY: &str = "writing to memory does not fail";

fn sections(session: &Session) -> Vec<Section> {
    let server = &session.server;
    let facts = server.peer.facts();
    let up = facts.started.elapsed().unwrap_or_default().as_secs();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed).to_string();
    vec![
        (
            "Server",
            vec![
                ("redis_version", REDIS_VERSION.into()),
                ("redis_mode", "standalone".into()),
                ("starling_version", env!("CARGO_PKG_VERSION").into()),
                ("os", std::env::consts::OS.into()),
                ("arch_bits", usize::BITS.to_string()),
                ("process_id", std::process::id().to_string()),
                ("tcp_port", facts.resp.port().to_string()),
                ("uptime_in_seconds", up.to_string()),
                ("uptime_in_days", (up / 86_400).to_string()),
            ],
        ),
        (
            "Clients",
            vec![
                ("connected_clients", server.clients().len().to_string()),
                ("maxclients", server.clients_max.to_string()),
                ("blocked_clients", "0".into()),
            ],
        ),
        ("Memory", vec![("used_memory", resident().to_string()), ("maxmemory", "0".into())]),
        ("Persistence", vec![("loading", "0".into()), ("aof_enabled", "1".into())]),
        (
            "Stats",
            vec![
                ("total_connections_received", count(&server.totals.connections)),
                ("rejected_connections", count(&server.totals.refused)),
                ("total_commands_processed", count(&server.totals.commands)),
            ],
        ),
        ("Replication", vec![("role", "master".into()), ("connected_slaves", "0".into())]),
        ("Cluster", vec![("cluster_enabled", "0".into())]),
    ]
}

/// As Redis, no line for a database without keys.
async fn keyspace(session: &Session) -> Vec<(&'static str, String)> {
    match keys::estimate(session, KEYSPACE_TIME).await {
        None | Some(0) => Vec::new(),
        Some(count) => vec![("db0", format!("keys={count},expires=0,avg_ttl=0"))],
    }
}

async fn starling(session: &Session) -> Section {
    let facts = session.server.peer.facts();
    let mut lines = vec![
        ("peer_id", facts.peer_id.clone()),
        ("peer_name", plain(&facts.name)),
        ("network", plain(&facts.genesis.name)),
        ("n", facts.genesis.n.to_string()),
        ("r", facts.genesis.r.to_string()),
        ("w", facts.genesis.w.to_string()),
    ];
    if let Ok(status) = session.server.status().await {
        let page = StatusPage::new(&status);
        lines.extend([
            ("members_alive", page.alive.to_string()),
            ("members", page.all.to_string()),
            ("partitions_owned", page.owned.to_string()),
            ("partitions_held_for_others", page.held_for_others.to_string()),
            ("operations", page.operations.to_string()),
            ("forged_records", page.forged.to_string()),
        ]);
    }
    ("Starling", lines)
}

/// Bytes of memory that this process occupies; 0 where the system does not tell.
fn resident() -> u64 {
    // proc(5): the second number of statm is the resident set, in pages of 4 KiB on the systems we build for.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
