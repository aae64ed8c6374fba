//! The disk, the clock and the certificate.

use super::super::entering::refuse_half_joined;
use super::super::up;
use super::{Finding, Verdict};
use crate::admission::{Admission, to_oneself};
use crate::config::Options;
use crate::directory::{Directory, STORE, in_shell, is_private};
use crate::error::Error;
use crate::identity;
use crate::network::{self, wall_ms};
use crate::space::Disk;
use crate::{storage, transport};
use starling_protocol::genesis::SignedGenesis;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A sync that takes longer makes every write slow.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Free space below which a warning is due; on a small disk, a quarter of it.
const LITTLE: u64 = 2 * 1024 * 1024 * 1024;
const MEBIBYTE: u64 = 1024 * 1024;
/// A certificate that ends sooner is worth a word, in milliseconds.
const SOON_MS: u64 = 30 * 24 * 60 * 60 * 1000;

const CERTIFICATE: &str = "certificate";

pub fn examine(options: &Options) -> Vec<Finding> {
    let mut findings = of_directory(&options.dir, options.keep_free);
    findings.extend(options.password_file.as_deref().map(|file| secrecy(file, "the password")));
    findings
}

/// Whether a peer that is started here finds its ports free. The kept ones it gives up where they are not. A peer of
/// another directory that has them, and answers where clients come, is no failure: it may be the one that is wanted.
pub fn ports(options: &Options, answers_at: Option<&str>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let clients = up::can_bind(options.resp);
    let peers = transport::can_listen(&options.listen).map_err(Error::from);
    let port = format!(":{}", options.resp.port());
    // At an address that this machine has not, no peer of it answers.
    let is_here = || up::can_bind(SocketAddr::new(options.resp.ip(), 0)).is_ok();
    let answers = answers_at.is_some_and(|at| at.ends_with(&port)) && is_here();
    let verdict = if answers { Verdict::Warn } else { Verdict::Fail };
    let taken: Vec<_> = [clients, peers]
        .iter()
        .filter_map(|found| found.as_ref().err())
        .map(|error| Finding { verdict, ..Finding::of(CHECK, error) })
        .collect();
    if taken.is_empty() { vec![Finding::ok(CHECK, "free for clients and for other peers")] } else { taken }
}

/// Whether the store of a peer that does not run can be used, as far as that is seen without a change to it.
pub fn store(dir: &Path) -> Option<Finding> {
    const CHECK: &str = "store";
    let store = dir.join(STORE);
    store.exists().then(|| match storage::examine(&store) {
        Ok(()) => Finding::ok(CHECK, "its files are there, and its journal can be played back"),
        Err(error) => Finding::of(CHECK, &error.into()),
    })
}

fn of_directory(dir: &Path, keep_free: u64) -> Vec<Finding> {
    if !dir.exists() {
        let found = format!("{} does not exist yet", dir.display());
        return vec![Finding::warn("disk", found, "starling up, or starling join, creates it")];
    }
    let mut findings = vec![disk(dir)];
    findings.extend(Disk::of(dir).map(|disk| space_left(disk, keep_free)));
    let store = dir.join(STORE);
    findings.extend(store.exists().then(|| secrecy(&store, "the data")));
    findings.extend(clock_and_certificate(dir));
    findings
}

fn disk(dir: &Path) -> Finding {
    if let Err(error) = Directory::examine(dir) {
        return Finding::of("disk", &error.into());
    }
    let shown = dir.display();
    match time_sync(dir) {
        Ok(took) if took < SLOW_SYNC => {
            Finding::ok("disk", format!("{shown} can be written; a sync takes {} ms", took.as_millis()))
        }
        Ok(took) => Finding::warn(
            "disk",
            format!("a sync in {shown} takes {} ms, and every write waits for one", took.as_millis()),
            "use a local SSD, or --durability interval if the last second may be lost with the power",
        ),
        Err(error) => Finding::fail(
            "disk",
            format!("{shown} cannot be written: {error}"),
            "see that this user owns it, that the disk is not full and not mounted read-only",
        ),
    }
}

fn secrecy(path: &Path, what: &str) -> Finding {
    const CHECK: &str = "secrecy";
    let shown = path.display();
    match is_private(path) {
        true => Finding::ok(CHECK, format!("{shown} is for its user alone")),
        false => Finding::warn(
            CHECK,
            format!("other users of this machine can read {what} in {shown}"),
            format!("chmod {} {}", if path.is_dir() { 700 } else { 600 }, in_shell(path)),
        ),
    }
}

fn time_sync(dir: &Path) -> io::Result<Duration> {
    let path = dir.join("doctor.tmp");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        let begun = Instant::now();
        file.sync_all()?;
        Ok(begun.elapsed())
    });
    let removed = fs::remove_file(&path);
    written.and_then(|took| removed.map(|()| took))
}

fn space_left(disk: Disk, keep_free: u64) -> Finding {
    let found = format!("{} MiB are free", disk.free / MEBIBYTE);
    let fix = "free some space, or move the data directory to a larger disk and name it with --dir";
    let keep = disk.kept(keep_free);
    if disk.free < keep {
        let found = format!("{found}, less than the {} MiB that are kept: no more is taken", keep / MEBIBYTE);
        return Finding::fail("space", found, fix);
    }
    if disk.free < LITTLE.min(disk.total / 4) {
        return Finding::warn("space", found, fix);
    }
    Finding::ok("space", found)
}

