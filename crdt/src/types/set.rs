//! Sets: a cell for each element, whose value is empty. Additions win over removals that have not seen them.
//!
//! The observed-remove set without tombstones of Bieniusa et al., "An Optimized Conflict-free Replicated Set"
//! (2012). An element that is live already is added again under a new dot, and one that is not there is
//! removed again: what was done before may lie on this copy alone, and an answer promises W of them.

use super::{Change, Issuer, int, live, removal};
use crate::{Field, Reply, Slice};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

pub(super) fn add(slice: &Slice, members: &[ByteBuf]) -> Change {
    let members: BTreeSet<_> = members.iter().collect();
    let new = members.iter().filter(|member| !contains(slice, member)).count();
    let mut change = Change::from(int(new));
    for member in members {
        let field = Field::Member(member.clone());
        if contains(slice, member) {
            change.drops.push((Some(field.clone()), live(slice, &field)));
        }
        change.puts.push((field, ByteBuf::new()));
    }
    change
}

pub(super) fn remove(slice: &Slice, issuer: &Issuer, members: &[ByteBuf]) -> Change {
    let members: BTreeSet<_> = members.iter().collect();
    let old = members.iter().filter(|member| contains(slice, member)).count();
    removal(int(old), issuer, members.into_iter().cloned().map(Field::Member).collect())
}

pub(super) fn has(slice: &Slice, member: &ByteBuf) -> Reply {
    Reply::Int(i64::from(contains(slice, member)))
}

pub(super) fn members(slice: &Slice) -> Reply {
    Reply::Set(elements(slice).cloned().collect())
}

pub(super) fn count(slice: &Slice) -> Reply {
    int(elements(slice).count())
}

pub(super) fn page(slice: &Slice) -> Reply {
    Reply::Page { elements: elements(slice).cloned().collect(), next: slice.until.clone() }
}

fn contains(slice: &Slice, member: &ByteBuf) -> bool {
    slice.cells.contains_key(&Field::Member(member.clone()))
}

fn elements(slice: &Slice) -> impl Iterator<Item = &ByteBuf> {
    slice.cells.keys().filter_map(|field| match field {
        Field::Member(member) => Some(member),
        _ => None,
    })
}
