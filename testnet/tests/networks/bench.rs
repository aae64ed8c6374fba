//! The benchmark itself, on a load so small that only its bookkeeping is tested.

use crate::harness::{testnet, turn};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What `bench --json` prints for a run of a second or so, and how long all of it took.
fn bench(args: &[&str]) -> (Value, Duration) {
    let _turn = turn();
    let mut command = testnet();
    command.args(["bench", "--json", "--seconds", "1", "--clients", "4", "--keys", "50"]);
    let began = Instant::now();
    let output = command.args(args).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {args:?}: {words}");
    (serde_json::from_slice(&output.stdout).unwrap(), began.elapsed())
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("no {field} in {row}"))
}

#[test]
fn a_short_benchmark_counts_what_it_did() {
    let (report, _) = bench(&["--peers", "3", "--ops", "set,get", "--r", "2"]);
    let rows = report["rows"].as_array().unwrap();
    let works: Vec<_> = rows.iter().map(|row| row["work"].as_str().unwrap()).collect();
    assert_eq!(works, ["set", "get"]);
    for row in rows {
        assert!(number(row, "operations") > 0.0, "{row}");
        let rate = number(row, "operations") / number(row, "seconds");
        assert!((rate - number(row, "ops_per_second")).abs() < 1.0, "{row}");
        let percentiles = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|name| number(row, name));
        assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{row}");
        assert_eq!((number(row, "errors"), number(row, "cut")), (0.0, 0.0), "{row}");
        assert_eq!((number(row, "r"), number(row, "w")), (2.0, 2.0), "{row}");
        assert!(number(row, "client_busy") > 0.0 && number(row, "client_cpu_s_per_100k") > 0.0, "{row}");
    }
    // What is read was written before.
    assert_eq!(number(&rows[1], "misses"), 0.0);
    if cfg!(target_os = "linux") {
        assert!(number(&rows[0], "resident_bytes_per_process") > 1e6);
        // A synced write of 100 bytes on three disks; nothing is told where temporary files lie in memory.
        let disk = rows[0]["disk_bytes_per_op"].as_f64();
        assert!(disk.is_none_or(|bytes| bytes > 100.0), "{disk:?}");
    }
    assert_eq!((number(&report, "peers"), &report["durability"]), (3.0, &"synced".into()));
    assert_eq!(report["date"].as_str().map(str::len), Some("2026-11-23".len()), "{}", report["date"]);
}

#[test]
fn a_comparison_gives_ratios_and_an_open_loop_its_rate() {
    let other = ["--rounds", "1", "--against", "echo 100 5000"];
    let (report, elapsed) = bench(&[&["--peers", "1", "--ops", "set", "--rate", "200"][..], &other].concat());
    let row = &report["rows"][0];
    assert_eq!(number(row, "asked_per_second"), 200.0);
    // Those that were due since the beginning of the warm-up, which a stall may have put off, and no more.
    let due = 200.0 * elapsed.as_secs_f64() + 1.0;
    assert!(number(row, "operations") <= due, "more than were asked for: {row}");
    let ratio = &report["ratios"][0];
    assert_eq!(ratio["theirs"][0], 100.0);
    assert!((number(ratio, "median") - number(row, "ops_per_second") / 100.0).abs() < 0.01, "{ratio}");
}
