//! Commands on strings and counters.

use super::call::{Combine, all_ok, each, integer, key_and_rest, on_each, only, pairs, wrong_arity_of};
use super::{ALL_KEYS, Arguments, BASE, Group, Keys, Kind, ONE_KEY, Plan, Run, Spec, refused, upper};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use std::collections::BTreeMap;

const READ: Spec = Spec { group: Group::String, kind: Kind::Read, keys: ONE_KEY, ..BASE };
const WRITE: Spec = Spec { kind: Kind::Write, ..READ };
const NOT_AN_ID: &str = "exact once all copies have met, but not a source of ids: peers that are cut off \
                         from each other can return the same number";

const PART: Spec = Spec {
    arity: 4,
    usage: "key start end",
    caveat: "the owners send the whole string; what is read often by parts is better kept in a hash (HSET, HGET)",
    run: Run::Shaped(part),
    ..READ
};

pub const SPECS: &[Spec] = &[
    Spec {
        name: "get",
        arity: 2,
        usage: "key",
        summary: "Read a string or a counter",
        caveat: "of values written concurrently it shows the latest; SIBLINGS lists all",
        example: "get greeting",
        run: Run::Data { plan: |args| Ok(vec![(key_and_rest(args).0, Command::Get)]), combine: only },
        ..READ
    },
    Spec {
        name: "set",
        arity: -3,
        usage: "key value [KEEPTTL]",
        summary: "Write a string",
        caveat: "overwrites all that this peer has seen; a value written elsewhere at the same time is kept \
                 and listed by SIBLINGS. NX, XX, GET and expiry are not supported",
        example: "set greeting hello",
        run: Run::Data { plan: set, combine: only },
        ..WRITE
    },
    Spec {
        name: "mget",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "Read several strings",
        caveat: "each key is read on its own; there is no common moment",
        example: "mget greeting visits",
        run: Run::Data { plan: |keys| on_each(keys, Command::Get), combine: each },
        ..READ
    },
    Spec {
        name: "mset",
        arity: -3,
        keys: Keys { first: 1, last: -1, step: 2 },
        usage: "key value [key value ...]",
        summary: "Write several strings",
        caveat: "not atomic: each key is written on its own, and after an error some may have been",
        example: "mset a 1 b 2",
        run: Run::Data { plan: mset, combine: all_ok },
        ..WRITE
    },
    Spec {
        name: "strlen",
        arity: 2,
        usage: "key",
        summary: "The length of a string in bytes",
        example: "strlen greeting",
        run: Run::Data { plan: |args| Ok(vec![(key_and_rest(args).0, Command::Strlen)]), combine: only },
        ..READ
    },
    Spec {
        name: "getrange",
        summary: "Read a part of a string, both ends included; -1 is its last byte",
        example: "getrange greeting 0 3",
        ..PART
    },
    Spec {
        name: "substr",
        summary: "Read a part of a string; GETRANGE under its old name",
        example: "substr greeting -3 -1",
        ..PART
    },
    Spec {
        name: "incr",
        arity: 2,
        usage: "key",
        summary: "Add one to a counter",
        caveat: NOT_AN_ID,
        example: "incr visits",
        run: Run::Data { plan: |args| add(args, false), combine: only },
        ..WRITE
    },
    Spec {
        name: "decr",
        arity: 2,
        usage: "key",
        summary: "Take one from a counter",
        caveat: NOT_AN_ID,
        example: "decr visits",
        run: Run::Data { plan: |args| add(args, true), combine: only },
        ..WRITE
    },
    Spec {
        name: "incrby",
        arity: 3,
        usage: "key increment",
        summary: "Add a whole number to a counter",
        caveat: NOT_AN_ID,
        example: "incrby visits 5",
        run: Run::Data { plan: |args| add(args, false), combine: only },
        ..WRITE
    },
    Spec {
        name: "decrby",
        arity: 3,
        usage: "key decrement",
        summary: "Take a whole number from a counter",
        caveat: NOT_AN_ID,
        example: "decrby visits 5",
        run: Run::Data { plan: |args| add(args, true), combine: only },
        ..WRITE
    },
];

