//! The journal: all changes of one commit as one record, appended and synced before anybody is told.
//!
//! Files are numbered from 1. A file is left once what it holds is enough for tables, and goes when it
//! lies in them. Played back from the oldest that is there, the files give the same rows as the first time.
//!
//! Behind its last record the last file holds zeros, which records overwrite: then the length of the file
//! stays as it is, and a sync writes the record alone, not the file's metadata beside it.
//!
//! ```text
//! record:  length of the body, and in the highest bit: all before it was synced (8 bytes)
//!          blake3 of the body, the first 8 bytes  body: changes
//! change:  (length of the value + 1, or 0 where the row is deleted) << 16 | length of the row (8 bytes)  row  value
//!          or all bits but the last 16 | 2 (8 bytes)  what all rows that are deleted begin with (2 bytes)
//! ```

use crate::directory::sync_directory;
use starling_crdt::StorageError;
use starling_crdt::cell::Begin;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

const HEAD: usize = 16;
/// In the length of a record: when it was written, all before it was synced. So where it is whole, one before it
/// that is not has rotted: it was never merely cut off.
const AFTER_SYNC: u64 = 1 << 63;
/// Bytes that are searched at once for a record, and how many times the file is read for what may be one.
const TRIED_AT_ONCE: u64 = 64 * 1024;
const TRIED_TIMES: u64 = 8;
/// In place of the length of a value: all rows that begin so are deleted.
const ALL: u64 = u64::MAX >> 16;
/// Capacity that is kept between commits.
const KEPT_BYTES: usize = 1024 * 1024;
/// So many zeros are written ahead: room for some hundred small records.
const ROOM: u64 = 256 * 1024;
/// So many at once. The system keeps what was written at once as one page, and writes it whole again each time
/// that some of it is overwritten.
const PAGE: [u8; 4096] = [0; 4096];

pub struct Journal {
    directory: PathBuf,
    /// Stands where its last record ends.
    file: File,
    end: u64,
    /// All up to there outlasts a power cut.
    is_synced: bool,
    /// Zeros behind that.
    room: u64,
    number: u64,
    oldest: u64,
}

/// The changes of one commit, as they are written.
pub struct Record {
    /// The head is filled in when it is written.
    bytes: Vec<u8>,
}

impl Default for Record {
    fn default() -> Self {
        Self { bytes: vec![0; HEAD] }
    }
}

