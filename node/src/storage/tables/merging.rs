//! Merges of tables. What one writes lies beside what it was made of until it is done, so that it takes room on the
//! disk for a while; and the engine gives up for good when one finds none.

use crate::space::Disk;
use fjall::LsmError;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use std::io;
use std::panic::RefUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// Merges leave so much of the disk to what removes, or less of a small one.
const LEFT: u64 = 64 * MIB;
/// Bytes of rows that are merged between two looks at the disk.
const STEP: usize = 1024 * 1024;
/// How often it is looked at while there is no room.
const LOOK: Duration = Duration::from_millis(200);
/// Below the first level one table, which has up to 64 MiB, is merged with those that it lies over: ten times as many,
/// as the levels grow, and some at its ends.
const DEEP_MAX: u64 = 13 * 64 * MIB;

/// How many bytes the next merge writes at most, by the bytes that each level has: all of the new tables into the first
/// level that holds any, or a part of one level into the next.
pub fn next_merge(levels: &[u64]) -> u64 {
    let Some((new, old)) = levels.split_first() else { return 0 };
    let old: Vec<_> = old.iter().copied().filter(|size| *size > 0).collect();
    let deep = if old.len() > 1 { DEEP_MAX.min(old.iter().sum()) } else { 0 };
    (new + old.first().unwrap_or(&0)).max(deep)
}

/// Ends the waiting of merges once it is dropped, which must be before the engine is closed: that waits for them.
pub struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether there is room for more.
pub type HasRoom = Arc<dyn Fn() -> bool + Send + Sync + RefUnwindSafe>;

/// Whether merges on the disk of this directory leave enough of it. Where that cannot be told, they do.
pub fn room_on_disk(directory: &Path) -> HasRoom {
    let directory = directory.to_path_buf();
    Arc::new(move || Disk::of(&directory).is_none_or(leaves_enough))
}

fn leaves_enough(disk: Disk) -> bool {
    disk.free >= disk.kept(LEFT)
}

/// Makes merges wait while there is no room. The engine shows a filter each row that it merges; this one keeps all.
pub struct Patience {
    has_room: HasRoom,
    stop: Arc<AtomicBool>,
}

impl Patience {
    pub fn new(has_room: HasRoom) -> (Self, Stop) {
        let stop = Arc::new(AtomicBool::new(false));
        (Self { has_room, stop: Arc::clone(&stop) }, Stop(stop))
    }
}

impl Factory for Patience {
    fn name(&self) -> &'static str {
        "patience"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let (has_room, stop) = (Arc::clone(&self.has_room), Arc::clone(&self.stop));
        Box::new(Merge { has_room: move || has_room(), stop, merged: STEP })
    }
}

struct Merge<F> {
    has_room: F,
    stop: Arc<AtomicBool>,
    /// Bytes since the last look.
    merged: usize,
}

impl<F: Fn() -> bool> Merge<F> {
    fn take(&mut self, bytes: usize) -> io::Result<()> {
        self.merged += bytes;
        if self.merged < STEP {
            return Ok(());
        }
        self.merged = 0;
        if (self.has_room)() {
            return Ok(());
        }
        tracing::warn!("the disk is nearly full: tables are merged once it has room");
        while !(self.has_room)() {
            // What it has written by then goes when the tables are opened again.
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the store is being closed"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl<F: Fn() -> bool + Send> CompactionFilter for Merge<F> {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        self.take(item.key().len() + item.value()?.len()).map_err(LsmError::Io)?;
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_merge_writes_at_most_what_it_reads() {
        assert_eq!(next_merge(&[]), 0);
        assert_eq!(next_merge(&[100, 0, 0]), 100, "the first tables");
        assert_eq!(next_merge(&[100, 0, 40]), 140);
        assert_eq!(next_merge(&[100, 30, 40]), 130);
        assert_eq!(next_merge(&[0, 30, 40]), 70, "one level into the next");
        assert_eq!(next_merge(&[0, 30, 40_000 * MIB]), DEEP_MAX, "a part of it");
    }

    #[test]
    fn merges_leave_a_part_of_the_disk_to_what_removes() {
        let disk = |free, total| Disk { free: free * MIB, total: total * MIB };
        assert!(leaves_enough(disk(64, 10_000)) && !leaves_enough(disk(63, 10_000)));
        assert!(leaves_enough(disk(8, 64)) && !leaves_enough(disk(7, 64)));
    }

    #[test]
    fn a_merge_looks_at_the_disk_from_time_to_time_and_waits_for_room_until_it_is_told_to_stop() {
        let (looks, stop) = (Cell::new(0), Arc::new(AtomicBool::new(false)));
        // Room is there at every other look.
        let has_room = || looks.replace(looks.get() + 1) % 2 == 1;
        let mut merge = Merge { has_room, stop: Arc::clone(&stop), merged: STEP };
        merge.take(1).unwrap();
        assert_eq!(looks.get(), 2, "it begins with a look, and waited for another");
        merge.take(STEP - 1).unwrap();
        assert_eq!(looks.get(), 2);
        stop.store(true, Ordering::Relaxed);
        merge.take(1).unwrap();
        assert_eq!(looks.get(), 4, "room came before the stop mattered");
        let mut merge = Merge { has_room: || false, stop, merged: STEP };
        assert_eq!(merge.take(1).unwrap_err().to_string(), "the store is being closed");
    }
}
