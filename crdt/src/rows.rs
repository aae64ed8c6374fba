//! Rows: how partitions lie in an ordered storage.
//!
//! ```text
//! partition (2 bytes)  0                                  meta: context, sums, counts
//! partition            1  key length (2) key  field       a cell: its live versions, by dot
//! partition            2  actor (8) counter (8)           log: what that event put and dropped
//! partition            3  key length (2) key [field]      a removal that waits for dots not seen yet
//! partition            4                                  own counter, kept when the partition is let go
//! partition            5                                  given up as damaged, and not filled again yet
//! partition            6                                  its peer has come to own it, and is not filled yet
//! ```
//!
//! Numbers are big-endian, so rows sort as what they name. Every value begins with [`FORMAT`].

use crate::cell::{Begin, FIELD_MAX, KEY_MAX};
use crate::{Actor, Cell, Dot, Field, Key, PartitionId, Stamp, Storage, StorageError, Target, Version};
use cbor4ii::core::dec::Read;
use cbor4ii::core::enc::Write;
use cbor4ii::core::types::Array;
use cbor4ii::core::utils::SliceReader;
use cbor4ii::serde::{Deserializer, Serializer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::convert::Infallible;
use std::ops::ControlFlow;

/// The version of the row format.
const FORMAT: u8 = 1;

/// The longest stem of a row: partition, kind, actor.
pub(crate) const STEM_MAX: usize = 11;

/// What the values of most rows fit into, also the meta row of a partition that a dozen actors have written to.
const VALUE_USUAL: usize = 256;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Meta = 0,
    Cells = 1,
    Log = 2,
    Deferred = 3,
    Own = 4,
    GivenUp = 5,
    Came = 6,
}

/// Makes an element of a hash or of a set of its name.
pub(crate) type ElementOf = fn(ByteBuf) -> Field;

/// A range of rows: from, inclusive, and to, exclusive.
pub(crate) type Span = (Vec<u8>, Vec<u8>);

/// The only row of a kind, or what all rows of the kind begin with.
pub(crate) fn row(p: PartitionId, kind: Kind) -> [u8; 3] {
    let [high, low] = p.to_be_bytes();
    [high, low, kind as u8]
}

/// The same, with room for what follows.
fn row_with(p: PartitionId, kind: Kind, room: usize) -> Vec<u8> {
    let mut start = Vec::with_capacity(3 + room);
    start.extend_from_slice(&row(p, kind));
    start
}

pub(crate) fn cell_row(p: PartitionId, key: &[u8], field: &Field) -> Vec<u8> {
    place_row(p, Kind::Cells, key, Some(field))
}

pub(crate) fn deferred_row(p: PartitionId, target: &Target) -> Vec<u8> {
    place_row(p, Kind::Deferred, target.key(), target.field())
}

pub(crate) fn log_row(p: PartitionId, dot: Dot) -> Vec<u8> {
    let mut row = row_with(p, Kind::Log, 16);
    row.extend_from_slice(&dot.actor.0.to_be_bytes());
    row.extend_from_slice(&dot.counter.to_be_bytes());
    row
}

/// What all rows of a partition begin with.
pub(crate) fn begin(p: PartitionId) -> Begin {
    p.to_be_bytes()
}

/// All rows of a partition.
pub(crate) fn whole(p: PartitionId) -> Span {
    let to = [&p.to_be_bytes()[..], &[u8::MAX]].concat();
    (row(p, Kind::Meta).to_vec(), to)
}

/// All rows of one kind.
pub(crate) fn all(p: PartitionId, kind: Kind) -> Span {
    let mut to = row(p, kind);
    to[2] += 1;
    (row(p, kind).to_vec(), to.to_vec())
}

/// All cells of a key. No field begins with the byte that ends it.
pub(crate) fn cells_of(p: PartitionId, key: &[u8]) -> Span {
    let from = place_row(p, Kind::Cells, key, None);
    let mut to = Vec::with_capacity(from.len() + 1);
    to.extend_from_slice(&from);
    to.push(u8::MAX);
    (from, to)
}

/// The cells of a key that are elements of one type, those after a name. Right behind the row of a name lies the
/// one that has a zero more.
pub(crate) fn elements(p: PartitionId, key: &[u8], of: ElementOf, after: Option<&ByteBuf>) -> Span {
    let mut from = cell_row(p, key, &of(ByteBuf::new()));
    let (mut to, tag) = (from.clone(), from.len() - 1);
    to[tag] += 1;
    if let Some(after) = after {
        from.extend_from_slice(after);
        from.push(0);
    }
    (from, to)
}

/// What the row of a cell begins with, up to the end of the key.
pub(crate) fn key_of(row: &[u8]) -> Option<&[u8]> {
    let (head, _) = row.split_first_chunk::<5>()?;
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    row.get(..5 + length).filter(|_| head[2] == Kind::Cells as u8)
}

