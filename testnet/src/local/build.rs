//! Where the peer program is: named, built from the same source, or beside this one.

use super::error::Error;
use super::process::{Interrupt, Missed, Process};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A cold build of everything takes minutes, on a slow machine many; longer than this it hangs.
const BUILD_MAX: Duration = Duration::from_secs(3600);

/// The peer program to start. Run through cargo, it is built first, so that both come from one source.
pub fn peer_program(named: Option<PathBuf>, interrupt: &Interrupt) -> Result<PathBuf, Error> {
    let path = match named {
        Some(path) => path,
        None => beside_own_program(interrupt)?,
    };
    path.canonicalize().map_err(|_| Error::NoBinary { path })
}

fn beside_own_program(interrupt: &Interrupt) -> Result<PathBuf, Error> {
    let own = env::current_exe().map_err(Error::io("cannot find", "this program itself"))?;
    if let Some(cargo) = env::var_os("CARGO").filter(|_| is_built_by_cargo(&own)) {
        build(cargo, &own, interrupt)?;
    }
    Ok(own.with_file_name("starling"))
}

/// Cargo marks the directories that it builds into; the program lies in one for its profile.
fn is_built_by_cargo(own: &Path) -> bool {
    own.ancestors().skip(2).take(2).any(|dir| dir.join("CACHEDIR.TAG").exists())
}

fn build(cargo: OsString, own: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "starling-node"]).args(profile_of(own));
    if let Some(manifest) = env::var_os("CARGO_MANIFEST_DIR") {
        command.arg("--manifest-path").arg(Path::new(&manifest).join("Cargo.toml"));
    }
    // What cargo tells the program about its package would look like a change to the build scripts of
    // others, and they would all be built again.
    let told = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_told_by_cargo));
    for (name, _) in told {
        command.env_remove(name);
    }
    let mut cargo = Process::start(command).map_err(|_| Error::Build)?;
    match cargo.end(Instant::now() + BUILD_MAX, interrupt) {
        Ok(status) if status.success() => Ok(()),
        Err(Missed::Interrupted) => Err(Error::Interrupted),
        Ok(_) | Err(_) => Err(Error::Build),
    }
}

fn is_told_by_cargo(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    name == "CARGO" || name == "OUT_DIR" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The profile that this program was built with, which names the directory it lies in.
fn profile_of(own: &Path) -> Vec<OsString> {
    match own.parent().and_then(Path::file_name) {
        Some(dir) if dir == "debug" => Vec::new(),
        Some(dir) => vec!["--profile".into(), dir.into()],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_built_with_the_profile_of_this_program() {
        assert!(profile_of(Path::new("/x/target/debug/testnet")).is_empty());
        assert_eq!(profile_of(Path::new("/x/target/release/testnet")), ["--profile", "release"]);
    }

    #[test]
    fn what_cargo_tells_is_not_passed_on_and_settings_are() {
        assert!(is_told_by_cargo("CARGO_MANIFEST_DIR") && is_told_by_cargo("CARGO_PKG_NAME"));
        assert!(!is_told_by_cargo("CARGO_TARGET_DIR") && !is_told_by_cargo("CARGO_HOME"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let named = Some(PathBuf::from("/nowhere/starling"));
        let text = peer_program(named, &Interrupt::default()).unwrap_err().to_string();
        assert!(text.contains("/nowhere/starling") && text.contains("--bin"), "{text}");
    }
}
