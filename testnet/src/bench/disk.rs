//! How long the disk takes to keep something: what every synced write waits for at least.

use super::table::latency;
use super::tally::{Latencies, latencies};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: [u8; 4096] = [7; 4096];
const SYNCS_MAX: usize = 500;
const TIME_MAX: Duration = Duration::from_secs(1);

/// Appends blocks of 4 KiB to a file of this directory and syncs each (fdatasync(2)).
fn syncs(dir: &Path) -> io::Result<Latencies> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let (mut found, began) = (latencies(), Instant::now());
    for _ in 0..SYNCS_MAX {
        let before = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        found.saturating_record(u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
        if began.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(found)
}

/// What that says, in a line. A disk that others keep busy shows in the gap between the two figures.
pub fn describe(dir: &Path) -> Option<String> {
    let found = syncs(dir).ok()?;
    let (median, most) = (latency(found.value_at_quantile(0.5)), latency(found.value_at_quantile(0.99)));
    Some(format!("disk: a synced append of 4 KiB takes {median} (median), {most} (99th percentile)"))
}

/// Whether what is written here comes to no disk.
pub fn is_in_memory(path: &Path) -> bool {
    // statfs(2): the magic number of tmpfs.
    #[cfg(target_os = "linux")]
    return rustix::fs::statfs(path).is_ok_and(|found| found.f_type == 0x0102_1994);
    #[cfg(not(target_os = "linux"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_timed_and_bounded() {
        let found = syncs(&std::env::temp_dir()).unwrap();
        assert!((1..=SYNCS_MAX as u64).contains(&found.len()));
        assert!(describe(&std::env::temp_dir()).unwrap().contains("99th percentile"));
        assert!(describe(Path::new("/nowhere")).is_none());
    }
}
