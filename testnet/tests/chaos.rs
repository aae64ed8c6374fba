//! `testnet chaos`: real processes under faults lose nothing, and an interrupted run leaves nothing behind.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const SECONDS: &str = "20";

fn chaos(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testnet"));
    command.args(["chaos", "--peers", "3", "--seconds", SECONDS, "--seed", "3"]).args(words);
    command
}

#[test]
fn nothing_acknowledged_is_lost_in_a_short_chaos() {
    let output = chaos(&["--json"]).output().expect("it starts");
    let (text, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{words}"));
    assert_eq!(report["found"], serde_json::json!([]), "{words}");
    assert!(report["acknowledged"].as_u64() > Some(100), "{report}");
    assert!(report["faults"].as_object().is_some_and(|faults| faults.len() > 1), "{report}");
    let done = report["network"].as_object().map(|counts| counts.values().filter_map(Value::as_u64).sum());
    assert!(report["faults"]["bad network"].as_u64() >= Some(1) && done > Some(0_u64), "{report}");
}

#[test]
fn an_interrupted_chaos_leaves_no_process_and_no_directory() {
    let inside = tempfile::tempdir().expect("a directory for its own");
    let mut command = chaos(&[]);
    let mut child = command.env("TMPDIR", inside.path()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut said = String::new();
    let is_up = lines.by_ref().map_while(Result::ok).any(|line| {
        said.extend([&line, "\n"]);
        line.contains("know one another")
    });
    assert!(is_up, "it never began: {said}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    // The rest of what it says; the pipe closes only when no peer has it any more.
    lines.for_each(drop);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let left: Vec<_> = std::fs::read_dir(inside.path()).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "it left {left:?}");
}
