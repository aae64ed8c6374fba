//! Data types: from commands to changes of cells, and from cells to replies.
//!
//! Each type has a file, and nothing outside of this folder knows what its cells mean.

mod counter;
mod hash;
mod key;
mod register;
mod set;

pub(crate) use key::exists;

use crate::cell::{EVENT_MAX, FIELD_MAX, KEY_MAX, VALUE_MAX};
use crate::context::RANGE_LEN_MAX;
use crate::event::removal_size;
use crate::partition::{Needs, PAGE_BYTES, Page, Wanted};
use crate::slice::SLICE_MAX;
use crate::{Actor, Command, CommandError, Context, Field, Reply, Slice};
use key::Kind;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub reply: Reply,
    /// How many concurrent values the reply does not show.
    pub hidden: u32,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, hidden: 0 }
    }
}

/// Who changes a key, and what it knows of the partition.
pub(crate) struct Issuer<'a> {
    pub key: &'a [u8],
    pub actor: Actor,
    /// The counter of the dot that the change gets.
    pub next: u64,
    /// Own dots up to here may be unknown here: the partition was let go after them.
    pub floor: u64,
    pub context: &'a Context,
}

/// What a command does to a key. Nothing put and nothing dropped: nothing.
pub(crate) struct Change {
    pub reply: Reply,
    pub puts: Vec<(Field, ByteBuf)>,
    /// No field: the whole key.
    pub drops: Vec<(Option<Field>, Context)>,
}

impl From<Reply> for Change {
    fn from(reply: Reply) -> Self {
        Self { reply, puts: Vec::new(), drops: Vec::new() }
    }
}

impl From<CommandError> for Change {
    fn from(error: CommandError) -> Self {
        Reply::Error(error).into()
    }
}

impl Command {
    /// Answers a command that reads, from the part of the key that it needs. Commands that write are
    /// answered where they are executed, and `Nil` here.
    pub fn answer(&self, slice: &Slice) -> Answered {
        use Command::*;
        if slice.oversized {
            return Reply::Error(too_large(SLICE_MAX)).into();
        }
        if key::is_wrong(self, slice) {
            return Reply::Error(CommandError::WrongType).into();
        }
        match self {
            Get => return register::get(slice),
            HGet { field } => return hash::get(slice, field),
            Exists => Reply::Int(i64::from(exists(slice))),
            Type => key::name(slice),
            Strlen => register::length(slice),
            Siblings => register::siblings(slice),
            SMembers => set::members(slice),
            SCard => set::count(slice),
            SScan { .. } => set::page(slice),
            SIsMember { member } => set::has(slice, member),
            SMIsMember { members } => Reply::Array(members.iter().map(|m| set::has(slice, m)).collect()),
            HMGet { fields } => hash::several(slice, fields),
            HGetAll => hash::all(slice),
            HLen => hash::count(slice),
            HKeys => hash::names(slice),
            HVals => hash::values(slice),
            HExists { field } => hash::has(slice, field),
            HScan { values, .. } => hash::page(slice, *values),
            Set { .. } | IncrBy { .. } | Del | SAdd { .. } | SRem { .. } | HSet { .. } | HDel { .. } => {
                Reply::Nil
            }
        }
        .into()
    }

    /// What a command that writes changes.
    pub(crate) fn change(&self, slice: &Slice, issuer: &Issuer) -> Change {
        use Command::*;
        if slice.oversized {
            return too_large(SLICE_MAX).into();
        }
        if key::is_wrong(self, slice) {
            return CommandError::WrongType.into();
        }
        match self {
            Set { .. } | Del if slice.until.is_some() => key::remove_first(slice),
            Set { value } => register::set(slice, issuer, value),
            IncrBy { by } => counter::increment(slice, issuer, *by),
            Del => key::delete(slice, issuer),
            SAdd { members } => set::add(slice, members),
            SRem { members } => set::remove(slice, issuer, members),
            HSet { entries } => hash::set(slice, entries),
            HDel { fields } => hash::remove(slice, issuer, fields),
            _ => self.answer(slice).reply.into(),
        }
    }

