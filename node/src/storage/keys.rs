//! Which keys may have cells in tables.
//!
//! Most keys that are not in memory are new. To find that out, one table after the other would be searched, by the
//! thread that may wait for the disk. A Bloom filter (Bloom, "Space/time trade-offs in hash coding with allowable
//! errors", 1970) tells it from memory. It is not kept on disk: whoever opens tables reads their keys again.

use fastbloom::AtomicBloomFilter;
use std::hash::RandomState;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Once there are more, all count as held, and tables are searched for each.
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
        if !self.is_full() && !self.filter.get_or_init(new_filter).insert(key) {
            self.count.fetch_add(1, Ordering::Relaxed);
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
    fn a_key_that_was_added_is_held_and_few_others_are() {
        let keys = Keys::default();
        keys.read();
        assert!(!keys.may_hold(b"0"), "and no memory is taken");
        let key = |n: u32| n.to_be_bytes();
        (0..100_000).for_each(|n| keys.add(&key(n)));
        assert!((0..100_000).all(|n| keys.may_hold(&key(n))));
        let wrong = (100_000..200_000).filter(|n| keys.may_hold(&key(*n))).count();
        assert!(wrong < 300, "{wrong} of 100,000");
        let count = keys.count.load(Ordering::Relaxed);
        (0..100_000).for_each(|n| keys.add(&key(n)));
        assert_eq!(keys.count.load(Ordering::Relaxed), count, "each counts once");
    }
}
