//! Which keys may have cells in tables.
//!
//! Most keys that are not in memory are new. To find that out, one table after the other would be searched, by the
//! thread that may wait for the disk. A Bloom filter (Bloom, "Space/time trade-offs in hash coding with allowable
//! errors", 1970) tells it from memory. It is not kept on disk: whoever opens tables reads their keys again.

use fastbloom::AtomicBloomFilter;
use std::hash::RandomState;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// With so many, those counted that were deleted since, all count as held, and tables are searched for each.
const KEYS_MAX: usize = 4 * 1024 * 1024;
/// For each key: 6 MiB in all.
const BITS: usize = 12;
/// Of `KEYS_MAX` keys, with so many bits for each, one new key in 300 counts as held; with fewer keys far less.
const PROBES: u32 = 8;

#[derive(Default)]
pub struct Keys {
    /// Takes no memory before there is a key.
    filter: OnceLock<AtomicBloomFilter<RandomState>>,
    count: AtomicUsize,
    /// Those that were in tables when they were opened are in the filter.
    is_read: AtomicBool,
}

impl Keys {
    /// False: tables hold no cell of this key.
    pub fn may_hold(&self, key: &[u8]) -> bool {
        if !self.is_read() || self.is_full() {
            return true;
        }
        self.filter.get().is_some_and(|filter| filter.contains(key))
    }

    /// Must be called before tables hold the key, or before `read`.
    pub fn add(&self, key: &[u8]) {
        if self.is_full() || self.filter.get_or_init(new_filter).insert(key) {
            return;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == KEYS_MAX {
            tracing::info!(
                KEYS_MAX,
                "there are too many keys to know them all, so that new ones are looked for"
            );
        }
    }

    /// All keys that were in tables when they were opened are added.
    pub fn read(&self) {
        self.is_read.store(true, Ordering::Release);
    }

    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Acquire)
    }

    pub fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= KEYS_MAX
    }
}

fn new_filter() -> AtomicBloomFilter<RandomState> {
    AtomicBloomFilter::with_num_bits(KEYS_MAX * BITS).hasher(RandomState::new()).hashes(PROBES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_count_as_held_until_those_on_disk_are_read_and_once_there_are_too_many() {
        let keys = Keys::default();
        keys.add(b"old");
        assert!(keys.may_hold(b"new"));
        keys.read();
        assert!(keys.may_hold(b"old") && !keys.may_hold(b"new"));
        keys.count.store(KEYS_MAX, Ordering::Relaxed);
        keys.add(b"one more");
        assert!(keys.may_hold(b"one more") && keys.may_hold(b"new"));
    }

    #[test]
    fn a_key_that_was_added_is_held_and_of_others_as_few_as_promised() {
        let keys = Keys::default();
        keys.read();
        assert!(!keys.may_hold(b"0") && keys.filter.get().is_none(), "and no memory is taken");
        let (key, most) = (|n: usize| n.to_be_bytes(), KEYS_MAX - 1);
        (0..most / 2).for_each(|n| keys.add(&key(n)));
        assert!((0..most / 2).all(|n| keys.may_hold(&key(n))));
        let wrong = |keys: &Keys| (0..30_000).filter(|n| keys.may_hold(&key(KEYS_MAX + n))).count();
        assert!(wrong(&keys) < 15, "{} of 30,000 at half the keys; 1 or 2 are to be expected", wrong(&keys));
        (most / 2..most).for_each(|n| keys.add(&key(n)));
        // Some of those that were added counted as there before, and so were not counted.
        assert!(!keys.is_full());
        assert!((50..150).contains(&wrong(&keys)), "{} of 30,000 at last", wrong(&keys));
        let count = keys.count.load(Ordering::Relaxed);
        (0..1000).for_each(|n| keys.add(&key(n)));
        assert_eq!(keys.count.load(Ordering::Relaxed), count, "each counts once");
    }
}
