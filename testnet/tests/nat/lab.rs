//! Machines, cables and NATs made of network namespaces, and peers that run on them.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine under load.
const PATIENCE: Duration = Duration::from_secs(120);

/// One at a time: machines that run tests have few cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How a NAT chooses the port that the world sees.
#[derive(Clone, Copy)]
pub enum Mapping {
    /// The one that the machine behind it has, as home routers do.
    Kept,
    /// Another for each destination (a symmetric NAT): nobody can foretell it.
    Random,
}

/// Namespaces and processes, all of which go when this is dropped.
pub struct Lab {
    prefix: String,
    spaces: Vec<String>,
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// `None`, with a line on stderr: this machine does not allow it.
    pub fn open(needs_nat: bool) -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("starling{}-", std::process::id());
        let mut lab = Self { prefix, spaces: Vec::new(), dir: tempfile::tempdir().unwrap(), _turn: turn };
        match lab.try_out(needs_nat) {
            Ok(()) => Some(lab),
            Err(why) => {
                // Not by a macro: those are hidden while a test passes.
                let line = format!("skipped, because this machine allows no network namespaces: {why}\n");
                let _ = io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    fn try_out(&mut self, needs_nat: bool) -> Result<(), String> {
        let space = self.name("try");
        run(Command::new("ip").args(["netns", "add", &space]))?;
        self.spaces.push("try".into());
        run(Command::new("ip")
            .args(["-n", &space, "link", "add", "one", "type", "veth", "peer", "name", "other"]))?;
        run(Command::new("ip").args(["-n", &space, "link", "add", "br0", "type", "bridge"]))?;
        if needs_nat { nft(&space, &nat_rules(Mapping::Random)) } else { Ok(()) }
    }

    fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// A machine without any cable.
    pub fn host(&mut self, name: &str) {
        must(Command::new("ip").args(["netns", "add", &self.name(name)]));
        self.spaces.push(name.into());
        self.ip(name, "link set lo up");
    }

    /// A switch, or the internet.
    pub fn switch(&mut self, name: &str) {
        self.host(name);
        self.ip(name, "link add name br0 type bridge mcast_snooping 0");
        self.ip(name, "link set br0 up");
    }

    /// Runs `ip` inside of a host.
    pub fn ip(&self, host: &str, words: &str) {
        must(Command::new("ip").args(["-n", &self.name(host)]).args(words.split(' ')));
    }

    /// A cable from a host's new interface to a switch.
    pub fn plug(&self, host: &str, interface: &str, address: &str, switch: &str) {
        let (space, port) = (self.name(switch), format!("{host}-{interface}"));
        self.ip(host, &format!("link add name {interface} type veth peer name {port} netns {space}"));
        self.ip(host, &format!("addr add {address} dev {interface}"));
        self.ip(host, &format!("link set {interface} up"));
        self.ip(switch, &format!("link set {port} master br0 up"));
    }

    /// A machine at a switch, with everything else behind its gateway or, without one, on the same wire.
    pub fn machine(&mut self, name: &str, address: &str, gateway: Option<&str>, switch: &str) {
        self.host(name);
        self.plug(name, "eth0", address, switch);
        match gateway {
            Some(gateway) => self.ip(name, &format!("route add default via {gateway}")),
            None => self.ip(name, "route add default dev eth0"),
        }
    }

    /// A router between a switch of its own, which has its name with `-lan`, and the internet.
    pub fn router(&mut self, name: &str, lan: &str, wan: &str, internet: &str, mapping: Mapping) {
        let inside = format!("{name}-lan");
        self.switch(&inside);
        self.host(name);
        self.plug(name, "lan", lan, &inside);
        self.plug(name, "wan", wan, internet);
        let space = self.name(name);
        let forward = ["netns", "exec", &space, "sysctl", "-qw", "net.ipv4.ip_forward=1"];
        must(Command::new("ip").args(forward));
        nft(&space, &nat_rules(mapping)).unwrap();
    }

    /// Lets nothing into a machine that it has not asked for.
    pub fn wall(&self, name: &str) {
        let chain = "chain in { type filter hook input priority 0; iifname \"eth0\" ct state new drop; }";
        nft(&self.name(name), &format!("table ip wall {{ {chain}; }}")).unwrap();
    }

    /// Lets no UDP through a router, as some companies do.
    pub fn block_udp(&self, router: &str) {
        let chain = "chain no { type filter hook forward priority 0; meta l4proto udp drop; }";
        nft(&self.name(router), &format!("table ip tcponly {{ {chain}; }}")).unwrap();
    }

    /// `starling` on a host.
    pub fn starling(&self, host: &str, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_testnet")).with_file_name("starling");
        assert!(program.exists(), "{} is missing; run `cargo build -p starling-node`", program.display());
        let mut command = Command::new("ip");
        command.env("STARLING_KEEP_FREE_MIB", "0");
        command.args(["netns", "exec", &self.name(host)]).arg(program).args(args);
        command
    }

    /// Starts a peer by `up` or `join`, and waits until it is ready.
    pub fn start(&self, host: &str, args: &[&str]) -> Peer<'_> {
        let dir = self.dir.path().join(host);
        let log = std::fs::File::options().create(true).append(true).open(self.log(host)).unwrap();
        let mut command = self.starling(host, args);
        command.arg("--dir").arg(&dir).args(["--name", host, "--json", "-v"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let peer = Peer { lab: self, host: host.into(), dir, child };
        let (ready, told) = mpsc::channel();
        thread::spawn(move || ready.send(BufReader::new(stdout).lines().next()));
        let line = told.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(matches!(line, Some(Ok(_))), "{host} does not start");
        peer
    }

    /// Starts another peer on a host, which must fail; what it says.
    pub fn refused(&self, host: &str, args: &[&str]) -> String {
        let mut command = self.starling(host, args);
        let output = command.arg("--dir").arg(self.dir.path().join("refused")).output().unwrap();
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn log(&self, host: &str) -> PathBuf {
        self.dir.path().join(format!("{host}.log"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = Command::new("ip").args(["netns", "del", &self.name(space)]).output();
        }
    }
}

/// A peer on a host. Dropping it kills it.
pub struct Peer<'a> {
    lab: &'a Lab,
    pub host: String,
    dir: PathBuf,
    child: Child,
}

impl Peer<'_> {
    /// A command of `starling` that asks this peer. Errors: what it says on stderr.
    pub fn ask(&self, words: &str) -> Result<String, String> {
        let args: Vec<_> = words.split(' ').collect();
        let output = self.lab.starling(&self.host, &args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    pub fn must(&self, words: &str) -> String {
        self.ask(words).unwrap_or_else(|why| panic!("{words} at {}: {why}", self.host))
    }

    /// What the console answers to these lines, a line each.
    pub fn console(&self, lines: String) -> Vec<String> {
        let mut command = self.lab.starling(&self.host, &["console"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
    }

    pub fn status(&self) -> Result<Value, String> {
        serde_json::from_str(&self.ask("status --json")?).map_err(|error| error.to_string())
    }
}

impl Peer<'_> {
    /// A power cut.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A power cut, and the disk is gone with all but the peer's key and its certificate.
    pub fn lose_data(self) {
        let store = self.dir.join("store");
        self.kill();
        std::fs::remove_dir_all(store).unwrap();
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = std::fs::read_to_string(self.lab.log(&self.host)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- {}", self.host);
            lines[lines.len().saturating_sub(25)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Asks again and again until it is so; after a long time it never will be.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let why = match ask() {
            Ok(answer) => return answer,
            Err(why) => why,
        };
        assert!(Instant::now() < deadline, "waited {} s for {what}: {why}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

/// What comes in from the world is dropped unless somebody inside has asked for it.
fn nat_rules(mapping: Mapping) -> String {
    let how = match mapping {
        Mapping::Kept => "",
        Mapping::Random => "random,fully-random",
    };
    format!(
        "table ip nat {{
           chain out {{ type nat hook postrouting priority 100; oifname \"wan\" masquerade {how}; }}
           chain in {{ type filter hook input priority 0; iifname \"wan\" ct state new drop; }}
           chain through {{ type filter hook forward priority 0; iifname \"wan\" ct state new drop; }}
         }}"
    )
}

fn nft(space: &str, rules: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space, "nft", "-f", "-"]).stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    // Whoever does not read says why.
    let _ = child.stdin.take().unwrap().write_all(rules.as_bytes());
    succeeded(child.wait_with_output().unwrap())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    succeeded(command.output().map_err(|error| format!("{program}: {error}"))?)
}

fn succeeded(output: Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no word of why").to_owned())
}

fn must(command: &mut Command) {
    run(command).unwrap_or_else(|why| panic!("{command:?}: {why}"));
}
