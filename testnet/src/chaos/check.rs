//! What must be true in the end: all peers agree, nothing acknowledged is lost, nothing is there that nobody wrote,
//! and counters are exact but for what is unknown.
//!
//! What a removal has seen may be there again, where its addition was handed to a second peer after silence and
//! the first carried it out later: from outside that cannot be told from a resurrection. So it is counted only; in
//! the simulator, which sees every event, nothing that was removed may come back.

use super::clients::{Clients, KEYS};
use crate::local::{Error, Interrupt, Missed, Network, resp, until};
use crate::sim::checkers::counters;
use crate::sim::clients::{Op, Outcome};
use starling_crdt::{Command, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long peers may take to agree, and each of them to acknowledge writes again.
const AGREE_MAX: Duration = Duration::from_secs(60);

/// Two operations so far apart have stamps in this order.
const APART: Duration = Duration::from_millis(50);

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

/// Every peer acknowledges writes again: one that refuses all of them never loses any.
pub fn refusing(
    network: &Network,
    clients: &Clients,
    interrupt: &Interrupt,
) -> Result<Option<String>, Error> {
    let end = Instant::now() + AGREE_MAX;
    for seat in network.seats() {
        match until(end, interrupt, || clients.write_by(seat.resp).then_some(())) {
            Ok(()) => {}
            Err(Missed::Interrupted) => return Err(Error::Interrupted),
            Err(_) => {
                let seconds = AGREE_MAX.as_secs();
                return Ok(Some(format!("{} acknowledges no writes after {seconds} s", seat.name)));
            }
        }
    }
    Ok(None)
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
        for (kind, verb) in [("s", "SMEMBERS"), ("n", "GET"), ("r", "GET"), ("h", "HGETALL")] {
            let key = format!("{kind}{key}");
            let found = resp::list(port, &[verb, &key]).ok()?;
            let found = if kind == "h" { fields(&found) } else { found };
            all.insert(key, found.into_iter().collect());
        }
    }
    Some(all)
}

/// The fields of a hash. Each was written with its name for a value; one that has another is named with it.
fn fields(found: &[String]) -> Vec<String> {
    let pairs = found.chunks(2).map(|pair| match pair {
        [field, value] if field == value => field.clone(),
        other => other.join("="),
    });
    pairs.collect()
}

fn judge(contents: &Contents, ops: &[Op]) -> Vec<String> {
    let judged = contents.iter().map(|(key, found)| match key.as_bytes().first() {
        Some(b's' | b'h') => set(key, found, ops),
        Some(b'n') => counter(key, found, ops),
        _ => register(key, found, ops),
    });
    judged.filter_map(Result::err).collect()
}

fn counter(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let value = found.first().map_or(Ok(0), |text| text.parse());
    counters::check(ops, key, value.map_err(|_| format!("{key} is {found:?}"))?)
}

/// A string shows the last that was written, by the clock, which is the same for all here. Of two that were under way at
/// once it may be either.
fn register(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let tried = || ops.iter().filter(|op| op.key == key && op.outcome != Outcome::Refused);
    // A removal whose outcome is not known may come at any time.
    let removed = |set: &Op| tried().any(|op| op.command == Command::Del && !comes_after(set, op));
    let is_kept = |op: &&Op| {
        matches!((&op.command, &op.outcome), (Command::Set { .. }, Outcome::Ok(_))) && !removed(op)
    };
    let mut kept = tried().filter(is_kept);
    let Some(value) = found.first() else {
        return match kept.next() {
            Some(_) => Err(format!("{key} was written, acknowledged, and is gone")),
            None => Ok(()),
        };
    };
    let wrote = |op: &&Op| matches!(&op.command, Command::Set { value: set } if set == value.as_bytes());
    let shown = tried().find(wrote).ok_or(format!("{key} is {value}, which nobody wrote"))?;
    match kept.find(|op| comes_after(op, shown)) {
        Some(Op { command, began, .. }) => Err(format!(
            "{key} is {value}, and {command:?}, begun at {began:?} when that was acknowledged, was too"
        )),
        None => Ok(()),
    }
}

