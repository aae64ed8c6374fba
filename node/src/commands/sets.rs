//! Commands on sets.

use super::call::{Combine, integer, on_each, on_element, on_elements, only};
use super::elements::{self, Of, SCAN_CAVEAT};
use super::{ALL_KEYS, Arguments, BASE, COUNTED_KEYS, Group, Kind, ONE_KEY, Plan, Run, Spec, random, upper};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use std::collections::BTreeSet;

const READ: Spec = Spec { group: Group::Set, kind: Kind::Read, keys: ONE_KEY, ..BASE };
const WRITE: Spec = Spec { kind: Kind::Write, ..READ };
const EACH_ON_ITS_OWN: &str = "each set is read on its own, and whole; there is no common moment";

pub const SPECS: &[Spec] = &[
    Spec {
        name: "sadd",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Add members to a set",
        caveat: "of an add and a remove at the same time the add wins; the count is of members new to this peer",
        example: "sadd team ada grace",
        run: Run::Data { plan: |args| on_elements(args, |members| Command::SAdd { members }), combine: only },
        ..WRITE
    },
    Spec {
        name: "srem",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Remove members from a set",
        caveat: "removes what this peer has seen; a concurrent add survives",
        example: "srem team ada",
        run: Run::Data { plan: |args| on_elements(args, |members| Command::SRem { members }), combine: only },
        ..WRITE
    },
    Spec {
        name: "smembers",
        arity: 2,
        usage: "key",
        summary: "All members of a set",
        example: "smembers team",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::SMembers), combine: only },
        ..READ
    },
    Spec {
        name: "sismember",
        arity: 3,
        usage: "key member",
        summary: "Whether a member is in a set",
        example: "sismember team ada",
        run: Run::Data {
            plan: |args| on_element(args, |member| Command::SIsMember { member }),
            combine: only,
        },
        ..READ
    },
    Spec {
        name: "smismember",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Whether each of several members is in a set",
        example: "smismember team ada bob",
        run: Run::Data {
            plan: |args| on_elements(args, |members| Command::SMIsMember { members }),
            combine: only,
        },
        ..READ
    },
    Spec {
        name: "srandmember",
        arity: -2,
        usage: "key [count]",
        summary: "A member of a set by chance, or several",
        caveat: random::DRAW_CAVEAT,
        example: "srandmember team 2",
        run: Run::Shaped(random::member),
        ..READ
    },
    Spec {
        name: "scard",
        arity: 2,
        usage: "key",
        summary: "The number of members of a set",
        example: "scard team",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::SCard), combine: only },
        caveat: "a set of more than 1 MiB is counted in pages: an estimate while others write",
        ..READ
    },
    Spec {
        name: "sscan",
        arity: -3,
        usage: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Go through the members of a set, a page at a time, however large it is",
        caveat: SCAN_CAVEAT,
        example: "sscan team 0 match a* count 100",
        run: Run::Ask(|session, args| Box::pin(elements::scan(session, Of::Set, args))),
        ..READ
    },
    Spec {
        name: "sunion",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "The members of any of several sets",
        caveat: EACH_ON_ITS_OWN,
        example: "sunion team guests",
        run: Run::Data { plan: |keys| on_each(keys, Command::SMembers), combine: union },
        ..READ
    },
    Spec {
        name: "sinter",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "The members that several sets have in common",
        caveat: EACH_ON_ITS_OWN,
        example: "sinter team guests",
        run: Run::Data { plan: |keys| on_each(keys, Command::SMembers), combine: intersection },
        ..READ
    },
    Spec {
        name: "sintercard",
        arity: -3,
        keys: COUNTED_KEYS,
        usage: "numkeys key [key ...] [LIMIT limit]",
        summary: "How many members several sets have in common, or LIMIT if there are more",
        caveat: EACH_ON_ITS_OWN,
        example: "sintercard 2 team guests limit 10",
        run: Run::Shaped(intersection_size),
        ..READ
    },
    Spec {
        name: "sdiff",
        arity: -2,
        keys: ALL_KEYS,
        usage: "key [key ...]",
        summary: "The members of the first set that no other has",
        caveat: EACH_ON_ITS_OWN,
        example: "sdiff team guests",
        run: Run::Data { plan: |keys| on_each(keys, Command::SMembers), combine: difference },
        ..READ
    },
];

fn union(replies: Vec<Reply>) -> Reply {
    combined(replies, |all, other| all.extend(other))
}

fn intersection(replies: Vec<Reply>) -> Reply {
    combined(replies, |common, other| {
        let other: BTreeSet<_> = other.into_iter().collect();
        common.retain(|member| other.contains(member));
    })
}

/// Errors as Redis has them.
fn intersection_size(mut args: Arguments) -> Result<(Plan, Combine), String> {
    let count = integer(&args.remove(0)).ok().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or("ERR numkeys should be greater than 0")?;
    if count > args.len() {
        return Err("ERR Number of keys can't be greater than number of args".into());
    }
    let options = args.split_off(count);
    let limit = match options.as_slice() {
        [] => 0,
        [name, limit] if upper(name) == "LIMIT" => {
            integer(limit).ok().filter(|limit| *limit >= 0).ok_or("ERR LIMIT can't be negative")?
        }
        _ => return Err("ERR syntax error".into()),
    };
    let most = if limit == 0 { i64::MAX } else { limit };
    let combine = move |replies, _| match intersection(replies) {
        Reply::Set(common) => Reply::Int(i64::try_from(common.len()).unwrap_or(i64::MAX).min(most)),
        other => other,
    };
    Ok((on_each(args, Command::SMembers)?, Combine::With(Box::new(combine))))
}

fn difference(replies: Vec<Reply>) -> Reply {
    combined(replies, |rest, other| {
        for member in &other {
            rest.remove(member);
        }
    })
}

/// The first set, changed by each of the others; or why one of them could not be read.
fn combined(replies: Vec<Reply>, with: fn(&mut BTreeSet<ByteBuf>, Vec<ByteBuf>)) -> Reply {
    let mut result: Option<BTreeSet<ByteBuf>> = None;
    for reply in replies {
        match (reply, &mut result) {
            (Reply::Set(members), None) => result = Some(members.into_iter().collect()),
            (Reply::Set(members), Some(before)) => with(before, members),
            (other, _) => return other,
        }
    }
    Reply::Set(result.unwrap_or_default().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_crdt::CommandError;

    fn set(members: &[&str]) -> Reply {
        Reply::Set(members.iter().map(|member| ByteBuf::from(member.as_bytes())).collect())
    }

    #[test]
    fn sets_are_combined_from_the_first_on_and_what_is_no_set_is_told() {
        let sets = || vec![set(&["a", "b", "c"]), set(&["c", "d"]), set(&["c", "b", "e"])];
        assert_eq!(union(sets()), set(&["a", "b", "c", "d", "e"]));
        assert_eq!(intersection(sets()), set(&["c"]));
        assert_eq!(difference(sets()), set(&["a"]));
        assert_eq!(difference(vec![set(&["a"])]), set(&["a"]));
        assert_eq!(intersection(vec![set(&[]), set(&["a"])]), set(&[]));
        let wrong = Reply::Error(CommandError::WrongType);
        assert_eq!(union(vec![set(&["a"]), wrong.clone()]), wrong);
    }
}
