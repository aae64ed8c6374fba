//! Commands on sets.

use super::call::{key_and_rest, only};
use super::elements::{self, Of, SCAN_CAVEAT};
use super::{Arguments, BASE, Group, Kind, ONE_KEY, Plan, Run, Spec};
use serde_bytes::ByteBuf;
use starling_crdt::Command;

const READ: Spec = Spec { group: Group::Set, kind: Kind::Read, keys: ONE_KEY, ..BASE };
const WRITE: Spec = Spec { kind: Kind::Write, ..READ };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "sadd",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Add members to a set",
        caveat: "of an add and a remove at the same time the add wins; the count is of members new to this peer",
        example: "sadd team ada grace",
        run: Run::Data { plan: |args| members(args, |members| Command::SAdd { members }), combine: only },
        ..WRITE
    },
    Spec {
        name: "srem",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Remove members from a set",
        caveat: "removes what this peer has seen; a concurrent add survives",
        example: "srem team ada",
        run: Run::Data { plan: |args| members(args, |members| Command::SRem { members }), combine: only },
        ..WRITE
    },
    Spec {
        name: "smembers",
        arity: 2,
        usage: "key",
        summary: "All members of a set",
        example: "smembers team",
        run: Run::Data { plan: |args| members(args, |_| Command::SMembers), combine: only },
        ..READ
    },
    Spec {
        name: "sismember",
        arity: 3,
        usage: "key member",
        summary: "Whether a member is in a set",
        example: "sismember team ada",
        run: Run::Data { plan: sismember, combine: only },
        ..READ
    },
    Spec {
        name: "smismember",
        arity: -3,
        usage: "key member [member ...]",
        summary: "Whether each of several members is in a set",
        example: "smismember team ada bob",
        run: Run::Data {
            plan: |args| members(args, |members| Command::SMIsMember { members }),
            combine: only,
        },
        ..READ
    },
    Spec {
        name: "scard",
        arity: 2,
        usage: "key",
        summary: "The number of members of a set",
        example: "scard team",
        run: Run::Data { plan: |args| members(args, |_| Command::SCard), combine: only },
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
];

fn members(args: Arguments, command: fn(Vec<ByteBuf>) -> Command) -> Result<Plan, String> {
    let (key, members) = key_and_rest(args);
    Ok(vec![(key, command(members))])
}

fn sismember(args: Arguments) -> Result<Plan, String> {
    members(args, |mut members| Command::SIsMember { member: members.pop().unwrap_or_default() })
}
