//! What must be true in the end: all peers agree, nothing acknowledged is lost, nothing is there that nobody wrote,
//! and counters are exact but for what is unknown.
//!
//! What a removal has seen may be there again, where its addition was handed to a second peer after silence and
//! the first carried it out later: from outside that cannot be told from a resurrection. So it is counted only; in
//! the simulator, which sees every event, nothing that was removed may come back.

use super::clients::KEYS;
use crate::local::{Error, Interrupt, Missed, Network, resp, until};
use crate::sim::checkers::counters;
use crate::sim::clients::{Op, Outcome};
use starling_crdt::{Command, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long peers may take to agree.
const AGREE_MAX: Duration = Duration::from_secs(60);

/// What one peer answers for every key.
type Contents = BTreeMap<String, BTreeSet<String>>;

/// What there is in the end.
pub struct Verdict {
    /// How long the peers took to agree.
    pub agreed: Option<Duration>,
    pub found: Vec<String>,
    /// Elements that a removal had seen, and that are there.
    pub came_back: usize,
}

pub fn all(network: &Network, ops: &[Op], interrupt: &Interrupt) -> Result<Verdict, Error> {
    let began = Instant::now();
    let agreed = until(began + AGREE_MAX, interrupt, || {
        let all: Option<Vec<_>> = network.seats().iter().map(|seat| contents(seat.resp)).collect();
        let mut all = all?.into_iter();
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    });
    match agreed {
        Ok(contents) => {
            let (agreed, found) = (Some(began.elapsed()), judge(&contents, ops));
            Ok(Verdict { agreed, found, came_back: came_back(&contents, ops) })
        }
        Err(Missed::Interrupted) => Err(Error::Interrupted),
        Err(_) => {
            let found = vec![format!("the peers do not agree after {} s", AGREE_MAX.as_secs())];
            Ok(Verdict { agreed: None, found, came_back: 0 })
        }
    }
}

fn contents(port: u16) -> Option<Contents> {
    let mut all = Contents::new();
    for key in 0..KEYS {
        for (kind, verb) in [("s", "SMEMBERS"), ("n", "GET"), ("r", "GET")] {
            let key = format!("{kind}{key}");
            let found = resp::list(port, &[verb, &key]).ok()?;
            all.insert(key, found.into_iter().collect());
        }
    }
    Some(all)
}

fn judge(contents: &Contents, ops: &[Op]) -> Vec<String> {
    let judged = contents.iter().map(|(key, found)| match key.as_bytes().first() {
        Some(b's') => set(key, found, ops),
        Some(b'n') => counter(key, found, ops),
        _ => register(key, found, ops),
    });
    judged.filter_map(Result::err).collect()
}

fn counter(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let value = found.first().map_or(Ok(0), |text| text.parse());
    counters::check(ops, key, value.map_err(|_| format!("{key} is {found:?}"))?)
}

fn register(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let wrote = |value: &String| {
        let is = |op: &Op| matches!(&op.command, Command::Set { value: set } if set == value.as_bytes());
        ops.iter().any(|op| op.key == key && op.outcome != Outcome::Refused && is(op))
    };
    let acknowledged = |op: &Op| op.key == key && matches!(op.outcome, Outcome::Ok(_));
    match found.first() {
        Some(value) if !wrote(value) => Err(format!("{key} is {value}, which nobody wrote")),
        None if ops.iter().any(acknowledged) => Err(format!("{key} was written, acknowledged, and is gone")),
        _ => Ok(()),
    }
}

/// Of one element, what was tried.
#[derive(Default)]
struct Tried {
    added: bool,
    acknowledged: bool,
    removing: bool,
}

fn came_back(contents: &Contents, ops: &[Op]) -> usize {
    let seen = ops.iter().filter(|op| op.outcome == Outcome::Ok(Reply::Int(1)));
    let removed = seen.filter_map(|op| match &op.command {
        Command::SRem { members } => Some((&op.key, String::from_utf8_lossy(members.first()?))),
        _ => None,
    });
    removed.filter(|(key, name)| contents.get(*key).is_some_and(|found| found.contains(&**name))).count()
}

fn set(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let mut tried: BTreeMap<String, Tried> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.key == key && op.outcome != Outcome::Refused) {
        let (Command::SAdd { members } | Command::SRem { members }) = &op.command else { continue };
        for name in members {
            let tried = tried.entry(String::from_utf8_lossy(name).into_owned()).or_default();
            if matches!(op.command, Command::SAdd { .. }) {
                tried.added = true;
                tried.acknowledged |= matches!(op.outcome, Outcome::Ok(_));
            } else {
                tried.removing = true;
            }
        }
    }
    for (name, tried) in &tried {
        let is_there = found.contains(name);
        if tried.acknowledged && !tried.removing && !is_there {
            return Err(format!("{key}: {name} was added, acknowledged, and is lost"));
        }
    }
    match found.iter().find(|name| tried.get(*name).is_none_or(|tried| !tried.added)) {
        Some(name) => Err(format!("{key} has {name}, which nobody added")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_bytes::ByteBuf;

    fn add(name: &str, outcome: Outcome) -> Op {
        Op::done("s0".into(), Command::SAdd { members: vec![ByteBuf::from(name)] }, outcome)
    }

    fn remove(name: &str, outcome: Outcome) -> Op {
        Op::done("s0".into(), Command::SRem { members: vec![ByteBuf::from(name)] }, outcome)
    }

    fn found(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let ops = [add("1", Outcome::Ok(Reply::Int(1))), add("2", Outcome::Unknown)];
        assert!(set("s0", &found(&["1"]), &ops).is_ok() && set("s0", &found(&["1", "2"]), &ops).is_ok());
        assert!(set("s0", &found(&["2"]), &ops).is_err());
    }

    #[test]
    fn what_was_removed_may_be_gone_and_what_nobody_added_is_found() {
        let ops = [add("1", Outcome::Ok(Reply::Int(1))), remove("1", Outcome::Ok(Reply::Int(1)))];
        assert!(set("s0", &found(&[]), &ops).is_ok());
        let back = Contents::from([("s0".to_owned(), found(&["1"]))]);
        assert_eq!(came_back(&back, &ops), 1);
        let refused = [add("1", Outcome::Refused)];
        assert!(set("s0", &found(&["1"]), &refused).is_err());
    }
}
