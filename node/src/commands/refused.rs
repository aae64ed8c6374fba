//! What is not supported, why, and what to do instead. Refusing is better than pretending.

use super::{all, shown};
use crate::nearest::nearest;

/// Commands of one reason.
struct Refused {
    names: &'static [&'static str],
    why: &'static str,
    instead: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        names: &["setnx", "msetnx"],
        why: "no peer can exclude that another one writes at the same time",
        instead: "it is no lock; SET, then SIBLINGS shows who else wrote",
    },
    Refused {
        names: &["getset", "getdel", "getex"],
        why: "reading and writing are two steps here",
        instead: "GET, then SET or DEL",
    },
    Refused {
        names: &[
            "append",
            "setrange",
            "setbit",
            "getbit",
            "bitfield",
            "bitfield_ro",
            "bitop",
            "bitcount",
            "bitpos",
        ],
        why: "parts of a string written at two peers cannot be merged",
        instead: "SET the whole value, or HSET its parts",
    },
    Refused {
        names: &["sort", "sort_ro"],
        why: "it reads other keys by patterns, and may write to one",
        instead: "SMEMBERS or HGETALL, and sort in the client",
    },
    Refused {
        names: &["lcs"],
        why: "strings are read whole",
        instead: "MGET both, and compare them in the client",
    },
    Refused {
        names: &["hincrby"],
        why: "of two sums written into a field at once one would be lost",
        instead: "INCRBY on a key of its own, such as user:1:visits, where both count",
    },
    Refused {
        names: &["incrbyfloat", "hincrbyfloat"],
        why: "counters that merge are of whole numbers",
        instead: "INCRBY in the smallest unit, such as cents",
    },
    Refused {
        names: &["hsetnx", "hgetdel", "hgetex", "hsetex"],
        why: "no peer can exclude that another one writes at the same time",
        instead: "HSET, HGET, HDEL",
    },
    Refused {
        names: &["spop", "smove"],
        why: "two peers could take the same member, or see different ones",
        instead: "SMEMBERS, then SREM or SADD",
    },
    Refused {
        names: &["sinterstore", "sunionstore", "sdiffstore"],
        why: "reading and writing are two steps here",
        instead: "SINTER, SUNION or SDIFF, then SADD",
    },
    Refused {
        names: &[
            "expire",
            "pexpire",
            "expireat",
            "pexpireat",
            "setex",
            "psetex",
            "hexpire",
            "hpexpire",
            "hexpireat",
            "hpexpireat",
            "hexpiretime",
            "hpexpiretime",
            "hpersist",
            "httl",
            "hpttl",
        ],
        why: "keys do not expire yet",
        instead: "DEL the key when its time has come",
    },
    Refused {
        names: &["keys"],
        why: "it would read every key of every peer at once",
        instead: "SCAN 0 MATCH pattern",
    },
    Refused {
        names: &["randomkey"],
        why: "no peer knows all keys, to choose among them",
        instead: "SCAN 0, and choose in the client",
    },
    Refused {
        names: &["multi", "exec", "discard"],
        why: "needs isolation across peers, which takes a leader",
        instead: "pipelining works: in redis-py pipeline(transaction=False)",
    },
    Refused {
        names: &["watch"],
        why: "compare-and-set needs a leader",
        instead: "use types that merge: INCR, SADD, HSET",
    },
    Refused {
        names: &["eval", "evalsha", "eval_ro", "evalsha_ro", "script", "function", "fcall", "fcall_ro"],
        why: "scripts cannot be merged",
        instead: "run the steps in the client",
    },
    Refused {
        names: &[
            "lpush",
            "rpush",
            "lpushx",
            "rpushx",
            "lpop",
            "rpop",
            "lmpop",
            "llen",
            "lrange",
            "lindex",
            "lset",
            "lrem",
            "linsert",
            "ltrim",
            "lpos",
            "lmove",
            "rpoplpush",
            "blpop",
            "brpop",
            "blmove",
            "blmpop",
            "brpoplpush",
        ],
        why: "there are no lists yet, and popping once cannot be promised",
        instead: "SADD for collections, HSET for fields",
    },
    Refused {
        names: &[
            "zadd",
            "zrem",
            "zscore",
            "zmscore",
            "zrange",
            "zrangestore",
            "zrangebyscore",
            "zrangebylex",
            "zrevrange",
            "zrevrangebyscore",
            "zrevrangebylex",
            "zcard",
            "zcount",
            "zlexcount",
            "zrank",
            "zrevrank",
            "zincrby",
            "zscan",
            "zpopmin",
            "zpopmax",
            "zmpop",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
            "zunion",
            "zinter",
            "zdiff",
            "zunionstore",
            "zinterstore",
            "zdiffstore",
            "zintercard",
            "zrandmember",
            "zremrangebyrank",
            "zremrangebyscore",
            "zremrangebylex",
        ],
        why: "there are no sorted sets yet",
        instead: "HSET member score, and sort in the client",
    },
    Refused {
        names: &[
            "xadd",
            "xread",
            "xrange",
            "xrevrange",
            "xlen",
            "xdel",
            "xtrim",
            "xgroup",
            "xreadgroup",
            "xack",
            "xpending",
            "xclaim",
            "xautoclaim",
            "xinfo",
            "xsetid",
        ],
        why: "there are no streams",
        instead: "a key per entry (SET) and SCAN",
    },
    Refused {
        names: &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "geosearch",
            "geosearchstore",
            "georadius",
            "georadiusbymember",
            "pfadd",
            "pfcount",
            "pfmerge",
        ],
        why: "this type is not built yet",
        instead: "SADD or HSET",
    },
    Refused {
        names: &["rename", "renamenx", "copy", "move", "swapdb"],
        why: "it spans two keys, which different peers own",
        instead: "read the one (GET, HGETALL, SMEMBERS) and write the other",
    },
    Refused {
        names: &["dump", "restore", "migrate"],
        why: "keys have no form here that another server could read",
        instead: "SCAN, and read and write each key by its TYPE",
    },
    Refused {
        names: &["object"],
        why: "each owner stores keys in its own way, and notes no use",
        instead: "TYPE, EXPLAIN and WHERE tell of a key",
    },
    Refused {
        names: &["flushall", "flushdb"],
        why: "one word must not empty every peer",
        instead: "DEL the keys that SCAN lists; or stop the peers and remove their directories",
    },
    Refused {
        names: &[
            "subscribe",
            "unsubscribe",
            "psubscribe",
            "punsubscribe",
            "ssubscribe",
            "sunsubscribe",
            "publish",
            "spublish",
            "pubsub",
            "monitor",
        ],
        why: "there are no messages and no feed of changes yet",
        instead: "read the keys again",
    },
    Refused {
        names: &["wait", "waitaof"],
        why: "how many copies acknowledge a write is set beforehand",
        instead: "QUORUM R W on this connection",
    },
    Refused {
        names: &["save", "bgsave", "bgrewriteaof", "lastsave"],
        why: "writes are synced as the peer's setting --durability says",
        instead: "nothing needs to be done",
    },
    Refused {
        names: &["shutdown"],
        why: "clients cannot stop a peer",
        instead: "end its process (SIGTERM, Ctrl-C); LEAVE to go for good",
    },
    Refused {
        names: &["replicaof", "slaveof", "psync", "sync", "replconf", "failover", "role"],
        why: "no peer is a replica of another",
        instead: "STATUS shows the network; starling join enters it",
    },
    Refused {
        names: &["memory"],
        why: "not built yet",
        instead: "STRLEN, SCARD or HLEN tell how large a key is, INFO memory what the peer takes",
    },
    Refused {
        names: &["latency", "slowlog"],
        why: "not built yet",
        instead: "EXPLAIN shows how long a command takes",
    },
    Refused {
        names: &["module"],
        why: "there are none, and none can be loaded",
        instead: "COMMAND LIST lists what there is",
    },
    Refused {
        names: &["debug", "lolwut"],
        why: "not built yet",
        instead: "INFO and STATUS show what there is",
    },
];

