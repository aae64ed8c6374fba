//! A real `starling` process that the system gives little.
#![cfg(unix)]

use rustix::fs::statvfs;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Far more than anything here takes; reached only when it never comes.
const DEADLINE: Duration = Duration::from_secs(30);
/// A disk on which a new peer has room.
const DISK_MIB: u64 = 64;
/// One on which tables are merged before it is full.
const LARGER_DISK_MIB: u64 = 512;
const VALUE: usize = 100_000;
/// So many writes may be held up for longer than a write may take.
const LATE_MAX: usize = 20;

/// A peer that is ready. Killed when it goes out of scope.
struct Peer {
    /// The peer, or the shell that starts another after it.
    child: Child,
    said: BufReader<ChildStdout>,
    pid: u64,
    resp: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.signal("KILL");
    }
}

impl Peer {
    /// Started by a shell that sets this limit of open files first.
    fn limited_by(ulimit: &str, dir: &Path) -> Self {
        let mut command = Command::new("sh");
        // Nor does the disk matter.
        command.env("STARLING_KEEP_FREE_MIB", "0");
        Self::after(command, ulimit, dir)
    }

    /// On a disk of its own, in memory, that nobody else sees and that is gone with it. It keeps as much of it free as
    /// of any small disk. After it comes another on the same disk. `None`: not allowed here.
    fn on_a_disk_of(mib: u64, place: &Path) -> Option<Self> {
        let namespace = || {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--map-root-user", "sh"]).env_remove("STARLING_KEEP_FREE_MIB");
            command
        };
        let mount = format!("mount -t tmpfs -o size={mib}m tmpfs {}", place.display());
        let trial = namespace().args(["-c", &mount]).stderr(Stdio::null()).status();
        if !trial.is_ok_and(|status| status.success()) {
            // Not by a macro: those are hidden while a test passes.
            let _ =
                std::io::stderr().write_all(b"skipped, because no disk can be made here (unshare, mount)\n");
            return None;
        }
        let dir = place.join("p1");
        Some(Self::after(namespace(), &format!("{mount}; {}", line_for(&dir)), &dir))
    }

    /// Started by this shell once it has done that.
    fn after(mut command: Command, first: &str, dir: &Path) -> Self {
        let line = format!("{first}; exec {}", line_for(dir));
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut peer = Self { child, said, pid: 0, resp: String::new() };
        peer.await_ready();
        peer
    }

    fn await_ready(&mut self) {
        let mut ready = String::new();
        self.said.read_line(&mut ready).unwrap();
        let ready: Value =
            serde_json::from_str(&ready).unwrap_or_else(|_| panic!("not ready, but {ready:?}"));
        (self.resp, self.pid) = (ready["resp"].as_str().unwrap().to_owned(), ready["pid"].as_u64().unwrap());
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.pid.to_string()]).stderr(Stdio::null()).status();
    }

    /// Stops it, and waits for the one after it.
    fn again(&mut self) {
        self.signal("TERM");
        self.await_ready();
    }

    /// A client, and the first line that it is told: without a word of its own it is told only that it is refused.
    fn client(&self) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(&self.resp).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // What is written in parts does not wait for what came before.
        stream.set_nodelay(true).unwrap();
        // One who is refused may be let go before it has said anything.
        let _ = stream.write_all(b"PING\r\n");
        let line = line_of(&mut stream);
        (stream, line)
    }
}

fn line_for(dir: &Path) -> String {
    format!(
        "{} up --resp 127.0.0.1:0 --listen 127.0.0.1:0 --no-mdns --json --replicas 1 --dir {}",
        env!("CARGO_BIN_EXE_starling"),
        dir.display()
    )
}

