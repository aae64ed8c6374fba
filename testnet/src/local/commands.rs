//! What can be done to a running testnet, in words.

use super::cut::Cut;
use super::error::Error;
use super::network::Network;
use super::{resp, table};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Every command: its name, what follows it, what it does.
const COMMANDS: [(&str, &str, &str); 9] = [
    ("status", "[--json]", "who runs, and what each sees of the others"),
    ("kill", "NAME..", "end at once, as kill -9 does"),
    ("restart", "NAME..", "stop if running, start again with the same data"),
    ("pause", "NAME..", "freeze; it answers nobody until resumed"),
    ("resume", "NAME..", "let it go on"),
    ("wipe", "NAME..", "replace its disk: all data gone, the identity kept"),
    ("add", "[NAME]", "one more peer joins"),
    ("partition", "NAME.. '|' NAME..", "cut the network between the groups"),
    ("heal", "", "undo the cut"),
];

/// Carries out one command; the answer is for people, or JSON where that was asked for.
pub fn run(network: &mut Network, words: &[String]) -> Result<String, Error> {
    let (verb, rest) = words.split_first().ok_or_else(|| Error::Words(help()))?;
    match verb.as_str() {
        "status" => status(network, rest),
        "kill" => each(network, verb, rest, kill),
        "restart" => each(network, verb, rest, restart),
        "pause" => each(network, verb, rest, pause),
        "resume" => each(network, verb, rest, resume),
        "wipe" => each(network, verb, rest, wipe),
        "add" => add(network, rest),
        "partition" => partition(network, rest),
        "heal" => heal(network, rest),
        "help" => Ok(help()),
        _ => Err(Error::Words(format!("there is no command {verb}\n{}", help()))),
    }
}

fn help() -> String {
    let lines =
        COMMANDS.iter().map(|(name, args, what)| format!("  {:<28} {what}", format!("{name} {args}")));
    format!("what can be done to a testnet:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn usage(verb: &str) -> Error {
    let args = COMMANDS.iter().find(|(name, ..)| *name == verb).map_or("", |(_, args, _)| args);
    Error::Words(format!("usage: {verb} {args}"))
}

/// Does the same to several peers, after making sure that all of them exist.
fn each(
    network: &mut Network,
    verb: &str,
    names: &[String],
    act: fn(&mut Network, usize) -> Result<String, Error>,
) -> Result<String, Error> {
    if names.is_empty() {
        return Err(usage(verb));
    }
    let places = names.iter().map(|name| network.find(name)).collect::<Result<Vec<_>, _>>()?;
    let done = places.into_iter().map(|index| act(network, index)).collect::<Result<Vec<_>, _>>()?;
    Ok(done.join("\n"))
}

/// Its name, if it runs.
fn running(network: &mut Network, index: usize) -> Result<String, Error> {
    let name = network.seats()[index].name.clone();
    if network.is_running(index) {
        return Ok(name);
    }
    let ended = network.ended(index);
    Err(Error::Words(format!("{name} does not run ({ended}); start it with: restart {name}")))
}

fn kill(network: &mut Network, index: usize) -> Result<String, Error> {
    let name = running(network, index)?;
    network.kill(index);
    Ok(format!("{name} killed"))
}

fn restart(network: &mut Network, index: usize) -> Result<String, Error> {
    let was = network.is_running(index);
    network.stop(index);
    network.start(index)?;
    let seat = &network.seats()[index];
    let what = if was { "restarted" } else { "started" };
    Ok(format!("{} {what}; it answers at {}", seat.name, seat.resp_address()))
}

fn pause(network: &mut Network, index: usize) -> Result<String, Error> {
    let name = running(network, index)?;
    network.pause(index);
    Ok(format!("{name} paused; undo with: resume {name}"))
}

fn resume(network: &mut Network, index: usize) -> Result<String, Error> {
    let name = running(network, index)?;
    if !network.is_paused(index) {
        return Err(Error::Words(format!("{name} is not paused")));
    }
    network.resume(index)?;
    Ok(format!("{name} goes on"))
}

fn wipe(network: &mut Network, index: usize) -> Result<String, Error> {
    let was_running = network.is_running(index);
    network.kill(index);
    network.wipe(index)?;
    let name = network.seats()[index].name.clone();
    if !was_running {
        return Ok(format!("{name} wiped; start it with: restart {name}"));
    }
    network.start(index)?;
    Ok(format!("{name} wiped and started again, empty; the others fill it"))
}

fn add(network: &mut Network, rest: &[String]) -> Result<String, Error> {
    if rest.len() > 1 {
        return Err(usage("add"));
    }
    let index = network.add(rest.first().map(String::as_str))?;
    let is_in = network.await_member(index)?;
    let seat = &network.seats()[index];
    let now =
        if is_in { "it is a member" } else { "it is still being filled; status shows when it is a member" };
    Ok(format!("{} added at {}; {now}", seat.name, seat.resp_address()))
}

fn partition(network: &mut Network, rest: &[String]) -> Result<String, Error> {
    if rest.is_empty() {
        return Err(usage("partition"));
    }
    let cut = Cut::parse(rest, &network.names())?;
    let text = format!("cut {cut}; undo with heal");
    network.set_cut(Some(cut))?;
    Ok(text)
}

fn heal(network: &mut Network, rest: &[String]) -> Result<String, Error> {
    if !rest.is_empty() {
        return Err(usage("heal"));
    }
    let was = network.cut().map(ToString::to_string);
    network.set_cut(None)?;
    Ok(was.map_or_else(|| "nothing was cut".into(), |cut| format!("healed {cut}")))
}

fn status(network: &mut Network, rest: &[String]) -> Result<String, Error> {
    let status = describe(network);
    match rest {
        [] => Ok(table::render(&status)),
        [flag] if flag == "--json" => Ok(status.to_string()),
        _ => Err(usage("status")),
    }
}

/// One peer, for programs.
#[derive(Serialize)]
struct PeerView<'a> {
    name: &'a str,
    peer_id: Option<&'a str>,
    /// `None`: it does not run.
    pid: Option<u32>,
    resp: String,
    dir: PathBuf,
    #[serde(flatten)]
    state: Option<StateView>,
}

