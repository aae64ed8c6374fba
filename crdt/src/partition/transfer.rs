//! State transfer: the whole state at one instant, in pieces that are installed in one step.

use super::{Partition, edits::Edits};
use crate::context::RANGES_MAX;
use crate::rows::{self, Kind};
use crate::wire::{Malformed, array_shaped, require};
use crate::{Cell, Context, Dot, Field, Fingerprint, Key, Stamp, Storage, StorageError, Target, Version};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a cell, a version and a range of a context take in memory beside keys, fields and values, roughly: the structs,
/// the heads of what is allocated, and the room in it that is not used.
const CELL_BYTES: usize = 128;
const VERSION_BYTES: usize = 64;
const RANGE_BYTES: usize = 40;

/// One part of a partition's whole state. Worth nothing without the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Names the snapshot: its state's hash.
    snapshot: u64,
    index: u32,
    count: u32,
    /// Of the whole state; in the first piece only, and so are the next two.
    context: Context,
    fingerprint: Fingerprint,
    stamp: Stamp,
    /// In order of rows, across the pieces. One that is too large for a piece is there several times, one behind the
    /// other, each time with its next versions.
    cells: Vec<(Cell, Vec<Version>)>,
    /// Removals that wait for dots not seen yet.
    deferred: Vec<(Target, Context)>,
}

array_shaped!(Piece: snapshot, index, count, context, fingerprint, stamp, cells, deferred);

impl Piece {
    /// The cells in this piece, with their live versions, in the order of storage.
    pub fn cells(&self) -> &[(Cell, Vec<Version>)] {
        &self.cells
    }

    /// The removals in this piece that wait for dots which the sender has not seen.
    pub fn deferred(&self) -> &[(Target, Context)] {
        &self.deferred
    }

    /// About how many bytes it takes in memory.
    pub fn size(&self) -> usize {
        let versions = |versions: &[Version]| {
            versions.iter().map(|version| VERSION_BYTES + version.value.len()).sum::<usize>()
        };
        let name = |key: &Key, field: Option<&Field>| {
            CELL_BYTES + key.len() + field.map_or(0, |field| field.name().len())
        };
        let cells = self.cells.iter().map(|(cell, v)| name(&cell.key, Some(&cell.field)) + versions(v));
        let deferred = self.deferred.iter();
        let deferred = deferred
            .map(|(target, dots)| name(target.key(), target.field()) + RANGE_BYTES * dots.range_count());
        RANGE_BYTES * self.context.range_count() + cells.chain(deferred).sum::<usize>()
    }

    fn check(&self) -> Result<(), Malformed> {
        require(self.index < self.count, "a piece beyond the last")?;
        for (cell, versions) in &self.cells {
            cell.check()?;
            Version::check_all(versions)?;
        }
        Ok(())
    }
}

impl Partition {
    /// The whole state, the log left out, in pieces of at most about `max_bytes`.
    pub fn snapshot(
        &self,
        s: &(impl Storage + ?Sized),
        max_bytes: usize,
    ) -> Result<Vec<Piece>, StorageError> {
        let mut pieces = Pieces::new(max_bytes);
        pieces.last().context = self.context.clone();
        pieces.last().fingerprint = self.fingerprint;
        pieces.last().stamp = self.stamp;
        rows::each(s, &rows::all(self.id, Kind::Cells), |row, value| {
            let versions = rows::versions_from_bytes(row, value)?;
            pieces.put(row.len() + value.len(), rows::cell_of(row)?, versions);
            Ok(ControlFlow::Continue(()))
        })?;
        for (target, dots) in self.deferred.iter() {
            pieces
                .make_room(rows::place_len(target.key(), target.field()) + RANGE_BYTES * dots.range_count());
            pieces.last().deferred.push((target.clone(), dots));
        }
        Ok(pieces.finish(self.context.hash() ^ self.fingerprint.0[0]))
    }

    /// Merges a snapshot in one step (rule `staged`): what the sender has seen and no longer has goes,
    /// what it has and was not seen here comes. False: there is no room for its contexts.
    pub fn install(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        snapshot: &Snapshot,
    ) -> Result<bool, StorageError> {
        // Who has seen all that the sender has knows of all that is gone and of all that waits.
        if self.context.contains_all(snapshot.context) && !mutated!(InstallKnown) {
            return Ok(true);
        }
        let mut context = self.context.clone();
        context.union(snapshot.context);
        let waits = snapshot.deferred.iter().map(|(target, dots)| (*target, *dots));
        let Some(waits) = self.deferred.plan(waits, &context) else {
            return Ok(false);
        };
        if context.range_count() > RANGES_MAX {
            return Ok(false);
        }
        let mut edits = Edits::new(self, None);
        for (cell, gone) in self.gone(s, snapshot)? {
            marked!(StateRemoves);
            edits.remove(s, &Target::Cell(cell), &gone)?;
        }
        for (target, dots) in &snapshot.deferred {
            edits.remove(s, target, dots)?;
        }
        for (cell, versions) in &snapshot.cells {
            for version in versions {
                let known = self.context.contains(version.dot) && !mutated!(InstallKnown);
                marked!(StateKnown if known);
                if !known && !self.deferred.covers(cell, version.dot) {
                    edits.insert(s, cell, Version::clone(version))?;
                }
            }
        }
        let edits = edits.finish(s)?;
        edits.write(s, self);
        self.note_unlogged(snapshot.context);
        self.context = context;
        self.stamp = self.stamp.max(snapshot.stamp);
        self.deferred.add(s, self.id, waits);
        self.deferred.settle(s, self.id, snapshot.context);
        self.save(s);
        Ok(true)
    }

