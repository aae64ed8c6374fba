//! Real `starling` processes: how they start, find one another's networks, refuse, and stop.
#![cfg(unix)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Far more than anything here takes; reached only when it never comes.
const DEADLINE: Duration = Duration::from_secs(60);

fn starling() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    // Settings of whoever runs the tests must not matter.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STARLING_") {
            command.env_remove(name);
        }
    }
    // Nor the disk.
    command.env("STARLING_KEEP_FREE_MIB", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `up` or `join` on loopback, at ports that the system chooses.
fn peer_command(words: &[&str], dir: &Path, more: &[&str]) -> Command {
    serving_at("127.0.0.1:0", words, dir, more)
}

/// A peer that takes clients at this address.
fn serving_at(resp: &str, words: &[&str], dir: &Path, more: &[&str]) -> Command {
    let mut command = starling();
    command.args(words).arg("--dir").arg(dir);
    command.args(["--resp", resp, "--listen", "127.0.0.1:0", "--no-mdns", "--json"]).args(more);
    command
}

/// A peer that is ready. Killed when it goes out of scope.
struct Peer {
    child: Child,
    ready: Value,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready, but {line:?}"));
        Self { child, ready }
    }

    fn up(dir: &Path) -> Self {
        Self::start(peer_command(&["up"], dir, &[]))
    }

    /// A founder of which its `words` can be read.
    fn up_with_words(dir: &Path) -> Self {
        let mut child = peer_command(&["up"], dir, &["--replicas", "1"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    /// What it has said, once it has ended.
    fn words(&mut self) -> String {
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }

    fn join(dir: &Path, other: &Peer) -> Self {
        Self::start(peer_command(&["join", &other.ticket()], dir, &[]))
    }

    fn text(&self, key: &str) -> String {
        self.ready[key].as_str().unwrap().to_owned()
    }

    /// Lets one machine in.
    fn ticket(&self) -> String {
        let reply = self.ask(&["INVITE", "TICKET"]);
        reply.lines().nth(1).unwrap_or_else(|| panic!("no ticket, but {reply:?}")).to_owned()
    }

    /// Where other peers connect.
    fn address(&self) -> String {
        self.ready["listen"][0].as_str().unwrap().to_owned()
    }

    fn client(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}", self.text("resp"))).unwrap();
        client.get_connection().unwrap()
    }

    /// One command; the raw reply.
    fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.text("resp")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        write!(stream, "*{}\r\n{words}", words.matches('$').count()).unwrap();
        let mut reply = vec![0; 64 * 1024];
        let len = stream.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..len]).into_owned()
    }

    /// As `ask`, again while the network is not ready for it.
    fn answer(&self, words: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let reply = self.ask(words);
            if !reply.starts_with('-') {
                return reply;
            }
            assert!(begun.elapsed() < DEADLINE, "{words:?} gave {reply:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask_until(&self, words: &[&str], expected: &str) {
        let begun = Instant::now();
        loop {
            let reply = self.ask(words);
            if reply.contains(expected) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "{words:?} gave {reply:?}, never {expected:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until so many own data here.
    fn await_members(&self, count: usize) {
        let begun = Instant::now();
        while self.ask(&["STATUS", "JSON"]).matches("\"step\":\"member\"").count() != count {
            assert!(begun.elapsed() < DEADLINE, "there are never {count} members");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn ended(mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    fn stop(self) {
        self.signal("TERM");
        assert!(self.ended().success(), "a peer that is told to stop ends well");
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < DEADLINE, "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that is to fail; its exit code and what it said. Who asked for JSON is told in JSON, too.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    wait(&mut child);
    let Output { status, stderr, stdout } = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let said: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.iter().all(|said| said["error"]["text"].is_string()), "words go to stderr: {stdout}");
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Readable for this user alone.
fn write_secret(path: &Path, text: &str) {
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn a_peer_keeps_its_key_network_and_data_over_a_stop() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let told = fs::read_to_string(home.dir("p1").join("peer.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), first.ready);
    assert_eq!(first.ready["pid"], first.child.id());
    assert!(first.text("peer_id").starts_with("12D3Koo"));
    assert!(first.ask(&["SET", "greeting", "hello",]).starts_with("+OK"));
    let (peer_id, network) = (first.text("peer_id"), first.text("network"));
    first.stop();
    assert!(!home.dir("p1").join("peer.json").exists());

    let again = Peer::up(&home.dir("p1"));
    assert_eq!((again.text("peer_id"), again.text("network")), (peer_id, network));
    assert!(again.ask(&["GET", "greeting"]).contains("hello"));
}

#[test]
fn a_founder_alone_serves_and_so_it_does_after_kill_9() {
    let home = Home::new();
    let founder = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--replicas", "1"]));
    assert!(founder.ask(&["SET", "k", "v"]).starts_with("+OK"));
    drop(founder);
    let again = Peer::up(&home.dir("p1"));
    assert!(again.ask(&["GET", "k"]).contains('v'));
}

/// What a peer says to a person once it is ready.
fn said_at_start(dir: &Path, more: &[&str]) -> String {
    let mut command = starling();
    command
        .args(["up", "--resp", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--no-mdns"])
        .arg("--dir")
        .arg(dir);
    let mut child = command.args(more).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let peer = Peer { child, ready: Value::Null };
    peer.stop();
    line
}

#[test]
fn a_network_is_new_once() {
    let home = Home::new();
    let line = said_at_start(&home.dir("p1"), &["--name", "bob", "--network", "attic"]);
    assert!(line.starts_with("bob is up and made a new network, attic ("), "{line}");
    let line = said_at_start(&home.dir("p1"), &["--name", "bob"]);
    assert!(line.starts_with("bob is up as a peer of the network attic ("), "{line}");
}

#[test]
fn who_joins_after_a_first_start_that_failed_answers_nothing_out_of_an_empty_store() {
    let home = Home::new();
    let of_one = ["--replicas", "2", "--read-quorum", "1", "--write-quorum", "1"];
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &of_one));
    let keys: Vec<_> = (0..200).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| assert!(first.ask(&["SET", key, "v"]).starts_with("+OK")));
    // A disk that took the mark of a founder, and then not the record of its network.
    let in_the_way = home.dir("p2").join("genesis.cbor.tmp");
    fs::create_dir_all(&in_the_way).unwrap();
    fs::write(home.dir("p2").join("starling.toml"), "").unwrap();
    let (_, words) = refused(peer_command(&["up"], &home.dir("p2"), &[]));
    assert!(words.contains("genesis.cbor"), "{words}");
    assert!(home.dir("p2").join("founding").exists());
    fs::remove_dir(&in_the_way).unwrap();

    let second = Peer::join(&home.dir("p2"), &first);
    for key in &keys {
        assert_eq!(second.answer(&["GET", key]), "$1\r\nv\r\n", "{key}");
    }
}

#[test]
fn a_join_that_did_not_come_to_its_end_founds_nothing_and_is_done_again() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let (ticket, dir) = (first.ticket(), home.dir("p2"));
    let in_the_way = dir.join("genesis.cbor.tmp");
    fs::create_dir_all(&in_the_way).unwrap();
    fs::write(dir.join("starling.toml"), "").unwrap();
    let (_, words) = refused(peer_command(&["join", &ticket], &dir, &[]));
    assert!(words.contains("genesis.cbor"), "{words}");
    fs::remove_dir(&in_the_way).unwrap();

    let (code, words) = refused(peer_command(&["up"], &dir, &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("did not come to its end") && words.contains("starling join"), "{words}");
    assert!(!dir.join("founding").exists() && !dir.join("genesis.cbor").exists());
    let second = Peer::start(peer_command(&["join", &ticket], &dir, &[]));
    assert_eq!(second.text("network"), first.text("network"));
}

#[test]
fn the_name_that_was_given_last_is_kept() {
    let home = Home::new();
    for (more, name) in
        [(&["--name", "bob"][..], "bob "), (&[], "bob "), (&["--name", "carol"], "carol "), (&[], "carol ")]
    {
        let line = said_at_start(&home.dir("p1"), more);
        assert!(line.starts_with(name), "{line}");
    }
}

#[test]
fn a_peer_whose_directory_is_removed_stops_and_says_so() {
    let home = Home::new();
    let mut peer = Peer::up_with_words(&home.dir("p1"));
    assert!(peer.ask(&["SET", "k", "v"]).starts_with("+OK"));
    fs::remove_dir_all(home.dir("p1")).unwrap();
    assert_eq!(wait(&mut peer.child).code(), Some(74));
    let words = peer.words();
    assert!(words.contains("was removed or replaced") && words.contains("--dir"), "{words}");
}

#[test]
fn a_peer_whose_store_is_moved_away_acknowledges_nothing_for_long_nor_ends_well() {
    let home = Home::new();
    let mut peer = Peer::up_with_words(&home.dir("p1"));
    fs::rename(home.dir("p1").join("store"), home.dir("store")).unwrap();
    assert_eq!(wait(&mut peer.child).code(), Some(74));
    assert!(peer.words().contains("store was removed or replaced"));

    fs::rename(home.dir("store"), home.dir("p1").join("store")).unwrap();
    let mut peer = Peer::up_with_words(&home.dir("p1"));
    fs::rename(home.dir("p1").join("store"), home.dir("store")).unwrap();
    peer.signal("TERM");
    assert_eq!(wait(&mut peer.child).code(), Some(74), "what it took last is lost");
    assert!(peer.words().contains("store was removed or replaced"));
}

#[test]
fn a_directory_of_other_things_becomes_no_peers() {
    let home = Home::new();
    fs::create_dir_all(home.dir("etc").join("ssl")).unwrap();
    fs::write(home.dir("etc").join("passwd"), "").unwrap();
    let (code, words) = refused(peer_command(&["up"], &home.dir("etc"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("it has passwd, ssl") && words.contains("--dir"), "{words}");
    assert_eq!(fs::read_dir(home.dir("etc")).unwrap().count(), 2, "nothing was begun");
}

#[test]
fn who_joins_without_a_ticket_where_a_peer_is_in_is_told_to_start_it() {
    let home = Home::new();
    Peer::up(&home.dir("p1")).stop();
    let (code, words) = refused(peer_command(&["join"], &home.dir("p1"), &[]));
    assert_eq!(code, Some(2));
    assert!(words.contains("\"starling\" already") && words.contains("starling up --dir "), "{words}");
}

#[test]
fn a_second_start_on_a_directory_names_the_process_that_holds_it() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let (code, words) = refused(peer_command(&["up"], &home.dir("p1"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains(&format!("process {}", first.child.id())), "{words}");
    assert!(words.contains("--dir") && words.contains("starling console"), "{words}");
}

#[test]
fn a_taken_client_port_is_named_with_its_holder() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let mut command = starling();
    command.args(["up", "--no-mdns", "--resp", &at.to_string()]).arg("--dir").arg(home.dir("p1"));
    let (code, words) = refused(command);
    assert_eq!(code, Some(1));
    assert!(words.contains(&at.to_string()) && words.contains("--resp"), "{words}");
    if cfg!(target_os = "linux") {
        assert!(words.contains(&format!("process {}", std::process::id())), "{words}");
    }
}

#[test]
fn a_taken_peer_port_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let mut command = starling();
    command
        .args(["up", "--no-mdns", "--resp", "127.0.0.1:0", "--listen", &at])
        .arg("--dir")
        .arg(home.dir("p1"));
    let (code, words) = refused(command);
    assert_eq!(code, Some(1));
    assert!(words.contains(&at) && words.contains("--listen"), "{words}");
    // Whatever network is wished for next can be made there, or joined.
    let line = said_at_start(&home.dir("p1"), &["--name", "bob", "--network", "attic"]);
    assert!(line.starts_with("bob is up and made a new network, attic ("), "{line}");
}

#[test]
fn clients_of_other_machines_are_not_let_in_by_accident() {
    let home = Home::new();
    let mut command = starling();
    command.args(["up", "--no-mdns", "--resp", "0.0.0.0:0"]).arg("--dir").arg(home.dir("p1"));
    let (code, words) = refused(command);
    assert_eq!(code, Some(2));
    assert!(words.contains("--password-file"), "{words}");
    assert!(!home.dir("p1").exists(), "nothing was begun");
}

#[test]
fn a_port_without_a_password_that_others_reach_is_warned_of() {
    let home = Home::new();
    for (resp, is_told) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let mut command = serving_at(resp, &["up"], &home.dir("p1"), &["--insecure-resp"]);
        let mut child = command.spawn().unwrap();
        let mut words = child.stderr.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Peer { child, ready: Value::Null }.stop();
        let mut told = String::new();
        words.read_to_string(&mut told).unwrap();
        assert_eq!(told.contains("without a password"), is_told, "{told}");
    }
}

#[test]
fn a_password_file_that_others_can_read_is_warned_of() {
    let home = Home::new();
    let file = home.dir("password");
    write_secret(&file, "correct horse\n");
    for (mode, is_told) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut child = peer_command(&["up"], &home.dir("p1"), &["--password-file", file.to_str().unwrap()])
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut peer = Peer { child, ready: Value::Null };
        peer.signal("TERM");
        let told = peer.words();
        assert_eq!(told.contains("may read the password"), is_told, "{told}");
    }
}

#[test]
fn tls_that_cannot_be_is_refused_with_what_is_wrong() {
    let home = Home::new();
    let nonsense = home.dir("cert.pem");
    fs::write(&nonsense, "correct horse\n").unwrap();
    let path = nonsense.to_str().unwrap();
    for (more, said) in [
        (&["--tls-cert", path][..], "needs both"),
        (&["--tls-cert", path, "--tls-key", path], "BEGIN CERTIFICATE"),
        (&["--tls-cert", "/nowhere/at/all", "--tls-key", path], "/nowhere/at/all"),
        (&["--tls-cert", "/nowhere/at/all", "--tls-key", path], "see that the file is there"),
    ] {
        let (code, words) = refused(peer_command(&["up"], &home.dir("p1"), more));
        assert_eq!(code, Some(2));
        assert!(words.contains(said), "{words}");
    }
}

#[test]
fn a_network_whose_every_peer_was_stopped_finds_itself_again_without_being_told_where() {
    let home = Home::new();
    let dirs = ["p1", "p2", "p3"].map(|name| home.dir(name));
    let first = Peer::up(&dirs[0]);
    let others = [Peer::join(&dirs[1], &first), Peer::join(&dirs[2], &first)];
    others.iter().for_each(|peer| peer.ask_until(&["STATUS"], "3 of 3 alive"));
    let peers: Vec<_> = [first].into_iter().chain(others).collect();
    let listened: Vec<_> = peers.iter().map(|peer| peer.ready["listen"].clone()).collect();
    // All at once, as in a power cut.
    drop(peers);
    let again: Vec<_> = dirs.iter().map(|dir| Peer::up(dir)).collect();
    let listens: Vec<_> = again.iter().map(|peer| peer.ready["listen"].clone()).collect();
    assert_eq!(listens, listened);
    again.iter().for_each(|peer| peer.ask_until(&["STATUS"], "3 of 3 alive"));
}

#[test]
fn a_port_of_the_last_start_that_is_taken_is_given_up() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let port = first.address().rsplit('/').next().unwrap().to_owned();
    first.stop();
    let _taken = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    assert_ne!(Peer::up(&home.dir("p1")).address().rsplit('/').next().unwrap(), port);
}

/// As when its terminal is closed. Where these tests run under `nohup`, so does the peer, and goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_loses_its_terminal_ends_well_unless_it_is_to_outlive_it() {
    let home = Home::new();
    let peer = Peer::up(&home.dir("p1"));
    assert!(home.dir("p1").join("peer.json").exists());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    peer.signal("HUP");
    if u64::from_str_radix(ignored, 16).unwrap() & 1 == 1 {
        return peer.ask_until(&["STATUS"], "1 of 1 alive");
    }
    assert!(peer.ended().success());
    assert!(!home.dir("p1").join("peer.json").exists(), "nobody is led to it any more");
}

#[test]
fn the_doctor_looks_at_the_rest_where_no_peer_runs() {
    let home = Home::new();
    Peer::up(&home.dir("p1")).stop();
    let mut command = starling();
    let output = command.args(["doctor", "--json", "--dir"]).arg(home.dir("p1")).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |check: &str| findings.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("{check}"));
    assert_eq!(of("certificate")["verdict"], "ok");
    assert_eq!(of("peer")["verdict"], "warn");
    assert!(of("peer")["found"].as_str().unwrap().contains("no peer runs in"), "{findings:?}");
}

#[test]
fn the_doctor_fails_what_no_peer_would_start_with() {
    let home = Home::new();
    Peer::up(&home.dir("p1")).stop();
    let failed = |dir: &str, more: &[&str]| {
        let mut command = starling();
        command.env("STARLING_RESP", "127.0.0.1:0");
        command.args(["doctor", "--json", "--dir"]).arg(home.dir(dir)).args(more);
        let findings: Vec<Value> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let failed = findings.iter().filter(|found| found["verdict"] == "fail");
        failed.map(|found| format!("{} {}", found["check"], found["found"])).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(failed("p1", &[]), "");
    let (taken, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let quic = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port());
    let at = taken.local_addr().unwrap().to_string();
    let said = failed("p1", &["--resp", &at]);
    assert!(said.contains("clients at") && said.contains(&at) && !said.contains("peers"), "{said}");
    for listen in [&at, &quic] {
        let said = failed("p1", &["--listen", listen]);
        assert!(said.contains("for other peers at") && !said.contains("clients"), "{said}");
    }
    let [table, aside] = ["store/keyspaces/1/current", "aside"].map(|name| home.dir("p1").join(name));
    fs::rename(&table, &aside).unwrap();
    let said = failed("p1", &[]);
    assert!(said.contains("cannot open the store") && said.lines().count() == 1, "{said}");
    assert!(said.contains("its files are damaged") && !table.exists(), "{said}");
    fs::rename(aside, table).unwrap();
    fs::write(home.dir("p1").join("identity.key"), [7; 32]).unwrap();
    let said = failed("p1", &[]);
    assert!(said.contains("may not enter its network") && said.lines().count() == 1, "{said}");
    fs::create_dir_all(home.dir("other").join("photos")).unwrap();
    let said = failed("other", &[]);
    assert!(said.contains("is no peer's") && said.lines().count() == 1, "{said}");
}

#[test]
fn the_doctor_finds_a_healthy_peer_healthy_and_says_what_is_wrong_with_another() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--replicas", "1"]));
    let doctor = |more: &[&str]| {
        let mut command = starling();
        command.args(["doctor", "--json", "--connect", &first.text("resp")]).arg("--dir").arg(home.dir("p1"));
        let output = command.args(more).output().unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), findings)
    };
    let verdict = |findings: &[Value], check: &str| {
        findings.iter().find(|f| f["check"] == check).map(|f| f["verdict"].as_str().unwrap().to_owned())
    };
    let (healthy, findings) = doctor(&[]);
    assert!(healthy, "{findings:?}");
    for check in ["configuration", "clock", "certificate", "peer", "network", "others"] {
        assert_eq!(verdict(&findings, check).as_deref(), Some("ok"), "{check}: {findings:?}");
    }
    let (healthy, findings) = doctor(&["--resp", "0.0.0.0:0"]);
    assert!(!healthy);
    assert_eq!(verdict(&findings, "configuration").as_deref(), Some("fail"));
    let second = Peer::join(&home.dir("p2"), &first);
    first.ask_until(&["STATUS"], "2 of 2 alive");
    // It tells what time it is there within seconds.
    first.ask_until(&["STATUS", "JSON"], "\"clock\":{\"peers\":1,");
    let (_, findings) = doctor(&[]);
    assert_eq!(verdict(&findings, "others' clocks").as_deref(), Some("ok"), "{findings:?}");
    first.await_members(2);
    drop(second);
    first.ask_until(&["STATUS"], "1 of 2 alive");
    let (_, findings) = doctor(&[]);
    assert_eq!(verdict(&findings, "others").as_deref(), Some("warn"));
    assert_eq!(verdict(&findings, "network").as_deref(), Some("fail"), "{findings:?}");
}

#[test]
fn with_a_password_other_machines_are_served_and_only_those_who_know_it() {
    let home = Home::new();
    let file = home.dir("password");
    write_secret(&file, "correct horse\n");
    let mut command = serving_at("0.0.0.0:0", &["up"], &home.dir("p1"), &["--replicas", "1"]);
    command.arg("--password-file").arg(&file);
    let peer = Peer::start(command);
    assert!(peer.ask(&["GET", "k"]).starts_with("-NOAUTH"));
    let status = |password: Option<&Path>| {
        let mut command = starling();
        command.args(["set", "k", "v", "--connect", &peer.text("resp").replace("0.0.0.0", "127.0.0.1")]);
        if let Some(path) = password {
            command.env("STARLING_PASSWORD_FILE", path);
        }
        let output = command.env("STARLING_DIR", home.dir("nowhere")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(status(Some(&file)), (true, String::new()));
    let (done, words) = status(None);
    assert!(
        !done && words.contains("wants a password") && words.contains("STARLING_PASSWORD_FILE"),
        "{words}"
    );
    let address = peer.text("resp").replace("0.0.0.0", "127.0.0.1");
    let mut doctor = starling();
    doctor.args(["doctor", "--connect", &address]).env("STARLING_DIR", home.dir("nowhere"));
    let found = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(found.contains("does not let this client in: it wants a password"), "{found}");
    let wrong = home.dir("wrong");
    write_secret(&wrong, "wrong horse\n");
    let (done, words) = status(Some(&wrong));
    assert!(!done && words.contains("is wrong"), "{words}");
    // On the same machine the user's own programs find the file by themselves.
    let mut command = starling();
    let output = command.args(["get", "k"]).env("STARLING_DIR", home.dir("p1")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "v");
}

#[test]
fn a_peer_enters_a_network_and_comes_back_without_being_told_where_it_is() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let second = Peer::join(&home.dir("p2"), &first);
    assert_eq!(second.text("network"), first.text("network"));
    second.ask_until(&["STATUS"], "2 of 2 alive");
    let set = first.ask(&["SET", "k", "v"]);
    assert!(set.starts_with("+OK"), "{set}");
    assert!(second.ask(&["GET", "k"]).contains('v'));
    let peer_id = second.text("peer_id");
    second.stop();

    let again = Peer::up(&home.dir("p2"));
    assert_eq!(again.text("peer_id"), peer_id);
    again.ask_until(&["STATUS"], "2 of 2 alive");
    again.stop();

    // Joining twice is harmless.
    let again = Peer::join(&home.dir("p2"), &first);
    assert_eq!(again.text("peer_id"), peer_id);
    again.ask_until(&["STATUS"], "2 of 2 alive");
}

#[test]
fn with_many_threads_nothing_is_lost_or_counted_twice() {
    const CLIENTS: usize = 8;
    const TIMES: usize = 50;
    let home = Home::new();
    let many = ["--threads", "4"];
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &many));
    let join = |name| Peer::start(peer_command(&["join", &first.ticket()], &home.dir(name), &many));
    let (second, third) = (join("p2"), join("p3"));
    let peers = [&first, &second, &third];
    peers.iter().for_each(|peer| peer.ask_until(&["STATUS"], "3 of 3 alive"));
    let work = |client: usize| {
        for n in 0..TIMES {
            let (peer, key) = (peers[(client + n) % peers.len()], format!("{client} {n}"));
            assert!(peer.ask(&["INCR", "all"]).starts_with(':'));
            assert!(peer.ask(&["SET", &key, &key]).starts_with("+OK"));
            assert!(peers[n % peers.len()].ask(&["GET", &key]).contains(&key), "its own write, elsewhere");
        }
    };
    std::thread::scope(|scope| {
        (0..CLIENTS).for_each(|client| drop(scope.spawn(move || work(client))));
    });
    for peer in peers {
        assert_eq!(peer.ask(&["GET", "all"]).lines().nth(1), Some((CLIENTS * TIMES).to_string().as_str()));
    }
    [first, second, third].into_iter().for_each(Peer::stop);
}