/// Up to its end, or that of the connection.
fn line_of(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("a client is neither served nor refused: {error}"),
        }
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn more_clients_than_open_files_are_refused_and_the_others_go_on() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let peer = Peer::limited_by("ulimit -n 256", &home.path().join("p1"));
    let (mut served, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        match peer.client() {
            (stream, line) if line == "+PONG\r\n" => served.push(stream),
            (_, line) => {
                assert!(line.is_empty() || line.starts_with("-ERR max number of clients reached"), "{line}");
                refused += 1;
            }
        }
    }
    assert!(served.len() >= 32 && refused >= 44, "{} served, {refused} refused", served.len());
    // More bytes than one journal takes, so that files are opened.
    let value = "x".repeat(4 * 1024 * 1024);
    for (i, stream) in served.iter_mut().enumerate() {
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let set = format!("*3\r\n$3\r\nSET\r\n$2\r\nk{}\r\n${}\r\n{value}", i % 8, value.len());
        // On a busy machine one may be late.
        ask_until(stream, &set, |reply| {
            assert!(reply == "+OK\r\n" || reply.starts_with("-QUORUM "), "client {i}: {reply}");
            reply == "+OK\r\n"
        });
    }
}

#[test]
fn the_limit_that_a_shell_sets_is_raised_as_far_as_it_may_be() {
    let home = tempfile::tempdir().unwrap();
    let peer = Peer::limited_by("ulimit -Hn 1024; ulimit -Sn 256", &home.path().join("p1"));
    let clients: Vec<_> = (0..300).map(|_| peer.client()).collect();
    assert!(clients.iter().all(|(_, line)| line == "+PONG\r\n"));
}

/// The first line of the reply.
fn ask(stream: &mut TcpStream, line: &str) -> String {
    write!(stream, "{line}\r\n").unwrap();
    line_of(stream)
}

fn ask_until(stream: &mut TcpStream, line: &str, is_it: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let reply = ask(stream, line);
        if is_it(&reply) {
            return reply;
        }
        assert!(begun.elapsed() < DEADLINE, "{line:.80} gives {reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn with_a_disk_that_is_nearly_full_reads_and_removals_go_on() {
    let home = tempfile::tempdir().unwrap();
    let Some(peer) = Peer::on_a_disk_of(DISK_MIB, home.path()) else { return };
    let (mut client, _) = peer.client();
    for key in ["a", "b"] {
        assert_eq!(ask(&mut client, &format!("SET {key} 1")), "+OK\r\n");
    }
    // By way of the process, since nobody else sees its disk.
    let root = Path::new("/proc").join(peer.pid.to_string()).join("root");
    let ballast = root.join(home.path().strip_prefix("/").unwrap()).join("ballast");
    let mut file = File::create(&ballast).unwrap();
    // Half of what is kept free of a small disk; the rest is room for what removes.
    let free = || statvfs(&ballast).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    while free() > DISK_MIB * 1024 * 1024 / 16 {
        file.write_all(&[0; 64 * 1024]).unwrap();
    }

    let refused = ask_until(&mut client, "SET c 1", |reply| reply.starts_with('-'));
    assert!(refused.starts_with("-BUSY the disk of this peer is nearly full"), "{refused}");
    assert!(refused.contains("nothing was done"), "{refused}");
    assert!(ask(&mut client, "SET d 1").starts_with("-BUSY "));
    assert_eq!((ask(&mut client, "GET a"), line_of(&mut client)), ("$1\r\n".into(), "1\r\n".into()));
    assert_eq!((ask(&mut client, "DEL b"), ask(&mut client, "GET b")), (":1\r\n".into(), "$-1\r\n".into()));
    assert_eq!(ask(&mut client, "GET d"), "$-1\r\n");

    fs::remove_file(&ballast).unwrap();
    drop(file);
    ask_until(&mut client, "SET d 1", |reply| reply == "+OK\r\n");
}

/// Bytes that cannot be compressed (xorshift64, Marsaglia 2003).
fn noise(state: &mut u64) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_be_bytes()
    };
    (0..VALUE / 8).flat_map(|_| next()).collect()
}

