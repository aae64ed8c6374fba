//! The log: which cells each event put and what it dropped, without payloads.

use super::{Partition, versions_of};
use crate::context::first_u64;
use crate::rows::{self, Kind};
use crate::wire::{Malformed, array_shaped};
use crate::{Cell, Context, Dot, Event, Field, Key, PartitionId, Stamp, Storage, StorageError, Target};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// More missing dots than this: a state transfer is cheaper than as many lookups.
pub(crate) const DOTS_MAX: u64 = 20_000;
/// Up to here lookups are cheap whatever there is beside. Beyond, an event costs one lookup, four times what a cell
/// costs in the scan of a state transfer; where half of all cells are in what is missing, that sends twice as many.
const CELLS_FEW: u64 = 256;

/// Bytes of rows that are kept until their turn comes. Tens of thousands of the usual ones are less; of others, one
/// may be as long as this by itself, and those behind are read again.
const KEPT_MAX: usize = 4 * 1024 * 1024;

/// Rows that are cut at once: all that is deleted is in memory until it is committed.
const CUT_MAX: u64 = 4_096;

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
    drops: Drops,
}

type Drops = Vec<(Target, Context)>;

array_shaped!(Entry: stamp, puts, drops);

impl Entry {
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }
}

/// A row of the log, of which no more is known than its place in the order. With what it holds, where there was room.
struct Found {
    dot: Dot,
    stamp: Stamp,
    value: Option<Vec<u8>>,
}

#[derive(Default)]
struct Log {
    found: Vec<Found>,
    /// Of all of them.
    puts: u64,
    bytes: usize,
}

impl Log {
    fn add(&mut self, dot: Dot, (stamp, puts): (Stamp, u64), value: &[u8]) {
        self.puts = self.puts.saturating_add(puts);
        self.bytes = self.bytes.saturating_add(value.len());
        let value = (self.bytes <= KEPT_MAX).then(|| value.to_vec());
        self.found.push(Found { dot, stamp, value });
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
        let Some(mut log) = self.find(s, &lacking)? else {
            marked!(LogGap);
            return Ok(Missing::Cut);
        };
        // What goes at once is read once. In parts, the log is read for each of them.
        let is_one_part = log.bytes <= max_bytes;
        let lookups = if is_one_part { lacking.len() } else { log.puts.max(lacking.len()) };
        if self.is_most(lookups) && self.is_most(log.puts) && self.puts_most(s, &log.found)? {
            return Ok(Missing::Cut);
        }
        log.found.sort_by_key(|found| std::cmp::Reverse((found.stamp, found.dot)));
        if mutated!(OldestFirst) {
            log.found.reverse();
        }
        self.batch(s, &log.found, max_bytes)
    }

    /// The first of these events. Where one that is left for later drops one of them, clocks were wrong: their order is
    /// not that of causes, and what was superseded would come without a value, and before its successor.
    fn batch(
        &self,
        s: &(impl Storage + ?Sized),
        found: &[Found],
        max_bytes: usize,
    ) -> Result<Missing, StorageError> {
        let (mut events, mut bytes, mut later) = (Vec::new(), 0_usize, found);
        while let Some((first, rest)) = later.split_first() {
            let room = if events.is_empty() { usize::MAX } else { max_bytes.saturating_sub(bytes) };
            let Some(event) = self.rebuild(s, first, room)? else { break };
            bytes = bytes.saturating_add(event.size());
            events.push(event);
            later = rest;
        }
        let more = !later.is_empty();
        let inverted = self.drop_any(s, later, &events)? && !mutated!(OldestFirst);
        marked!(LogInverted if inverted);
        if inverted && !mutated!(IgnoreInversion) {
            return Ok(Missing::Cut);
        }
        Ok(Missing::Events { events, more })
    }

