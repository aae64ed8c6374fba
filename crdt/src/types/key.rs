//! What commands ask of a key of any type.

use super::{Change, Issuer, counter, live};
use crate::{Command, Context, Field, Reply, Slice};
use serde_bytes::ByteBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Hash,
    Set,
}

/// The type that is served. Where several were written at once: string before hash before set.
pub(super) fn kind(slice: &Slice) -> Option<Kind> {
    let has = |wanted: fn(&Field) -> bool| slice.cells.keys().any(wanted);
    if has(|field| *field == Field::Register) || counter::is_live(slice) {
        Some(Kind::String)
    } else if has(|field| matches!(field, Field::Entry(_))) || !slice.entries.is_empty() {
        Some(Kind::Hash)
    } else if has(|field| matches!(field, Field::Member(_))) || !slice.members.is_empty() {
        Some(Kind::Set)
    } else {
        None
    }
}

/// True where a key exists for a reader: a counter that has been wholly deleted does not.
pub(crate) fn exists(slice: &Slice) -> bool {
    kind(slice).is_some()
}

/// True where the command is one of another type.
pub(super) fn is_wrong(command: &Command, slice: &Slice) -> bool {
    match (command.kind(), kind(slice)) {
        (Some(wanted), Some(served)) => wanted != served,
        _ => false,
    }
}

pub(super) fn name(slice: &Slice) -> Reply {
    let name = match kind(slice) {
        Some(Kind::String) => "string",
        Some(Kind::Hash) => "hash",
        Some(Kind::Set) => "set",
        None => "none",
    };
    Reply::Word(name.into())
}

/// Removes a key of every type. One that does not exist is removed again: the removal before may lie on
/// this copy alone, and an answer promises W of them.
pub(super) fn delete(slice: &Slice, issuer: &Issuer) -> Change {
    let (puts, dots) = clear(slice, issuer);
    Change { reply: Reply::Int(exists(slice).into()), puts, drops: vec![(None, dots)] }
}

/// Removes the elements that were read. All that the issuer has seen of the key is removed with the last ones.
pub(super) fn remove_first(slice: &Slice) -> Change {
    let elements = slice.cells.keys().filter(|field| matches!(field, Field::Entry(_) | Field::Member(_)));
    let drops = elements.map(|field| (Some(field.clone()), live(slice, field))).collect();
    Change { reply: Reply::Partly, puts: Vec::new(), drops }
}

/// All that the issuer has seen of the key (rule `reach`), but for the totals of others, which are
/// marked as seen instead (rule `counter-base`).
pub(super) fn clear(slice: &Slice, issuer: &Issuer) -> (Vec<(Field, ByteBuf)>, Context) {
    let (bases, kept) = counter::bases(slice, issuer);
    let mut dots = issuer.context.clone();
    for field in kept {
        dots.subtract(&live(slice, &field));
    }
    (bases, dots)
}
