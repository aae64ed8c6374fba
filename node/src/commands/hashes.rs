//! Commands on hashes.

use super::call::{all_ok, key_and_rest, on_element, on_elements, only, pairs, wrong_arity_of};
use super::elements::{self, Of, SCAN_CAVEAT};
use super::{Arguments, BASE, Group, Kind, ONE_KEY, Plan, Run, Spec, random};
use starling_crdt::{Command, Reply};

const READ: Spec = Spec { group: Group::Hash, kind: Kind::Read, keys: ONE_KEY, ..BASE };
const WRITE: Spec = Spec { kind: Kind::Write, ..READ };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "hset",
        arity: -4,
        usage: "key field value [field value ...]",
        summary: "Write fields of a hash",
        caveat: "of a write and a delete of one field at the same time the write wins; of two writes the latest",
        example: "hset user:1 name ada",
        run: Run::Data { plan: |args| hset(args, "hset"), combine: only },
        ..WRITE
    },
    Spec {
        name: "hmset",
        arity: -4,
        usage: "key field value [field value ...]",
        summary: "Write fields of a hash; HSET under its old name",
        example: "hmset user:1 name ada born 1815",
        run: Run::Data { plan: |args| hset(args, "hmset"), combine: all_ok },
        ..WRITE
    },
    Spec {
        name: "hget",
        arity: 3,
        usage: "key field",
        summary: "Read a field of a hash",
        example: "hget user:1 name",
        run: Run::Data { plan: |args| on_element(args, |field| Command::HGet { field }), combine: only },
        ..READ
    },
    Spec {
        name: "hmget",
        arity: -3,
        usage: "key field [field ...]",
        summary: "Read several fields of a hash",
        example: "hmget user:1 name born",
        run: Run::Data { plan: |args| on_elements(args, |fields| Command::HMGet { fields }), combine: only },
        ..READ
    },
    Spec {
        name: "hgetall",
        arity: 2,
        usage: "key",
        summary: "All fields of a hash and their values",
        example: "hgetall user:1",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::HGetAll), combine: only },
        ..READ
    },
    Spec {
        name: "hdel",
        arity: -3,
        usage: "key field [field ...]",
        summary: "Delete fields of a hash",
        caveat: "deletes what this peer has seen; a concurrent write survives",
        example: "hdel user:1 born",
        run: Run::Data { plan: |args| on_elements(args, |fields| Command::HDel { fields }), combine: only },
        ..WRITE
    },
    Spec {
        name: "hrandfield",
        arity: -2,
        usage: "key [count [WITHVALUES]]",
        summary: "A field of a hash by chance, or several, with their values if that is asked for",
        caveat: random::DRAW_CAVEAT,
        example: "hrandfield user:1 2 withvalues",
        run: Run::Shaped(random::field),
        ..READ
    },
    Spec {
        name: "hlen",
        arity: 2,
        usage: "key",
        summary: "The number of fields of a hash",
        example: "hlen user:1",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::HLen), combine: only },
        caveat: "a hash of more than 1 MiB is counted in pages: an estimate while others write",
        ..READ
    },
    Spec {
        name: "hkeys",
        arity: 2,
        usage: "key",
        summary: "The fields of a hash",
        example: "hkeys user:1",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::HKeys), combine: only },
        ..READ
    },
    Spec {
        name: "hvals",
        arity: 2,
        usage: "key",
        summary: "The values of a hash",
        example: "hvals user:1",
        run: Run::Data { plan: |args| on_elements(args, |_| Command::HVals), combine: only },
        ..READ
    },
    Spec {
        name: "hexists",
        arity: 3,
        usage: "key field",
        summary: "Whether a hash has a field",
        example: "hexists user:1 name",
        run: Run::Data { plan: |args| on_element(args, |field| Command::HExists { field }), combine: only },
        ..READ
    },
    Spec {
        name: "hstrlen",
        arity: 3,
        usage: "key field",
        summary: "The length of a field's value in bytes",
        example: "hstrlen user:1 name",
        run: Run::Data { plan: |args| on_element(args, |field| Command::HGet { field }), combine: length },
        ..READ
    },
    Spec {
        name: "hscan",
        arity: -3,
        usage: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        summary: "Go through the fields of a hash and their values, a page at a time, however large it is",
        caveat: SCAN_CAVEAT,
        example: "hscan user:1 0 match b* count 100",
        run: Run::Ask(|session, args| Box::pin(elements::scan(session, Of::Hash, args))),
        ..READ
    },
];

fn length(replies: Vec<Reply>) -> Reply {
    match only(replies) {
        Reply::Bytes(value) => Reply::Int(i64::try_from(value.len()).unwrap_or(i64::MAX)),
        Reply::Nil => Reply::Int(0),
        other => other,
    }
}

fn hset(args: Arguments, name: &str) -> Result<Plan, String> {
    let (key, words) = key_and_rest(args);
    let entries = pairs(words).ok_or_else(|| wrong_arity_of(name))?;
    Ok(vec![(key, Command::HSet { entries })])
}
