//! The data directory: whose it is, what format it has, and small files that are never half written.

use crate::error::Error;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What the file `format` says of a directory that this version reads and writes.
const FORMAT: &str = "starling data 1";
/// What a peer says of itself while it runs.
pub const RUNNING: &str = "peer.json";
/// Longest `format` or `lock` file that is looked at, in bytes.
const SMALL: usize = 128;
/// Where the storage engine keeps its files.
pub const STORE: &str = "store";
/// Holds the peer's secret.
pub const KEY: &str = "identity.key";
/// Holds the keys of invites: who has one can come in by it.
pub const INVITES: &str = "invites.cbor";
/// A directory with one of these was meant for a peer, whatever else is in it.
const MARKS: [&str; 2] = ["starling.toml", KEY];
/// What may be in one that no peer has used: what `open` and the doctor make before `format`, what a file system has at
/// its top, and the log of a peer that is only being started.
const NOBODYS: [&str; 5] = ["lock", "format.tmp", "doctor.tmp", "lost+found", "log"];
/// So many files of others are in nobody's way: a password, certificates, a ticket.
const FILES_MAX: usize = 8;
/// A lock that is held for longer is a peer's. `running` has it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Files that are named where there are more than may be.
const NAMED_MAX: usize = 3;

/// A peer's data directory, locked for as long as this lives, so that no second process uses it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The lock goes with the process, also when that is killed; so the file itself stays.
    lock: File,
    /// By which it, and the store in it once that is open, are told from others at their paths.
    #[cfg(unix)]
    places: Vec<(PathBuf, File)>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("the data directory {path} is in use by {holder}")]
    Locked { path: PathBuf, holder: Holder },
    #[error("the data directory {path} has the format '{found}'; this version reads '{FORMAT}'")]
    Format { path: PathBuf, found: String },
    #[error("the data directory {path} has data, but no file 'format' that says how to read it")]
    NoFormat { path: PathBuf },
    #[error("the directory {path} is no peer's, and not empty: it has {found}")]
    Foreign { path: PathBuf, found: String },
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl DirectoryError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Locked { path, .. } => format!(
                "talk to that peer with `starling console --dir {}`, or give this one its own directory with --dir",
                in_shell(path)
            ),
            Self::Format { .. } => "use the version of starling that wrote it, or another --dir".into(),
            Self::NoFormat { .. } => "put that file back if it was removed, or use another --dir".into(),
            Self::Foreign { path, .. } => format!(
                "name an empty directory, or one that does not exist yet, with --dir; if a peer is to live among these \
                 files: touch {}",
                in_shell(&path.join(MARKS[0]))
            ),
            Self::Io { .. } => {
                "see that this user may write there and that the disk has room, or use another --dir".into()
            }
        }
    }
}

impl From<DirectoryError> for Error {
    fn from(e: DirectoryError) -> Self {
        let error = Error::new(e.to_string()).hint(e.hint());
        match e {
            DirectoryError::Foreign { .. } => {
                error.why("a new peer there would be hard to tell from a mistyped --dir")
            }
            _ => error,
        }
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => write!(f, "another process"),
        }
    }
}

/// Not left to closing the file: a child process that is just being started shares it for a moment.
impl Drop for Directory {
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Opens the directory, which is created if need be. What it has of data is readable for this user alone, though
    /// the directory itself, where it was made by another hand, may be open to others.
    ///
    /// Errors: another process has it open; its format is not known; it has what is no peer's; the file system refuses.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        create_private(path).map_err(io_error("create the data directory", path))?;
        // Before anything is written there.
        refuse_foreign(path)?;
        let lock = lock(path)?;
        let mut directory = Self {
            path: path.to_path_buf(),
            lock,
            #[cfg(unix)]
            places: Vec::new(),
        };
        directory.hold(path.to_path_buf())?;
        directory.check_format()?;
        directory.forget_last()?;
        directory.close_secrets();
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the storage engine keeps its files.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// From now on what is at this path is looked at as well, to see whether it is still in its place. Errors: it
    /// cannot be opened.
    #[cfg(unix)]
    pub fn hold(&mut self, path: PathBuf) -> Result<(), DirectoryError> {
        let place = File::open(&path).map_err(io_error("open", &path))?;
        self.places.push((path, place));
        Ok(())
    }

    #[cfg(not(unix))]
    pub fn hold(&mut self, _: PathBuf) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// What of this directory, or of what is held in it, is no longer at its path: removed, emptied, or another is in
    /// its place.
    #[cfg(unix)]
    pub fn missing(&self) -> Option<&Path> {
        let format = fs::metadata(self.path.join("format"));
        if format.is_err_and(|error| is_gone(&error)) {
            return Some(&self.path);
        }
        self.places.iter().find(|(path, held)| !is_at(path, held)).map(|(path, _)| path.as_path())
    }

    /// Where the system does not tell files apart, it does not remove those that are open, either.
    #[cfg(not(unix))]
    pub fn missing(&self) -> Option<&Path> {
        None
    }

