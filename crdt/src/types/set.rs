//! Sets: a cell for each element, whose value is empty. Additions win over removals that have not seen them.
//!
//! The observed-remove set without tombstones of Bieniusa et al., "An Optimized Conflict-free Replicated Set"
//! (2012). An element that is live already is not added again: the write costs nothing, but a
//! concurrent removal that has seen the first addition removes it.

use super::{Change, Issuer, int};
use crate::{Field, Reply, Slice};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

pub(super) fn add(slice: &Slice, members: &[ByteBuf]) -> Change {
    let new = members.iter().collect::<BTreeSet<_>>().into_iter();
    let new: Vec<_> = new.filter(|member| !contains(slice, member)).collect();
    let mut change = Change::from(int(new.len()));
    let put = |member: &ByteBuf| (Field::Member(member.clone()), ByteBuf::new());
    change.puts = new.into_iter().map(put).collect();
    change
}

pub(super) fn remove(slice: &Slice, issuer: &Issuer, members: &[ByteBuf]) -> Change {
    let old = members.iter().collect::<BTreeSet<_>>().into_iter();
    let old: Vec<_> = old.filter(|member| contains(slice, member)).collect();
    let mut change = Change::from(int(old.len()));
    let drop = |member: &ByteBuf| (Some(Field::Member(member.clone())), issuer.context.clone());
    change.drops = old.into_iter().map(drop).collect();
    change
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

fn contains(slice: &Slice, member: &ByteBuf) -> bool {
    slice.cells.contains_key(&Field::Member(member.clone()))
}

fn elements(slice: &Slice) -> impl Iterator<Item = &ByteBuf> {
    slice.cells.keys().filter_map(|field| match field {
        Field::Member(member) => Some(member),
        _ => None,
    })
}