    /// The versions here that the sender has seen and no longer has.
    fn gone(
        &self,
        s: &(impl Storage + ?Sized),
        snapshot: &Snapshot,
    ) -> Result<Vec<(Cell, Context)>, StorageError> {
        let mut out = Vec::new();
        rows::each(s, &rows::all(self.id, Kind::Cells), |row, value| {
            let cell = rows::cell_of(row)?;
            let kept = snapshot.cells.get(&cell);
            let has = |dot: Dot| kept.is_some_and(|kept| kept.binary_search_by_key(&dot, |v| v.dot).is_ok());
            let dots = rows::versions_from_bytes(row, value)?.into_iter().map(|v| v.dot);
            let gone: Context = dots.filter(|&dot| snapshot.context.contains(dot) && !has(dot)).collect();
            if !gone.is_empty() && !mutated!(KeepGone) {
                out.push((cell, gone));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(out)
    }
}

/// A snapshot put together again, and found to be whole and sound.
pub(crate) struct Snapshot<'a> {
    pub context: &'a Context,
    pub stamp: Stamp,
    /// Of each cell, the versions by dot.
    cells: BTreeMap<&'a Cell, Vec<&'a Version>>,
    pub deferred: BTreeMap<&'a Target, &'a Context>,
}

impl<'a> Snapshot<'a> {
    /// `None` unless these are all pieces of one snapshot, in order, and add up to its fingerprint.
    pub fn assemble(pieces: &'a [Piece]) -> Option<Self> {
        let first = pieces.first()?;
        for (index, piece) in pieces.iter().enumerate() {
            let here = (first.snapshot, u32::try_from(index).ok()?, pieces.len());
            let count = usize::try_from(piece.count).ok()?;
            if !mutated!(Unstaged) && here != (piece.snapshot, piece.index, count) || piece.check().is_err() {
                return None;
            }
        }
        let mut sum = Fingerprint::default();
        let mut cells: BTreeMap<_, Vec<&Version>> = BTreeMap::new();
        for (cell, versions) in pieces.iter().flat_map(|piece| &piece.cells) {
            let all = cells.entry(cell).or_default();
            for version in versions {
                sum.add(cell, version);
                let known = first.context.contains(version.dot) && version.stamp <= first.stamp;
                let follows = all.last().is_none_or(|last| last.dot < version.dot);
                (known && follows).then_some(())?;
                all.push(version);
            }
        }
        let deferred = pieces.iter().flat_map(Piece::deferred).map(|(target, dots)| (target, dots));
        let deferred: BTreeMap<_, _> = deferred.collect();
        let waiting = |dots: &&Context| dots.intersect(&first.context).is_empty();
        let sound = (sum == first.fingerprint || mutated!(Unstaged))
            && deferred.len() == pieces.iter().map(|piece| piece.deferred.len()).sum::<usize>()
            && deferred.values().all(waiting);
        sound.then_some(Self { context: &first.context, stamp: first.stamp, cells, deferred })
    }
}

/// Pieces as they fill.
struct Pieces {
    pieces: Vec<Piece>,
    current: Piece,
    size: usize,
    max: usize,
}

impl Pieces {
    fn new(max: usize) -> Self {
        Self { pieces: Vec::new(), current: Piece::empty(), size: 0, max }
    }

    fn last(&mut self) -> &mut Piece {
        &mut self.current
    }

    /// Begins the next piece if `size` more bytes are too many for this one.
    fn make_room(&mut self, size: usize) {
        if self.size > 0 && self.size.saturating_add(size) > self.max {
            marked!(StateInPieces);
            let full = std::mem::replace(&mut self.current, Piece::empty());
            self.pieces.push(full);
            self.size = 0;
        }
        self.size = self.size.saturating_add(size);
    }

    /// Puts a cell into this piece or the next; one that is larger than a piece version by version, so that no piece has
    /// more than one value too many, whatever was written at once.
    fn put(&mut self, size: usize, cell: Cell, versions: Vec<Version>) {
        if size <= self.max || versions.len() == 1 {
            self.make_room(size);
            return self.current.cells.push((cell, versions));
        }
        marked!(CellInParts);
        for version in versions {
            self.make_room(cell.key.len() + cell.field.name().len() + version.value.len());
            match self.current.cells.last_mut() {
                Some((last, versions)) if *last == cell => versions.push(version),
                _ => self.current.cells.push((cell.clone(), vec![version])),
            }
        }
    }

    fn finish(mut self, snapshot: u64) -> Vec<Piece> {
        self.pieces.push(self.current);
        let count = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        for (index, piece) in (0..).zip(&mut self.pieces) {
            (piece.snapshot, piece.index, piece.count) = (snapshot, index, count);
        }
        self.pieces
    }
}

impl Piece {
    fn empty() -> Self {
        Self {
            snapshot: 0,
            index: 0,
            count: 0,
            context: Context::new(),
            fingerprint: Fingerprint::default(),
            stamp: Stamp::default(),
            cells: Vec::new(),
            deferred: Vec::new(),
        }
    }
}
