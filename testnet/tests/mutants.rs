//! The checkers bite: whichever rule of the core is broken, some seed shows it. Only with the feature `mutants`.

#![cfg(feature = "mutants")]

use serde_json::Value;
use std::process::Command;

/// Seeds of each profile in which each must be found: from these on they are, though the rarest needs some 150.
const START: &str = "100";
const SEEDS: &str = "200";

#[test]
fn every_broken_rule_is_found() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testnet"));
    let output = command.args(["sim", "--mutants", "--json", "--start", START, "--seeds", SEEDS]).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let fates: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(fates.len(), 43, "as many as the README says");
    let missed: Vec<_> = fates.iter().filter(|fate| fate["found"].is_null()).collect();
    assert!(missed.is_empty(), "nothing tells these from the real thing: {missed:#?}");
}

/// Of a branch that no seed goes into the seeds say nothing. From this one on 189 are enough.
#[test]
fn every_rare_branch_is_reached() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testnet"));
    command.args(["sim", "--marks", "--once", "--json", "--start", "3000", "--seeds", "1000"]);
    let output = command.output();
    let output = output.expect("the simulator starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(output.status.success(), "after {} seeds: {:#}", report["seeds"], report["unreached"]);
}