fn set(args: Arguments) -> Result<Plan, String> {
    let (key, mut rest) = key_and_rest(args);
    let options = rest.split_off(1);
    options.iter().try_for_each(|option| refuse_option(&upper(option)))?;
    Ok(rest.pop().map(|value| (key, Command::Set { value })).into_iter().collect())
}

fn refuse_option(option: &str) -> Result<(), String> {
    match option {
        // There is no expiry that could be lost.
        "KEEPTTL" => Ok(()),
        "NX" | "XX" | "IFEQ" | "IFNE" => Err(refused::line(
            &format!("SET {option}"),
            "no peer can exclude that another one writes at the same time",
            "it is no lock; SET without it, then SIBLINGS shows who else wrote",
        )),
        "GET" => Err(refused::line("SET GET", "reading and writing are two steps here", "GET, then SET")),
        "EX" | "PX" | "EXAT" | "PXAT" => Err(refused::line(
            &format!("SET {option}"),
            "keys do not expire yet",
            "DEL the key when its time has come",
        )),
        _ => Err("ERR syntax error; usage: SET key value [KEEPTTL]".into()),
    }
}

/// Of a key named twice the last value counts; the writes run at once, so only that one is sent.
fn mset(args: Arguments) -> Result<Plan, String> {
    let words = args.into_iter().map(Into::into).collect();
    let pairs = pairs(words).ok_or_else(|| wrong_arity_of("mset"))?;
    let last: BTreeMap<_, _> = pairs.into_iter().collect();
    Ok(last.into_iter().map(|(key, value)| (key, Command::Set { value })).collect())
}

fn add(args: Arguments, take: bool) -> Result<Plan, String> {
    let (key, rest) = key_and_rest(args);
    let by = rest.first().map_or(Ok(1), |word| integer(word))?;
    let by = if take { by.checked_neg().ok_or("ERR decrement would overflow")? } else { by };
    Ok(vec![(key, Command::IncrBy { by })])
}

fn part(args: Arguments) -> Result<(Plan, Combine), String> {
    let (start, end) = (integer(&args[1])?, integer(&args[2])?);
    let combine = move |replies, _| match only(replies) {
        Reply::Bytes(value) => Reply::Bytes(cut(value, start, end)),
        Reply::Nil => Reply::Bytes(ByteBuf::new()),
        other => other,
    };
    Ok((vec![(key_and_rest(args).0, Command::Get)], Combine::With(Box::new(combine))))
}

/// From one place to another, both included. Those below zero are counted from behind, as with Redis.
fn cut(mut value: ByteBuf, start: i64, end: i64) -> ByteBuf {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let from_front = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at.min(length) };
    // An end before the first byte, given from behind, is the first byte; not if the start is behind it, too.
    let (first, behind) = (from_front(start), from_front(end).saturating_add(1).min(length));
    if first >= behind || start < 0 && end < 0 && start > end {
        return ByteBuf::new();
    }
    value.truncate(behind as usize);
    value.drain(..first as usize);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Redis 7.2's own answers.
    #[test]
    fn a_part_of_a_string_is_what_redis_cuts_out() {
        let all = || ByteBuf::from("This is a string");
        for (start, end, part) in [
            (0, 3, "This"),
            (-3, -1, "ing"),
            (0, -1, "This is a string"),
            (10, 100, "string"),
            (5, 3, ""),
            (100, 200, ""),
            (16, 16, ""),
            (-100, 3, "This"),
            (-100, -100, "T"),
            (0, -100, "T"),
            (-1, -100, ""),
            (i64::MIN, i64::MAX, "This is a string"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(cut(all(), start, end), ByteBuf::from(part), "{start} {end}");
        }
        assert_eq!(cut(ByteBuf::new(), 0, -1), ByteBuf::new());
    }
}
