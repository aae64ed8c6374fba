//! Settings in TOML: taken, or refused with a place.
#![no_main]

use clap::{Args, FromArgMatches};
use libfuzzer_sys::fuzz_target;
use starling_node::config::{SettingFlags, Values};
use std::sync::LazyLock;
use tempfile::TempDir;

static HOME: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is a place for it"));

fuzz_target!(|text: &[u8]| {
    std::fs::write(HOME.path().join("starling.toml"), text).expect("the disk has room");
    let command = SettingFlags::augment_args(clap::Command::new("up").no_binary_name(true));
    let dir = HOME.path().to_str().expect("it is text");
    let matches = command.try_get_matches_from(["--dir", dir]).expect("that is a flag");
    let flags = SettingFlags::from_arg_matches(&matches).expect("they are its own");
    if let Err(error) = Values::resolve(&flags, &|_| None) {
        assert!(error.to_string().contains("starling.toml"), "{error}");
    }
});