#[derive(Serialize)]
struct StateView {
    /// `alive`, `paused`, `silent`, or how it ended.
    state: String,
    /// What it sees of all, by name; `None`: it was not asked or did not answer.
    seen: Option<Value>,
}

/// The object of `up --json`.
pub fn peers(network: &mut Network) -> Value {
    let peers: Vec<Value> = (0..network.seats().len()).map(|index| peer(network, index, None)).collect();
    json!({ "peers": peers })
}

/// The same with each peer's state, what it sees of the others, and the cut.
fn describe(network: &mut Network) -> Value {
    let peers: Vec<Value> = (0..network.seats().len())
        .map(|index| {
            let state = state(network, index);
            peer(network, index, Some(state))
        })
        .collect();
    json!({ "peers": peers, "cut": network.cut().map(|cut| cut.groups().to_vec()) })
}

fn peer(network: &mut Network, index: usize, state: Option<StateView>) -> Value {
    let pid = network.pid(index);
    let seat = &network.seats()[index];
    let (resp, dir) = (seat.resp_address(), network.dir_of(seat));
    json!(PeerView { name: &seat.name, peer_id: seat.peer_id.as_deref(), pid, resp, dir, state })
}

fn state(network: &mut Network, index: usize) -> StateView {
    if !network.is_running(index) {
        return StateView { state: network.ended(index).into(), seen: None };
    }
    if network.is_paused(index) {
        return StateView { state: "paused".into(), seen: None };
    }
    let seen = seen_by(network.seats()[index].resp);
    StateView { state: if seen.is_some() { "alive" } else { "silent" }.into(), seen }
}

/// What a peer sees of all: `{"p2": "alive", ..}`.
fn seen_by(port: u16) -> Option<Value> {
    let status = resp::status(port).ok()?;
    let pairs = resp::members(&status).map(|m| (m.name.to_owned(), m.state().into()));
    Some(Value::Object(pairs.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Plan, Wishes};
    use super::super::process::Interrupt;
    use super::*;

    fn idle(dir: &std::path::Path) -> Network {
        let wishes = Wishes { peers: Some(3), base_port: Some(0), ..Wishes::default() };
        let plan = Plan::prepare(dir, &wishes).unwrap();
        Network::new(dir.to_owned(), "/bin/false".into(), plan, Interrupt::default())
    }

    fn say(network: &mut Network, line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        run(network, &words).map_err(|e| e.to_string())
    }

    #[test]
    fn unknown_words_are_told_what_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = idle(dir.path());
        for line in ["", "shake p1"] {
            let text = say(&mut network, line).unwrap_err();
            assert!(COMMANDS.iter().all(|(name, ..)| text.contains(name)), "{text}");
        }
        assert_eq!(say(&mut network, "kill").unwrap_err(), "usage: kill NAME..");
        assert!(say(&mut network, "kill p9").unwrap_err().contains("there are p1 p2 p3"));
        assert!(say(&mut network, "kill p1").unwrap_err().contains("restart p1"));
    }

    #[test]
    fn a_peer_that_does_not_start_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = idle(dir.path());
        let text = say(&mut network, "restart p1").unwrap_err();
        assert!(text.starts_with("p1 did not start: it ended at once"), "{text}");
        let text = say(&mut network, "restart p2").unwrap_err();
        assert!(text.starts_with("no peer runs that could let p2 in"), "{text}");
    }

    #[test]
    fn status_tells_of_those_that_do_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = idle(dir.path());
        let status: Value = serde_json::from_str(&say(&mut network, "status --json").unwrap()).unwrap();
        assert_eq!(status["peers"][1]["name"], "p2");
        assert_eq!(status["peers"][1]["state"], "not started");
        assert_eq!(status["peers"][1]["pid"], Value::Null);
        assert!(say(&mut network, "status").unwrap().contains("not started"));
    }

    #[test]
    fn wiping_keeps_who_the_peer_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = idle(dir.path());
        let home = dir.path().join("p2");
        std::fs::create_dir_all(home.join("store")).unwrap();
        for file in ["identity.key", "genesis.cbor", "members.cbor", "store/data"] {
            std::fs::write(home.join(file), "x").unwrap();
        }
        say(&mut network, "wipe p2").unwrap();
        assert!(home.join("identity.key").exists() && home.join("genesis.cbor").exists());
        assert!(!home.join("members.cbor").exists() && !home.join("store").exists());
    }
}
