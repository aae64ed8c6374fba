//! Slices: the part of one key that one command needs, as one replica has it.

use crate::cell::{FIELD_MAX, VALUE_MAX};
use crate::context::first_u64;
use crate::wire::{Malformed, array_shaped, element, end, require};
use crate::{Context, Dot, Field, Version, rows};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::fmt;

/// Largest slice, in bytes of fields and values.
///
/// A value of the longest kind, another written beside it, and their names. Of a hash or a set that is larger, fields
/// and elements are read a few at a time. Where three such values were written at once, none is read: they can only be
/// replaced or removed.
pub const SLICE_MAX: usize = 2 * VALUE_MAX + 64 * 1024;

/// Most bytes of values in a reply to a command that may name one of them many times.
pub const REPLY_MAX: usize = 64 * 1024 * 1024;

/// How many elements tell that a hash or a set is there.
pub(crate) const HEAD_LEN: usize = 8;

/// What one replica has of the part of a key that a command needs: of the same command, slices of
/// several replicas merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// All that the replica has seen of the partition.
    pub context: Context,
    /// The string, the counter, and the elements that the command names, or all.
    pub cells: BTreeMap<Field, Vec<Version>>,
    /// The first entries and members, where not all are in `cells`: enough to know the key's type.
    pub entries: Head,
    pub members: Head,
    /// Dots that are removed there before they came: of the whole key, and of single fields.
    pub removed: BTreeMap<Option<Field>, Context>,
    /// Larger than [`SLICE_MAX`], or than the command reads at once: the cells are left out.
    pub oversized: bool,
    /// Of a page that others follow: its last name. Nothing is told of elements behind it.
    pub until: Option<ByteBuf>,
}

/// The first few elements of a hash or a set, with their live dots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub names: BTreeMap<ByteBuf, Vec<Dot>>,
    /// There are elements after the last of `names`.
    pub more: bool,
}

array_shaped!(Head: names, more);

/// An array of its fields, of which `until` is there only where it is known: peers that have never heard of pages
/// read, and tell, all else as they always have.
impl Serialize for Slice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Slice { context, cells, entries, members, removed, oversized, until } = self;
        match until {
            None => (context, cells, entries, members, removed, oversized).serialize(serializer),
            Some(until) => {
                (context, cells, entries, members, removed, oversized, until).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Slice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Slice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slice")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Slice, A::Error> {
        let slice = Slice {
            context: element(&mut seq)?,
            cells: element(&mut seq)?,
            entries: element(&mut seq)?,
            members: element(&mut seq)?,
            removed: element(&mut seq)?,
            oversized: element(&mut seq)?,
            until: seq.next_element()?,
        };
        if slice.until.is_some() {
            end(&mut seq)?;
        }
        slice.check().map_err(A::Error::custom)?;
        Ok(slice)
    }
}

impl Slice {
    /// A hash of the cells, not of the context: equal digests, equal answers.
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for (field, versions) in &self.cells {
            let place = field.to_bytes();
            hasher.update(&(place.len() as u64).to_be_bytes());
            hasher.update(&place);
            hasher.update(&(versions.len() as u64).to_be_bytes());
            for version in versions {
                let mut bytes = Vec::new();
                rows::push_version(&mut bytes, version);
                hasher.update(&bytes);
            }
        }
        hasher.update(&rows::encode(&(&self.entries, &self.members, self.oversized)));
        if let Some(until) = &self.until {
            hasher.update(&rows::encode(until));
        }
        first_u64(&hasher.finalize())
    }

    /// What both replicas together know, as state transfer would give it: a version stays that both
    /// have, or that the other has neither seen nor seen removed. One the other has seen and lacks has been
    /// removed.
    pub fn merge(mut self, mut other: Slice) -> Slice {
        if self.oversized || other.oversized {
            return Slice::oversized();
        }
        self.remove(&other.removed);
        other.remove(&self.removed);
        // What one page does not reach may be removed there, or lack what was written there.
        let until = self.until.iter().chain(&other.until).min().cloned();
        if let Some(until) = &until {
            self.cut(until);
            other.cut(until);
        }
        let entries = self.entries.merge(&self.context, &other.entries, &other.context);
        let members = self.members.merge(&self.context, &other.members, &other.context);
        let fields: Vec<Field> = self.cells.keys().chain(other.cells.keys()).cloned().collect();
        let mut merged = Slice { entries, members, until, ..Slice::default() };
        for field in fields {
            let ours = self.cells.remove(&field).unwrap_or_default();
            let theirs = other.cells.remove(&field).unwrap_or_default();
            let both = merge(ours, &self.context, theirs, &other.context, |v| v.dot);
            merged.insert(field, both);
        }
        self.context.union(&other.context);
        merged.context = self.context;
        for (field, dots) in self.removed.into_iter().chain(other.removed) {
            merged.removed.entry(field).or_default().union(&dots.difference(&merged.context));
        }
        merged.removed.retain(|_, dots| !dots.is_empty());
        merged
    }

    /// Takes out what another replica knows to be removed, though it has not seen it.
    fn remove(&mut self, removed: &BTreeMap<Option<Field>, Context>) {
        let gone = |field: Field, dot| {
            [None, Some(field)].iter().any(|at| removed.get(at).is_some_and(|dots| dots.contains(dot)))
        };
        if removed.is_empty() {
            return;
        }
        self.cells.retain(|field, versions| {
            versions.retain(|version| !gone(field.clone(), version.dot));
            !versions.is_empty()
        });
        self.entries.retain(|name, dot| !gone(Field::Entry(name.clone()), dot));
        self.members.retain(|name, dot| !gone(Field::Member(name.clone()), dot));
    }

    /// Ends a page with this name.
    pub(crate) fn cut(&mut self, until: &ByteBuf) {
        self.cells.retain(|field, _| field.name() <= until.as_slice());
        self.until = Some(until.clone());
    }

    pub(crate) fn oversized() -> Self {
        Self { oversized: true, ..Self::default() }
    }

    /// Adds a cell, unless it has no versions.
    pub(crate) fn insert(&mut self, field: Field, versions: Vec<Version>) {
        if !versions.is_empty() {
            self.cells.insert(field, versions);
        }
    }

    /// The live versions of one field.
    pub(crate) fn versions(&self, field: &Field) -> &[Version] {
        self.cells.get(field).map_or(&[], Vec::as_slice)
    }

    /// What a cell counts towards [`SLICE_MAX`].
    pub(crate) fn weight(field: &Field, versions: &[Version]) -> usize {
        let values: usize = versions.iter().map(|v| 24 + v.value.len()).sum();
        field.name().len() + values
    }

    /// What every slice from elsewhere must be, else it is refused.
    fn check(&self) -> Result<(), Malformed> {
        let mut weight = 0_usize;
        for (field, versions) in &self.cells {
            weight = weight.saturating_add(Slice::weight(field, versions));
            Version::check_all(versions)?;
            let seen = versions.iter().all(|v| self.context.contains(v.dot));
            require(seen, "a version beyond its context")?;
            let within = self.until.as_ref().is_none_or(|until| field.name() <= until.as_slice());
            require(within, "an element behind the end of its page")?;
        }
        let length = self.until.as_ref().map_or(0, |until| until.len());
        require(length <= FIELD_MAX, "field too long")?;
        // A merged slice of several replicas is no larger than all of theirs.
        require(weight <= 16 * SLICE_MAX, "slice too large")
    }
}

