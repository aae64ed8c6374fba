//! Reading the part of a key that a command needs.

use super::page::Room;
use super::{PAGE_BYTES, Page, Partition, Seed, versions_of};
use crate::context::RANGE_LEN_MAX;
use crate::rows::{self, ElementOf};
use crate::slice::SLICE_MAX;
use crate::{Cell, Field, Key, Slice, Storage, StorageError, Version};
use serde_bytes::ByteBuf;
use std::ops::ControlFlow;

/// What a command needs of a key, beside its string and its counter, which are read always. Of
/// elements that are not needed themselves, the first few are read: they tell the key's type.
pub(crate) struct Needs<'a> {
    pub entries: Wanted<'a>,
    pub members: Wanted<'a>,
    /// Most bytes of the string, the counter, and elements of which all are needed, as `Slice::weight` counts: of more,
    /// nothing is told but that it is too large. Heads, pages and `First` have limits of their own.
    pub most: usize,
    /// The same with the elements that are named. What a command names to write it is not sent, and may be more.
    pub most_named: usize,
}

pub(crate) enum Wanted<'a> {
    Head,
    Named(Vec<&'a ByteBuf>),
    Page(Page<'a>),
    /// The first, as many as one event removes.
    First,
    All,
}

/// A slice, and whether the key has nothing beyond it.
pub(crate) struct Loaded {
    pub slice: Slice,
    pub complete: bool,
    /// Cells that were looked for and are not there.
    absent: Vec<Field>,
    /// What has been counted of it.
    size: usize,
}

impl Loaded {
    /// What was read, for the event that is made of it.
    pub fn into_seed(self, key: &[u8]) -> Seed {
        let absent = self.absent.into_iter().map(|field| (field, Vec::new()));
        Seed { key: Key::from(key), cells: absent.chain(self.slice.cells).collect(), complete: self.complete }
    }
}

impl Partition {
    /// The slice comes without its context, which only those need that merge it with others.
    ///
    /// One short scan and a lookup for each named element, or a scan of a page or of the `First`, however many elements
    /// the key has; only commands that need all of them read all.
    pub fn read(
        &self,
        s: &(impl Storage + ?Sized),
        key: &[u8],
        needs: &Needs,
    ) -> Result<Loaded, StorageError> {
        let mut scan = Scan::new(needs, key.len());
        rows::each(s, &rows::cells_of(self.id, key), |row, value| {
            let field = rows::cell_of(row)?.field;
            Ok(scan.take(field, rows::versions_from_bytes(row, value)?))
        })?;
        let slice = scan.slice;
        let heads_empty = slice.entries.names.is_empty() && slice.members.names.is_empty();
        let mut loaded =
            Loaded { complete: heads_empty && !scan.stopped, slice, absent: Vec::new(), size: scan.size };
        self.read_wanted(s, key, (&needs.entries, Field::Entry), needs.most_named, &mut loaded)?;
        self.read_wanted(s, key, (&needs.members, Field::Member), needs.most_named, &mut loaded)?;
        Ok(loaded)
    }

    /// Adds what waits to be removed, which matters only where slices merge. Many thousand removals may wait of one key,
    /// where it is held for others: of more than a page has bytes, nothing is told but that it is too large.
    pub fn add_removed(&self, key: &[u8], needs: &Needs, slice: &mut Slice) {
        if slice.oversized {
            return;
        }
        match self.deferred.of_key(key, needs, PAGE_BYTES) {
            Some(removed) => slice.removed.extend(removed),
            None => *slice = Slice::oversized(),
        }
    }

    fn read_wanted(
        &self,
        s: &(impl Storage + ?Sized),
        key: &[u8],
        (wanted, of): (&Wanted, ElementOf),
        most: usize,
        loaded: &mut Loaded,
    ) -> Result<(), StorageError> {
        match wanted {
            _ if loaded.slice.oversized => Ok(()),
            Wanted::Named(names) => self.read_named(s, key, (names, of), most, loaded),
            // The key has no elements.
            Wanted::Page(page) if loaded.complete => {
                self.add_waiting(key, page, of, &mut loaded.slice);
                Ok(())
            }
            Wanted::Page(page) => self.read_page(s, key, page, of, &mut loaded.slice),
            Wanted::Head | Wanted::First | Wanted::All => Ok(()),
        }
    }

    fn read_named(
        &self,
        s: &(impl Storage + ?Sized),
        key: &[u8],
        (names, of): (&[&ByteBuf], ElementOf),
        most: usize,
        loaded: &mut Loaded,
    ) -> Result<(), StorageError> {
        // A name may come any number of times.
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let cell = Cell::new(key, of(name.clone()));
            let versions = match loaded.complete {
                true => Vec::new(),
                false => versions_of(s, self.id, &cell)?,
            };
            if versions.is_empty() {
                loaded.absent.push(cell.field);
                continue;
            }
            loaded.size += Slice::weight(&cell.field, &versions);
            if loaded.size > most {
                loaded.slice = Slice::oversized();
                return Ok(());
            }
            loaded.slice.insert(cell.field, versions);
        }
        Ok(())
    }

    /// Keys after `after` that `exists` holds for, at most `limit`, in the order of storage: by length,
    /// then by bytes.
    pub fn keys(
        &self,
        s: &(impl Storage + ?Sized),
        after: Option<&[u8]>,
        limit: usize,
        exists: fn(&Slice) -> bool,
    ) -> Result<Vec<Key>, StorageError> {
        let needs =
            Needs { entries: Wanted::Head, members: Wanted::Head, most: SLICE_MAX, most_named: SLICE_MAX };
        let (mut from, to) = rows::all(self.id, rows::Kind::Cells);
        if let Some(after) = after {
            from = rows::cells_of(self.id, after).1;
        }
        let mut walk = Walk { needs: &needs, exists, limit, keys: Vec::new(), under_way: None };
        loop {
            rows::each(s, &(from, to.clone()), |row, value| walk.take(row, value))?;
            let passed = walk.end();
            match passed {
                Some(key) if walk.keys.len() < limit => from = rows::cells_of(self.id, &key).1,
                _ => return Ok(walk.keys),
            }
        }
    }
}

