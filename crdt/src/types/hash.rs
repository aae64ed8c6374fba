//! Hashes: a cell for each field, which keeps concurrent values as a string does.

use super::register::{hidden, winner};
use super::{Answered, Change, Issuer, int, live, removal, too_large};
use crate::slice::REPLY_MAX;
use crate::{Field, Reply, Slice};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Writes fields; of one named twice, the last value.
pub(super) fn set(slice: &Slice, entries: &[(ByteBuf, ByteBuf)]) -> Change {
    let last: BTreeMap<_, _> = entries.iter().map(|(name, value)| (name, value)).collect();
    let new = last.keys().filter(|name| !contains(slice, name)).count();
    let mut change = Change::from(int(new));
    for (name, value) in last {
        let field = Field::Entry(name.clone());
        if contains(slice, name) {
            change.drops.push((Some(field.clone()), live(slice, &field)));
        }
        change.puts.push((field, value.clone()));
    }
    change
}

/// One that is not there is removed again: the removal before may lie on this copy alone.
pub(super) fn remove(slice: &Slice, issuer: &Issuer, fields: &[ByteBuf]) -> Change {
    let fields: BTreeSet<_> = fields.iter().collect();
    let old = fields.iter().filter(|name| contains(slice, name)).count();
    removal(int(old), issuer, fields.into_iter().cloned().map(Field::Entry).collect())
}

pub(super) fn get(slice: &Slice, name: &ByteBuf) -> Answered {
    let versions = slice.versions(&Field::Entry(name.clone()));
    let value = winner(versions).map(|version| version.value.clone());
    Answered { reply: value.map_or(Reply::Nil, Reply::Bytes), hidden: hidden(versions) }
}

/// A value for each name. One that is named often is in the slice once, and in the reply as often as it is named.
pub(super) fn several(slice: &Slice, names: &[ByteBuf]) -> Reply {
    let length = |name: &ByteBuf| {
        let versions = slice.versions(&Field::Entry(name.clone()));
        winner(versions).map_or(0, |version| version.value.len())
    };
    if names.iter().fold(0, |sum: usize, name| sum.saturating_add(length(name))) > REPLY_MAX {
        return Reply::Error(too_large(REPLY_MAX));
    }
    Reply::Array(names.iter().map(|name| get(slice, name).reply).collect())
}

pub(super) fn has(slice: &Slice, name: &ByteBuf) -> Reply {
    Reply::Int(i64::from(contains(slice, name)))
}

pub(super) fn all(slice: &Slice) -> Reply {
    Reply::Map(entries(slice).collect())
}

pub(super) fn count(slice: &Slice) -> Reply {
    int(entries(slice).count())
}

pub(super) fn names(slice: &Slice) -> Reply {
    Reply::Array(entries(slice).map(|(name, _)| Reply::Bytes(name)).collect())
}

pub(super) fn values(slice: &Slice) -> Reply {
    Reply::Array(entries(slice).map(|(_, value)| Reply::Bytes(value)).collect())
}

/// Fields, with or without their values.
pub(super) fn page(slice: &Slice, with_values: bool) -> Reply {
    let elements = entries(slice).flat_map(|(name, value)| [Some(name), with_values.then_some(value)]);
    Reply::Page { elements: elements.flatten().collect(), next: slice.until.clone() }
}

fn contains(slice: &Slice, name: &ByteBuf) -> bool {
    slice.cells.contains_key(&Field::Entry(name.clone()))
}

/// The fields with the values shown, by the fields' bytes.
fn entries(slice: &Slice) -> impl Iterator<Item = (ByteBuf, ByteBuf)> {
    slice.cells.iter().filter_map(|(field, versions)| match field {
        Field::Entry(name) => Some((name.clone(), winner(versions)?.value.clone())),
        _ => None,
    })
}
