//! A running testnet, clients of its peers, and waiting for things to become true.

use redis::{Connection, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine under load.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One network at a time: machines that run tests have few cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The peer program, beside `testnet`.
pub fn starling() -> PathBuf {
    let peer = Path::new(env!("CARGO_BIN_EXE_testnet")).with_file_name("starling");
    assert!(
        peer.exists(),
        "{} is missing; run `cargo build -p starling-node`, or `cargo test --workspace`",
        peer.display()
    );
    peer
}

/// The `testnet` program, told where the peer program is, so that it builds nothing.
pub fn testnet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testnet"));
    command.env("STARLING_BIN", starling());
    command
}

/// Waits for the turn of a test that starts networks.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub peer_id: String,
    pub pid: u32,
    pub resp: String,
}

/// A testnet in the foreground. Dropping it ends all its processes.
pub struct Net {
    up: Child,
    dir: PathBuf,
    _own_dir: Option<tempfile::TempDir>,
    /// How many lines there were on stdout, once it has ended.
    lines: Option<JoinHandle<usize>>,
    pub peers: Vec<Peer>,
    _turn: MutexGuard<'static, ()>,
}

impl Net {
    /// `n` new peers in a directory that goes away with them.
    pub fn start(n: usize) -> Self {
        let turn = turn();
        let own = tempfile::tempdir().unwrap();
        let dir = own.path().to_owned();
        Self::run(turn, dir, Some(own), &["-n", &n.to_string(), "--base-port", "0"])
    }

    /// The peers of a directory, new or not.
    pub fn start_in(dir: &Path, args: &[&str]) -> Self {
        Self::run(turn(), dir.to_owned(), None, args)
    }

    fn run(
        turn: MutexGuard<'static, ()>,
        dir: PathBuf,
        own_dir: Option<tempfile::TempDir>,
        args: &[&str],
    ) -> Self {
        let mut command = testnet();
        command.args(["up", "--no-console", "--json", "--dir"]).arg(&dir).args(args);
        let mut up = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = up.stdout.take().unwrap();
        let (first, lines) = read_lines(stdout);
        let lines = Some(lines);
        let mut net = Self { up, dir, _own_dir: own_dir, lines, peers: Vec::new(), _turn: turn };
        let line = first.recv_timeout(PATIENCE).expect("`testnet up` ended; its words stand above");
        net.peers = peers_of(&serde_json::from_str(&line).unwrap());
        net
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn peer(&self, name: &str) -> &Peer {
        self.peers.iter().find(|peer| peer.name == name).unwrap()
    }

    /// `testnet ctl`, which must succeed.
    pub fn ctl(&self, line: &str) -> String {
        let output = self.try_ctl(line);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctl {line}: {words}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn try_ctl(&self, line: &str) -> Output {
        let mut command = testnet();
        command.arg("ctl").arg("--dir").arg(&self.dir).args(line.split(' ')).output().unwrap()
    }

    /// `ctl status --json`; what has changed since the start is taken over.
    pub fn refresh(&mut self) -> Value {
        let status: Value = serde_json::from_str(&self.ctl("status --json")).unwrap();
        self.peers = peers_of(&status);
        status
    }

    pub fn client(&self, name: &str) -> Client {
        Client::new(name, &self.peer(name).resp)
    }

    /// Waits until each of `viewers` sees each of `seen` in this state.
    pub fn await_seen(&self, viewers: &[&str], seen: &[&str], state: &str) {
        let what = format!("{viewers:?} to see {seen:?} {state}");
        eventually(&what, || {
            let status: Value =
                serde_json::from_str(&self.ctl("status --json")).map_err(|e| e.to_string())?;
            let peers: BTreeMap<_, _> = status["peers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| (p["name"].as_str().unwrap(), p))
                .collect();
            let pairs = viewers.iter().flat_map(|v| seen.iter().map(move |s| (*v, *s)));
            match pairs.into_iter().find(|(v, s)| peers[v]["seen"][s] != state) {
                Some((v, s)) => Err(format!("{v} sees {s} {}", peers[v]["seen"][s])),
                None => Ok(()),
            }
        });
    }

    /// SIGTERM. How it ended, and how many lines it has printed.
    pub fn stop(&mut self) -> (ExitStatus, usize) {
        let _ = kill_process(Pid::from_child(&self.up), Signal::TERM);
        let status = self.up.wait().unwrap();
        (status, self.lines.take().map_or(0, |lines| lines.join().unwrap()))
    }

    /// SIGKILL of `testnet` itself: nobody is left to stop the peers.
    pub fn kill(&mut self) {
        let _ = self.up.kill();
        let _ = self.up.wait();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        if !matches!(self.up.try_wait(), Ok(Some(_))) {
            self.stop();
        }
    }
}

impl Net {
    fn show_logs(&self) {
        for peer in &self.peers {
            let log = std::fs::read_to_string(self.dir.join(&peer.name).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(15)..];
            eprintln!("--- the end of {}'s log\n{}", peer.name, last.join("\n"));
        }
    }
}

fn peers_of(object: &Value) -> Vec<Peer> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let peer = |p: &Value| Peer {
        name: text(&p["name"]),
        peer_id: text(&p["peer_id"]),
        pid: p["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        resp: text(&p["resp"]),
    };
    object["peers"].as_array().unwrap().iter().map(peer).collect()
}

/// Sends the first line, and counts all.
fn read_lines(stdout: impl Read + Send + 'static) -> (mpsc::Receiver<String>, JoinHandle<usize>) {
    let (sender, first) = mpsc::sync_channel(1);
    let count = thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.inspect(|line| drop(sender.try_send(line.clone()))).count()
    });
    (first, count)
}

/// A Redis client at one peer that connects again when it has to.
pub struct Client {
    name: String,
    address: String,
    connection: Option<Connection>,
    quorum: Option<(u8, u8)>,
}

impl Client {
    fn new(name: &str, address: &str) -> Self {
        Self { name: name.into(), address: address.into(), connection: None, quorum: None }
    }

