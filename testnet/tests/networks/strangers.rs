//! Whoever connects and means no good, or does not know what it is saying.

use crate::harness::{Net, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What one peer may grow by because of any of this, in bytes.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

#[test]
fn garbage_ends_in_an_error_or_a_closed_connection_and_the_peer_lives() {
    let net = Net::start(1);
    let peer = net.peer("p1").clone();
    let before = resident(peer.pid);
    net.client("p1").must::<()>("SET k v");

    for bytes in garbage() {
        let answer = send(&peer.resp, &bytes);
        assert!(answer.is_empty() || answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
    }
    let listen = listen_address(&net);
    for bytes in garbage() {
        send(&listen, &bytes);
    }

    assert_eq!(net.client("p1").must::<String>("GET k"), "v");
    let status: serde_json::Value = serde_json::from_str(&net.ctl("status --json")).unwrap();
    assert_eq!(status["peers"][0]["pid"], peer.pid, "the same process as before");
    if let (Some(before), Some(after)) = (before, resident(peer.pid)) {
        assert!(after < before + GROWTH_MAX, "it grew from {before} to {after} bytes");
    }
}

fn garbage() -> Vec<Vec<u8>> {
    let mixed = (0..20_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    vec![
        b"*2\r\n$3\r\nGET\r\n$2147483648\r\n".to_vec(),
        b"*2147483648\r\n".to_vec(),
        b"*1\r\n$-7\r\n".to_vec(),
        b"*-1\r\n*-1\r\n$5\r\n".to_vec(),
        vec![0xff; 100_000],
        mixed.collect(),
        // A multistream-select greeting, and then nonsense.
        b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x0f".to_vec(),
    ]
}

/// Sends, says that no more comes, and reads what there is until the other side closes. That it closes
/// is the point: a read that runs into its deadline fails the test.
fn send(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("{address} keeps the connection"),
        _ => answer,
    }
}

#[test]
fn idle_connections_to_the_peer_port_do_not_keep_others_out() {
    let net = Net::start(2);
    let listen = listen_address(&net);
    let idle: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(&listen).ok()).collect();
    net.ctl("restart p2");
    net.await_seen(&["p2"], &["p1"], "alive");
    eventually("a write to both", || {
        net.client("p2").quorum(2, 2).ask::<()>("SET k v").map_err(|e| e.to_string())
    });
    drop(idle);
}

/// The peer-to-peer address of p1, from the plan that the testnet keeps.
fn listen_address(net: &Net) -> String {
    let plan = std::fs::read(net.dir().join("testnet.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
    format!("127.0.0.1:{}", plan["seats"][0]["listen"])
}

/// Resident memory in bytes, where the system tells.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