impl Record {
    pub fn push(&mut self, row: &[u8], value: Option<&[u8]>) {
        let row_length =
            u16::try_from(row.len()).expect("rows are at most 64 KiB: keys and fields are bounded");
        let value_length = value.map_or(0, |value| value.len() as u64 + 1);
        self.bytes.extend_from_slice(&(value_length << 16 | u64::from(row_length)).to_be_bytes());
        self.bytes.extend_from_slice(row);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// All rows that begin so are deleted.
    pub fn push_all(&mut self, begin: Begin) {
        self.bytes.extend_from_slice(&(ALL << 16 | begin.len() as u64).to_be_bytes());
        self.bytes.extend_from_slice(&begin);
    }

    /// Bytes of changes.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEAD
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn seal(&mut self, after_sync: bool) -> &[u8] {
        let (head, body) = self.bytes.split_at_mut(HEAD);
        let length = body.len() as u64 | if after_sync { AFTER_SYNC } else { 0 };
        head[..8].copy_from_slice(&length.to_be_bytes());
        head[8..].copy_from_slice(&check(body));
        &self.bytes
    }

    fn clear(&mut self) {
        self.bytes.truncate(HEAD);
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

/// A change that is played back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played<'a> {
    /// A row, and its value; `None`: it is deleted.
    Row(&'a [u8], Option<&'a [u8]>),
    /// All rows that begin so are deleted.
    All(Begin),
}

/// Is shown what is played back.
pub type Replay<'a> = &'a mut dyn FnMut(Played<'_>);

impl Journal {
    /// Opens or creates the journal in this directory and plays it back. Of the last file, a record that
    /// was not written to its end is dropped, and what follows it: nobody was told that it is synced.
    /// `needed`: files that must be there, as far as anybody knows.
    ///
    /// Errors: the disk fails, or what must be there is not, or is not what was written.
    pub fn open(directory: &Path, needed: &[u64], replay: Replay<'_>) -> Result<Self, StorageError> {
        create(directory).map_err(refused)?;
        let numbers = numbers(directory).map_err(refused)?;
        if let Some(lost) = needed.iter().find(|number| !numbers.contains(number)) {
            let lost = file_of(directory, *lost);
            return Err(damaged(&format!("{} is missing, or a file after it", lost.display())));
        }
        let (oldest, number) = play_back_old(directory, &numbers, replay)?;
        let (file, end) = open_last(&file_of(directory, number), numbers.is_empty(), replay)?;
        sync_directory(directory).map_err(refused)?;
        let directory = directory.to_path_buf();
        Ok(Self { directory, file, end, is_synced: true, room: 0, number, oldest })
    }

    /// Reads what `open` would play back, and changes nothing. Errors: `open` would find the same.
    pub fn examine(directory: &Path) -> Result<(), StorageError> {
        let numbers = numbers(directory).map_err(refused)?;
        let (_, last) = play_back_old(directory, &numbers, &mut |_| {})?;
        if numbers.is_empty() { Ok(()) } else { play_back(&file_of(directory, last), &mut |_| {}).map(drop) }
    }

    /// Writes all changes of the record, or none of them, and empties it. Synced: they, and all that were
    /// written before, outlast a power cut.
    pub fn commit(&mut self, record: &mut Record, synced: bool) -> io::Result<()> {
        if !record.is_empty() {
            let bytes = record.seal(self.is_synced);
            self.is_synced = false;
            self.file.write_all(bytes)?;
            self.end += bytes.len() as u64;
            self.room = self.room.saturating_sub(bytes.len() as u64);
            if self.room == 0 {
                self.make_room()?;
            }
            record.clear();
        }
        if synced { self.sync() } else { Ok(()) }
    }

    fn make_room(&mut self) -> io::Result<()> {
        let rest = PAGE.len() - self.end as usize % PAGE.len();
        self.file.write_all(&PAGE[..rest])?;
        for _ in 0..ROOM / PAGE.len() as u64 {
            self.file.write_all(&PAGE)?;
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.room = ROOM + rest as u64;
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.is_synced = true;
        Ok(())
    }

    /// Begins the next file. Returns the number of the one before, which is whole and synced.
    pub fn turn(&mut self) -> io::Result<u64> {
        self.file.set_len(self.end)?;
        self.file.sync_all()?;
        let before = self.number;
        self.file = File::create_new(file_of(&self.directory, before + 1))?;
        (self.end, self.room, self.is_synced) = (0, 0, true);
        sync_directory(&self.directory)?;
        self.number = before + 1;
        Ok(before)
    }

    /// The number of the first file that is there.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Forgets the files up to this one: what they hold lies in tables. They go one by one, the oldest first,
    /// since an old one alone would bring old rows back.
    pub fn forget(&mut self, last: u64) -> io::Result<()> {
        while self.oldest <= last {
            fs::remove_file(file_of(&self.directory, self.oldest))?;
            sync_directory(&self.directory)?;
            self.oldest += 1;
        }
        Ok(())
    }
}

/// All files but the last. Returns the numbers of the first and the last.
fn play_back_old(directory: &Path, numbers: &[u64], replay: Replay<'_>) -> Result<(u64, u64), StorageError> {
    let (oldest, number) = match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => (1, 1),
    };
    if numbers.len() as u64 > 1 && number - oldest + 1 != numbers.len() as u64 {
        return Err(damaged("a file is missing"));
    }
    for old in oldest..number {
        let (good, length) = play_back(&file_of(directory, old), replay)?;
        // None is left before a record was written to it.
        if good != length || length == 0 {
            return Err(damaged("a record is not what was written"));
        }
    }
    Ok((oldest, number))
}

/// The last file, ready to be written to, and where its last record ends.
fn open_last(path: &Path, new: bool, replay: Replay<'_>) -> Result<(File, u64), StorageError> {
    if new {
        return Ok((File::create_new(path).map_err(refused)?, 0));
    }
    let (good, length) = play_back(path, replay)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(refused)?;
    if good != length {
        file.seek(SeekFrom::Start(good)).map_err(refused)?;
        if !is_zeros(&mut file).map_err(refused)? {
            tracing::warn!(at = good, "the journal ends in a record that was not written to its end");
        }
        // Were it left there, records of what clients sent could come to lie behind a shorter one.
        file.set_len(good).map_err(refused)?;
    }
    // What is acknowledged from now on may build on what was read, synced before or not.
    write_again(&mut file, good).map_err(refused)?;
    file.sync_all().map_err(refused)?;
    Ok((file, good))
}

/// Writes what was read where it was read. After a sync that failed, the system may show what the disk does not hold
/// and count it as written (Rebello et al., "Can Applications Recover from fsync Failures?", 2020, section 3): the
/// next sync would succeed without it. Leaves the file at its end.
fn write_again(file: &mut File, length: u64) -> io::Result<()> {
    let (mut page, mut at) = (PAGE, 0);
    while at < length {
        let piece = &mut page[..(length - at).min(PAGE.len() as u64) as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(piece)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(piece)?;
        at += piece.len() as u64;
    }
    file.seek(SeekFrom::Start(length)).map(drop)
}

/// True if from here on to its end the file holds nothing else.
fn is_zeros(file: &mut File) -> io::Result<bool> {
    let mut piece = [0; 4096];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(true),
            read if piece[..read].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// How many bytes hold whole records, and how many there are.
fn play_back(path: &Path, replay: Replay<'_>) -> Result<(u64, u64), StorageError> {
    let mut file = File::open(path).map_err(refused)?;
    let length = file.metadata().map_err(refused)?.len();
    let (mut good, mut body) = (0, Vec::new());
    loop {
        match next(&mut file, length - good, &mut body).map_err(refused)? {
            Next::Whole { .. } => {}
            Next::Broken | Next::End => {
                file.seek(SeekFrom::Start(good)).map_err(refused)?;
                if has_rotted(&mut file, length, &mut body).map_err(refused)? {
                    return Err(damaged("a record is not what was written"));
                }
                return Ok((good, length));
            }
        }
        changes(&body, replay).ok_or_else(|| damaged("a record is not one of this version"))?;
        good += (HEAD + body.len()) as u64;
    }
}

/// What a file goes on with.
enum Next {
    /// A record.
    Whole {
        after_sync: bool,
    },
    /// What has the length of one, and is not what was written.
    Broken,
    End,
}

/// Reads the next of `left` bytes; the body of a record comes into `body`.
fn next(file: &mut File, left: u64, body: &mut Vec<u8>) -> io::Result<Next> {
    let mut head = [0; HEAD];
    let left = left.saturating_sub(HEAD as u64);
    if left == 0 {
        return Ok(Next::End);
    }
    file.read_exact(&mut head)?;
    let (length, hash) = head.split_at(8);
    let length = length.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let size = length & !AFTER_SYNC;
    if size == 0 || size > left {
        return Ok(Next::End);
    }
    body.clear();
    Read::take(file, size).read_to_end(body)?;
    let is_whole = body.len() as u64 == size && check(body) == *hash;
    Ok(if is_whole { Next::Whole { after_sync: length & AFTER_SYNC != 0 } } else { Next::Broken })
}

/// True if a record behind one that is broken was written when all before it was synced.
fn has_rotted(file: &mut File, length: u64, body: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let at = file.stream_position()?;
        match next(file, length.saturating_sub(at), body)? {
            Next::Whole { after_sync: true } => return Ok(true),
            Next::Whole { after_sync: false } | Next::Broken => {}
            Next::End => return is_followed(file, at, length, body),
        }
    }
}

/// The same where it is not known how long the broken one is: each place is tried. What clients sent may look like a
/// record, which matters only where a power cut has spared it and not the head before it; and it may look like the
/// heads of many, so no more is read than `TRIED_TIMES` the file.
fn is_followed(file: &mut File, mut at: u64, length: u64, body: &mut Vec<u8>) -> io::Result<bool> {
    let (mut piece, mut tried) = (Vec::new(), 0);
    while at < length {
        file.seek(SeekFrom::Start(at))?;
        piece.clear();
        Read::take(&mut *file, TRIED_AT_ONCE).read_to_end(&mut piece)?;
        for (begin, head) in (at..).zip(piece.windows(8)) {
            let size = head.try_into().map(u64::from_be_bytes).unwrap_or_default() ^ AFTER_SYNC;
            if size == 0 || size > length - begin {
                continue;
            }
            tried += size;
            file.seek(SeekFrom::Start(begin))?;
            if matches!(next(file, length - begin, body)?, Next::Whole { .. }) {
                return Ok(true);
            }
            if tried > TRIED_TIMES * length {
                return Ok(false);
            }
        }
        // Whatever begins in the last few bytes is looked at once more.
        at += TRIED_AT_ONCE - 7;
    }
    Ok(false)
}

fn changes(mut body: &[u8], replay: Replay<'_>) -> Option<()> {
    while !body.is_empty() {
        let (head, rest) = body.split_first_chunk()?;
        let head = u64::from_be_bytes(*head);
        let (row, rest) = rest.split_at_checked((head & 0xffff) as usize)?;
        if head >> 16 == ALL {
            replay(Played::All(row.try_into().ok()?));
            body = rest;
            continue;
        }
        let value_length = (head >> 16).checked_sub(1);
        let (value, rest) = rest.split_at_checked(usize::try_from(value_length.unwrap_or(0)).ok()?)?;
        replay(Played::Row(row, value_length.map(|_| value)));
        body = rest;
    }
    Some(())
}

fn check(body: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(body);
    std::array::from_fn(|i| hash.as_bytes()[i])
}

fn file_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:012}"))
}

/// The numbers of the files that are there, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn create(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        fs::create_dir(directory)?;
        directory.parent().map_or(Ok(()), sync_directory)?;
    }
    Ok(())
}

pub fn refused(e: io::Error) -> StorageError {
    StorageError(format!("the disk refused: {e}"))
}

fn damaged(what: &str) -> StorageError {
    StorageError(format!("its journal is damaged: {what}"))
}
