//! The state of one partition, as a dotted causal store over rows.
//!
//! Almeida et al., "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (2014) and
//! Gonçalves et al., "DottedDB" (2017): one causal context for the whole store, live versions named by
//! dots, a removal is known by its absence under the context. `apply` takes events in any order.

mod deferred;
mod edits;
mod load;
mod log;
mod page;
mod scrub;
mod transfer;

pub(crate) use edits::Seed;
pub(crate) use load::{Loaded, Needs, Wanted};
pub use log::Missing;
pub(crate) use page::{PAGE_BYTES, Page};
pub use scrub::Scrubbed;
pub use transfer::Piece;
pub(crate) use transfer::Snapshot;

use crate::rows::{self, Kind};
use crate::{Cell, Context, Event, Fingerprint, PartitionId, Stamp, Storage, StorageError, Version};
use deferred::Deferred;
use edits::Edits;
use scrub::Scrub;

/// What is kept in memory of a partition; written back with every change.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub id: PartitionId,
    pub context: Context,
    pub fingerprint: Fingerprint,
    /// Keys with live cells, and live cells.
    pub keys: u64,
    pub cells: u64,
    /// Rows in the log.
    pub log: u64,
    /// The highest stamp applied.
    pub stamp: Stamp,
    deferred: Deferred,
    /// What was seen and has no row in the log. Not written: after a start it is read from the log, once it is needed.
    unlogged: Option<Context>,
    /// Not written: after a start the scrub begins anew.
    scrub: Option<Scrub>,
}

/// The meta row: all of the above but the waiting removals, which have rows of their own.
type Meta = (Context, Fingerprint, u64, u64, u64, Stamp);

impl Partition {
    pub fn new(id: PartitionId) -> Self {
        Self { id, unlogged: Some(Context::new()), ..Self::default() }
    }

    /// What storage holds of the partition, if anything.
    pub fn load(s: &(impl Storage + ?Sized), id: PartitionId) -> Result<Option<Self>, StorageError> {
        let row = rows::row(id, Kind::Meta);
        let Some(value) = s.get(&row)? else {
            return Ok(None);
        };
        let (context, fingerprint, keys, cells, log, stamp): Meta = rows::decode(&row, &value)?;
        let deferred = Deferred::load(s, id, &context)?;
        let (unlogged, scrub) = (None, None);
        Ok(Some(Self { id, context, fingerprint, keys, cells, log, stamp, deferred, unlogged, scrub }))
    }

    fn save(&self, s: &mut (impl Storage + ?Sized)) {
        let meta = (&self.context, self.fingerprint, self.keys, self.cells, self.log, self.stamp);
        s.put(&rows::row(self.id, Kind::Meta), &rows::encode(&meta));
    }

    /// Applies an event: any order, any number of times. True where it was new, and there was room: of a set
    /// with more gaps than `RANGES_MAX`, nothing could be told to others. `seed`: what has been read already
    /// of the cells it touches.
    pub fn apply(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        event: &Event,
        seed: Option<Seed>,
    ) -> Result<bool, StorageError> {
        if self.context.contains(event.dot) && !mutated!(ApplyTwice) || !self.context.has_room(event.dot) {
            return Ok(false);
        }
        let drops = event.drops.iter().map(|(target, dots)| (target, dots));
        let Some(waits) = self.deferred.plan(drops, &self.context) else {
            return Ok(false);
        };
        // All that can fail comes first: then nothing in memory is half changed.
        let edits = self.edit(s, event, seed)?.finish(s)?;
        edits.write(s, self);
        self.context.insert(event.dot);
        self.stamp = self.stamp.max(event.stamp);
        self.deferred.add(s, self.id, waits);
        self.deferred.came(s, self.id, event.dot);
        log::write(s, self.id, event);
        self.log += 1;
        self.save(s);
        Ok(true)
    }

    /// Bytes in memory, roughly, of the removals that wait for what they remove.
    pub fn waiting_bytes(&self) -> usize {
        self.deferred.bytes()
    }

    /// How many more there would be with this event, at most.
    pub fn bytes_to_wait(&self, event: &Event) -> usize {
        if self.context.contains(event.dot) { 0 } else { Deferred::bytes_of(&event.drops, &self.context) }
    }

    /// What the event changes in the cells.
    fn edit(
        &self,
        s: &(impl Storage + ?Sized),
        event: &Event,
        seed: Option<Seed>,
    ) -> Result<Edits, StorageError> {
        let mut edits = Edits::new(self, seed);
        for (target, dots) in &event.drops {
            edits.remove(s, target, dots)?;
        }
        for (cell, value) in &event.puts {
            // No value: rebuilt from a log after its successor had come (rule `newest-first`).
            let Some(value) = value else {
                marked!(ValueReplaced);
                continue;
            };
            marked!(RemovedBefore if self.deferred.covers(cell, event.dot));
            if !self.deferred.covers(cell, event.dot) {
                let version = Version { dot: event.dot, stamp: event.stamp, value: value.clone() };
                edits.insert(s, cell, version)?;
            }
        }
        Ok(edits)
    }
}

/// Reads one cell's live versions; none where there is no row.
fn versions_of(
    s: &(impl Storage + ?Sized),
    p: PartitionId,
    cell: &Cell,
) -> Result<Vec<Version>, StorageError> {
    let row = rows::cell_row(p, &cell.key, &cell.field);
    match s.get(&row)? {
        None => Ok(Vec::new()),
        Some(value) => rows::versions_from_bytes(&row, &value),
    }
}
