//! Strings: one cell, whose concurrent values are all kept; the latest by the clock is shown.

use super::{Answered, Change, Issuer, counter, int, key, live};
use crate::{Field, Reply, Sibling, Slice, Version};
use serde_bytes::ByteBuf;

/// The version that is shown: the latest by stamp, then by dot. Every replica chooses the same.
pub(super) fn winner(versions: &[Version]) -> Option<&Version> {
    versions.iter().max_by_key(|version| (version.stamp, version.dot))
}

/// How many concurrent values the winner hides.
pub(super) fn hidden(versions: &[Version]) -> u32 {
    u32::try_from(versions.len().saturating_sub(1)).unwrap_or(u32::MAX)
}

pub(super) fn get(slice: &Slice) -> Answered {
    let reply = shown(slice).map_or(Reply::Nil, Reply::Bytes);
    let hidden = hidden(slice.versions(&Field::Register));
    Answered { reply, hidden }
}

pub(super) fn length(slice: &Slice) -> Reply {
    int(shown(slice).map_or(0, |value| value.len()))
}

/// The value of a string with the counter that runs on it.
fn shown(slice: &Slice) -> Option<ByteBuf> {
    let winner = winner(slice.versions(&Field::Register)).map(|version| &version.value);
    if counter::is_live(slice)
        && let Some(start) = integer(winner)
    {
        let value = counter::sum(slice) + i128::from(start);
        return Some(ByteBuf::from(value.to_string()));
    }
    winner.cloned()
}

/// The number that a string stands for, 0 where there is none. Only as Redis writes it: no sign but
/// a minus, no zeros in front.
pub(super) fn integer(value: Option<&ByteBuf>) -> Option<i64> {
    let Some(value) = value else { return Some(0) };
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == &value[..]).then_some(number)
}

/// All concurrent values, the one shown first; increments are not in them.
pub(super) fn siblings(slice: &Slice) -> Reply {
    let mut versions: Vec<&Version> = slice.versions(&Field::Register).iter().collect();
    versions.sort_by_key(|version| std::cmp::Reverse((version.stamp, version.dot)));
    let sibling =
        |version: &Version| Sibling { value: version.value.clone(), dot: version.dot, stamp: version.stamp };
    Reply::Siblings(versions.into_iter().map(sibling).collect())
}

/// Writes the string in place of whatever the key holds. Over a string alone that is a put, which
/// drops what it sees live; over anything else it is a removal of the key as well.
pub(super) fn set(slice: &Slice, issuer: &Issuer, value: &ByteBuf) -> Change {
    let alone = slice.cells.keys().all(|field| *field == Field::Register);
    let (mut puts, mut drops) = (Vec::new(), Vec::new());
    if !alone || !slice.entries.is_empty() || !slice.members.is_empty() {
        let (bases, dots) = key::clear(slice, issuer);
        puts = bases;
        drops.push((None, dots));
    } else if !slice.cells.is_empty() {
        drops.push((Some(Field::Register), live(slice, &Field::Register)));
    }
    puts.push((Field::Register, value.clone()));
    Change { reply: Reply::Ok, puts, drops }
}
