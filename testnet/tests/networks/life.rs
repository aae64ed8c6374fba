//! How a testnet comes and goes.

use crate::harness::{Net, eventually, is_gone, testnet, turn};
use std::net::TcpListener;

fn await_gone(net: &Net) {
    for peer in &net.peers {
        let alive = || format!("pid {} runs", peer.pid);
        eventually(&format!("{} to be gone", peer.name), || {
            is_gone(peer.pid).then_some(()).ok_or_else(alive)
        });
    }
}

#[test]
fn sigterm_leaves_no_process_and_the_directory_starts_again_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Net::start_in(dir.path(), &["-n", "3", "--base-port", "0"]);
    net.client("p1").must::<()>("SET k v");
    let first = net.peers.clone();
    let (status, lines) = net.stop();
    assert!(status.success() && lines == 1, "{status}, {lines} lines on stdout");
    await_gone(&net);
    drop(net);

    let net = Net::start_in(dir.path(), &[]);
    for (peer, was) in net.peers.iter().zip(&first) {
        assert_eq!((&peer.peer_id, &peer.resp), (&was.peer_id, &was.resp));
        assert_eq!(net.client(&peer.name).must::<String>("GET k"), "v");
    }
}

#[test]
fn no_peer_outlives_a_testnet_that_is_killed() {
    let mut net = Net::start(3);
    net.ctl("pause p2");
    // On a busy machine its threads stop one after another. Only a process that has stopped is woken by the
    // system when nobody is left to do so.
    let tasks = format!("/proc/{}/task", net.peer("p2").pid);
    eventually("p2 to have stopped", || {
        let Ok(all) = std::fs::read_dir(&tasks) else { return Ok(()) };
        let stats = all.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        let runs = |stat: &String| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        stats.into_iter().find(runs).map_or(Ok(()), Err)
    });
    net.kill();
    await_gone(&net);
}

#[test]
fn a_paused_peer_goes_on_where_it_stopped() {
    let net = Net::start(3);
    net.client("p1").must::<()>("SET k v");
    net.ctl("pause p2");
    net.await_seen(&["p1", "p3"], &["p2"], "dead");
    net.client("p1").must::<()>("SET k w");
    net.ctl("resume p2");
    net.await_seen(&["p1", "p2", "p3"], &["p1", "p2", "p3"], "alive");
    assert_eq!(net.client("p2").must::<String>("GET k"), "w");
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let _turn = turn();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let output = testnet().args(["up", "-n", "1", "--base-port", &port.to_string()]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(words.contains(&format!("port {port} is taken")) && words.contains("--base-port 0"), "{words}");
    if cfg!(target_os = "linux") {
        assert!(words.contains(&format!("pid {}", std::process::id())), "{words}");
    }
}

#[test]
fn control_of_a_testnet_that_does_not_run_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = testnet().args(["ctl", "--dir"]).arg(dir.path()).arg("status").output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && words.contains("testnet up --dir"), "{words}");
}
