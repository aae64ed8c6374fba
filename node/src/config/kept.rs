//! What the data directory itself says of settings: the name that was given last, and what its network was made with.

use super::{Origin, Value};
use crate::directory::{Directory, read_text_at_most, write_atomically};
use crate::network;
use starling_protocol::config::NAME_MAX;
use std::path::Path;

/// The name that the peer was last given by its user.
const NAME: &str = "name";

/// Each setting that is kept there. Files that are missing or damaged say nothing; what else that means is for those
/// who need them.
pub fn read(dir: &Path) -> Vec<(&'static str, Value)> {
    let mut found = Vec::new();
    let mut add = |key, text: String, file: &str| {
        found.push((key, Value { texts: vec![text], origin: Origin::Kept(dir.join(file)) }));
    };
    if let Some(name) = name(dir) {
        add("name", name, NAME);
    }
    if let Ok(Some(genesis)) = network::read_from(dir) {
        let genesis = genesis.genesis();
        let mut made_with = |key, text: String| add(key, text, network::FILE);
        made_with("network", genesis.name.clone());
        made_with("partitions", genesis.partitions.to_string());
        made_with("replicas", genesis.n.to_string());
        made_with("read-quorum", genesis.r.to_string());
        made_with("write-quorum", genesis.w.to_string());
    }
    found
}

fn name(dir: &Path) -> Option<String> {
    // With the end of the line, and one byte by which a longer one is noticed.
    let text = read_text_at_most(&dir.join(NAME), NAME_MAX + 2).ok()?;
    let name = text.lines().next().filter(|name| name.len() <= NAME_MAX && !name.trim().is_empty())?;
    (!name.chars().any(char::is_control)).then(|| name.to_owned())
}

/// So that the peer is called so at its next start, too.
pub fn keep_name(directory: &Directory, given: &str) {
    if name(directory.path()).is_some_and(|kept| kept == given) {
        return;
    }
    let path = directory.path().join(NAME);
    if let Err(error) = write_atomically(&path, format!("{given}\n").as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "at its next start this peer may have another name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_nonsense_is_none() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        assert_eq!(name(home.path()), None);
        let longest = "x".repeat(NAME_MAX);
        for given in ["bob", "bob's box", &longest] {
            keep_name(&directory, given);
            assert_eq!(name(home.path()).as_deref(), Some(given));
        }
        for nonsense in ["", " \n", "a\u{1b}b\n", &format!("{longest}x\n")] {
            std::fs::write(home.path().join(NAME), nonsense).unwrap();
            assert_eq!(name(home.path()), None, "{nonsense:?}");
        }
    }
}
