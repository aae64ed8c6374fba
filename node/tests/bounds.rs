//! A real `starling` process that the system gives little.
#![cfg(unix)]

use rustix::fs::statvfs;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than anything here takes; reached only when it never comes.
const DEADLINE: Duration = Duration::from_secs(30);
/// A disk on which a new peer has room.
const DISK_MIB: u64 = 64;

/// A peer that is ready. Killed when it goes out of scope.
struct Peer {
    child: Child,
    resp: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    /// of any small disk. `None`: not allowed here.
    fn on_a_small_disk(place: &Path) -> Option<Self> {
        let namespace = || {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--map-root-user", "sh"]).env_remove("STARLING_KEEP_FREE_MIB");
            command
        };
        let mount = format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs {}", place.display());
        let trial = namespace().args(["-c", &mount]).stderr(Stdio::null()).status();
        let is_allowed = trial.is_ok_and(|status| status.success());
        is_allowed.then(|| Self::after(namespace(), &mount, &place.join("p1")))
    }

    /// Started by this shell once it has done that.
    fn after(mut command: Command, first: &str, dir: &Path) -> Self {
        let line = format!(
            "{first}; exec {} up --resp 127.0.0.1:0 --listen 127.0.0.1:0 --no-mdns --json --replicas 1 --dir {}",
            env!("CARGO_BIN_EXE_starling"),
            dir.display()
        );
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: Value =
            serde_json::from_str(&ready).unwrap_or_else(|_| panic!("not ready, but {ready:?}"));
        Self { resp: ready["resp"].as_str().unwrap().to_owned(), child }
    }

    /// A client, and the first line that it is told: without a word of its own it is told only that it is refused.
    fn client(&self) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(&self.resp).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // One who is refused may be let go before it has said anything.
        let _ = stream.write_all(b"PING\r\n");
        let line = line_of(&mut stream);
        (stream, line)
    }
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
        write!(stream, "*3\r\n$3\r\nSET\r\n$2\r\nk{}\r\n${}\r\n{value}\r\n", i % 8, value.len()).unwrap();
        assert_eq!(line_of(stream), "+OK\r\n", "client {i}");
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
        assert!(begun.elapsed() < DEADLINE, "{line} gives {reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn with_a_disk_that_is_nearly_full_reads_and_removals_go_on() {
    let home = tempfile::tempdir().unwrap();
    let Some(peer) = Peer::on_a_small_disk(home.path()) else {
        // Not by a macro: those are hidden while a test passes.
        let _ = std::io::stderr().write_all(b"skipped, because no disk can be made here (unshare, mount)\n");
        return;
    };
    let (mut client, _) = peer.client();
    for key in ["a", "b"] {
        assert_eq!(ask(&mut client, &format!("SET {key} 1")), "+OK\r\n");
    }
    // By way of the process, since nobody else sees its disk.
    let root = Path::new("/proc").join(peer.child.id().to_string()).join("root");
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
