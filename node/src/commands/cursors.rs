//! Where scans go on. Clients know cursors only as numbers; what they stand for is kept here.

use starling_protocol::request::ScanCursor;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most cursors kept, each with a key of up to 16 KiB: 64 MiB. When one more comes, the oldest scan is
/// forgotten, and its client is told to begin again.
const CURSORS_MAX: usize = 4096;

pub struct Cursors {
    next: u64,
    kept: BTreeMap<u64, Kept>,
}

struct Kept {
    cursor: ScanCursor,
    /// The number that this one was an answer to. It is kept, so that a client which lost the answer can
    /// ask again, until this one is used.
    before: u64,
}

impl Cursors {
    /// `started`: since the Unix epoch. Numbers are not used again after a restart, when they would
    /// silently mean something else. They stay below 2^63 for clients that read them as signed.
    pub fn starting_at(started: Duration) -> Self {
        let millis = u64::try_from(started.as_millis()).unwrap_or(0);
        Self { next: (millis << 16) & (u64::MAX >> 2) | 1, kept: BTreeMap::new() }
    }

    /// A number for `cursor`, which was reached from the number `before`.
    pub fn keep(&mut self, cursor: ScanCursor, before: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.kept.insert(number, Kept { cursor, before });
        if self.kept.len() > CURSORS_MAX {
            self.kept.pop_first();
        }
        number
    }

    /// What the number stands for. 0 begins a scan. `None`: never given out by this process, or forgotten.
    pub fn find(&mut self, number: u64) -> Option<ScanCursor> {
        if number == 0 {
            return Some(ScanCursor::default());
        }
        let Kept { cursor, before } = self.kept.get(&number)?;
        let (cursor, before) = (cursor.clone(), *before);
        self.kept.remove(&before);
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: u16) -> ScanCursor {
        ScanCursor { partition, after: None }
    }

    #[test]
    fn a_scan_keeps_its_last_two_cursors_however_long_it_is() {
        let mut cursors = Cursors::starting_at(Duration::from_secs(1_800_000_000));
        let mut number = 0;
        for partition in 0..1000 {
            assert!(cursors.find(number).is_some());
            number = cursors.keep(at(partition), number);
            assert!(i64::try_from(number).is_ok());
        }
        assert_eq!(cursors.find(number - 1), Some(at(998)));
        assert_eq!(cursors.find(number), Some(at(999)));
        assert_eq!(cursors.find(number - 1), None);
        assert_eq!(cursors.kept.len(), 1);
    }

    #[test]
    fn the_oldest_scan_is_forgotten_when_there_are_too_many() {
        let mut cursors = Cursors::starting_at(Duration::ZERO);
        let first = cursors.keep(at(1), 0);
        for _ in 0..CURSORS_MAX {
            cursors.keep(at(2), 0);
        }
        assert_eq!(cursors.kept.len(), CURSORS_MAX);
        assert_eq!(cursors.find(first), None);
    }
}
