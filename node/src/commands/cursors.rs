//! Where scans go on. Clients know cursors only as numbers; what they stand for is kept here.

use super::elements::Of;
use serde_bytes::ByteBuf;
use starling_protocol::request::ScanCursor;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most cursors kept, and most bytes of their names, of which one has up to 48 KiB. When one more comes, the oldest
/// scan is forgotten, and its client is told to begin again.
const CURSORS_MAX: usize = 4096;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// From here on a number with a floating point leaves some out.
const EXACT_MAX: u64 = 1 << 53;

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among all keys.
    Keys(ScanCursor),
    /// Within a key, behind this name.
    Elements { of: Of, key: ByteBuf, after: ByteBuf },
}

impl Place {
    fn size(&self) -> usize {
        match self {
            Place::Keys(cursor) => cursor.after.as_ref().map_or(0, |key| key.len()),
            Place::Elements { key, after, .. } => key.len() + after.len(),
        }
    }
}

pub struct Cursors {
    next: u64,
    kept: BTreeMap<u64, Kept>,
    bytes: usize,
}

struct Kept {
    place: Place,
    /// The number that this one was an answer to. It is kept, so that a client which lost the answer can
    /// ask again, until this one is used.
    before: u64,
}

impl Cursors {
    /// `started`: since the Unix epoch. Numbers are not used again after a restart, when they would silently mean
    /// something else: for that a peer had to give 4,096 in each millisecond of its life. They stay below 2^53, which
    /// JavaScript reads exactly; in 2039 they begin again at 1.
    pub fn starting_at(started: Duration) -> Self {
        let millis = u64::try_from(started.as_millis()).unwrap_or(0);
        Self { next: ((millis << 12) % EXACT_MAX) | 1, kept: BTreeMap::new(), bytes: 0 }
    }

    /// A number for `place`, which was reached from the number `before`.
    pub fn keep(&mut self, place: Place, before: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += place.size();
        self.kept.insert(number, Kept { place, before });
        while self.kept.len() > CURSORS_MAX || self.bytes > BYTES_MAX {
            let Some((oldest, _)) = self.kept.first_key_value() else { break };
            self.forget(*oldest);
        }
        number
    }

    fn forget(&mut self, number: u64) {
        self.bytes -= self.kept.remove(&number).map_or(0, |kept| kept.place.size());
    }

    /// Where a scan of all keys goes on. 0 begins one. `None`: never given out for that by this process, or forgotten.
    pub fn keys(&mut self, number: u64) -> Option<ScanCursor> {
        if number == 0 {
            return Some(ScanCursor::default());
        }
        self.find(number, |place| match place {
            Place::Keys(cursor) => Some(cursor.clone()),
            Place::Elements { .. } => None,
        })
    }

    /// The same within a key, where it is behind a name, or behind none.
    pub fn elements(&mut self, number: u64, of: Of, key: &ByteBuf) -> Option<Option<ByteBuf>> {
        if number == 0 {
            return Some(None);
        }
        self.find(number, |place| match place {
            Place::Elements { of: type_of, key: begun, after } if *type_of == of && begun == key => {
                Some(Some(after.clone()))
            }
            _ => None,
        })
    }

    fn find<T>(&mut self, number: u64, read: impl FnOnce(&Place) -> Option<T>) -> Option<T> {
        let Kept { place, before } = self.kept.get(&number)?;
        let (found, before) = (read(place)?, *before);
        self.forget(before);
        Some(found)
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
            assert!(cursors.keys(number).is_some());
            number = cursors.keep(Place::Keys(at(partition)), number);
            assert!(number < EXACT_MAX);
        }
        assert_eq!(cursors.keys(number - 1), Some(at(998)));
        assert_eq!(cursors.keys(number), Some(at(999)));
        assert_eq!(cursors.keys(number - 1), None);
        assert_eq!(cursors.kept.len(), 1);
    }

    #[test]
    fn the_oldest_scan_is_forgotten_when_there_are_too_many() {
        let mut cursors = Cursors::starting_at(Duration::ZERO);
        let first = cursors.keep(Place::Keys(at(1)), 0);
        for _ in 0..CURSORS_MAX {
            cursors.keep(Place::Keys(at(2)), 0);
        }
        assert_eq!(cursors.kept.len(), CURSORS_MAX);
        assert_eq!(cursors.keys(first), None);
    }

    fn within(of: Of, key: &str, after: ByteBuf) -> Place {
        Place::Elements { of, key: ByteBuf::from(key), after }
    }

    #[test]
    fn a_cursor_counts_only_for_what_it_was_given_out_for() {
        let mut cursors = Cursors::starting_at(Duration::ZERO);
        let (one, two, name) = (ByteBuf::from("one"), ByteBuf::from("two"), ByteBuf::from("m"));
        let keys = cursors.keep(Place::Keys(at(1)), 0);
        let first = cursors.keep(within(Of::Set, "one", name.clone()), 0);
        let second = cursors.keep(within(Of::Set, "one", name.clone()), first);
        assert_eq!(cursors.keys(second), None);
        assert_eq!(cursors.elements(keys, Of::Set, &one), None);
        assert_eq!(cursors.elements(second, Of::Set, &two), None);
        assert_eq!(cursors.elements(second, Of::Hash, &one), None);
        assert_eq!(cursors.elements(first, Of::Set, &one), Some(Some(name.clone())), "nothing was forgotten");
        assert_eq!(cursors.elements(second, Of::Set, &one), Some(Some(name)));
        assert_eq!(cursors.elements(0, Of::Hash, &two), Some(None));
    }

    #[test]
    fn long_names_are_bounded_together() {
        let mut cursors = Cursors::starting_at(Duration::ZERO);
        let long = || within(Of::Hash, "k", ByteBuf::from(vec![b'x'; 32 * 1024]));
        for _ in 0..3_000 {
            cursors.keep(long(), 0);
        }
        assert!(cursors.bytes <= BYTES_MAX && cursors.kept.len() < 2_100, "{}", cursors.kept.len());
        while let Some((number, _)) = cursors.kept.first_key_value() {
            cursors.forget(*number);
        }
        assert_eq!(cursors.bytes, 0);
    }
}
