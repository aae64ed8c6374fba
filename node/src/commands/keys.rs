//! Commands on keys of any type, and scans.

use super::call::{key_and_rest, on_each, only, sum};
use super::cursors::Place;
use super::failure::{failure_frame, mismatch};
use super::session::{Session, frame_of};
use super::{ALL_KEYS, Arguments, BASE, Group, Kind, ONE_KEY, Plan, Run, Spec, elements, upper};
use crate::glob::Pattern;
use crate::resp::frame::Frame;
use futures::{StreamExt, TryStreamExt, stream};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::request::{Failure, Request, Response, ScanCursor};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Keys looked at by each step of a `SCAN`.
const STEP_MAX: usize = 1_000;
/// Types asked for at once when a `SCAN` wants keys of one type.
const TYPES_AT_ONCE: usize = 64;
/// How long a `SCAN` looks for keys that match, and a `DBSIZE` counts.
const SCAN_TIME: Duration = Duration::from_secs(1);
const DBSIZE_TIME: Duration = Duration::from_secs(10);

const READ: Spec = Spec { group: Group::Generic, kind: Kind::Read, keys: ONE_KEY, ..BASE };
const REMOVE: Spec = Spec {
    kind: Kind::Write,
    arity: -2,
    keys: ALL_KEYS,
    usage: "key [key ...]",
    caveat: "deletes what this peer has seen; a concurrent write survives. Not atomic over several keys",
    run: Run::Data { plan: remove, combine: sum },
    ..READ
};

const TTL: Spec = Spec {
    arity: 2,
    usage: "key",
    summary: "-1 if the key exists, -2 if not",
    caveat: "keys do not expire yet",
    run: Run::Data { plan: |keys| on_each(keys, Command::Exists), combine: ttl },
    ..READ
};

pub const SPECS: &[Spec] = &[
    Spec { name: "del", summary: "Delete keys", example: "del greeting", ..REMOVE },
    Spec { name: "unlink", summary: "Delete keys; the same as DEL", example: "unlink greeting", ..REMOVE },
    Spec {
        name: "exists",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "How many of the keys exist",
        example: "exists greeting visits",
        run: Run::Data { plan: |keys| on_each(keys, Command::Exists), combine: sum },
        ..READ
    },
    Spec {
        name: "touch",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "How many of the keys exist; the same as EXISTS",
        caveat: "peers do not note when a key was last used",
        example: "touch greeting visits",
        run: Run::Data { plan: |keys| on_each(keys, Command::Exists), combine: sum },
        ..READ
    },
    Spec {
        name: "type",
        arity: 2,
        usage: "key",
        summary: "The type of a key: string, set, hash or none",
        caveat: "of two types written concurrently under one key one is served until it is deleted",
        example: "type team",
        run: Run::Data { plan: |args| Ok(vec![(key_and_rest(args).0, Command::Type)]), combine: only },
        ..READ
    },
    Spec { name: "ttl", example: "ttl greeting", ..TTL },
    Spec { name: "pttl", example: "pttl greeting", ..TTL },
    Spec { name: "expiretime", example: "expiretime greeting", ..TTL },
    Spec { name: "pexpiretime", example: "pexpiretime greeting", ..TTL },
    Spec {
        name: "persist",
        summary: "0: no key has a time at which it ends",
        example: "persist greeting",
        run: Run::Data { plan: |keys| on_each(keys, Command::Exists), combine: persist },
        ..TTL
    },
    Spec {
        name: "scan",
        group: Group::Generic,
        kind: Kind::Read,
        arity: -2,
        usage: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        summary: "Go through the keys of the whole network, a page at a time",
        caveat: "begin at 0 and pass on the cursor of each answer until it is 0, at the same peer: others do not know it, \
                 nor does that one after a restart; a key may come twice",
        example: "scan 0 match user:* count 100",
        run: Run::Ask(|session, args| Box::pin(scan(session, args))),
        ..BASE
    },
    Spec {
        name: "dbsize",
        group: Group::Generic,
        kind: Kind::Read,
        arity: 1,
        summary: "Count the keys of the whole network",
        caveat: "goes through all of them; an estimate while others write. With a token: of its keys",
        example: "dbsize",
        run: Run::Ask(|session, _| Box::pin(dbsize(session))),
        ..BASE
    },
];

/// A key named twice is deleted, and counted, once.
fn remove(args: Arguments) -> Result<Plan, String> {
    let keys: BTreeSet<_> = args.into_iter().map(ByteBuf::from).collect();
    Ok(keys.into_iter().map(|key| (key, Command::Del)).collect())
}

fn ttl(replies: Vec<Reply>) -> Reply {
    match only(replies) {
        Reply::Int(0) => Reply::Int(-2),
        Reply::Int(_) => Reply::Int(-1),
        other => other,
    }
}