    /// What is to be read of the key.
    pub(crate) fn needs(&self) -> Needs<'_> {
        use Command::*;
        let (mut entries, mut members, mut most) = (Wanted::Head, Wanted::Head, SLICE_MAX);
        match self {
            SAdd { members: names } | SRem { members: names } | SMIsMember { members: names } => {
                members = Wanted::Named(names.iter().collect());
            }
            SIsMember { member } => members = Wanted::Named(vec![member]),
            SMembers => members = Wanted::All,
            // More is counted in pages: nothing is lost by giving up early.
            SCard => (members, most) = (Wanted::All, PAGE_BYTES),
            SScan { after, limit } => members = Wanted::Page(Page::new(after.as_ref(), *limit, true)),
            HSet { entries: pairs } => {
                entries = Wanted::Named(pairs.iter().map(|(field, _)| field).collect());
            }
            HGet { field } | HExists { field } => entries = Wanted::Named(vec![field]),
            HMGet { fields } | HDel { fields } => entries = Wanted::Named(fields.iter().collect()),
            HGetAll | HKeys | HVals => entries = Wanted::All,
            HLen => (entries, most) = (Wanted::All, PAGE_BYTES),
            HScan { after, limit, values } => {
                entries = Wanted::Page(Page::new(after.as_ref(), *limit, *values));
            }
            // They end what no other command can handle any more, so they must see all of a string, however large.
            Set { .. } | Del => (entries, members, most) = (Wanted::First, Wanted::First, usize::MAX),
            Get | Strlen | IncrBy { .. } | Exists | Type | Siblings => {}
        }
        let most_named = if self.writes() { usize::MAX } else { SLICE_MAX };
        Needs { entries, members, most, most_named }
    }

    /// The type that a key must have, or not exist; `None`: any.
    fn kind(&self) -> Option<Kind> {
        use Command::*;
        match self {
            Set { .. } | Del | Exists | Type => None,
            Get | Strlen | IncrBy { .. } | Siblings => Some(Kind::String),
            SAdd { .. }
            | SRem { .. }
            | SMembers
            | SIsMember { .. }
            | SMIsMember { .. }
            | SCard
            | SScan { .. } => Some(Kind::Set),
            HSet { .. }
            | HGet { .. }
            | HMGet { .. }
            | HGetAll
            | HDel { .. }
            | HLen
            | HKeys
            | HVals
            | HExists { .. }
            | HScan { .. } => Some(Kind::Hash),
        }
    }

    /// Checks the lengths of what the client gave. `execute` does; so should who only reads.
    pub fn check(&self, key: &[u8]) -> Result<(), CommandError> {
        fits("the key", key.len(), KEY_MAX)?;
        let needs = self.needs();
        let mut total = 0_usize;
        for (what, wanted) in [("the field", &needs.entries), ("the member", &needs.members)] {
            let names = match wanted {
                Wanted::Named(names) => names.as_slice(),
                Wanted::Page(page) => page.after.as_slice(),
                Wanted::Head | Wanted::First | Wanted::All => continue,
            };
            for name in names {
                fits(what, name.len(), FIELD_MAX)?;
                total = total.saturating_add(name.len());
            }
        }
        for value in self.values() {
            fits("the value", value.len(), VALUE_MAX)?;
            total = total.saturating_add(value.len());
        }
        fits("the command", total, EVENT_MAX)
    }

    fn values(&self) -> Vec<&ByteBuf> {
        match self {
            Command::Set { value } => vec![value],
            Command::HSet { entries } => entries.iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }
}

fn fits(what: &str, size: usize, limit: usize) -> Result<(), CommandError> {
    if size <= limit { Ok(()) } else { Err(too_long(what, size, limit)) }
}

fn too_large(limit: usize) -> CommandError {
    CommandError::TooLarge { limit: limit as u64 }
}

pub(crate) fn too_long(what: &str, size: usize, limit: usize) -> CommandError {
    CommandError::TooLong { what: what.into(), size: size as u64, limit: limit as u64 }
}

/// Removes fields: of each all that the issuer has seen (rule `reach`), which is copied for none if it is too much for
/// an event.
fn removal(reply: Reply, issuer: &Issuer, fields: Vec<Field>) -> Change {
    let size = |of_context| removal_size(issuer.key, &fields, of_context);
    let most = size(RANGE_LEN_MAX * issuer.context.range_count());
    if most > EVENT_MAX && size(issuer.context.wire_len()) > EVENT_MAX {
        return too_long("the change", most, EVENT_MAX).into();
    }
    let drops = fields.into_iter().map(|field| (Some(field), issuer.context.clone()));
    Change { reply, puts: Vec::new(), drops: drops.collect() }
}

/// The dots live in one field: what a put that sees them drops.
fn live(slice: &Slice, field: &Field) -> Context {
    slice.versions(field).iter().map(|version| version.dot).collect()
}

/// A count as a reply.
fn int(count: usize) -> Reply {
    Reply::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Cell, Dot, Event, Field, Stamp, Target};

    /// The same event is refused with the same words, whoever works out that it is too large.
    #[test]
    fn a_removal_that_is_too_large_copies_no_context() {
        let context: Context = (1..1_000).map(|counter| Dot::new(Actor(u64::MAX), counter << 38)).collect();
        let issuer = Issuer { key: b"k", actor: Actor(1), next: 1, floor: 0, context: &context };
        let mut accepted = 0;
        for count in (1_200..=1_800).step_by(200) {
            let names: Vec<_> = (0..count).map(|i| ByteBuf::from(format!("{i:0900}"))).collect();
            let target = |name: &ByteBuf| Target::Cell(Cell::new(b"k", Field::Member(name.clone())));
            let drops = names.iter().map(|name| (target(name), context.clone())).collect();
            let event =
                Event { dot: Dot::new(Actor(1), 1), stamp: Stamp::default(), puts: Vec::new(), drops };
            for command in [Command::SRem { members: names.clone() }, Command::HDel { fields: names }] {
                let change = command.change(&Slice::default(), &issuer);
                if event.is_short() {
                    accepted += 1;
                    assert_eq!((change.reply, change.drops.len()), (Reply::Int(0), count));
                } else {
                    let refused = too_long("the change", event.size(), EVENT_MAX);
                    assert_eq!(
                        (change.reply, change.drops.len()),
                        (Reply::Error(refused), 0),
                        "{count} names"
                    );
                }
            }
        }
        assert!((2..8).contains(&accepted), "{accepted}");
    }
}
