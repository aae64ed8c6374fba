//! The log: which cells each event put and what it dropped, without payloads.

use super::{Partition, versions_of};
use crate::rows;
use crate::wire::{Malformed, array_shaped};
use crate::{Cell, Context, Dot, Event, Field, Key, PartitionId, Stamp, Storage, StorageError, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// More missing dots than this: a state transfer is cheaper than as many lookups.
pub(crate) const DOTS_MAX: u64 = 20_000;
/// Up to here lookups are cheap whatever there is beside. Beyond, an event costs one lookup, four times what a cell
/// costs in the scan of a state transfer; where half of all cells are in what is missing, that sends twice as many.
const CELLS_FEW: u64 = 256;

/// What another replica lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Nothing,
    /// Newest first (rule `newest-first`). `more`: ask again with these applied.
    Events {
        events: Vec<Event>,
        more: bool,
    },
    /// The log no longer has all of it, or not in an order in which it can be sent in parts, or it is most of what
    /// there is: send the state.
    Cut,
}

struct Entry {
    stamp: Stamp,
    puts: Vec<Cell>,
    drops: Vec<(Target, Context)>,
}

array_shaped!(Entry: stamp, puts, drops);

impl Entry {
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Writes the row of one event.
pub(super) fn write(s: &mut (impl Storage + ?Sized), p: PartitionId, event: &Event) {
    let puts: Vec<&Cell> = event.puts.iter().map(|(cell, _)| cell).collect();
    let entry = (event.stamp, puts, &event.drops);
    s.put(&rows::log_row(p, event.dot), &rows::encode(&entry));
}

impl Partition {
    /// The events that `context` lacks, rebuilt from the log, at most about `max_bytes` of them, but
    /// at least one.
    pub fn missing(
        &self,
        s: &(impl Storage + ?Sized),
        context: &Context,
        max_bytes: usize,
    ) -> Result<Missing, StorageError> {
        let lacking = self.context.difference(context);
        if lacking.is_empty() {
            return Ok(Missing::Nothing);
        }
        let is_new = context.is_empty() && self.is_most(self.cells);
        if is_new || lacking.len() > DOTS_MAX.min(self.log) {
            return Ok(Missing::Cut);
        }
        let Some(mut entries) = self.entries(s, &lacking)? else {
            marked!(LogGap);
            return Ok(Missing::Cut);
        };
        if self.is_most(lacking.len()) && self.is_most(cells_put(&entries)) {
            return Ok(Missing::Cut);
        }
        entries.sort_by_key(|(dot, entry)| std::cmp::Reverse((entry.stamp, *dot)));
        if mutated!(OldestFirst) {
            entries.reverse();
        }
        self.batch(s, entries, max_bytes)
    }

    /// The first of these events. Where one that is left for later drops one of them, clocks were wrong: their order is
    /// not that of causes, and what was superseded would come without a value, and before its successor.
    fn batch(
        &self,
        s: &(impl Storage + ?Sized),
        entries: Vec<(Dot, Entry)>,
        max_bytes: usize,
    ) -> Result<Missing, StorageError> {
        let (mut events, mut bytes, mut next) = (Vec::new(), 0_usize, None);
        let mut entries = entries.into_iter();
        for (dot, entry) in entries.by_ref() {
            let event = self.rebuild(s, dot, entry)?;
            bytes = bytes.saturating_add(event.size());
            if bytes > max_bytes && !events.is_empty() {
                next = Some(event.drops);
                break;
            }
            events.push(event);
        }
        let more = next.is_some();
        let sent = by_key(if more { &events } else { &[] });
        let mut later = next.into_iter().chain(entries.map(|(_, entry)| entry.drops)).flatten();
        let inverted = later.any(|(target, dots)| is_among(&sent, &target, &dots)) && !mutated!(OldestFirst);
        marked!(LogInverted if inverted);
        if inverted && !mutated!(IgnoreInversion) {
            return Ok(Missing::Cut);
        }
        Ok(Missing::Events { events, more })
    }

    fn is_most(&self, cells: u64) -> bool {
        cells > CELLS_FEW && cells >= self.cells / 2
    }

    /// The log entries of `dots`; none where one is not there.
    fn entries(
        &self,
        s: &(impl Storage + ?Sized),
        dots: &Context,
    ) -> Result<Option<Vec<(Dot, Entry)>>, StorageError> {
        let mut entries = Vec::new();
        for (actor, start, end) in dots.ranges() {
            let before = entries.len() as u64;
            rows::each(s, &rows::log_range(self.id, actor, start, end), |row, value| {
                let next = start + entries.len() as u64 - before;
                let dot = Dot::new(actor, next);
                if row != rows::log_row(self.id, dot) {
                    return Ok(ControlFlow::Break(()));
                }
                entries.push((dot, rows::decode(row, value)?));
                Ok(ControlFlow::Continue(()))
            })?;
            if entries.len() as u64 - before != end - start + 1 {
                return Ok(None);
            }
        }
        Ok(Some(entries))
    }

