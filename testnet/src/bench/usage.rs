//! What processes have used, as `/proc` tells (proc(5)): nothing elsewhere than on Linux.

use std::fs;

/// What all processes have used together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of processor time.
    pub cpu: f64,
    /// Bytes of memory that are resident now.
    pub resident: u64,
    /// Bytes that were handed to the disk; `None`: some process does not tell, as another user's does not.
    pub written: Option<u64>,
    /// Bytes that have gone over the loopback interface, headers included, whoever sent them.
    pub wire: u64,
    /// How many processes this is the sum of.
    pub processes: u64,
}

/// The sum over those that run.
pub fn of(pids: &[u32]) -> Usage {
    let nothing = Usage { wire: loopback().unwrap_or(0), written: Some(0), ..Usage::default() };
    pids.iter().filter_map(|pid| one(*pid)).fold(nothing, |sum, one| Usage {
        cpu: sum.cpu + one.cpu,
        resident: sum.resident + one.resident,
        written: sum.written.zip(one.written).map(|(sum, one)| sum + one),
        processes: sum.processes + 1,
        ..sum
    })
}

fn loopback() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/dev").ok()?;
    // After the name, the ninth number is what was sent.
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_ascii_whitespace().nth(8)?.parse().ok()
}

fn one(pid: u32) -> Option<Usage> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let cpu = cpu(&read("stat")?)?;
    let resident = field(&read("status")?, "VmRSS:")? * 1024;
    let written = read("io").and_then(|text| field(&text, "write_bytes:"));
    Some(Usage { cpu, resident, written, wire: 0, processes: 1 })
}

/// Fields 14 and 15, user and system time; the name, field 2, may have blanks and brackets.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 99 0 0";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(cpu(stat), Some(300.0 / ticks));
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "VmPeak:\t  10 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(2048));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[test]
    fn those_that_do_not_run_count_nothing() {
        assert_eq!(of(&[]).processes, 0);
        if cfg!(target_os = "linux") {
            let own = of(&[std::process::id(), u32::MAX]);
            assert_eq!(own.processes, 1);
            assert!(own.resident > 0 && own.written.is_some());
        }
    }
}