impl Head {
    /// Adds the next element. False: it is one too many, and only noted.
    pub(crate) fn push(&mut self, field: &Field, versions: &[Version]) -> bool {
        if self.names.len() == HEAD_LEN {
            self.more = true;
            return false;
        }
        let dots = versions.iter().map(|version| version.dot).collect();
        self.names.insert(ByteBuf::from(field.name()), dots);
        true
    }

    fn retain(&mut self, keep: impl Fn(&ByteBuf, Dot) -> bool) {
        self.names.retain(|name, dots| {
            dots.retain(|&dot| keep(name, dot));
            !dots.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.more
    }

    /// Of elements that one lists and the other's head does not reach, nothing is known, and `more` stands
    /// for them: then the type is taken to be there. Only a replica that is many removals behind makes that
    /// wrong, and not for long.
    fn merge(&self, seen: &Context, other: &Head, other_seen: &Context) -> Head {
        let mut names = BTreeMap::new();
        for name in self.names.keys().chain(other.names.keys()) {
            let dots = |head: &Head| head.names.get(name).cloned().unwrap_or_default();
            let both = merge(dots(self), seen, dots(other), other_seen, |dot| *dot);
            if !both.is_empty() {
                names.insert(name.clone(), both);
            }
        }
        Head { names, more: self.more || other.more }
    }

    fn check(&self) -> Result<(), Malformed> {
        require(self.names.len() <= 16 * HEAD_LEN, "head too long")?;
        for dots in self.names.values() {
            require(!dots.is_empty() && dots.is_sorted(), "dots out of order")?;
        }
        Ok(())
    }
}

/// The versions of one cell that two replicas have together, by dot.
fn merge<T>(
    ours: Vec<T>,
    seen: &Context,
    theirs: Vec<T>,
    other_seen: &Context,
    dot: fn(&T) -> Dot,
) -> Vec<T> {
    let theirs_has = |wanted: Dot| theirs.binary_search_by_key(&wanted, dot).is_ok();
    let kept_ours = |v: &T| !other_seen.contains(dot(v)) || theirs_has(dot(v));
    let keep: Vec<bool> = ours.iter().map(kept_ours).collect();
    let fresh: Vec<T> = theirs.into_iter().filter(|v| !seen.contains(dot(v))).collect();
    let ours = ours.into_iter().zip(keep).filter_map(|(v, keep)| keep.then_some(v));
    let mut both: Vec<T> = ours.chain(fresh).collect();
    both.sort_by_key(dot);
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Stamp};

    fn version(counter: u64, value: &[u8]) -> Version {
        Version { dot: Dot::new(Actor(7), counter), stamp: Stamp(counter), value: ByteBuf::from(value) }
    }

    /// Peers of different versions compare them.
    #[test]
    fn digests_stay_what_they_are() {
        let mut slice = Slice::default();
        assert_eq!(slice.digest(), 13_295_013_440_560_429_169);
        slice.insert(Field::Register, vec![version(1, b"one"), version(2, &[b'x'; 5_000])]);
        slice.insert(Field::Entry(ByteBuf::from("name")), vec![version(3, &[b'y'; 5_000])]);
        slice.insert(Field::Member(ByteBuf::from("member")), vec![version(4, b"")]);
        slice.members.push(&Field::Member(ByteBuf::from("member")), &[version(4, b"")]);
        assert_eq!(slice.digest(), 4_494_708_244_572_034_829);
        let page = Slice { until: Some(ByteBuf::from("member")), ..slice.clone() };
        let longer = Slice { until: Some(ByteBuf::from("name")), ..slice };
        assert_eq!((page.digest(), longer.digest()), (2_822_540_038_519_300_189, 10_251_806_064_774_698_728));
    }
}
