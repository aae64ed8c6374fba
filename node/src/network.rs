//! Which network a data directory belongs to.

use crate::directory::{Directory, read_at_most, write_atomically};
use crate::error::Error;
use serde_bytes::ByteArray;
use starling_protocol::config::{GENESIS_FORMAT, Genesis};
use starling_protocol::genesis::{SIGNED_GENESIS_MAX, SignedGenesis};
use starling_protocol::ids::PeerId;
use starling_protocol::signature::Signer;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub const FILE: &str = "genesis.cbor";
/// Present from the moment this peer founds its network until its member table is saved for the first
/// time: a founder that was killed in between must not wait for somebody to let it in.
const FOUNDING: &str = "founding";
/// One byte more than the longest record, so that a longer one is noticed.
const LONGEST: usize = SIGNED_GENESIS_MAX + 1;

/// What a founder chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub name: String,
    pub partitions: u16,
    pub n: u8,
    pub r: u8,
    pub w: u8,
}

/// The network that this directory belongs to, if it belongs to one yet.
pub fn load(directory: &Directory) -> Result<Option<SignedGenesis>, Error> {
    read_from(directory.path())
}

/// As `load`, also while a peer runs in that directory.
pub fn read_from(directory: &Path) -> Result<Option<SignedGenesis>, Error> {
    let path = directory.join(FILE);
    let bytes = match read_at_most(&path, LONGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&path, "read", error)),
    };
    let genesis = SignedGenesis::decode(&bytes).map_err(|error| unusable(&path, "use", error))?;
    Ok(Some(genesis))
}

/// Makes a network of which this peer is the first member. Errors: the wishes are out of range; the
/// directory cannot be written.
pub fn found(directory: &Directory, founder: &dyn Signer, wishes: Wishes) -> Result<SignedGenesis, Error> {
    let Wishes { name, partitions, n, r, w } = wishes;
    let nonce = ByteArray::new(random()?);
    let format = GENESIS_FORMAT;
    let (created_ms, key) = (wall_ms(), founder.peer());
    let genesis = Genesis { format, name, created_ms, nonce, founder: key, partitions, n, r, w };
    let genesis = SignedGenesis::sign(genesis, founder).map_err(|error| {
        Error::usage("such a network cannot be")
            .why(error)
            .hint("see `starling up --help` for what is possible")
    })?;
    save(directory, FOUNDING, b"")?;
    save(directory, FILE, &genesis.encode())?;
    Ok(genesis)
}

/// Takes back what `found` has made, where nobody has come to know of it: the next start makes another, as it is wished
/// then, or joins one. What cannot be removed stays, and is started with.
pub fn give_up(directory: &Directory) {
    // The mark goes last: with the record alone this peer would wait for somebody to let it in.
    let removed = fs::remove_file(directory.path().join(FILE));
    if let Err(error) = removed.and_then(|()| fs::remove_file(founding_mark(directory))) {
        tracing::warn!(directory = %directory.path().display(), %error, "the network that was made for nothing is kept");
    }
}

/// Makes the directory one of this network, which another has founded.
pub fn join(directory: &Directory, genesis: &SignedGenesis) -> Result<(), Error> {
    // A first start that failed may have left it, and here this peer owns nothing until it is let in.
    match fs::remove_file(founding_mark(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(unusable(&founding_mark(directory), "remove", error))
        }
        _ => save(directory, FILE, &genesis.encode()),
    }
}

/// Whether `me` founds this network, and nobody else knows of it yet.
pub fn is_founding(directory: &Directory, genesis: &Genesis, me: PeerId) -> bool {
    genesis.founder == me && founding_mark(directory).exists()
}

/// Where the mark of `is_founding` lies; it goes once the member table is saved.
pub fn founding_mark(directory: &Directory) -> PathBuf {
    directory.path().join(FOUNDING)
}

fn save(directory: &Directory, file: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = directory.path().join(file);
    write_atomically(&path, bytes).map_err(|error| unusable(&path, "write", error))
}

fn unusable(path: &Path, what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(format!("cannot {what} the network's record {}", path.display())).why(why).hint(
        "see that this user may use that file; if it is damaged, join the network anew with another --dir",
    )
}

fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new("cannot make a network: the system has no random numbers").why(error))?;
    Ok(bytes)
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock is before it.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_protocol::signature::NumberedKey;

    fn wishes() -> Wishes {
        Wishes { name: "home".into(), partitions: 256, n: 3, r: 2, w: 2 }
    }

    #[test]
    fn a_founded_network_is_found_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        assert_eq!(load(&directory).unwrap(), None);
        let (founder, other) = (NumberedKey::new(1), NumberedKey::new(2));
        let genesis = found(&directory, &founder, wishes()).unwrap();
        assert!(is_founding(&directory, genesis.genesis(), founder.peer()));
        assert!(!is_founding(&directory, genesis.genesis(), other.peer()), "it was let in");
        assert_eq!(load(&directory).unwrap(), Some(genesis));
    }

    #[test]
    fn who_could_not_found_a_network_founds_none_by_joining_one() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let in_the_way = home.path().join("genesis.cbor.tmp");
        fs::create_dir(&in_the_way).unwrap();
        found(&directory, &NumberedKey::new(1), wishes()).unwrap_err();
        assert!(founding_mark(&directory).exists());
        fs::remove_dir(&in_the_way).unwrap();

        let elsewhere = tempfile::tempdir().unwrap();
        let theirs =
            found(&Directory::open(elsewhere.path()).unwrap(), &NumberedKey::new(2), wishes()).unwrap();
        join(&directory, &theirs).unwrap();
        assert!(!founding_mark(&directory).exists());
        assert_eq!(load(&directory).unwrap(), Some(theirs));
    }

    #[test]
    fn a_network_is_given_up_whole_or_stays_one_to_start_with() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        found(&directory, &NumberedKey::new(1), wishes()).unwrap();
        give_up(&directory);
        assert!(load(&directory).unwrap().is_none() && !founding_mark(&directory).exists());
        found(&directory, &NumberedKey::new(1), wishes()).unwrap();
        // As little to be removed as a file that is kept from it.
        fs::remove_file(home.path().join(FILE)).unwrap();
        fs::create_dir(home.path().join(FILE)).unwrap();
        give_up(&directory);
        assert!(founding_mark(&directory).exists());
    }

    #[test]
    fn two_networks_of_one_name_are_two() {
        let found_one = || {
            let home = tempfile::tempdir().unwrap();
            let directory = Directory::open(home.path()).unwrap();
            found(&directory, &NumberedKey::new(1), wishes()).unwrap().network_id()
        };
        assert_ne!(found_one(), found_one());
    }

    #[test]
    fn wishes_out_of_range_leave_no_trace() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let error = found(&directory, &NumberedKey::new(1), Wishes { w: 4, ..wishes() }).unwrap_err();
        assert!(error.to_string().contains("W is 4; it must be from 1 to 3"), "{error}");
        assert_eq!(load(&directory).unwrap(), None);
        assert!(!founding_mark(&directory).exists());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        std::fs::write(home.path().join(FILE), b"nonsense").unwrap();
        let error = load(&directory).unwrap_err().to_string();
        assert!(error.contains("genesis.cbor") && error.contains("damaged"), "{error}");
    }
}