/// Where cells may begin again behind a row of a kind that comes after them.
pub(crate) fn cells_behind(row: &[u8]) -> Option<[u8; 3]> {
    let ([high, low, kind], _) = row.split_first_chunk::<3>()?;
    let next = u16::from_be_bytes([*high, *low]).checked_add(1).filter(|_| *kind > Kind::Cells as u8)?;
    let [high, low] = next.to_be_bytes();
    Some([high, low, Kind::Cells as u8])
}

/// What a row begins with in common with those that are mostly written one after the other, in order: partition
/// and kind, and in the log the actor.
pub(crate) fn stem_of(row: &[u8]) -> &[u8] {
    let length = if row.get(2) == Some(&(Kind::Log as u8)) { STEM_MAX } else { 3 };
    &row[..length.min(row.len())]
}

/// The log rows of one actor, counters from `start` to `end`, both inclusive.
pub(crate) fn log_range(p: PartitionId, actor: Actor, start: u64, end: u64) -> Span {
    (log_row(p, Dot::new(actor, start)), log_row(p, Dot::new(actor, end.saturating_add(1))))
}

fn place_row(p: PartitionId, kind: Kind, key: &[u8], field: Option<&Field>) -> Vec<u8> {
    let mut row = row_with(p, kind, place_len(key, field));
    push_place(&mut row, key, field);
    row
}

/// What stands behind the kind in a row of cells or of waiting removals.
pub(crate) fn place_of(row: &[u8]) -> Result<(Key, Option<Field>), StorageError> {
    row.get(3..).and_then(read_place).ok_or_else(|| damaged(row))
}

pub(crate) fn cell_of(row: &[u8]) -> Result<Cell, StorageError> {
    match place_of(row)? {
        (key, Some(field)) => Ok(Cell { key, field }),
        (_, None) => Err(damaged(row)),
    }
}

/// How many bytes `push_place` appends, at most.
pub(crate) fn place_len(key: &[u8], field: Option<&Field>) -> usize {
    2 + key.len() + field.map_or(0, |field| 17 + field.name().len())
}

/// Appends a key, and a field of it if one is meant. Keys carry their length, so that all cells
/// of a key are neighbours, in the order of their fields.
pub(crate) fn push_place(out: &mut Vec<u8>, key: &[u8], field: Option<&Field>) {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    if let Some(field) = field {
        push_field(out, field);
    }
}

pub(crate) fn push_field(out: &mut Vec<u8>, field: &Field) {
    match field {
        Field::Register => out.push(0),
        Field::Total { actor, chain } => push_chain(out, 1, *actor, *chain),
        Field::Base { actor, chain } => push_chain(out, 2, *actor, *chain),
        Field::Entry(name) => push_name(out, 3, name),
        Field::Member(name) => push_name(out, 4, name),
    }
}

fn push_chain(out: &mut Vec<u8>, tag: u8, actor: Actor, chain: u64) {
    out.push(tag);
    out.extend_from_slice(&actor.0.to_be_bytes());
    out.extend_from_slice(&chain.to_be_bytes());
}

fn push_name(out: &mut Vec<u8>, tag: u8, name: &[u8]) {
    out.push(tag);
    out.extend_from_slice(name);
}

/// Reads what `push_place` writes, and nothing longer than the limits.
pub(crate) fn read_place(bytes: &[u8]) -> Option<(Key, Option<Field>)> {
    let mut reader = Reader(bytes);
    let length = usize::from(u16::from_be_bytes(reader.array()?));
    let key = reader.bytes(length).filter(|key| key.len() <= KEY_MAX)?;
    let field = match reader.0 {
        [] => None,
        field => Some(read_field(field)?),
    };
    Some((ByteBuf::from(key), field))
}

pub(crate) fn read_field(bytes: &[u8]) -> Option<Field> {
    let mut reader = Reader(bytes);
    let [tag] = reader.array()?;
    let field = match tag {
        0 => Field::Register,
        1 | 2 => {
            let (actor, chain) = (Actor(reader.u64()?), reader.u64()?);
            match tag {
                1 => Field::Total { actor, chain },
                _ => Field::Base { actor, chain },
            }
        }
        3 | 4 => {
            let length = reader.0.len();
            let name = reader.bytes(length).filter(|name| name.len() <= FIELD_MAX)?;
            match tag {
                3 => Field::Entry(ByteBuf::from(name)),
                _ => Field::Member(ByteBuf::from(name)),
            }
        }
        _ => return None,
    };
    reader.0.is_empty().then_some(field)
}

/// The value of a cell's row. Written by hand: it is on the path of every command.
pub(crate) fn versions_to_bytes(versions: &[Version]) -> Vec<u8> {
    let payload: usize = versions.iter().map(version_len).sum();
    let mut out = Vec::with_capacity(1 + payload);
    out.push(FORMAT);
    for version in versions {
        push_version(&mut out, version);
    }
    out
}

/// How many bytes `push_version` appends.
pub(crate) fn version_len(version: &Version) -> usize {
    28 + version.value.len()
}