fn set(stream: &mut TcpStream, n: usize, value: &[u8]) -> String {
    write!(stream, "*3\r\n$3\r\nSET\r\n$5\r\nk{n:04}\r\n${}\r\n", value.len()).unwrap();
    stream.write_all(value).unwrap();
    stream.write_all(b"\r\n").unwrap();
    line_of(stream)
}

#[test]
fn a_disk_that_clients_have_filled_has_room_for_merges_and_removals_also_after_a_restart() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let Some(mut peer) = Peer::on_a_disk_of(LARGER_DISK_MIB, home.path()) else { return };
    let (mut client, _) = peer.client();
    let (mut count, mut late, mut state) = (0, 0, 1);
    loop {
        assert!(count * VALUE < LARGER_DISK_MIB as usize * 1024 * 1024, "more was taken than there is");
        match set(&mut client, count, &noise(&mut state)) {
            reply if reply == "+OK\r\n" => count += 1,
            reply if reply.starts_with("-BUSY the disk of this peer is nearly full") => break,
            // More was written than can be merged meanwhile.
            reply if reply.starts_with("-QUORUM ") && late < LATE_MAX => late += 1,
            reply => panic!("{count} values were taken, then {reply:?}"),
        }
    }
    assert!(count * VALUE > 128 * 1024 * 1024, "of most of the disk nothing was used: {count}");
    let is_answered = |reply: &str| reply.starts_with(':');
    for n in 0..count / 2 {
        ask_until(&mut client, &format!("DEL k{n:04}"), is_answered);
    }
    peer.again();
    let (mut client, _) = peer.client();
    for n in 0..count {
        if n >= count / 2 {
            ask_until(&mut client, &format!("DEL k{n:04}"), is_answered);
        }
        assert_eq!(ask(&mut client, &format!("EXISTS k{n:04}")), ":0\r\n", "{n} of {count}");
    }
}

/// Peak of resident memory, in bytes.
fn peak(peer: &Peer) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", peer.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * MIB / 1024
}

const MIB: usize = 1024 * 1024;

/// Answers to `pipeline` commands for a large value: how many came, and how many were refused.
fn take_all(stream: &mut TcpStream, pipeline: usize) -> (usize, usize) {
    let (mut taken, mut refused) = (0, 0);
    let mut reader = BufReader::new(stream);
    for _ in 0..pipeline {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(length) = line.strip_prefix('$') {
            let length: u64 = length.trim().parse().unwrap();
            std::io::copy(&mut reader.by_ref().take(length + 2), &mut std::io::sink()).unwrap();
            taken += 1;
        } else {
            // Or it took so long on a slow machine that nobody waits for it any more.
            assert!(line.starts_with("-BUSY ") || line.starts_with("-QUORUM read not answered"), "{line}");
            refused += 1;
        }
    }
    (taken, refused)
}

/// Those that keep the disk or all processors busy go one after another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// However many are asked for at once, and before any of them is taken.
#[test]
#[cfg(target_os = "linux")]
fn large_replies_take_no_more_memory_than_clients_may() {
    const PIPELINE: usize = 128;
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let peer = Peer::limited_by("export STARLING_CLIENTS_MIB=64", &home.path().join("p1"));
    let mut clients: Vec<_> = (0..4).map(|_| peer.client().0).collect();
    let value = "x".repeat(8 * MIB);
    write!(clients[0], "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n{value}\r\n", value.len()).unwrap();
    assert_eq!(line_of(&mut clients[0]), "+OK\r\n");
    let before = peak(&peer);
    clients.iter_mut().for_each(|client| write!(client, "{}", "GET big\r\n".repeat(PIPELINE)).unwrap());
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| std::thread::spawn(move || take_all(&mut client, PIPELINE)))
        .collect();
    let all = threads.into_iter().map(|thread| thread.join().unwrap());
    let (taken, refused) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(taken > 0 && taken + refused == 4 * PIPELINE, "{taken} were answered, {refused} refused");
    let grown = peak(&peer) - before;
    assert!(grown < 200 * MIB, "by {} MiB", grown / MIB);
}