#[test]
fn a_directory_of_one_network_does_not_enter_another() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let other = Peer::start(peer_command(&["up"], &home.dir("p2"), &["--network", "other"]));
    let network = other.text("network");
    other.stop();
    for words in [&["up", "--join", &first.address()][..], &["join", &first.address()][..]] {
        let (code, words) = refused(peer_command(words, &home.dir("p2"), &[]));
        assert_eq!(code, Some(1));
        assert!(words.contains(&network) && words.contains(&first.text("network")), "{words}");
    }
}

#[test]
fn an_address_alone_lets_nobody_in() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--network", "attic"]));
    for words in [&["join", &first.address()][..], &["up", "--join", &first.address()], &["join"]] {
        let (code, said) = refused(peer_command(words, &home.dir("p2"), &[]));
        assert_eq!(code, Some(2));
        assert!(said.contains("ticket") && said.contains("starling invite"), "{said}");
    }
    let (_, said) = refused(peer_command(&["join", &first.address()], &home.dir("p2"), &[]));
    assert!(said.contains("attic"), "{said}");
}

#[test]
fn a_peer_that_admits_anyone_lets_in_by_its_address() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up", "--admit", "anyone"], &home.dir("p1"), &[]));
    let second = Peer::start(peer_command(&["join", &first.address()], &home.dir("p2"), &[]));
    first.ask_until(&["get", "greeting"], "");
    second.ask_until(&["set", "greeting", "hello"], "OK");
    first.ask_until(&["get", "greeting"], "hello");
    // The next needs what the second does not give.
    let (_, said) = refused(peer_command(&["join", &second.address()], &home.dir("p3"), &[]));
    assert!(said.contains("ticket") && said.contains("--admit anyone"), "{said}");
}