    fn rebuild(&self, s: &(impl Storage + ?Sized), dot: Dot, entry: Entry) -> Result<Event, StorageError> {
        let mut puts = Vec::with_capacity(entry.puts.len());
        for cell in entry.puts {
            let versions = versions_of(s, self.id, &cell)?;
            let live = versions.into_iter().find(|version| version.dot == dot);
            puts.push((cell, live.map(|version| version.value)));
        }
        if mutated!(FirstCellOnly) {
            puts.truncate(1);
        }
        Ok(Event { dot, stamp: entry.stamp, puts, drops: entry.drops })
    }

    /// Forgets the log of what is in `below`. Loses nothing: who lacks it gets a state transfer.
    pub fn cut_log(&mut self, s: &mut (impl Storage + ?Sized), below: &Context) -> Result<(), StorageError> {
        let mut cut = 0;
        for (actor, start, end) in below.intersect(&self.context).ranges() {
            cut += rows::delete_all(s, &rows::log_range(self.id, actor, start, end))?;
        }
        if cut > 0 {
            self.log = self.log.saturating_sub(cut);
            self.save(s);
        }
        Ok(())
    }
}

/// The dots that events put at a key: of each field, and of all.
#[derive(Default)]
struct Put<'a> {
    fields: BTreeMap<&'a Field, Context>,
    all: Context,
}

/// What events put. One key may be in all of them, and in all that is asked about.
fn by_key(events: &[Event]) -> BTreeMap<&Key, Put<'_>> {
    let mut keys: BTreeMap<_, Put> = BTreeMap::new();
    for event in events {
        for (Cell { key, field }, _) in &event.puts {
            let put = keys.entry(key).or_default();
            put.fields.entry(field).or_default().insert(event.dot);
            put.all.insert(event.dot);
        }
    }
    keys
}

/// True where one of these dots was put at the target.
fn is_among(keys: &BTreeMap<&Key, Put>, target: &Target, dots: &Context) -> bool {
    keys.get(target.key()).is_some_and(|put| match target.field() {
        None => put.all.meets(dots),
        Some(field) => put.fields.get(field).is_some_and(|put| put.meets(dots)),
    })
}

/// How many different ones.
fn cells_put(entries: &[(Dot, Entry)]) -> u64 {
    entries.iter().flat_map(|(_, entry)| &entry.puts).collect::<BTreeSet<_>>().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Actor;
    use proptest::prelude::*;
    use serde_bytes::ByteBuf;

    fn cell() -> impl Strategy<Value = Cell> {
        let name = prop_oneof![Just(ByteBuf::new()), Just(ByteBuf::from("a")), Just(ByteBuf::from("b"))];
        let field = prop_oneof![
            Just(Field::Register),
            name.clone().prop_map(Field::Entry),
            name.clone().prop_map(Field::Member)
        ];
        (name, field).prop_map(|(key, field)| Cell { key, field })
    }

    fn target() -> impl Strategy<Value = Target> {
        let of = |(cell, whole): (Cell, bool)| if whole { Target::Key(cell.key) } else { Target::Cell(cell) };
        (cell(), any::<bool>()).prop_map(of)
    }

    fn dot() -> impl Strategy<Value = Dot> {
        (0_u64..3, 1_u64..9).prop_map(|(actor, counter)| Dot::new(Actor(actor), counter))
    }

    fn event() -> impl Strategy<Value = Event> {
        let puts = proptest::collection::vec((cell(), Just(None)), 0..4);
        (dot(), puts).prop_map(|(dot, puts)| Event { dot, stamp: Stamp::default(), puts, drops: Vec::new() })
    }

    proptest! {
        #[test]
        fn what_was_put_is_found_as_by_looking_at_each_put(
            events in proptest::collection::vec(event(), 0..8),
            target in target(),
            dots in proptest::collection::vec(dot(), 0..8),
        ) {
            let dots: Context = dots.into_iter().collect();
            let mut puts = events.iter().flat_map(|event| event.puts.iter().map(|(cell, _)| (cell, event.dot)));
            let found = puts.any(|(cell, dot)| dots.contains(dot) && target.covers(cell));
            prop_assert_eq!(is_among(&by_key(&events), &target, &dots), found);
        }
    }
}
