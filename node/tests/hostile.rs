//! A peer that is flooded with connections at both of its ports, while an honest client works.
//!
//! The large one takes a minute, and measures; its figures mean something in a release build:
//! `cargo test --release -p starling-node --test hostile -- --ignored --nocapture`
#![cfg(target_os = "linux")]

use futures::StreamExt;
use libp2p::swarm::dummy;
use libp2p::{Multiaddr, SwarmBuilder, noise, tcp, yamux};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

const PASSWORD: &str = "correct horse";
/// What the peer may grow by because of any of this.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;
/// How long a hostile connection is kept, and how long until it comes again.
const KEPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(60);

/// A peer with a password, killed when it goes out of scope.
struct Victim {
    child: Child,
    ready: Value,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Victim {
    fn start(home: &Path) -> Self {
        let password = home.join("password");
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(&password).unwrap();
        writeln!(file, "{PASSWORD}").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        command.args([
            "up",
            "--resp",
            "127.0.0.1:0",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--no-mdns",
            "--json",
        ]);
        command.env("STARLING_KEEP_FREE_MIB", "0");
        command.args(["--replicas", "1"]).arg("--dir").arg(home.join("p1"));
        command.arg("--password-file").arg(password);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn clients(&self) -> String {
        self.ready["resp"].as_str().unwrap().to_owned()
    }

    fn peers(&self) -> Multiaddr {
        self.ready["listen"][0].as_str().unwrap().parse().unwrap()
    }

    /// Resident memory, in bytes.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn honest(&self) -> redis::Connection {
        let url = format!("redis://:{}@{}/", PASSWORD.replace(' ', "%20"), self.clients());
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        connection
    }

    /// All keys and their values.
    fn contents(&self) -> BTreeMap<String, String> {
        let mut honest = self.honest();
        let (mut cursor, mut all) = ("0".to_owned(), BTreeMap::new());
        loop {
            let (next, keys): (String, Vec<String>) =
                redis::cmd("SCAN").arg(&cursor).arg("COUNT").arg(1000).query(&mut honest).unwrap();
            for key in keys {
                let value = redis::cmd("GET").arg(&key).query(&mut honest).unwrap();
                all.insert(key, value);
            }
            cursor = next;
            if cursor == "0" {
                return all;
            }
        }
    }
}

/// Reads and writes one after another for so long; how many per second.
fn work(honest: &mut redis::Connection, span: Duration) -> f64 {
    let (begun, mut done) = (Instant::now(), 0u32);
    while begun.elapsed() < span {
        let key = format!("key:{}", done % 100);
        if done % 2 == 0 {
            redis::cmd("SET").arg(&key).arg("honest").exec(honest).unwrap();
        } else {
            redis::cmd("GET").arg(&key).exec(honest).unwrap();
        }
        done += 1;
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// What a client says that has no password: half a frame, garbage, commands, wrong passwords, much.
fn lies_of_clients(n: usize) -> Vec<u8> {
    match n % 5 {
        0 => b"*2\r\n$4\r\nAUTH\r\n$500\r\nhalf of it".to_vec(),
        1 => (0..20_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
        2 => b"SET key:1 hostile\r\nDEL key:2\r\nFORGET p1\r\nWITH 1 1 DEL key:3\r\n".to_vec(),
        3 => b"AUTH wrong\r\nHELLO 3 AUTH default wrong\r\nAUTH token stk1aaaaaaaa\r\n".to_vec(),
        _ => [&b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$8000\r\n"[..], &[b'x'; 7_000]].concat(),
    }
}

/// And one at the other port: nothing, garbage, half a handshake.
fn lies_of_peers(n: usize) -> Vec<u8> {
    match n % 3 {
        0 => Vec::new(),
        1 => b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff".repeat(100),
        _ => b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff half".to_vec(),
    }
}

/// Comes, lies, stays until it is sent away or for a while, and comes again.
async fn liar(address: String, lie: Vec<u8>) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let _ = stream.write_all(&lie).await;
            let mut answer = [0; 1024];
            let read_all = async { while matches!(stream.read(&mut answer).await, Ok(1..)) {} };
            let _ = timeout(KEPT, read_all).await;
        }
        sleep(PAUSE).await;
    }
}

/// Makes good handshakes, under a key of its own, and shows no certificate.
async fn stranger(address: Multiaddr) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    loop {
        let _ = swarm.dial(address.clone());
        let _ = timeout(KEPT, async { while swarm.next().await.is_some() {} }).await;
        for peer in swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _ = swarm.disconnect_peer_id(peer);
        }
        let _ = timeout(PAUSE, async { while swarm.next().await.is_some() {} }).await;
    }
}

/// That many of each; they go when the runtime does.
fn flood(victim: &Victim, clients: usize, peers: usize, strangers: usize) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let port = victim.peers().to_string().rsplit('/').next().unwrap().to_owned();
    for n in 0..clients {
        runtime.spawn(liar(victim.clients(), lies_of_clients(n)));
    }
    for n in 0..peers {
        runtime.spawn(liar(format!("127.0.0.1:{port}"), lies_of_peers(n)));
    }
    for _ in 0..strangers {
        runtime.spawn(stranger(victim.peers()));
    }
    runtime
}

#[test]
fn a_flood_without_password_and_certificate_changes_nothing_and_takes_little() {
    let home = tempfile::tempdir().unwrap();
    let victim = Victim::start(home.path());
    let mut honest = victim.honest();
    work(&mut honest, Duration::from_secs(1));
    let (contents, before) = (victim.contents(), victim.resident());
    assert!(!contents.is_empty());
    let hostile = flood(&victim, 60, 30, 10);
    // Old connections go on, and new ones come in.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(victim.contents(), contents);
    }
    assert!(work(&mut honest, Duration::from_millis(200)) > 0.0);
    hostile.shutdown_background();
    assert_eq!(victim.contents().keys().collect::<Vec<_>>(), contents.keys().collect::<Vec<_>>());
    let after = victim.resident();
    assert!(after < before + GROWTH_MAX, "it grew from {before} to {after} bytes");
}

#[test]
#[ignore = "measures for a minute; see the head of this file"]
fn a_thousand_hostile_connections_leave_an_honest_client_most_of_its_throughput() {
    let home = tempfile::tempdir().unwrap();
    let victim = Victim::start(home.path());
    let mut honest = victim.honest();
    let span = Duration::from_secs(15);
    work(&mut honest, Duration::from_secs(3));
    let quiet = work(&mut honest, span);
    let (contents, before) = (victim.contents(), victim.resident());
    let hostile = flood(&victim, 500, 300, 200);
    sleep_a_little();
    let flooded = work(&mut honest, span);
    let after = victim.resident();
    hostile.shutdown_background();
    let grown = after.saturating_sub(before) / 1024;
    eprintln!("quiet {quiet:.0}/s, under 1,000 hostile connections {flooded:.0}/s; grown by {grown} KiB");
    assert_eq!(victim.contents().keys().collect::<Vec<_>>(), contents.keys().collect::<Vec<_>>());
    assert!(victim.contents().values().all(|value| value == "honest"));
    assert!(after < before + GROWTH_MAX, "it grew from {before} to {after} bytes");
    assert!(flooded > quiet * 0.8, "{flooded:.0} of {quiet:.0}");
}

/// All have come once.
fn sleep_a_little() {
    std::thread::sleep(KEPT);
}
