//! Reading the elements of a hash or a set a page at a time.

use super::Partition;
use crate::cell::EVENT_MAX;
use crate::command::{PAGE_MAX, REMOVED_AT_ONCE};
use crate::context::RANGE_LEN_MAX;
use crate::rows::{self, ElementOf};
use crate::slice::SLICE_MAX;
use crate::{Field, Slice, Storage, StorageError};
use serde_bytes::ByteBuf;
use std::mem::discriminant;
use std::ops::{Bound, ControlFlow};

/// Most bytes of a page, as `Slice::weight` counts. A larger element is a page by itself.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// The elements after a name, in byte order.
pub(crate) struct Page<'a> {
    pub after: Option<&'a ByteBuf>,
    limit: usize,
    /// False: they come without their values.
    values: bool,
}

/// What there is still room for in a page.
pub(super) struct Room {
    elements: usize,
    bytes: usize,
    /// Bytes of rows: without their values elements are small, and are read with them nonetheless.
    read: usize,
    is_empty: bool,
}

impl<'a> Page<'a> {
    pub fn new(after: Option<&'a ByteBuf>, limit: u32, values: bool) -> Self {
        Self { after, limit: limit.clamp(1, PAGE_MAX) as usize, values }
    }

    fn room(&self) -> Room {
        Room { elements: self.limit, bytes: PAGE_BYTES, read: SLICE_MAX, is_empty: true }
    }
}

impl Room {
    /// For elements that one event removes: a quarter of it is names and dots, so that it is never too large.
    pub fn of_removal() -> Self {
        Self { elements: REMOVED_AT_ONCE, bytes: EVENT_MAX / 4, read: SLICE_MAX, is_empty: true }
    }

    /// True if so much fits, as the first always does: each page gets on.
    pub fn take(&mut self, weight: usize, read: usize) -> bool {
        let fits = self.is_empty || self.elements > 0 && weight <= self.bytes && read <= self.read;
        self.elements = self.elements.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight);
        self.read = self.read.saturating_sub(read);
        self.is_empty = false;
        fits
    }
}

impl Partition {
    /// Adds a page to what was read of a key. One scan, which begins behind the name.
    pub(super) fn read_page(
        &self,
        s: &(impl Storage + ?Sized),
        key: &[u8],
        page: &Page,
        of: ElementOf,
        slice: &mut Slice,
    ) -> Result<(), StorageError> {
        let mut room = page.room();
        rows::each(s, &rows::elements(self.id, key, of, page.after), |row, value| {
            let field = rows::cell_of(row)?.field;
            let mut versions = rows::versions_from_bytes(row, value)?;
            if !page.values {
                versions.iter_mut().for_each(|version| version.value.clear());
            }
            let weight = Slice::weight(&field, &versions);
            if !room.take(weight, row.len() + value.len()) {
                slice.until = slice.cells.last_key_value().map(|(last, _)| ByteBuf::from(last.name()));
                return Ok(ControlFlow::Break(()));
            }
            if weight > SLICE_MAX {
                *slice = Slice::oversized();
                return Ok(ControlFlow::Break(()));
            }
            slice.insert(field, versions);
            Ok(ControlFlow::Continue(()))
        })?;
        self.add_waiting(key, page, of, slice);
        Ok(())
    }

    /// Adds what waits to be removed of the page. Where that is too much by itself, the page ends earlier.
    pub(super) fn add_waiting(&self, key: &[u8], page: &Page, of: ElementOf, slice: &mut Slice) {
        let (mut room, until) = (page.room(), slice.until.clone());
        let first = of(page.after.cloned().unwrap_or_default());
        let from = if page.after.is_some() { Bound::Excluded(&first) } else { Bound::Included(&first) };
        let is_within = |field: &Field| {
            discriminant(field) == discriminant(&first)
                && until.as_ref().is_none_or(|until| field.name() <= until.as_slice())
        };
        let mut last: Option<&Field> = None;
        for (field, dots) in self.deferred.of_fields_from(key, from).take_while(|(field, _)| is_within(field))
        {
            if !room.take(field.name().len() + RANGE_LEN_MAX * dots.range_count(), 0) {
                return last.into_iter().for_each(|last| slice.cut(&ByteBuf::from(last.name())));
            }
            slice.removed.insert(Some(field.clone()), dots);
            last = Some(field);
        }
    }
}