fn clock_and_certificate(dir: &Path) -> Vec<Finding> {
    let genesis = match network::read_from(dir) {
        Ok(Some(genesis)) => genesis,
        Ok(None) => {
            let half = refuse_half_joined(dir).err().map(|error| Finding::of(CERTIFICATE, &error));
            let none = || Finding::ok(CERTIFICATE, "this directory belongs to no network yet");
            return vec![half.unwrap_or_else(none)];
        }
        Err(error) => return vec![Finding::of(CERTIFICATE, &error)],
    };
    let (now, created_ms) = (wall_ms(), genesis.genesis().created_ms);
    let certificate = match not_after(dir, genesis) {
        Ok(Some(until)) => certificate(until, now),
        Ok(None) => Finding::ok(CERTIFICATE, "none; this peer is the founder, who needs none"),
        Err(error) => Finding::of(CERTIFICATE, &error),
    };
    vec![clock(now, created_ms), certificate]
}

/// How long the certificate counts, with which a peer starts there. `None`: the founder's, who has none.
/// Errors: none starts.
fn not_after(dir: &Path, genesis: SignedGenesis) -> Result<Option<u64>, Error> {
    let keys = identity::load(dir)?;
    let founder = genesis.genesis().founder;
    let admission = Admission::open(dir, keys, genesis)?;
    let grant = admission.own_grant().map_err(|refusal| Error::new(to_oneself(refusal)))?;
    Ok((admission.me() != founder).then_some(grant.not_after_ms))
}

fn clock(now_ms: u64, created_ms: u64) -> Finding {
    if now_ms < created_ms {
        return Finding::fail(
            "clock",
            "this machine's clock stands before the day on which its network was made",
            "set it, and let NTP keep it (timedatectl set-ntp true)",
        );
    }
    Finding::ok("clock", "not before the network was made")
}

fn certificate(until_ms: u64, now_ms: u64) -> Finding {
    let left = until_ms.saturating_sub(now_ms);
    if left < SOON_MS {
        let fix = "starling invite on a machine that is in, and the line that it prints here";
        return Finding::warn(CERTIFICATE, format!("it ends in {} days", left / (24 * 60 * 60 * 1000)), fix);
    }
    Finding::ok(CERTIFICATE, "it leads to the founder and is valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SettingFlags, Values};

    fn of_size(free: u64, total: u64) -> Disk {
        Disk { free, total }
    }

    #[test]
    fn a_healthy_directory_has_nothing_to_fix() {
        let home = tempfile::tempdir().unwrap();
        let disk = disk(home.path());
        assert!(disk.verdict < Verdict::Fail, "{disk:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn data_that_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let (store, password) = (home.path().join("store"), home.path().join("password"));
        fs::create_dir(&store).unwrap();
        fs::write(&password, "correct horse").unwrap();
        let found = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            secrecy(path, "the data")
        };
        assert_eq!(found(&store, 0o700).verdict, Verdict::Ok);
        assert_eq!(found(&store, 0o755).verdict, Verdict::Warn);
        assert!(found(&store, 0o750).fix.unwrap().starts_with("chmod 700 "));
        assert!(found(&password, 0o644).fix.unwrap().starts_with("chmod 600 "));
    }

    #[test]
    fn ports_of_a_peer_that_answers_are_a_warning_and_those_of_others_a_failure() {
        let (home, taken) =
            (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let at = taken.local_addr().unwrap().to_string();
        let mut flags = SettingFlags::default();
        let dir = home.path().display().to_string();
        for (key, text) in [("dir", &*dir), ("resp", &at), ("listen", "127.0.0.1:0")] {
            flags.add(key, [text.to_owned()]);
        }
        let mut options = Options::new(&Values::resolve(&flags, &|_| None).unwrap()).unwrap();
        let verdict = |answers_at| ports(&options, answers_at)[0].verdict;
        assert_eq!(verdict(Some(&at)), Verdict::Warn);
        assert_eq!((verdict(Some("127.0.0.1:1")), verdict(None)), (Verdict::Fail, Verdict::Fail));
        drop(taken);
        assert_eq!(verdict(None), Verdict::Ok);
        options.resp.set_ip([192, 0, 2, 1].into());
        let nowhere = &ports(&options, Some(&at))[0];
        assert_eq!(nowhere.verdict, Verdict::Fail, "no peer has the port of a foreign address: {nowhere:?}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_fix() {
        let nowhere = disk(Path::new("/nowhere/at/all"));
        let cases = [
            (nowhere, Verdict::Fail),
            (space_left(of_size(LITTLE, 1 << 40), LITTLE + 1), Verdict::Fail),
            (space_left(of_size(LITTLE - 1, 1 << 40), 512 * MEBIBYTE), Verdict::Warn),
            (space_left(of_size(127 * MEBIBYTE, 1 << 30), 512 * MEBIBYTE), Verdict::Fail),
            (space_left(of_size(128 * MEBIBYTE, 1 << 30), 512 * MEBIBYTE), Verdict::Warn),
            (space_left(of_size(1, 1 << 40), 0), Verdict::Warn),
            (clock(1, 2), Verdict::Fail),
            (certificate(SOON_MS - 1, 0), Verdict::Warn),
        ];
        for (finding, verdict) in cases {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.fix.is_some(), "{finding:?}");
        }
        for fine in
            [space_left(of_size(LITTLE, 1 << 40), 512 * MEBIBYTE), clock(2, 2), certificate(SOON_MS, 0)]
        {
            assert_eq!(fine.verdict, Verdict::Ok, "{fine:?}");
        }
    }
}