pub(crate) fn push_version(out: &mut Vec<u8>, version: &Version) {
    for number in [version.dot.actor.0, version.dot.counter, version.stamp.0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let length = u32::try_from(version.value.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&version.value);
}

pub(crate) fn versions_from_bytes(row: &[u8], value: &[u8]) -> Result<Vec<Version>, StorageError> {
    read_versions(value).ok_or_else(|| damaged(row))
}

fn read_versions(value: &[u8]) -> Option<Vec<Version>> {
    let mut reader = Reader(value.strip_prefix(&[FORMAT])?);
    // Almost always the only one.
    let mut versions: Vec<Version> = Vec::with_capacity(1);
    while !reader.0.is_empty() {
        let dot = Dot::new(Actor(reader.u64()?), reader.u64()?);
        let stamp = Stamp(reader.u64()?);
        let length = usize::try_from(u32::from_be_bytes(reader.array()?)).ok()?;
        let value = ByteBuf::from(reader.bytes(length)?);
        if versions.last().is_some_and(|last| last.dot >= dot) {
            return None;
        }
        versions.push(Version { dot, stamp, value });
    }
    (!versions.is_empty()).then_some(versions)
}

/// The value of any other row.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(VALUE_USUAL);
    out.push(FORMAT);
    let mut serializer = Serializer::new(Output(out));
    value.serialize(&mut serializer).expect("own types, written to memory");
    serializer.into_inner().0
}

/// Unlike the library's own, it makes sure of memory once for each short piece, not twice: a quarter less work for the
/// meta row, which is written with every event.
struct Output(Vec<u8>);

impl Write for Output {
    type Error = Infallible;

    fn push(&mut self, piece: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(piece);
        Ok(())
    }
}

pub(crate) fn decode<T: DeserializeOwned>(row: &[u8], value: &[u8]) -> Result<T, StorageError> {
    let encoded = value.strip_prefix(&[FORMAT]).ok_or_else(|| damaged(row))?;
    let mut decoder = Deserializer::new(SliceReader::new(encoded));
    let decoded = T::deserialize(&mut decoder).map_err(|_| damaged(row))?;
    match decoder.into_inner().fill(1) {
        Ok(rest) if rest.as_ref().is_empty() => Ok(decoded),
        _ => Err(damaged(row)),
    }
}

/// Of the value of a log row what it begins with: the stamp, and how many cells were put.
pub(crate) fn log_head(row: &[u8], value: &[u8]) -> Result<(Stamp, u64), StorageError> {
    read_log_head(value).ok_or_else(|| damaged(row))
}

fn read_log_head(value: &[u8]) -> Option<(Stamp, u64)> {
    let mut reader = SliceReader::new(value.strip_prefix(&[FORMAT])?);
    Array::len(&mut reader).ok()??;
    let mut decoder = Deserializer::new(reader);
    let stamp = Stamp::deserialize(&mut decoder).ok()?;
    let puts = Array::len(&mut decoder.into_inner()).ok()??;
    Some((stamp, puts as u64))
}

fn damaged(row: &[u8]) -> StorageError {
    let start = &row[..row.len().min(32)];
    StorageError(format!("row {start:02x?} holds what was never written"))
}

/// Visits the rows of a span until told to break, or until a row cannot be read.
pub(crate) fn each(
    s: &(impl Storage + ?Sized),
    span: &Span,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StorageError>,
) -> Result<(), StorageError> {
    let mut failed = Ok(());
    s.scan(&span.0, &span.1, &mut |row, value| {
        visit(row, value).unwrap_or_else(|error| {
            failed = Err(error);
            ControlFlow::Break(())
        })
    })?;
    failed
}

/// Deletes all rows that begin so, one by one. Their names are read in parts; that they are deleted, storage keeps in
/// memory until all of it is committed.
pub(crate) fn delete_each(s: &mut (impl Storage + ?Sized), begin: Begin) -> Result<(), StorageError> {
    const AT_ONCE: usize = 4_096;
    let mut span = whole(PartitionId::from_be_bytes(begin));
    loop {
        let mut found: Vec<Vec<u8>> = Vec::new();
        s.scan(&span.0, &span.1, &mut |row, _| {
            found.push(row.to_vec());
            if found.len() < AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        found.iter().for_each(|row| s.delete(row));
        let is_full = found.len() == AT_ONCE;
        let Some(last) = found.pop().filter(|_| is_full) else { return Ok(()) };
        span.0 = last;
    }
}

/// Whose row of the log it is.
pub(crate) fn log_dot(row: &[u8]) -> Result<Dot, StorageError> {
    let dot = row.get(3..).and_then(|dot| dot.split_first_chunk());
    let dot = dot.and_then(|(actor, counter)| Some((actor, counter.try_into().ok()?)));
    let (actor, counter) = dot.ok_or_else(|| damaged(row))?;
    Ok(Dot::new(Actor(u64::from_be_bytes(*actor)), u64::from_be_bytes(counter)))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
