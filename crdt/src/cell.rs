//! Cells: what a partition holds, and the storage that it lies in.

use crate::rows::{self, Kind};
use crate::wire::{Malformed, array_shaped, bytes_shaped, require};
use crate::{Actor, Dot, PartitionId, Stamp};
use serde_bytes::ByteBuf;
use std::ops::ControlFlow;

pub type Key = ByteBuf;

/// Largest event, in bytes on the wire.
pub const EVENT_MAX: usize = 16 * 1024 * 1024;
/// Longest key, in bytes. Storage rows are at most 64 KiB, and a row holds a key and a field.
pub const KEY_MAX: usize = 16 * 1024;
/// Longest set element or hash field, in bytes.
pub const FIELD_MAX: usize = 32 * 1024;
/// Longest value, in bytes.
pub const VALUE_MAX: usize = 8 * 1024 * 1024;

/// Which part of a key's value a cell is. The order is the order in storage: the type whose cells
/// come first is the one served when two types were written at once under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The value of a string.
    Register,
    /// The running total of one actor's increments (rule `counter-base`), written by it alone.
    Total { actor: Actor, chain: u64 },
    /// What deletes have seen of that total.
    Base { actor: Actor, chain: u64 },
    /// One field of a hash.
    Entry(ByteBuf),
    /// One element of a set.
    Member(ByteBuf),
}

impl Field {
    /// Its bytes in a row: they sort as fields do.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        rows::push_field(&mut out, self);
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        rows::read_field(bytes)
    }

    /// The bytes that a client chose.
    pub fn name(&self) -> &[u8] {
        match self {
            Field::Entry(name) | Field::Member(name) => name,
            _ => &[],
        }
    }
}

bytes_shaped!(Field);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    pub key: Key,
    pub field: Field,
}

impl Cell {
    pub(crate) fn new(key: &[u8], field: Field) -> Self {
        Self { key: Key::from(key), field }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows::place_len(&self.key, Some(&self.field)));
        rows::push_place(&mut out, &self.key, Some(&self.field));
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, field) = rows::read_place(bytes)?;
        Some(Self { key, field: field? })
    }

    pub(crate) fn check(&self) -> Result<(), Malformed> {
        require(self.key.len() <= KEY_MAX, "key too long")?;
        require(self.field.name().len() <= FIELD_MAX, "field too long")
    }
}

bytes_shaped!(Cell);

/// One live value of a cell. More than one: they were written concurrently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub dot: Dot,
    pub stamp: Stamp,
    pub value: ByteBuf,
}

impl Version {
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        self.dot.check()?;
        require(self.value.len() <= VALUE_MAX, "value too long")
    }

    /// The versions of one cell as every replica keeps them: at least one, by dot, each dot once.
    pub(crate) fn check_all(versions: &[Version]) -> Result<(), Malformed> {
        require(!versions.is_empty(), "a cell without versions")?;
        require(versions.is_sorted_by(|a, b| a.dot < b.dot), "versions out of order")?;
        versions.iter().try_for_each(Version::check)
    }
}

array_shaped!(Version: dot, stamp, value);

/// What all rows of one partition begin with, and no others.
pub type Begin = [u8; 2];

/// Is shown a row and its value, and says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered map from bytes to bytes, as every embedded engine offers. Changes are seen at once by
/// reads; all changes between two commits become durable together or not at all.
pub trait Storage {
    fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    /// A row of the log is put only where there is none.
    fn put(&mut self, row: &[u8], value: &[u8]);
    fn delete(&mut self, row: &[u8]);
    /// Deletes all rows that begin so. Those of a partition are millions: an engine that can say so in one change
    /// should, since one by one all of them are in memory until they are committed.
    fn delete_all(&mut self, begin: Begin) -> Result<(), StorageError> {
        rows::delete_each(self, begin)
    }
    /// Visits the rows from `from` up to, not including, `to`, in order, until told to break.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError>;
}

/// Of the row of a cell: what it has in common with all other cells of its key, and with no other row. A scan
/// of a key begins there. `None`: the row is of another kind.
pub fn key_of_row(row: &[u8]) -> Option<&[u8]> {
    rows::key_of(row)
}

/// The rows that an event at one cell writes: that of the cell, that of the event in the log, and that of the partition.
pub fn rows_of_event(p: PartitionId, key: &[u8], field: &Field, dot: Dot) -> [Vec<u8>; 3] {
    [rows::cell_row(p, key, field), rows::log_row(p, dot), rows::row(p, Kind::Meta).to_vec()]
}

/// Behind this row no cell lies before the row that is returned. `None`: one may lie right behind it, or none at all.
pub fn cells_behind(row: &[u8]) -> Option<[u8; 3]> {
    rows::cells_behind(row)
}

/// What a row begins with in common with those that are mostly written one after the other, in order: at most
/// [`STEM_MAX`] bytes. Rows sort as their stems do, and those of one stem lie together.
pub fn stem_of_row(row: &[u8]) -> &[u8] {
    rows::stem_of(row)
}

/// The longest stem of a row, in bytes.
pub const STEM_MAX: usize = rows::STEM_MAX;

/// The engine failed or returned what was never written. The peer must stop and recover from
/// others: nothing may be acknowledged after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct StorageError(pub String);