/// The error line of a command that is known and not supported.
pub fn line(command: &str, why: &str, instead: &str) -> String {
    format!("NOTSUPPORTED {command} {why}; {instead}")
}

/// The line for the command of that name, if it is one that is refused.
pub fn refusal(name: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let entry = REFUSED.iter().find(|entry| entry.names.contains(&name.as_str()))?;
    Some(line(&name.to_ascii_uppercase(), entry.why, entry.instead))
}

/// The line for a command that is not in the table.
pub fn unknown(name: &[u8]) -> String {
    unknown_beside(name, &[])
}

/// The same, where others than those of the table may have been meant.
pub fn unknown_beside(name: &[u8], others: &[&str]) -> String {
    refusal(name).unwrap_or_else(|| match suggestion(name, others) {
        Some(close) => {
            format!("ERR unknown command '{}'; did you mean '{close}'? HELP lists all", shown(name))
        }
        None => format!("ERR unknown command '{}'; HELP lists all", shown(name)),
    })
}

/// Whoever takes these up by mistake loses data, or a peer.
const FINAL: [&str; 4] = ["del", "forget", "leave", "revoke"];

fn suggestion<'a>(name: &[u8], others: &[&'a str]) -> Option<&'a str> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    let names = all().map(|spec| spec.name).chain(others.iter().copied());
    let (distance, close) = nearest(&name, names)?;
    (distance == 1 || distance > 1 && !FINAL.contains(&close)).then_some(close)
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    #[test]
    fn no_command_is_both_supported_and_refused_and_none_is_refused_twice() {
        let names: Vec<_> = REFUSED.iter().flat_map(|entry| entry.names).collect();
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len());
        assert!(names.iter().all(|name| find(name.as_bytes()).is_none()));
    }

    #[test]
    fn a_refusal_is_one_line_that_says_why_and_what_to_do() {
        let line = refusal(b"Multi").unwrap();
        assert!(line.starts_with("NOTSUPPORTED MULTI needs isolation"), "{line}");
        for entry in REFUSED {
            assert!(!entry.why.is_empty() && !entry.instead.is_empty());
            assert!(entry.why.split(' ').count() <= 14, "{}", entry.why);
        }
    }

    #[test]
    fn a_mistyped_command_is_answered_with_the_closest_one() {
        assert_eq!(
            unknown(b"smember"),
            "ERR unknown command 'smember'; did you mean 'smembers'? HELP lists all"
        );
        assert_eq!(unknown(b"frobnicate"), "ERR unknown command 'frobnicate'; HELP lists all");
        assert_eq!(suggestion(b"gte", &[]), Some("get"));
        assert_eq!(suggestion(b"hepl", &[]), Some("help"));
        assert_eq!(suggestion(b"doctr", &["doctor"]), Some("doctor"));
        for name in ["x", "serve", "start", "revvokes", "get"] {
            assert_eq!(suggestion(name.as_bytes(), &["doctor"]), None, "{name}");
        }
    }
}
