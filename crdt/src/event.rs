//! Events: what replicas exchange.

use crate::cell::{Cell, EVENT_MAX, Field, KEY_MAX, Key, VALUE_MAX};
use crate::context::{RANGE_LEN_MAX, RANGES_MAX};
use crate::rows;
use crate::wire::{Malformed, array_shaped, bytes_shaped, require};
use crate::{Context, Dot, Stamp};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

/// What an event takes on the wire beside its puts and drops, at most: three numbers and four heads.
const HEAD: usize = 48;
/// What a cell or a target takes beside names, values and contexts, at most: the numbers of a counter's field, and
/// heads.
const PLACE: usize = 32;

/// What a removal is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Every cell of a key.
    Key(Key),
    /// One cell.
    Cell(Cell),
}

impl Target {
    pub fn key(&self) -> &Key {
        match self {
            Target::Key(key) => key,
            Target::Cell(cell) => &cell.key,
        }
    }

    /// The field, where one cell is meant.
    pub fn field(&self) -> Option<&Field> {
        match self {
            Target::Key(_) => None,
            Target::Cell(cell) => Some(&cell.field),
        }
    }

    pub fn covers(&self, cell: &Cell) -> bool {
        match self {
            Target::Key(key) => *key == cell.key,
            Target::Cell(target) => target == cell,
        }
    }

    /// A key, or a field of it.
    pub(crate) fn at((key, field): (Key, Option<Field>)) -> Self {
        match field {
            None => Target::Key(key),
            Some(field) => Target::Cell(Cell { key, field }),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows::place_len(self.key(), self.field()));
        rows::push_place(&mut out, self.key(), self.field());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        rows::read_place(bytes).map(Target::at)
    }

    fn check(&self) -> Result<(), Malformed> {
        match self {
            Target::Key(key) => require(key.len() <= KEY_MAX, "key too long"),
            Target::Cell(cell) => cell.check(),
        }
    }
}

bytes_shaped!(Target);

/// One change of one partition, named by its dot. Applied in any order, any number of times, it
/// gives the same cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub dot: Dot,
    /// Later than every event that its issuer had seen, but for those that a wrong clock had stamped.
    pub stamp: Stamp,
    /// The cells it writes. `None`: rebuilt from a log after the value had been superseded.
    pub puts: Vec<(Cell, Option<ByteBuf>)>,
    /// What it removes: of each target, the versions whose dots are in the set. A put names
    /// what its issuer saw live; a removal all that its issuer had seen (rule `reach`).
    pub drops: Vec<(Target, Context)>,
}

impl Event {
    pub fn puts_field(&self, key: &[u8], field: &Field) -> bool {
        self.puts.iter().any(|(cell, _)| cell.key == key && cell.field == *field)
    }

    /// At most so many bytes it takes on the wire: quickly worked out, and close to them unless it removes many
    /// things.
    pub fn size(&self) -> usize {
        self.size_with(|dots| RANGE_LEN_MAX * dots.range_count())
    }

    /// True only if it is no longer than `EVENT_MAX` on the wire. Of many removals the contexts are most of it, so
    /// those are worked out exactly before anything is refused.
    pub(crate) fn is_short(&self) -> bool {
        self.size() <= EVENT_MAX || self.size_with(Context::wire_len) <= EVENT_MAX
    }

    fn size_with(&self, of_context: fn(&Context) -> usize) -> usize {
        let puts = self.puts.iter().map(|(cell, value)| {
            place(&cell.key, Some(&cell.field)) + value.as_ref().map_or(0, |value| value.len())
        });
        let drops = self.drops.iter();
        let drops = drops.map(|(target, dots)| place(target.key(), target.field()) + of_context(dots));
        HEAD + puts.chain(drops).sum::<usize>()
    }

    /// What every event from elsewhere must be, else it is refused: its dot and lengths within the
    /// limits, no cell put twice, no target named twice, and no drop of its own dot, which would
    /// make the order within the event matter.
    pub fn check(&self) -> Result<(), Malformed> {
        self.dot.check()?;
        require(self.is_short(), "event too large")?;
        for (cell, value) in &self.puts {
            cell.check()?;
            let length = value.as_ref().map_or(0, |value| value.len());
            require(length <= VALUE_MAX, "value too long")?;
        }
        for (target, dots) in &self.drops {
            target.check()?;
            require(!dots.contains(self.dot), "an event drops itself")?;
            require(dots.range_count() <= RANGES_MAX, "too many ranges")?;
        }
        require(are_distinct(self.puts.iter().map(|(cell, _)| cell)), "a cell put twice")?;
        require(are_distinct(self.drops.iter().map(|(target, _)| target)), "a target named twice")
    }
}

fn place(key: &[u8], field: Option<&Field>) -> usize {
    PLACE + key.len() + field.map_or(0, |field| field.name().len())
}

/// The size of an event that removes these fields, each with a context so long: before any is copied.
pub(crate) fn removal_size(key: &[u8], fields: &[Field], of_context: usize) -> usize {
    let sizes = fields.iter().map(|field| place(key, Some(field)).saturating_add(of_context));
    sizes.fold(HEAD, usize::saturating_add)
}

fn are_distinct<T: Ord>(all: impl ExactSizeIterator<Item = T>) -> bool {
    let count = all.len();
    count < 2 || all.collect::<BTreeSet<_>>().len() == count
}

array_shaped!(Event: dot, stamp, puts, drops);
