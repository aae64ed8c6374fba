//! Copies of data directories, put back later, and small disks under them that are filled up.

use crate::local::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a small disk has beyond what is on it when it is made, in mebibytes.
const SPARE_MIB: u64 = 16;
/// The file that fills it.
const BALLAST: &str = "ballast";

/// Copies a directory with all that is in it; `to` is replaced.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(Error::io("cannot delete", to))?;
    }
    fs::create_dir_all(to).map_err(Error::io("cannot create", to))?;
    copy_into(from, to)
}

fn copy_into(from: &Path, to: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(from).map_err(Error::io("cannot read", from))? {
        let entry = entry.map_err(Error::io("cannot read", from))?;
        let target = to.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(Error::io("cannot copy to", &target))?;
        }
    }
    Ok(())
}

/// A file system of its own under a directory. Dropped, it is gone, and the directory as it was before.
pub struct Small {
    dir: PathBuf,
    mounted: bool,
}

impl Small {
    /// Puts a small disk under the directory, with what is in it. Errors: most often, that only root may.
    pub fn under(dir: &Path) -> Result<Self, Error> {
        let aside = dir.with_extension("aside");
        copy(dir, &aside)?;
        let size = format!("mode=700,size={}k", size_of(&aside)? / 1024 + SPARE_MIB * 1024);
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], dir);
        let small = Self { dir: dir.to_owned(), mounted: mounted.is_ok() };
        let filled = mounted.and_then(|()| copy_into(&aside, dir));
        fs::remove_dir_all(&aside).map_err(Error::io("cannot delete", &aside))?;
        filled.map(|()| small)
    }

    /// Until nothing more fits.
    pub fn fill(&self) -> Result<(), Error> {
        let path = self.dir.join(BALLAST);
        let mut file = File::create(&path).map_err(Error::io("cannot create", &path))?;
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }

    /// Takes it away, and leaves in the directory what was on it.
    pub fn take_away(mut self) -> Result<(), Error> {
        let (dir, aside) = (self.dir.clone(), self.dir.with_extension("aside"));
        let ballast = dir.join(BALLAST);
        if ballast.exists() {
            fs::remove_file(&ballast).map_err(Error::io("cannot delete", &ballast))?;
        }
        copy(&dir, &aside)?;
        self.unmount()?;
        copy(&aside, &dir)?;
        fs::remove_dir_all(&aside).map_err(Error::io("cannot delete", &aside))
    }

    fn unmount(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.mounted) {
            // Whoever still has a file open there keeps it until he closes it.
            run("umount", &["-l"], &self.dir)?;
        }
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("error: {error}");
        }
    }
}

fn run(program: &str, words: &[&str], dir: &Path) -> Result<(), Error> {
    let mut command = Command::new(program);
    let output = command.args(words).arg(dir).stdin(Stdio::null()).output();
    let output = output.map_err(Error::io("cannot run", program))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Error::Words(format!("{program} {}: {}", dir.display(), why.trim())))
}

fn size_of(dir: &Path) -> Result<u64, Error> {
    let mut size = 0;
    for entry in fs::read_dir(dir).map_err(Error::io("cannot read", dir))? {
        let entry = entry.map_err(Error::io("cannot read", dir))?;
        let meta = entry.metadata().map_err(Error::io("cannot read", entry.path()))?;
        // Files take whole blocks.
        size += if meta.is_dir() { size_of(&entry.path())? } else { meta.len().next_multiple_of(4096) };
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("store")).unwrap();
        fs::write(from.join("store/a"), "1").unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("old"), "0").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("store/a")).unwrap(), "1");
        assert!(!to.join("old").exists());
    }
}