    /// All that follows is read from `r` copies and written to `w`.
    pub fn quorum(mut self, r: u8, w: u8) -> Self {
        self.quorum = Some((r, w));
        self
    }

    /// One command, words apart by blanks.
    pub fn ask<T: FromRedisValue>(&mut self, line: &str) -> RedisResult<T> {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        let result = self.connected().and_then(|connection| command.query(connection));
        if result.as_ref().is_err_and(|e| e.is_io_error() || e.is_connection_dropped()) {
            self.connection = None;
        }
        result
    }

    /// The same, where an error is a failed test.
    pub fn must<T: FromRedisValue>(&mut self, line: &str) -> T {
        self.ask(line).unwrap_or_else(|e| panic!("{line} at {}: {e}", self.name))
    }

    pub fn connected(&mut self) -> RedisResult<&mut Connection> {
        if self.connection.is_none() {
            let client = redis::Client::open(format!("redis://{}/", self.address))?;
            let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
            connection.set_read_timeout(Some(Duration::from_secs(15)))?;
            connection.set_write_timeout(Some(Duration::from_secs(15)))?;
            if let Some((r, w)) = self.quorum {
                redis::cmd("QUORUM").arg(r).arg(w).exec(&mut connection)?;
            }
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("just connected"))
    }

    pub fn status(&mut self) -> Result<Value, String> {
        let text: String = self.ask("STATUS JSON").map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }
}

/// Asks again and again until it is so; after a long time it never will be.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, ask)
}

/// The same with a deadline of its own.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let why = match ask() {
            Ok(answer) => return answer,
            Err(why) => why,
        };
        assert!(Instant::now() < deadline, "waited {} s for {what}: {why}", limit.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a process has ended. A zombie has: in a container there may be nobody to wait for it.
pub fn is_gone(pid: u32) -> bool {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a peer has a pid");
    let is_zombie = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
    test_kill_process(id).is_err()
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(is_zombie)
}