    /// What a peer that was killed said of itself is not said by the one that has the lock now.
    fn forget_last(&self) -> Result<(), DirectoryError> {
        let path = self.path.join(RUNNING);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// What the peer that runs in the directory at this path says of itself, as it saved it. `None`: none runs there,
    /// whatever one that was killed has left behind; or it is only starting. Errors: this user may not look.
    pub fn running(path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path.join(RUNNING)) {
            Ok(said) => Ok(Self::is_in_use(path)?.then_some(said)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Whether a process has the directory at this path open. Errors: this user may not look.
    pub fn is_in_use(path: &Path) -> io::Result<bool> {
        match File::open(path.join("lock")) {
            // It is shared for a moment where nobody holds it.
            Ok(lock) => Ok(matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// What `open` would refuse, of the directory at this path, whoever has it open now. Writes nothing.
    pub fn examine(path: &Path) -> Result<(), DirectoryError> {
        refuse_foreign(path)?;
        has_format(path).map(drop)
    }

    /// What is in the store was made as the umask of the user says, and a directory that was copied back is as open as
    /// the copy: nobody else may come to any.
    fn close_secrets(&self) {
        for path in [self.store(), self.path.join(KEY), self.path.join(INVITES)] {
            if path.exists()
                && !is_private(&path)
                && let Err(error) = make_private(&path)
            {
                tracing::warn!(path = %path.display(), %error, "other users of this machine can read what is secret; chmod go= ends that");
            }
        }
    }

    /// Checks the format, or writes it where nothing is stored yet.
    fn check_format(&self) -> Result<(), DirectoryError> {
        if has_format(&self.path)? {
            return Ok(());
        }
        let path = self.path.join("format");
        write_atomically(&path, format!("{FORMAT}\n").as_bytes()).map_err(io_error("write", &path))
    }
}

/// False: nothing is stored there yet. Errors: what is stored has another format, or none.
fn has_format(directory: &Path) -> Result<bool, DirectoryError> {
    let path = directory.join("format");
    let found = match read_small(&path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound && directory.join(STORE).exists() => {
            return Err(DirectoryError::NoFormat { path: directory.to_path_buf() });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(io_error("read", &path)(e)),
    };
    if found.trim_end() == FORMAT {
        return Ok(true);
    }
    let found = found.trim_end().escape_default().to_string();
    Err(DirectoryError::Format { path: directory.to_path_buf(), found })
}

/// Any other error says nothing of whether it is there.
#[cfg(unix)]
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(unix)]
fn is_at(path: &Path, held: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let name = |found: fs::Metadata| (found.dev(), found.ino());
    let Ok(held) = held.metadata().map(name) else { return true };
    fs::metadata(path).map(name).map_or_else(|error| !is_gone(&error), |found| found == held)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_path_buf();
    move |source| DirectoryError::Io { what, path, source }
}

/// Nobody knows whose these are, where no peer has ever been: directories, or more files than a person puts there for
/// a peer that is to come.
fn refuse_foreign(path: &Path) -> Result<(), DirectoryError> {
    let (mut names, mut directories) = (Vec::new(), false);
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let entry = entry.map_err(io_error("list", path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || NOBODYS.contains(&name.as_str()) {
            continue;
        }
        directories |= entry.file_type().is_ok_and(|found| found.is_dir());
        names.push(name);
    }
    // What a store without a format means is said elsewhere.
    let is_ours = |name: &String| MARKS.contains(&name.as_str()) || matches!(name.as_str(), "format" | STORE);
    if names.iter().any(is_ours) {
        return Ok(());
    }
    if !directories && names.len() <= FILES_MAX {
        return Ok(());
    }
    names.sort();
    let mut shown: Vec<_> =
        names.iter().take(NAMED_MAX).map(|name| name.escape_debug().to_string()).collect();
    if names.len() > NAMED_MAX {
        shown.push(format!("{} more", names.len() - NAMED_MAX));
    }
    Err(DirectoryError::Foreign { path: path.to_path_buf(), found: shown.join(", ") })
}

/// Whether only this user may look into it, as far as the system tells.
#[cfg(unix)]
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or(true, |found| found.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
pub fn is_private(_: &Path) -> bool {
    true
}

/// Takes from others whatever they may do with a file or a directory.
#[cfg(unix)]
pub fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}

/// As a shell reads it back.
pub fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join("lock");
    let mut file =
        private().create(true).truncate(false).open(&path).map_err(io_error("open the lock file", &path))?;
    let begun = Instant::now();
    let locked = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE)
            }
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DirectoryError::Locked { path: directory.to_path_buf(), holder: holder(&path) });
        }
        Err(TryLockError::Error(e)) => return Err(io_error("lock", &path)(e)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io_error("write", &path))?;
    Ok(file)
}

/// Whoever locked the file wrote its process id there: at once, but after locking, so it may be missing.
fn holder(lock: &Path) -> Holder {
    Holder(read_small(lock).ok().and_then(|text| text.trim().parse().ok()))
}

fn read_small(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_at_most(path, SMALL)?).into_owned())
}

/// So many bytes of a file, or all where it has fewer.
pub fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same of a text.
pub fn read_text_at_most(path: &Path, most: usize) -> io::Result<String> {
    let text = String::from_utf8(read_at_most(path, most)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Writes a small file so that after a crash it holds either what it held before or all of `bytes`,
/// and readable for this user alone. One writer per file at a time.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = private().create(true).truncate(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// So that files which came or went are known after a power cut. Only Unix needs it, or has it.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Creates the directory and those above it, readable for this user alone, each synced into its parent.
pub fn create_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent {
        create_private(parent)?;
    }
    match private_directory().create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_directory(parent.unwrap_or(Path::new("."))),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn private_directory() -> fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}