#[test]
fn a_ticket_is_taken_from_a_variable_a_file_or_standard_input() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let mut by_variable = peer_command(&["join"], &home.dir("p2"), &[]);
    by_variable.env("STARLING_TICKET", first.ticket());
    let second = Peer::start(by_variable);
    assert_eq!(second.text("network"), first.text("network"));
    let file = home.dir("ticket");
    fs::write(&file, format!("{}\n", first.ticket())).unwrap();
    let third =
        Peer::start(peer_command(&["join", "--ticket-file", file.to_str().unwrap()], &home.dir("p3"), &[]));
    assert_eq!(third.text("network"), first.text("network"));
    let mut child = peer_command(&["join", "-"], &home.dir("p4"), &[]).stderr(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{}", first.ticket()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let fourth = Peer { child, ready: serde_json::from_str(&line).unwrap() };
    first.ask_until(&["STATUS"], "4 of 4 alive");
    assert_eq!(fourth.text("network"), first.text("network"));
}

#[test]
fn who_waits_for_an_inviter_that_is_silent_is_told_so_soon() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let ticket = first.ticket();
    first.signal("STOP");
    let mut joining = peer_command(&["join", &ticket], &home.dir("p2"), &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(joining.stderr.take().unwrap()).read_line(&mut line).unwrap();
    joining.kill().unwrap();
    joining.wait().unwrap();
    assert!(line.contains("has not answered yet"), "{line}");
}

