//! The house keeps its shape: which crate may name what, which room may import which, how long a
//! function and a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest function and longest file, in lines of code. A file's tests do not count.
const FUNCTION_MAX: usize = 70;
const FILE_MAX: usize = 500;

/// What the pure crates must never name: clocks, sockets, threads, async, randomness of the system,
/// iteration in no order.
const IMPURE: [&str; 14] = [
    "tokio",
    "libp2p",
    "fjall",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant::now",
    "HashMap",
    "HashSet",
    "thread_rng",
    "getrandom",
    "async fn",
];
/// The rooms of `protocol`; only `peer` may know more than one.
const ROOMS: [&str; 6] = ["membership", "placement", "coordinator", "replica", "repair", "scan"];

/// Each crate, and those of ours that it uses.
const CRATES: [(&str, &[&str]); 5] = [
    ("crdt", &[]),
    ("protocol", &["crdt"]),
    ("node", &["crdt", "protocol"]),
    ("testnet", &["crdt", "protocol"]),
    ("fuzz", &["crdt", "protocol", "node"]),
];

#[test]
fn each_crate_uses_those_of_ours_that_it_may() {
    for (name, may) in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("it can be read");
        let ours = manifest.lines().filter_map(|line| line.strip_prefix("starling-"));
        let uses: Vec<_> = ours.filter_map(|line| line.split(['.', ' ']).next()).collect();
        assert_eq!(uses, may, "{name}");
    }
}

#[test]
fn the_pure_crates_name_nothing_of_the_world() {
    for (path, code) in sources(&["crdt/src", "protocol/src"]) {
        for word in IMPURE {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn rooms_do_not_import_each_other() {
    for (path, code) in sources(&["protocol/src"]) {
        let Some(room) = ROOMS.iter().find(|room| is_in(&path, room)) else { continue };
        for other in ROOMS.iter().filter(|other| *other != room) {
            assert!(!code.contains(&format!("crate::{other}")), "{} imports {other}", path.display());
        }
    }
}

#[test]
fn the_transport_and_the_engine_are_named_in_one_place_each() {
    for (path, code) in sources(&["node/src", "testnet/src"]) {
        assert!(!code.contains("libp2p") || is_in(&path, "transport"), "{} names libp2p", path.display());
        assert!(!code.contains("fjall") || is_in(&path, "storage"), "{} names fjall", path.display());
    }
}

#[test]
fn functions_fit_a_screen_and_files_fit_a_head() {
    for (path, code) in sources(&["crdt/src", "protocol/src", "node/src", "testnet/src"]) {
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= FILE_MAX, "{} has {lines} lines of code; the most is {FILE_MAX}", path.display());
        for (name, length) in functions(&code) {
            assert!(
                length <= FUNCTION_MAX,
                "{}: {name} has {length} lines; the most is {FUNCTION_MAX}",
                path.display()
            );
        }
    }
}

#[test]
fn rules_that_are_cited_are_defined_and_the_other_way_round() {
    let files = files(&["crdt/src", "protocol/src", "node/src", "testnet/src"]);
    let cited: BTreeSet<_> = files.iter().flat_map(|(_, text)| cited(text)).collect();
    let (_, lib) = files.iter().find(|(path, _)| path.ends_with("protocol/src/lib.rs")).expect("it is there");
    let items = lib.lines().filter_map(|line| line.strip_prefix("//! - `"));
    let defined: BTreeSet<_> = items.filter_map(|item| item.split('`').next()).collect();
    assert_eq!(cited, defined);
}

#[test]
fn tests_and_files_that_the_readme_names_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("it can be read");
    let folders =
        ["crdt", "protocol", "node", "testnet"].map(|name| [format!("{name}/src"), format!("{name}/tests")]);
    let all = files(&folders.concat());
    let is_there = |test: &str| all.iter().any(|(_, text)| text.contains(&format!("fn {test}(")));
    // What stands in blocks is typed by somebody.
    let prose = readme.split("```").step_by(2);
    for name in prose.flat_map(|text| text.split('`').skip(1).step_by(2)).filter(|name| !name.contains(' ')) {
        let is_test = name.contains('_') && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        assert!(!is_test || is_there(name), "README names the test {name}, and there is none");
        let is_script = name.ends_with(".txt");
        let path = root().join(if is_script { "protocol/tests/scenarios" } else { "" }).join(name);
        let is_file = is_script || name.contains('/');
        assert!(!is_file || path.exists(), "README names {name}, and it is not there");
    }
}

/// The names behind "(rule" and "(rules", up to the bracket that closes.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    let citations = text.split("(rule").skip(1).filter_map(|rest| rest.split(')').next());
    citations.flat_map(|citation| citation.split('`').skip(1).step_by(2))
}

/// Whether a file is the room `name` or in the folder of it.
fn is_in(path: &Path, name: &str) -> bool {
    path.components().any(|part| part.as_os_str() == name)
        || path.file_stem().is_some_and(|stem| stem == name)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file without its tests and its comments.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let code = |(path, text): (PathBuf, String)| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path, code.collect::<Vec<_>>().join("\n"))
    };
    files(folders).into_iter().filter(|(path, _)| !is_in(path, "tests")).map(code).collect()
}

/// Every source file as it is, with its path from the root.
fn files(folders: &[impl AsRef<Path>]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in folders {
        collect(folder.as_ref(), &mut found);
    }
    assert!(found.len() > 3, "no sources found");
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(root().join(folder)).expect("the folder is there").flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path, fs::read_to_string(entry.path()).expect("it can be read")));
        }
    }
}

/// Functions with how many lines they span; a function ends where a line closes it at its own depth.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line));
    starts.filter_map(|(start, line)| Some((name_of(line), length(&lines[start..], indent(line))?))).collect()
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|word| word == "fn") && !line.trim_end().ends_with(';') && !line.contains('"')
}

fn name_of(line: &str) -> String {
    let after = line.split("fn ").nth(1).unwrap_or_default();
    after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn length(lines: &[&str], depth: usize) -> Option<usize> {
    let closes = |line: &&str| indent(line) == depth && line.trim_start().starts_with('}');
    Some(lines.iter().position(closes)? + 1)
}