    /// True where one of these drops what one of the events has put. One row at a time is read.
    fn drop_any(
        &self,
        s: &(impl Storage + ?Sized),
        later: &[Found],
        events: &[Event],
    ) -> Result<bool, StorageError> {
        let sent = by_key(if later.is_empty() { &[] } else { events });
        for found in later {
            let (_, IgnoredAny, drops): (Stamp, IgnoredAny, Drops) = self.decoded(s, found)?;
            if drops.iter().any(|(target, dots)| is_among(&sent, target, dots)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_most(&self, cells: u64) -> bool {
        cells > CELLS_FEW && cells >= self.cells / 2
    }

    /// True where these events put most cells, each counted once. Of each only a hash is kept: names may be long.
    fn puts_most(&self, s: &(impl Storage + ?Sized), found: &[Found]) -> Result<bool, StorageError> {
        let mut cells = BTreeSet::new();
        for found in found {
            let entry: Entry = self.decoded(s, found)?;
            let rows = entry.puts.iter().map(|cell| rows::cell_row(self.id, &cell.key, &cell.field));
            cells.extend(rows.map(|row| first_u64(&blake3::hash(&row))));
            if self.is_most(cells.len() as u64) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The log rows of `dots`; none where one is not there.
    fn find(&self, s: &(impl Storage + ?Sized), dots: &Context) -> Result<Option<Log>, StorageError> {
        let mut log = Log::default();
        for (actor, start, end) in dots.ranges() {
            let mut next = start;
            rows::each(s, &rows::log_range(self.id, actor, start, end), |row, value| {
                let dot = Dot::new(actor, next);
                if row != rows::log_row(self.id, dot) {
                    return Ok(ControlFlow::Break(()));
                }
                log.add(dot, rows::log_head(row, value)?, value);
                next += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            if next != end + 1 {
                return Ok(None);
            }
        }
        Ok(Some(log))
    }

    fn decoded<T: DeserializeOwned>(
        &self,
        s: &(impl Storage + ?Sized),
        found: &Found,
    ) -> Result<T, StorageError> {
        let row = rows::log_row(self.id, found.dot);
        match &found.value {
            Some(value) => rows::decode(&row, value),
            None => rows::decode(&row, &s.get(&row)?.unwrap_or_default()),
        }
    }

    /// None where the event would be larger than `room`: then no more of it is looked up than shows that.
    fn rebuild(
        &self,
        s: &(impl Storage + ?Sized),
        found: &Found,
        room: usize,
    ) -> Result<Option<Event>, StorageError> {
        let Entry { stamp, puts, drops } = self.decoded(s, found)?;
        let puts = puts.into_iter().map(|cell| (cell, None)).collect();
        let mut event = Event { dot: found.dot, stamp, puts, drops };
        let mut size = event.size();
        for (cell, value) in &mut event.puts {
            if size > room {
                return Ok(None);
            }
            let versions = versions_of(s, self.id, cell)?;
            *value = versions.into_iter().find(|version| version.dot == found.dot).map(|live| live.value);
            size = size.saturating_add(value.as_ref().map_or(0, |value| value.len()));
        }
        if mutated!(FirstCellOnly) {
            event.puts.truncate(1);
        }
        Ok((event.size() <= room).then_some(event))
    }

    /// Forgets a stretch of the log of what is in `below`, and returns what is left of that. Loses nothing: who lacks
    /// it gets a state transfer. Rows are deleted by their names: to walk through them, what was deleted before would be
    /// passed as well.
    pub fn cut_log(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        below: &Context,
    ) -> Result<Context, StorageError> {
        let mut left = below.intersect(&self.context);
        left.subtract(self.unlogged(s)?);
        let mut cut = Context::new();
        for (actor, start, end) in left.ranges() {
            let room = CUT_MAX - cut.len();
            if room == 0 {
                break;
            }
            let end = end.min(start.saturating_add(room - 1));
            (start..=end).for_each(|counter| s.delete(&rows::log_row(self.id, Dot::new(actor, counter))));
            cut.insert_range(actor, start, end);
        }
        if !cut.is_empty() {
            self.log = self.log.saturating_sub(cut.len());
            self.unlogged(s)?.union(&cut);
            self.save(s);
        }
        left.subtract(&cut);
        Ok(left)
    }

    /// What was seen and has no row in the log.
    fn unlogged(&mut self, s: &(impl Storage + ?Sized)) -> Result<&mut Context, StorageError> {
        let unlogged = match self.unlogged.take() {
            Some(unlogged) => unlogged,
            None => self.context.difference(&self.logged(s)?),
        };
        Ok(self.unlogged.insert(unlogged))
    }

    fn logged(&self, s: &(impl Storage + ?Sized)) -> Result<Context, StorageError> {
        let mut logged = Context::new();
        rows::each(s, &rows::all(self.id, Kind::Log), |row, _| {
            logged.insert(rows::log_dot(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(logged)
    }

    /// These are seen from now on, without events that would be in the log.
    pub(super) fn note_unlogged(&mut self, seen: &Context) {
        let new = seen.difference(&self.context);
        if let Some(unlogged) = &mut self.unlogged {
            unlogged.union(&new);
        }
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
