//! The commands, in one table.
//!
//! The same table answers clients, `COMMAND` and `HELP`, completes words in the console and names the
//! one-shot commands, so that none of them can drift from the others.

pub mod access;
pub mod admission;
mod call;
mod connection;
mod cursors;
mod elements;
mod explain;
mod failure;
mod hashes;
mod help;
mod introspection;
mod keys;
mod list;
mod network;
mod random;
mod refused;
mod server;
pub mod session;
mod sets;
mod strings;
pub mod tokens;
mod transaction;

pub use call::{Combine, DataCall, Prepared, prepare};
pub use failure::failure_line;
pub use help::text as help_text;
pub use network::may_follow as takes_quorum;
pub use refused::unknown_beside;

use crate::resp::frame::Frame;
use data_encoding::HEXLOWER_PERMISSIVE;
use futures::future::BoxFuture;
use serde_bytes::{ByteArray, ByteBuf};
use session::Session;
use starling_crdt::{Command, Reply};
use std::sync::LazyLock;

pub use crate::resp::request::Arguments;

/// One command as clients type it.
pub struct Spec {
    /// In lower case.
    pub name: &'static str,
    pub group: Group,
    pub kind: Kind,
    /// As Redis counts: with the name; negative: at least so many.
    pub arity: i32,
    /// Where keys stand among the arguments, the name being 0.
    pub keys: Keys,
    /// The arguments, as `HELP` and hints show them.
    pub usage: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// How it differs from Redis, or what to beware of. Empty: nothing.
    pub caveat: &'static str,
    pub example: &'static str,
    pub run: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    String,
    Set,
    Hash,
    Generic,
    Network,
    Connection,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// Changes or tells who is a member, or how a peer behaves. Not for clients with a token.
    Admin,
    /// About the connection or the peer; no key is read.
    Local,
}

/// First and last position and the step between, as Redis tells them; `last` -1: the last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    pub first: i32,
    pub last: i32,
    pub step: i32,
}

pub const NO_KEY: Keys = Keys { first: 0, last: 0, step: 0 };
pub const ONE_KEY: Keys = Keys { first: 1, last: 1, step: 1 };
pub const ALL_KEYS: Keys = Keys { first: 1, last: -1, step: 1 };
/// The first argument says how many keys follow it. Of such a command this tells the first one alone.
pub const COUNTED_KEYS: Keys = Keys { first: 2, last: 2, step: 1 };

/// One command per key. Commands over several keys are several of these, each on its own.
pub type Plan = Vec<(ByteBuf, Command)>;

/// How a command runs. The arguments come without the name, their number checked.
#[derive(Clone, Copy)]
pub enum Run {
    /// At the owners of its keys. `plan` reads the arguments, or tells in an error line what is wrong
    /// with them; `combine` makes one reply of one per key.
    Data { plan: fn(Arguments) -> Result<Plan, String>, combine: fn(Vec<Reply>) -> Reply },
    /// The same, where the arguments also say what is made of the replies.
    Shaped(fn(Arguments) -> Result<(Plan, Combine), String>),
    /// At once, from what this connection knows.
    Here(fn(&mut Session, Arguments) -> Frame),
    /// After asking the peer.
    Ask(for<'a> fn(&'a mut Session, Arguments) -> BoxFuture<'a, Frame>),
}

impl Group {
    pub const ALL: [Group; 7] = [
        Group::String,
        Group::Set,
        Group::Hash,
        Group::Generic,
        Group::Network,
        Group::Connection,
        Group::Server,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Set => "set",
            Group::Hash => "hash",
            Group::Generic => "generic",
            Group::Network => "network",
            Group::Connection => "connection",
            Group::Server => "server",
        }
    }
}

impl Spec {
    /// The name in capitals and the arguments.
    pub fn synopsis(&self) -> String {
        let name = self.name.to_ascii_uppercase();
        if self.usage.is_empty() { name } else { format!("{name} {}", self.usage) }
    }

    pub fn accepts(&self, words: usize) -> bool {
        let least = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity < 0 { words >= least } else { words == least }
    }
}

/// What most entries of the table share.
const BASE: Spec = Spec {
    name: "",
    group: Group::Server,
    kind: Kind::Local,
    arity: -1,
    keys: NO_KEY,
    usage: "",
    summary: "",
    caveat: "",
    example: "",
    run: Run::Here(|_, _| Frame::ok()),
};

/// By name.
static TABLE: LazyLock<Vec<&'static Spec>> = LazyLock::new(|| {
    let groups = [
        strings::SPECS,
        sets::SPECS,
        hashes::SPECS,
        keys::SPECS,
        network::SPECS,
        admission::SPECS,
        tokens::SPECS,
        connection::SPECS,
        server::SPECS,
    ];
    let mut specs: Vec<_> = groups.into_iter().flatten().collect();
    specs.sort_unstable_by_key(|spec| spec.name);
    specs
});

/// All commands, by name.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    TABLE.iter().copied()
}

/// The command of that name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let order = |spec: &&Spec| spec.name.bytes().cmp(name.iter().map(u8::to_ascii_lowercase));
    TABLE.binary_search_by(order).ok().map(|at| TABLE[at])
}

/// The first word in capitals, and the others.
fn subcommand(mut args: Arguments) -> (String, Arguments) {
    if args.is_empty() {
        return (String::new(), args);
    }
    let rest = args.split_off(1);
    (upper(&args[0]), rest)
}

fn upper(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_ascii_uppercase()
}

fn unknown_subcommand(of: &str, word: &str) -> Frame {
    let usage = find(of.as_bytes()).map(Spec::synopsis).unwrap_or_default();
    Frame::error(format!(
        "ERR unknown subcommand or wrong arguments at '{}'; usage: {usage}",
        shown(word.as_bytes())
    ))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The id of a ticket or a token, as `HEXLOWER` writes it. `None`: the word is none.
fn parse_id<const N: usize>(word: &[u8]) -> Option<ByteArray<N>> {
    let bytes = HEXLOWER_PERMISSIVE.decode(word).ok()?;
    bytes.try_into().ok().map(ByteArray::new)
}

/// A word of a client, fit to stand in an error line.
fn shown(word: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let text: String = String::from_utf8_lossy(word).chars().take(SHOWN_MAX).collect();
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