#[test]
fn a_spent_ticket_and_one_of_another_network_are_refused_with_what_to_do() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let ticket = first.ticket();
    Peer::start(peer_command(&["join", &ticket], &home.dir("p2"), &[])).stop();
    let (code, words) = refused(peer_command(&["join", &ticket], &home.dir("p3"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("used already") && words.contains("starling invite"), "{words}");
    let other = Peer::up(&home.dir("p4"));
    let (code, words) = refused(peer_command(&["join", &other.ticket()], &home.dir("p2"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("another network") && words.contains("--dir"), "{words}");
    let (code, words) = refused(peer_command(&["join", &ticket[..40]], &home.dir("p3"), &[]));
    assert_eq!(code, Some(2));
    assert!(words.contains("wrong or missing"), "{words}");
}

#[test]
fn the_line_that_invite_prints_is_all_that_another_machine_needs() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let invite = |more: &[&str]| {
        let mut command = starling();
        let output =
            command.arg("invite").args(["--connect", &first.text("resp")]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let words = String::from_utf8(output.stderr).unwrap();
        (String::from_utf8(output.stdout).unwrap().trim_end().to_owned(), words)
    };
    let (line, words) = invite(&["--ttl", "10m"]);
    let words_of_line: Vec<_> = line.split(' ').collect();
    assert_eq!(words_of_line[..2], ["starling", "join"]);
    assert!(words.contains("one machine") && words.contains("10 min"), "{words}");
    let second = Peer::start(peer_command(&words_of_line[1..], &home.dir("p2"), &[]));
    second.ask_until(&["STATUS"], "2 of 2 alive");

    // Without addresses, --join says where the inviter is.
    let (ticket, words) = invite(&["-q", "--no-addresses", "--role", "client"]);
    assert!(ticket.starts_with("st1") && words.is_empty(), "{ticket} {words}");
    let client = Peer::start(peer_command(&["join", &ticket, &first.address()], &home.dir("p3"), &[]));
    client.ask_until(&["STATUS"], "3 of 3 alive");
    assert!(client.ask(&["SET", "k", "v"]).starts_with("+OK"));
    client.ask_until(&["STATUS", "JSON"], "\"owned\":0");
    assert!(first.ask(&["INVITES"]).contains("1 of 1"));

    let (page, _) = invite(&["--json"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    let mut command = starling();
    command.args(["invite", "revoke", page["id"].as_str().unwrap(), "--connect", &first.text("resp")]);
    assert!(command.output().unwrap().status.success());
    let (_, words) = refused(peer_command(&["join", page["ticket"].as_str().unwrap()], &home.dir("p4"), &[]));
    assert!(words.contains("revoked"), "{words}");
}

#[test]
fn a_revoked_peer_reads_that_it_is_out_and_a_new_ticket_lets_it_in_again() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let second = Peer::join(&home.dir("p2"), &first);
    first.ask_until(&["STATUS"], "2 of 2 alive");
    first.await_members(2);
    let reply = first.ask(&["REVOKE", &second.text("peer_id")]);
    let means = "is out of the network; 1 of the 2 owners that a write needs remains: when it will not come back, forget";
    assert!(reply.starts_with("+OK; ") && reply.contains(means), "{reply}");
    first.ask_until(&["STATUS"], "1 of 2 alive");
    first.ask_until(&["STATUS"], "dead, revoked");
    second.ask_until(&["STATUS"], "its certificate was revoked");
    second.ask_until(&["STATUS"], "1 of 2 alive");
    for command in [&["GET", "k"][..], &["SET", "k", "v"]] {
        let reply = second.ask(command);
        let out = "QUORUM this peer is out of its network: its certificate was revoked";
        assert!(
            reply.contains(out) && reply.contains("starling invite") && !reply.contains("accept fewer"),
            "{reply}"
        );
    }
    second.stop();
    // Nor is that forgotten.
    first.stop();
    let first = Peer::up(&home.dir("p1"));
    first.ask_until(&["STATUS"], "dead, revoked");
    let (code, words) = refused(peer_command(&["up"], &home.dir("p2"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("revoked") && words.contains("starling invite"), "{words}");
    let mut doctor = starling();
    let found = doctor.args(["doctor", "--dir"]).arg(home.dir("p2")).output().unwrap().stdout;
    let found = String::from_utf8(found).unwrap();
    assert!(found.contains("fail  certificate") && found.contains("was revoked"), "{found}");
    let again = Peer::join(&home.dir("p2"), &first);
    again.ask_until(&["STATUS"], "2 of 2 alive");
}

#[test]
fn a_token_given_at_one_peer_counts_at_the_others_until_it_is_revoked() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--replicas", "2"]));
    let second = Peer::join(&home.dir("p2"), &first);
    first.ask_until(&["STATUS"], "2 of 2 alive");
    let run = |words: &[&str], at: &Peer, token: Option<&str>| {
        let mut command = starling();
        command.args(words).args(["--connect", &at.text("resp")]).env("STARLING_DIR", home.dir("nowhere"));
        command.envs(token.map(|token| ("STARLING_TOKEN", token)));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (done, token, words) =
        run(&["token", "create", "--prefix", "app/", "--allow", "read,write", "--ttl", "1h"], &second, None);
    assert!(done && token.starts_with("stk1"), "{token} {words}");
    assert!(
        words.starts_with("lets a client read and write keys that begin with app/ for 60 min"),
        "{words}"
    );
    let (words, place) = words.split_once(" --connect ").unwrap();
    assert_eq!(place, second.text("resp"), "where it can be taken back");
    let id = words.rsplit(' ').next().unwrap();

    assert_eq!(run(&["set", "app/greeting", "hello"], &first, Some(&token)).1, "OK");
    assert_eq!(run(&["get", "app/greeting", "--token", &token], &second, None).1, "hello");
    let (done, _, words) = run(&["get", "other"], &first, Some(&token));
    assert!(!done && words.contains("NOPERM key 'other' is not yours"), "{words}");
    assert!(run(&["tokens"], &second, None).1.contains(id));

    assert!(run(&["token", "revoke", id], &second, None).0);
    // The other peer hears of it by gossip.
    let begun = Instant::now();
    loop {
        let (done, _, words) = run(&["get", "app/greeting"], &first, Some(&token));
        if !done {
            assert!(words.contains("the token was revoked"), "{words}");
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "the revocation does not arrive");
    }
    // Nor is that forgotten.
    first.stop();
    let first = Peer::up(&home.dir("p1"));
    assert!(run(&["get", "app/greeting"], &first, Some(&token)).2.contains("the token was revoked"));
}

#[test]
fn over_tls_other_machines_come_with_tokens_and_this_one_needs_to_be_told_nothing() {
    let home = Home::new();
    let made = rcgen::generate_simple_self_signed(vec!["db.example".to_owned()]).unwrap();
    let (certificate, key) = (home.dir("cert.pem"), home.dir("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let mut command = starling();
    command.args(["up", "--no-mdns", "--json", "--listen", "127.0.0.1:0", "--resp", "0.0.0.0:0"]);
    command.args(["--replicas", "1"]).arg("--dir").arg(home.dir("p1"));
    command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let peer = Peer::start(command);
    let at = peer.text("resp").replace("0.0.0.0", "127.0.0.1");
    let run = |words: &[&str], own: bool| {
        let mut command = starling();
        command.args(words).env("STARLING_DIR", home.dir(if own { "p1" } else { "nowhere" }));
        if !own {
            command.args(["--connect", &at]);
        }
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (text(output.stdout), text(output.stderr))
    };
    let (found, _) = run(&["doctor"], true);
    assert!(
        found.contains("ok    tls") && found.contains("clients at 0.0.0.0:"),
        "as it was started: {found}"
    );
    assert!(found.contains("client.password is for its user alone"), "{found}");
    let ca = certificate.to_str().unwrap();
    let (token, _) = run(&["token", "create", "--prefix", "app/", "--allow", "read,write", "-q"], true);
    assert!(token.starts_with("stk1"), "{token}");
    assert_eq!(run(&["set", "app/k", "v", "--token", &token, "--tls-ca", ca], false).0, "OK");
    assert_eq!(run(&["console", "-c", "get app/k", "--token", &token, "--tls-ca", ca], false).0, "v");
    assert_eq!(run(&["get", "app/k"], true).0, "v");
    assert!(run(&["get", "app/k", "--tls-ca", ca], false).1.contains("wants a password"));
    let (_, words) = run(&["get", "app/k", "--token", &token, "--tls"], false);
    assert!(words.contains("--tls-ca FILE"), "nobody whom this machine believes has signed it: {words}");
    let (_, words) = run(&["get", "app/k", "--tls-ca", "/nowhere/at/all"], false);
    assert!(words.contains("/nowhere/at/all cannot be used") && words.contains("--tls-ca"), "{words}");
    let plain = Peer::start(peer_command(&["up"], &home.dir("p2"), &["--replicas", "1"]));
    let (_, words) = run(&["get", "k", "--tls-ca", ca, "--connect", &plain.text("resp")], true);
    assert!(words.contains("leave out --tls"), "{words}");
    let (_, words) = run(&["get", "app/k", "--token", &token], false);
    assert!(words.contains("speaks TLS alone") && words.contains("--tls-ca FILE"), "{words}");
    assert!(!words.contains("starling up"), "one runs there: {words}");
}

#[test]
fn a_copied_directory_is_not_a_second_peer() {
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    fs::create_dir(home.dir("p2")).unwrap();
    fs::copy(home.dir("p1").join("identity.key"), home.dir("p2").join("identity.key")).unwrap();
    let (code, words) = refused(peer_command(&["join", &first.ticket()], &home.dir("p2"), &[]));
    assert_eq!(code, Some(1));
    assert!(words.contains("same key"), "{words}");
}

#[test]
fn what_a_network_was_made_with_stays() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--replicas", "2"]));
    let ticket = first.ticket();
    let (code, words) = refused(peer_command(&["join", &ticket], &home.dir("p2"), &["--replicas", "3"]));
    assert_eq!(code, Some(2));
    assert!(words.contains("--replicas") && words.contains("N=2"), "{words}");
    let second = Peer::start(peer_command(&["join", &ticket], &home.dir("p2"), &["--replicas", "2"]));
    assert_eq!(second.text("network"), first.text("network"));
}

#[test]
fn the_end_of_standard_input_stops_a_peer_that_was_asked_to_mind_it() {
    let home = Home::new();
    let mut peer = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--stop-on-stdin-eof"]));
    drop(peer.child.stdin.take());
    assert!(peer.ended().success());
}

#[test]
fn a_peer_minds_the_end_of_standard_input_only_then() {
    let home = Home::new();
    let mut peer = Peer::up(&home.dir("p1"));
    drop(peer.child.stdin.take());
    assert!(peer.ask(&["PING"]).starts_with("+PONG"));
    peer.signal("INT");
    assert!(peer.ended().success());
}

#[test]
fn peers_cut_off_from_one_another_meet_again() {
    let home = Home::new();
    let first = Peer::start(peer_command(&["up"], &home.dir("p1"), &["--faults"]));
    let second = Peer::join(&home.dir("p2"), &first);
    first.ask_until(&["STATUS"], "2 of 2 alive");
    first.ask(&["FAULT", "BLOCK", &second.text("peer_id")]);
    first.ask_until(&["STATUS"], "1 of 2 alive");
    second.ask_until(&["STATUS"], "1 of 2 alive");
    first.ask(&["FAULT", "CLEAR"]);
    first.ask_until(&["STATUS"], "2 of 2 alive");
    second.ask_until(&["STATUS"], "2 of 2 alive");
}

/// More of them than fit a page, or an answer: 25,000 of 700 bytes.
#[test]
fn a_set_too_large_to_be_read_at_once_is_counted_and_gone_through_though_a_peer_dies_and_others_write() {
    const BATCHES: u32 = 25;
    let home = Home::new();
    let first = Peer::up(&home.dir("p1"));
    let (second, third) = (Peer::join(&home.dir("p2"), &first), Peer::join(&home.dir("p3"), &first));
    first.ask_until(&["STATUS"], "3 of 3 alive");
    second.ask_until(&["STATUS"], "3 of 3 alive");
    let (mut writer, mut reader) = (first.client(), second.client());
    let member = |i: u32| format!("{i:0700}");
    for batch in 0..BATCHES {
        let members: Vec<_> = (batch * 1_000..(batch + 1) * 1_000).map(|i| member(2 * i)).collect();
        redis::cmd("SADD").arg("ids").arg(members).exec(&mut writer).unwrap();
    }
    assert_eq!(redis::cmd("SCARD").arg("ids").query(&mut reader), Ok(25_000));
    let whole = redis::cmd("SMEMBERS").arg("ids").exec(&mut reader).unwrap_err().to_string();
    assert!(whole.contains("SSCAN"), "{whole}");
    drop(third);
    let (mut cursor, mut found, mut pages) = (0_u64, BTreeSet::new(), 0);
    loop {
        let mut scan = redis::cmd("SSCAN");
        let page: (u64, Vec<String>) =
            scan.arg("ids").arg(cursor).arg("COUNT").arg(10_000).query(&mut reader).unwrap();
        found.extend(page.1);
        (cursor, pages) = (page.0, pages + 1);
        if cursor == 0 {
            break;
        }
        // Before and behind where the scan is.
        for other in [pages * 7, 50_000 - pages * 7].map(|i| member(2 * i + 1)) {
            redis::cmd("SADD").arg("ids").arg(&other).exec(&mut writer).unwrap();
        }
    }
    assert!(pages > 10, "{pages} pages");
    assert!((0..BATCHES * 1_000).all(|i| found.contains(&member(2 * i))), "{} found", found.len());
}

#[test]
fn settings_are_shown_with_their_origin() {
    let home = Home::new();
    fs::create_dir(home.dir("p1")).unwrap();
    fs::write(home.dir("p1").join("starling.toml"), "zone = \"attic\"\n").unwrap();
    let mut command = starling();
    command.args(["config", "show", "--json", "--weight", "50"]);
    command.env("STARLING_NAME", "p1").env("STARLING_DIR", home.dir("p1"));
    let output = command.output().unwrap();
    assert!(output.status.success());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["weight"]["value"], &shown["weight"]["from"]), (&50.into(), &"--weight".into()));
    assert_eq!((&shown["name"]["value"], &shown["name"]["from"]), (&"p1".into(), &"STARLING_NAME".into()));
    assert_eq!(shown["zone"]["value"], "attic");
    assert!(shown["zone"]["from"].as_str().unwrap().ends_with("starling.toml:1"));
    assert_eq!((&shown["replicas"]["from"], &shown["replicas"]["value"]), (&"default".into(), &3.into()));
    assert_eq!(shown["mdns"]["value"], true);
}