/// One pass over many keys; it stops within a key whose other cells need not be read.
struct Walk<'a> {
    needs: &'a Needs<'a>,
    /// Asked of a slice of cells alone: what waits to be removed matters only where slices merge.
    exists: fn(&Slice) -> bool,
    limit: usize,
    keys: Vec<Key>,
    under_way: Option<(Key, Scan<'a>)>,
}

impl Walk<'_> {
    fn take(&mut self, row: &[u8], value: &[u8]) -> Result<ControlFlow<()>, StorageError> {
        let Cell { key, field } = rows::cell_of(row)?;
        if self.under_way.as_ref().is_none_or(|(known, _)| *known != key) {
            self.end();
        }
        if self.under_way.is_none() && self.keys.len() >= self.limit {
            return Ok(ControlFlow::Break(()));
        }
        let length = key.len();
        let (_, scan) = self.under_way.get_or_insert_with(|| (key, Scan::new(self.needs, length)));
        Ok(scan.take(field, rows::versions_from_bytes(row, value)?))
    }

    /// The key under way is read. Returns it if it has cells that were not.
    fn end(&mut self) -> Option<Key> {
        let (key, Scan { slice, stopped, .. }) = self.under_way.take()?;
        // Of what is too large nothing is left to ask.
        if slice.oversized || (self.exists)(&slice) {
            self.keys.push(key.clone());
        }
        stopped.then_some(key)
    }
}

/// One pass over the cells of a key.
struct Scan<'a> {
    needs: &'a Needs<'a>,
    slice: Slice,
    size: usize,
    /// For elements that are to be removed.
    room: Room,
    key_len: usize,
    stopped: bool,
}

impl<'a> Scan<'a> {
    fn new(needs: &'a Needs<'a>, key_len: usize) -> Self {
        Self { needs, slice: Slice::default(), size: 0, room: Room::of_removal(), key_len, stopped: false }
    }

    /// Takes the next cell. Stops at the first element too many: hashes come before sets, so a key with
    /// that many entries is a hash, whatever its members.
    fn take(&mut self, field: Field, versions: Vec<Version>) -> ControlFlow<()> {
        let (wanted, head) = match &field {
            Field::Entry(_) => (&self.needs.entries, &mut self.slice.entries),
            Field::Member(_) => (&self.needs.members, &mut self.slice.members),
            _ => return self.keep(field, versions),
        };
        match wanted {
            Wanted::All => return self.keep(field, versions),
            Wanted::First => return self.keep_to_remove(field, versions),
            Wanted::Head | Wanted::Named(_) | Wanted::Page(_) => {}
        }
        self.stopped = !head.push(&field, &versions);
        flow(self.stopped)
    }

    /// Each element is named in the event, with the key and its dots.
    fn keep_to_remove(&mut self, field: Field, versions: Vec<Version>) -> ControlFlow<()> {
        let named = self.key_len + field.name().len() + RANGE_LEN_MAX * versions.len();
        self.stopped = !self.room.take(named, Slice::weight(&field, &versions));
        if self.stopped {
            self.slice.until = self.slice.cells.last_key_value().map(|(last, _)| ByteBuf::from(last.name()));
        } else {
            self.slice.insert(field, versions);
        }
        flow(self.stopped)
    }

    fn keep(&mut self, field: Field, versions: Vec<Version>) -> ControlFlow<()> {
        self.size += Slice::weight(&field, &versions);
        self.stopped = self.size > self.needs.most;
        if self.stopped {
            self.slice = Slice::oversized();
        } else {
            self.slice.insert(field, versions);
        }
        flow(self.stopped)
    }
}

fn flow(stop: bool) -> ControlFlow<()> {
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