/// Whether one operation was begun when the other had been acknowledged. Of what was not, it may take effect later.
fn comes_after(op: &Op, other: &Op) -> bool {
    let answered = other.answered.filter(|_| matches!(other.outcome, Outcome::Ok(_)));
    answered.is_some_and(|answered| op.began > answered + APART)
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
        Command::SRem { members: names } | Command::HDel { fields: names } => {
            Some((&op.key, String::from_utf8_lossy(names.first()?)))
        }
        _ => None,
    });
    removed.filter(|(key, name)| contents.get(*key).is_some_and(|found| found.contains(&**name))).count()
}

fn set(key: &str, found: &BTreeSet<String>, ops: &[Op]) -> Result<(), String> {
    let mut tried: BTreeMap<String, Tried> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.key == key && op.outcome != Outcome::Refused) {
        let (names, is_added): (Vec<_>, _) = match &op.command {
            Command::SAdd { members } => (members.iter().collect(), true),
            Command::HSet { entries } => (entries.iter().map(|(field, _)| field).collect(), true),
            Command::SRem { members: names } | Command::HDel { fields: names } => {
                (names.iter().collect(), false)
            }
            _ => continue,
        };
        for name in names {
            let tried = tried.entry(String::from_utf8_lossy(name).into_owned()).or_default();
            if is_added {
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
    use starling_protocol::time::Time;

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

    fn write(command: Command, outcome: Outcome, seconds: [u64; 2]) -> Op {
        let [began, answered] = seconds.map(|second| Time(second * 1_000_000));
        Op::done("r0".into(), command, outcome).between(began, answered)
    }

    #[test]
    fn a_string_shows_what_was_written_last() {
        let set = |value: &str, outcome, seconds| {
            write(Command::Set { value: ByteBuf::from(value) }, outcome, seconds)
        };
        let (ok, shows) =
            (Outcome::Ok(Reply::Ok), |value: &str, ops: &[Op]| register("r0", &found(&[value]), ops).is_ok());
        let ops = [set("1", ok.clone(), [1, 2]), set("2", ok.clone(), [3, 4]), set("3", ok.clone(), [3, 5])];
        assert!(!shows("1", &ops), "it was replaced a second after it was acknowledged");
        assert!(shows("2", &ops) && shows("3", &ops) && !shows("4", &ops));
        assert!(register("r0", &found(&[]), &ops).is_err());
        let late = [set("1", Outcome::Unknown, [1, 2]), set("2", ok, [3, 4])];
        assert!(shows("1", &late), "it may have been carried out after the other");
    }

    #[test]
    fn a_string_is_gone_only_if_it_was_removed_afterwards_or_may_have_been() {
        let set =
            |seconds| write(Command::Set { value: ByteBuf::from("1") }, Outcome::Ok(Reply::Ok), seconds);
        let del = |outcome, seconds| write(Command::Del, outcome, seconds);
        let gone = |ops: &[Op]| register("r0", &found(&[]), ops).is_ok();
        let ok = Outcome::Ok(Reply::Int(1));
        assert!(gone(&[set([1, 2]), del(ok.clone(), [3, 4])]));
        assert!(!gone(&[del(ok, [1, 2]), set([3, 4])]));
        assert!(gone(&[del(Outcome::Unknown, [1, 2]), set([3, 4])]));
        assert!(!gone(&[set([1, 2]), del(Outcome::Refused, [3, 4])]));
    }

    #[test]
    fn a_field_with_the_value_of_another_is_found() {
        let put = |name: &str| {
            let entries = vec![(ByteBuf::from(name), ByteBuf::from(name))];
            Op::done("h0".into(), Command::HSet { entries }, Outcome::Ok(Reply::Int(1)))
        };
        let judged = |words: [&str; 4]| {
            let found = fields(&words.map(str::to_owned)).into_iter().collect();
            set("h0", &found, &[put("1"), put("2")])
        };
        assert!(judged(["1", "1", "2", "2"]).is_ok());
        assert!(judged(["1", "1", "2", "1"]).is_err());
    }
}