/// There is no expiry that could be taken away.
fn persist(replies: Vec<Reply>) -> Reply {
    match only(replies) {
        Reply::Int(_) => Reply::Int(0),
        other => other,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct ScanOptions {
    pattern: Option<Pattern>,
    count: usize,
    kind: Option<String>,
}

fn scan_options(words: &[Vec<u8>]) -> Result<ScanOptions, String> {
    let mut options = ScanOptions { pattern: None, count: 10, kind: None };
    for pair in words.chunks(2) {
        let [name, value] = pair else {
            return Err("ERR syntax error; an option of SCAN lacks its value".into());
        };
        match upper(name).as_str() {
            "MATCH" => options.pattern = Some(Pattern::new(value)?),
            "COUNT" => options.count = elements::count(value)? as usize,
            "TYPE" => options.kind = Some(upper(value).to_ascii_lowercase()),
            _ => return Err("ERR syntax error; SCAN knows MATCH, COUNT and TYPE".into()),
        }
    }
    Ok(options)
}

async fn scan(session: &mut Session, args: Arguments) -> Frame {
    let number = match elements::cursor(&args[0]) {
        Ok(number) => number,
        Err(line) => return Frame::error(line),
    };
    let options = match scan_options(&args[1..]) {
        Ok(options) => options,
        Err(line) => return Frame::error(line),
    };
    let Some(cursor) = session.server.cursors().keys(number) else {
        return Frame::error(
            "ERR this peer does not know that cursor, or has forgotten it; begin again at 0",
        );
    };
    match scan_page(session, cursor, &options).await {
        Ok((keys, next)) => {
            let next = next.map_or(0, |cursor| session.server.cursors().keep(Place::Keys(cursor), number));
            let keys = keys.into_iter().map(|key| Frame::Bulk(key.into_vec())).collect();
            Frame::Array(vec![Frame::bulk(next.to_string()), Frame::Array(keys)])
        }
        Err(failure) => failure_frame(&failure),
    }
}

/// Goes on until `count` keys were found, whether they match or not, so that each answer is quick.
async fn scan_page(
    session: &Session,
    mut cursor: ScanCursor,
    options: &ScanOptions,
) -> Result<(Vec<ByteBuf>, Option<ScanCursor>), Failure> {
    let began = Instant::now();
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let (keys, next) = step(session, cursor, (options.count - seen).min(STEP_MAX)).await?;
        seen += keys.len();
        let matching = |key: &ByteBuf| {
            session.sees(key) && options.pattern.as_ref().is_none_or(|pattern| pattern.matches(key))
        };
        found.extend(of_type(session, keys.into_iter().filter(matching).collect(), &options.kind).await?);
        match next {
            Some(next) if seen < options.count && began.elapsed() < SCAN_TIME => cursor = next,
            next => return Ok((found, next)),
        }
    }
}

async fn step(
    session: &Session,
    cursor: ScanCursor,
    limit: usize,
) -> Result<(Vec<ByteBuf>, Option<ScanCursor>), Failure> {
    let limit = u16::try_from(limit).unwrap_or(u16::MAX);
    match session.server.peer.request(Request::Scan { cursor, limit }).await {
        Response::Keys { keys, next } => Ok((keys, next)),
        Response::Failed(failure) => Err(failure),
        _ => Err(mismatch()),
    }
}

async fn of_type(
    session: &Session,
    keys: Vec<ByteBuf>,
    kind: &Option<String>,
) -> Result<Vec<ByteBuf>, Failure> {
    let Some(kind) = kind else { return Ok(keys) };
    let types = stream::iter(keys)
        .map(|key| async move {
            let outcome = session.ask(key.clone(), Command::Type, false).await?;
            Ok((key, frame_of(outcome.reply)))
        })
        .buffered(TYPES_AT_ONCE);
    let typed: Vec<(ByteBuf, Frame)> = types.try_collect().await?;
    let wanted = Frame::Simple(kind.clone());
    Ok(typed.into_iter().filter(|(_, kind)| *kind == wanted).map(|(key, _)| key).collect())
}

/// How many keys there are: counted for so long, and if there are more, judged by the partitions that were gone through,
/// over which keys are spread evenly. `None`: not even the first could be.
pub(super) async fn estimate(session: &Session, time: Duration) -> Option<u64> {
    let deadline = tokio::time::Instant::now() + time;
    let (mut cursor, mut count) = (ScanCursor::default(), 0);
    while let Ok(Ok((keys, next))) =
        tokio::time::timeout_at(deadline, step(session, cursor.clone(), STEP_MAX)).await
    {
        count += keys.iter().filter(|key| session.sees(key)).count() as u64;
        let Some(next) = next else { return Some(count) };
        cursor = next;
    }
    judged(count, &cursor, session.server.peer.facts().genesis.partitions)
}

/// How many keys there are where so many come before the cursor.
fn judged(count: u64, cursor: &ScanCursor, partitions: u16) -> Option<u64> {
    let all = u64::from(partitions);
    let done = u64::from(cursor.partition) + u64::from(cursor.after.is_some());
    (done > 0).then(|| count * all / done.min(all))
}

async fn dbsize(session: &mut Session) -> Frame {
    let began = Instant::now();
    let (mut cursor, mut count) = (ScanCursor::default(), 0);
    loop {
        match step(session, cursor, STEP_MAX).await {
            Ok((keys, next)) => {
                count += keys.iter().filter(|key| session.sees(key)).count();
                let Some(next) = next else { return Frame::Int(i64::try_from(count).unwrap_or(i64::MAX)) };
                cursor = next;
            }
            Err(failure) => return failure_frame(&failure),
        }
        if began.elapsed() > DBSIZE_TIME {
            return Frame::error(format!(
                "ERR counting takes longer than {} s, at {count} keys so far; use SCAN with a large COUNT",
                DBSIZE_TIME.as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_not_reached_are_judged_by_those_that_were() {
        let judged = |partition, after: Option<&str>| {
            judged(500, &ScanCursor { partition, after: after.map(ByteBuf::from) }, 256)
        };
        assert_eq!(judged(64, None), Some(2_000));
        assert_eq!(judged(63, Some("k")), Some(2_000));
        assert_eq!(judged(255, Some("k")), Some(500));
        assert_eq!(judged(0, None), None);
    }
}
