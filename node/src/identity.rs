//! The peer's key, kept in its data directory.

use crate::directory::{Directory, KEY, read_at_most, write_atomically};
use crate::error::Error;
use crate::transport::Keys;
use std::io;
use std::path::Path;

/// Of an Ed25519 key, in bytes. The file of it is readable for its user alone.
const SECRET_LEN: usize = 32;

/// Reads the directory's key; the first time, makes one. Errors: the file is damaged or cannot be used.
pub fn load_or_create(directory: &Directory) -> Result<Keys, Error> {
    let path = directory.path().join(KEY);
    let read = read_at_most(&path, SECRET_LEN + 1);
    if read.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        create(&path)?;
    }
    load(directory.path())
}

/// Reads the directory's key. Errors: the file is missing or damaged, or cannot be used.
pub fn load(directory: &Path) -> Result<Keys, Error> {
    let path = directory.join(KEY);
    let secret = read_at_most(&path, SECRET_LEN + 1).map_err(|error| unusable(&path, "read", &error))?;
    let Ok(secret) = secret.try_into() else {
        let hint = "restore the file from a backup; without it this directory belongs to no peer";
        return Err(Error::new(format!("the key {} is damaged", path.display()))
            .why(format!("it must have {SECRET_LEN} bytes"))
            .hint(hint));
    };
    Ok(Keys::from_secret(secret))
}

fn create(path: &Path) -> Result<(), Error> {
    let mut secret = [0; SECRET_LEN];
    getrandom::fill(&mut secret)
        .map_err(|error| Error::new("cannot make a key: the system has no random numbers").why(error))?;
    write_atomically(path, &secret).map_err(|error| unusable(path, "write", &error))
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::new(format!("cannot {what} the key {}", path.display()))
        .why(error)
        .hint("see that this user may use that file, or give this peer another --dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_peer_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let first = load_or_create(&directory).unwrap().peer();
        assert_eq!(load_or_create(&directory).unwrap().peer(), first);
        let other_home = tempfile::tempdir().unwrap();
        let other = Directory::open(other_home.path()).unwrap();
        assert_ne!(load_or_create(&other).unwrap().peer(), first);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        load_or_create(&Directory::open(home.path()).unwrap()).unwrap();
        let mode = home.path().join(KEY).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        for damage in [&b"short"[..], &[7; 33]] {
            let home = tempfile::tempdir().unwrap();
            let directory = Directory::open(home.path()).unwrap();
            std::fs::write(home.path().join(KEY), damage).unwrap();
            let error = load_or_create(&directory).err().unwrap();
            assert!(error.to_string().contains("damaged"), "{error}");
            assert_eq!(std::fs::read(home.path().join(KEY)).unwrap(), damage);
        }
    }
}
