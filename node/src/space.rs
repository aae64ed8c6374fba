//! Room on the disk. While there is hardly any, a peer takes nothing that brings more, so that reads and removals go on
//! and what storage does by itself (merging tables takes room for a while) does not fail.

use starling_protocol::time::{Duration, Time};
use std::path::{Path, PathBuf};

const MIB: u64 = 1024 * 1024;
/// The disk is looked at this often, at most.
const PERIOD: Duration = Duration::from_secs(1);
/// Of a small disk, this part is kept free instead.
const PART: u64 = 8;
/// So much more must be free before writes are taken again, as a part of what is kept: one that hovers at the bound
/// would turn clients away and take them by turns.
const SLACK: u64 = 8;

/// Free bytes of a disk, for who is not root, and all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub free: u64,
    pub total: u64,
}

impl Disk {
    /// `None`: this cannot be told here.
    #[cfg(unix)]
    pub fn of(directory: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    #[cfg(not(unix))]
    pub fn of(_: &Path) -> Option<Self> {
        None
    }

    /// What is kept free of it, in bytes, where so much is to be.
    pub fn kept(&self, keep: u64) -> u64 {
        keep.min(self.total / PART)
    }
}

pub struct Space {
    directory: PathBuf,
    /// Bytes; 0: all may be used.
    keep: u64,
    is_low: bool,
    next: Time,
}

impl Space {
    /// `keep`: bytes that are kept free on the disk of this directory; 0: none.
    pub fn new(directory: &Path, keep: u64) -> Self {
        Self { directory: directory.to_path_buf(), keep, is_low: false, next: Time(0) }
    }

    /// Whether there is hardly any room now, if that is news. `merge`: bytes that storage may need for a while by
    /// itself; they are kept free as well.
    pub fn news(&mut self, now: Time, merge: impl FnOnce() -> u64) -> Option<bool> {
        if self.keep == 0 || now < self.next {
            return None;
        }
        self.next = now + PERIOD;
        self.news_of(Disk::of(&self.directory)?, merge())
    }

    fn news_of(&mut self, disk: Disk, merge: u64) -> Option<bool> {
        let is_low = self.is_low(disk, merge);
        (std::mem::replace(&mut self.is_low, is_low) != is_low).then(|| self.tell(disk, merge))
    }

    fn is_low(&self, disk: Disk, merge: u64) -> bool {
        let keep = disk.kept(self.keep);
        disk.free < merge + if self.is_low { keep + keep / SLACK } else { keep }
    }

    fn tell(&self, disk: Disk, merge: u64) -> bool {
        let (directory, free_mib) = (self.directory.display(), disk.free / MIB);
        let kept_mib = (disk.kept(self.keep) + merge) / MIB;
        if self.is_low {
            tracing::warn!(
                %directory,
                free_mib,
                kept_mib,
                "the disk is nearly full: writes that bring more are left to other peers, while reads and removals go \
                 on, and tables are merged; free some space, or see --keep-free-mib"
            );
        } else {
            tracing::info!(%directory, free_mib, "the disk has room again: writes are taken");
        }
        self.is_low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_news_once_and_so_is_enough() {
        let mut space = Space::new(Path::new("."), 80 * MIB);
        let mut news = |free_mib, total_mib| {
            let disk = Disk { free: free_mib * MIB, total: total_mib * MIB };
            [space.news_of(disk, 0), space.news_of(disk, 0)]
        };
        assert_eq!(news(80, 10_000), [None, None]);
        assert_eq!(news(79, 10_000), [Some(true), None]);
        assert_eq!(news(89, 10_000), [None, None], "not by turns");
        assert_eq!(news(90, 10_000), [Some(false), None]);
        assert_eq!(news(40, 320), [None, None], "an eighth of a small disk");
        assert_eq!(news(39, 320), [Some(true), None]);
    }

    #[test]
    fn what_a_merge_may_write_is_kept_free_as_well() {
        let mut space = Space::new(Path::new("."), 80 * MIB);
        let disk = Disk { free: 180 * MIB, total: 10_000 * MIB };
        assert_eq!(space.news_of(disk, 100 * MIB), None);
        assert_eq!(space.news_of(disk, 101 * MIB), Some(true));
        assert_eq!(space.news_of(disk, 91 * MIB), None, "not by turns");
        assert_eq!(space.news_of(disk, 90 * MIB), Some(false), "once it is merged");
    }

    #[test]
    fn a_disk_is_looked_at_once_a_second_unless_all_of_it_may_be_used() {
        let place = tempfile::tempdir().unwrap();
        let mut space = Space::new(place.path(), 1);
        let mut news_at = |millis| {
            // Whatever it was before, more than a byte is free.
            space.is_low = true;
            space.news(Time(0) + Duration::from_millis(millis), || 0)
        };
        assert_eq!([0, 500, 999, 1000].map(&mut news_at), [Some(false), None, None, Some(false)]);
        let mut all = Space { is_low: true, ..Space::new(place.path(), 0) };
        assert_eq!(all.news(Time(0), || u64::MAX), None);
    }
}
