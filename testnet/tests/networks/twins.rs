//! A data directory that was copied, and two processes that are one peer.

use crate::harness::{Net, eventually, is_gone, starling};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed with the test.
struct Twin(Child);

impl Twin {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(starling());
        command.args([
            "up",
            "--no-mdns",
            "--resp",
            "127.0.0.1:0",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--dir",
        ]);
        let quiet = command.arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_two_processes_with_one_key_the_earlier_stops_and_says_why() {
    let mut net = Net::start(3);
    net.client("p1").must::<String>("SET before kept");
    net.ctl("kill p3");
    let (dir, other) = (net.dir().join("p3"), net.dir().join("other"));
    let copied = Command::new("cp").arg("-r").args([&dir, &other]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp -r");
    net.ctl("restart p3");
    net.refresh();
    net.await_seen(&["p1", "p2"], &["p3"], "alive");
    let (pid, peer_id) = (net.peer("p3").pid, &net.peer("p3").peer_id);

    let _twin = Twin::start(&other);
    eventually("the first to stop", || if is_gone(pid) { Ok(()) } else { Err("it runs".into()) });
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.contains("another process runs as this peer, so this one has stopped"), "{log}");
    assert!(log.contains("let the other join with a ticket"), "{log}");
    eventually("the other to be the peer", || {
        let status = net.client("p1").status()?;
        let members = status["members"].as_array().ok_or("no members")?;
        let mut same = members.iter().filter(|member| member["peer_id"] == *peer_id);
        let is_there = same.any(|member| member["health"] == "alive" && member["step"] == "member");
        if is_there { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(net.client("p2").must::<String>("GET before"), "kept");
}
