//! The console at a terminal.
#![cfg(unix)]

mod common;

use common::FakePeer;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// A console, and the other side of its terminal.
struct Terminal {
    console: Child,
    keys: File,
    shown: Receiver<String>,
    _history: tempfile::TempDir,
}

impl Terminal {
    fn at(peer: &FakePeer) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        let history = tempfile::tempdir().unwrap();
        let mut console = Command::new(env!("CARGO_BIN_EXE_starling"));
        console.args(["console", "--connect", &peer.address.to_string()]);
        console.env("NO_COLOR", "1").env("TERM", "xterm").env("XDG_STATE_HOME", history.path());
        console.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let keys = File::from(ours);
        let (mut screen, (sender, shown)) = (keys.try_clone().unwrap(), channel());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once the console has ended.
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
        });
        let console = console.spawn().unwrap();
        let mut terminal = Self { console, keys, shown, _history: history };
        terminal.until("> ", 1);
        terminal
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until that has been shown so often.
    fn until(&mut self, text: &str, times: usize) {
        let mut all = String::new();
        while all.matches(text).count() < times {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(more) => all.push_str(&more),
                Err(_) => panic!("{text:?} is not shown {times} times: {all:?}"),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.console.kill();
        let _ = self.console.wait();
    }
}

fn value(peer: &FakePeer, key: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    let output = command.args(["get", key, "--connect", &peer.address.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_line_that_is_pasted_is_a_command() {
    let peer = FakePeer::start();
    let mut terminal = Terminal::at(&peer);
    terminal.type_in("\x1b[200~del a\nset b 1\x1b[201~\r");
    terminal.until("OK", 1);
    assert_eq!(value(&peer, "b"), "1\n");
}

#[test]
fn what_is_typed_ahead_is_not_lost() {
    let peer = FakePeer::start();
    let mut terminal = Terminal::at(&peer);
    terminal.type_in("set t1 1\rset t2 2\rset t3 3\r");
    terminal.until("OK", 3);
    assert_eq!(value(&peer, "t3"), "3\n");
    terminal.type_in(":quit\r");
    assert!(terminal.console.wait().unwrap().success());
}
