//! The password of the client port.

use crate::directory::{Directory, is_private, make_private, read_text_at_most, write_atomically};
use crate::error::Error;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};

/// In the data directory: the password of a peer whose other clients have tokens.
const OWN: &str = "client.password";
/// Shorter ones can be tried out; longer ones are no passwords.
const LEN_MIN: usize = 8;
const LEN_MAX: usize = 1024;

/// Only its hash is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(blake3::Hash);

impl Password {
    fn of(text: &[u8]) -> Self {
        Self(blake3::hash(text))
    }

    /// In constant time.
    pub fn is(&self, given: &[u8]) -> bool {
        *self == Self::of(given)
    }

    /// That of a file. Errors: as `read`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        read(path).map(|text| Self::of(text.as_bytes()))
    }
}

/// Never shown.
impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// A random one in the data directory, made once, readable for this user alone. Errors: the disk; the system
/// has no random numbers.
pub fn make(directory: &Directory) -> Result<PathBuf, Error> {
    let path = directory.path().join(OWN);
    if path.exists() {
        // Systems that hand volumes to programs may have opened it to a group.
        // `warn_if_open` looks whether that was of use.
        let _ = make_private(&path);
        return Ok(path);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::new("the system has no random numbers").why(error))?;
    write_atomically(&path, format!("{}\n", HEXLOWER.encode(&bytes)).as_bytes())
        .map_err(|error| Error::new(format!("cannot write {}", path.display())).why(error))?;
    Ok(path)
}

/// The first line of a file. Errors: it cannot be read; the line is too short or too long.
pub fn read(path: &Path) -> Result<String, Error> {
    let refused = |why: String| {
        Error::usage(format!("there is no password in {}", path.display()))
            .why(why)
            .hint("write one on its first line, readable for this user alone: (umask 077; openssl rand -hex 16 > FILE)")
    };
    let text = read_text_at_most(path, LEN_MAX + 2).map_err(|error| refused(error.to_string()))?;
    let line = text.lines().next().unwrap_or_default();
    if (LEN_MIN..=LEN_MAX).contains(&line.len()) {
        return Ok(line.to_owned());
    }
    Err(refused(format!("the first line has {} bytes; it must have from {LEN_MIN} to {LEN_MAX}", line.len())))
}

/// Not refused: where systems hand secrets to programs, and on file systems without modes, it cannot be closed.
pub fn warn_if_open(path: &Path) {
    if !is_private(path) {
        tracing::warn!(path = %path.display(), "other users of this machine may read the password; chmod 600 ends that");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_first_line_is_the_password() {
        let password = Password::load(file("correct horse\nanything\n").path()).unwrap();
        assert!(password.is(b"correct horse"));
        for other in [&b"correct horse\n"[..], b"correct hors", b"", b"anything"] {
            assert!(!password.is(other));
        }
        assert_eq!(format!("{password:?}"), "Password");
    }

    #[test]
    fn what_is_no_password_is_refused_with_what_to_do() {
        for text in ["", "\n", "short\n", &"x".repeat(2000)] {
            let error = Password::load(file(text).path()).unwrap_err().to_string();
            assert!(error.contains("from 8 to 1024") && error.contains("umask"), "{error}");
        }
        assert!(Password::load(Path::new("/nowhere/at/all")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_peer_s_own_is_closed_again_and_another_s_is_taken_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let own = make(&directory).unwrap();
        let open =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).unwrap();
        open(&own);
        assert!(!is_private(&own) && make(&directory).unwrap() == own && is_private(&own));
        let other = file("correct horse\n");
        open(other.path());
        assert!(Password::load(other.path()).is_ok() && !is_private(other.path()));
    }
}
