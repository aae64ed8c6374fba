//! What clients ask of one key, and what they are told.

use crate::Dot;
use crate::Stamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A command on one key, in Redis' words. Commands over several keys are several of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Get,
    Strlen,
    Set {
        value: ByteBuf,
    },
    IncrBy {
        by: i64,
    },
    Del,
    Exists,
    Type,
    /// Every concurrent value of a string, the one shown first.
    Siblings,
    SAdd {
        members: Vec<ByteBuf>,
    },
    SRem {
        members: Vec<ByteBuf>,
    },
    SMembers,
    SIsMember {
        member: ByteBuf,
    },
    SMIsMember {
        members: Vec<ByteBuf>,
    },
    /// Too large beyond a page: the members are then to be counted in pages. `HLen` is like it.
    SCard,
    /// The members after a name, in byte order: at most [`PAGE_MAX`], and fewer where they are large.
    SScan {
        after: Option<ByteBuf>,
        limit: u32,
    },
    HSet {
        entries: Vec<(ByteBuf, ByteBuf)>,
    },
    HGet {
        field: ByteBuf,
    },
    HMGet {
        fields: Vec<ByteBuf>,
    },
    HGetAll,
    HDel {
        fields: Vec<ByteBuf>,
    },
    HLen,
    HKeys,
    HVals,
    HExists {
        field: ByteBuf,
    },
    /// The same of the fields of a hash; `values`: with their values.
    HScan {
        after: Option<ByteBuf>,
        limit: u32,
        values: bool,
    },
}

/// Most elements in one page.
pub const PAGE_MAX: u32 = 10_000;

/// Most elements that one event removes with their key, so that no other work waits for long.
pub const REMOVED_AT_ONCE: usize = 16_384;

impl Command {
    /// True for commands that may issue an event.
    pub fn writes(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Set { .. } | IncrBy { .. } | Del | SAdd { .. } | SRem { .. } | HSet { .. } | HDel { .. }
        )
    }

    /// True for commands that remove whatever the key holds.
    pub fn ends(&self) -> bool {
        matches!(self, Command::Set { .. } | Command::Del)
    }

    /// True for commands that may bring more to keep; not for those that only remove.
    pub fn grows(&self) -> bool {
        use Command::*;
        matches!(self, Set { .. } | IncrBy { .. } | SAdd { .. } | HSet { .. })
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Nil,
    Ok,
    Int(i64),
    Bytes(ByteBuf),
    /// A short word that is not data, such as the name of a type.
    Word(String),
    Array(Vec<Reply>),
    /// The elements of a set, in byte order.
    Set(Vec<ByteBuf>),
    /// The entries of a hash, in byte order of the fields.
    Map(Vec<(ByteBuf, ByteBuf)>),
    /// A page of a set or a hash, in byte order: members, or fields, each followed by its value if those were
    /// asked for. `next`: the name after which it goes on; none: these are the last.
    Page {
        elements: Vec<ByteBuf>,
        next: Option<ByteBuf>,
    },
    /// The concurrent values of a string, the one that `Get` shows first.
    Siblings(Vec<Sibling>),
    /// Of a hash or a set with more elements than are removed at once the first were removed: the same command is to be
    /// given again.
    Partly,
    Error(CommandError),
}

/// One of several values that were written concurrently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    pub value: ByteBuf,
    pub dot: Dot,
    pub stamp: Stamp,
}

/// Why a command was not carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// Longer than `KEY_MAX`, `FIELD_MAX` or `VALUE_MAX`.
    #[error("ERR {what} is {size} bytes long; the limit is {limit}")]
    TooLong { what: String, size: u64, limit: u64 },
    /// There is no room for the first dot of one more actor.
    #[error(
        "ERR too many peers, counted anew at each start, have written to this key's partition: it has room for {limit}; \
         write through a peer that has run for longer"
    )]
    Torn { limit: u64 },
    #[error(
        "ERR the answer is larger than {limit} bytes; read a set or a hash in parts (SSCAN, HSCAN, SISMEMBER, HGET), \
         or spread it over several keys"
    )]
    TooLarge { limit: u64 },
}
