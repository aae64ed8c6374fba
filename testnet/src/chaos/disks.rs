//! Copies of data directories, put back later.

use crate::local::Error;
use std::fs;
use std::path::Path;

/// Copies a directory with all that is in it; `to` is replaced.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(Error::io("cannot delete", to))?;
    }
    fs::create_dir_all(to).map_err(Error::io("cannot create", to))?;
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
