//! Removals that came before what they remove.

use super::{Needs, Wanted};
use crate::context::RANGES_MAX;
use crate::rows::{self, Kind};
use crate::{Cell, Context, Dot, Field, Key, PartitionId, Storage, StorageError, Target};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

/// Of elements that only tell a key's type, as many removals that wait are told of at most.
const WAITS_MAX: usize = 64;

/// Targets, and all that each will wait for.
pub(super) type Waits<'a> = Vec<(&'a Target, Context)>;

/// Of each target, the dots that have been dropped there and not been seen yet. Like the cells, a function of
/// the set of events applied. A dot of an ended life may never come: then its entry stays for ever.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    targets: BTreeMap<Target, Context>,
    /// All dots of all targets: whether anything waits for a dot is asked with every event.
    waiting: Context,
}

impl Deferred {
    /// Reads the rows. They may still name dots that have come since; `context` tells.
    pub fn load(
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        context: &Context,
    ) -> Result<Self, StorageError> {
        let mut deferred = Self::default();
        rows::each(s, &rows::all(p, Kind::Deferred), |row, value| {
            let target = Target::at(rows::place_of(row)?);
            let mut dots: Context = rows::decode(row, value)?;
            dots.subtract(context);
            if !dots.is_empty() {
                deferred.waiting.union(&dots);
                deferred.targets.insert(target, dots);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(deferred)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Target, &Context)> {
        self.targets.iter()
    }

    /// What waits for a key, as far as a command needs it.
    pub fn of_key(&self, key: &[u8], needs: &Needs) -> BTreeMap<Option<Field>, Context> {
        let mut found = BTreeMap::new();
        if self.waiting.is_empty() {
            return found;
        }
        found.extend(self.targets.get(&Target::Key(Key::from(key))).map(|dots| (None, dots.clone())));
        self.of_fields(key, Field::Register..Field::Entry(ByteBuf::new()), usize::MAX, &mut found);
        let entries = Field::Entry(ByteBuf::new())..Field::Member(ByteBuf::new());
        self.of_wanted(key, &needs.entries, entries, Field::Entry, &mut found);
        let members = Field::Member(ByteBuf::new())..;
        self.of_wanted(key, &needs.members, members, Field::Member, &mut found);
        found
    }

    fn of_wanted(
        &self,
        key: &[u8],
        wanted: &Wanted,
        fields: impl RangeBounds<Field>,
        field: fn(ByteBuf) -> Field,
        found: &mut BTreeMap<Option<Field>, Context>,
    ) {
        match wanted {
            Wanted::All => self.of_fields(key, fields, usize::MAX, found),
            Wanted::Head | Wanted::Page(_) => self.of_fields(key, fields, WAITS_MAX, found),
            Wanted::Named(names) => {
                for name in names {
                    let cell = Cell::new(key, field((*name).clone()));
                    if let Some(dots) = self.targets.get(&Target::Cell(cell.clone())) {
                        // A name may come any number of times.
                        found.entry(Some(cell.field)).or_insert_with(|| dots.clone());
                    }
                }
                self.of_fields(key, fields, WAITS_MAX, found);
            }
        }
    }

    fn of_fields(
        &self,
        key: &[u8],
        fields: impl RangeBounds<Field>,
        most: usize,
        found: &mut BTreeMap<Option<Field>, Context>,
    ) {
        let waiting = self.of_fields_from(key, fields.start_bound()).take(most);
        let waiting = waiting.take_while(|(field, _)| fields.contains(*field));
        found.extend(waiting.map(|(field, dots)| (Some(field.clone()), dots.clone())));
    }

    /// What waits for single fields of a key, in their order.
    pub fn of_fields_from(
        &self,
        key: &[u8],
        from: Bound<&Field>,
    ) -> impl Iterator<Item = (&Field, &Context)> {
        let from = from.map(|field| Target::Cell(Cell::new(key, field.clone())));
        let targets = self.targets.range((from, Bound::Unbounded));
        targets.map_while(move |(target, dots)| Some((target.field().filter(|_| target.key() == key)?, dots)))
    }

    /// True where `dot`, put into `cell`, has been removed before it came.
    pub fn covers(&self, cell: &Cell, dot: Dot) -> bool {
        let waits = |target: Target| self.targets.get(&target).is_some_and(|d| d.contains(dot));
        self.waiting.contains(dot)
            && (waits(Target::Cell(cell.clone())) || waits(Target::Key(cell.key.clone())))
    }

    /// What each target of these drops will wait for, where `context` has been seen. `None`: a set would have
    /// too many ranges to be stored.
    pub fn plan<'a>(
        &self,
        drops: impl IntoIterator<Item = (&'a Target, &'a Context)>,
        context: &Context,
    ) -> Option<Waits<'a>> {
        let mut waits = Vec::new();
        for (target, dots) in drops {
            if context.contains_all(dots) {
                continue;
            }
            let mut all = dots.difference(context);
            if let Some(before) = self.targets.get(target) {
                all.union(before);
            }
            (all.range_count() <= RANGES_MAX).then_some(())?;
            waits.push((target, all));
        }
        Some(waits)
    }

    /// Lets targets wait as planned.
    pub fn add(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId, waits: Waits) {
        if mutated!(DropDeferred) {
            return;
        }
        for (target, dots) in waits {
            marked!(RemovalWaits);
            s.put(&rows::deferred_row(p, target), &rows::encode(&dots));
            self.waiting.union(&dots);
            self.targets.insert(target.clone(), dots);
        }
    }

    pub fn waits_for(&self, dot: Dot) -> bool {
        self.waiting.contains(dot)
    }

    /// Takes note that `seen` has come. Rows of targets that still wait are left as they are: `load`
    /// knows, and an event out of order should not rewrite all of them.
    pub fn settle(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId, seen: &Context) {
        let came = self.waiting.intersect(seen);
        if came.is_empty() {
            return;
        }
        self.waiting.subtract(&came);
        self.targets.retain(|target, dots| {
            dots.subtract(&came);
            if dots.is_empty() {
                s.delete(&rows::deferred_row(p, target));
            }
            !dots.is_empty()
        });
    }
}
