//! What is measured: peers started for it, servers that run already, or another server to compare with.

use super::table::grouped;
use super::work::Work;
use crate::local::{self, Error, Home, Interrupt, Network, Plan, Process, Wishes, resp, until};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long another server may take until it answers.
const SERVER_READY: Duration = Duration::from_secs(30);
/// Lines of its output that are shown if it does not.
const LOG_SHOWN: usize = 12;

pub struct Target {
    pub addresses: Vec<SocketAddr>,
    /// The processes behind them, where they run on this machine.
    pub pids: Vec<u32>,
    /// N, R and W of a Starling network.
    pub quorums: Option<(u8, u8, u8)>,
    kind: Kind,
}

enum Kind {
    Own(Box<Own>),
    Running,
    Other { _server: Process, _dir: tempfile::TempDir },
}

/// Peers of our own. They end, and their data goes, with this.
pub struct Own {
    pub network: Network,
    _home: Home,
}

/// The network that is started to be measured.
#[derive(Clone, Debug)]
pub struct Founding {
    pub wishes: Wishes,
    pub program: PathBuf,
    /// Where its temporary directory is made.
    pub inside: Option<PathBuf>,
    /// Further options of every peer.
    pub flags: Vec<String>,
}

impl Target {
    pub fn found(founding: &Founding, interrupt: &Interrupt) -> Result<Self, Error> {
        let home = Home::temporary(founding.inside.as_deref())?;
        let plan = Plan::prepare(home.dir(), &founding.wishes)?;
        let dir = home.dir().to_owned();
        let mut network = Network::new(dir, founding.program.clone(), plan, interrupt.clone());
        network.set_flags(founding.flags.clone());
        network.start_all()?;
        let mut own = Own { network, _home: home };
        let (addresses, pids) = own.running();
        let quorums = facts(addresses[0])?.quorums();
        Ok(Self { addresses, pids, quorums, kind: Kind::Own(Box::new(own)) })
    }

    pub fn connect(words: &[String]) -> Result<Self, Error> {
        let addresses = words.iter().map(|word| address(word)).collect::<Result<Vec<_>, _>>()?;
        let mut pids = Vec::new();
        let mut quorums = None;
        for address in &addresses {
            let facts = facts(*address)?;
            pids.extend(facts.pid().filter(|_| address.ip().is_loopback()));
            quorums = facts.quorums();
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(Self { addresses, pids, quorums, kind: Kind::Running })
    }

    /// Starts another server with a command in which `{}` stands for its port. `inside`: where its temporary
    /// directory is made, so that its disk is that of the peers.
    pub fn start(command: &str, inside: Option<&Path>, interrupt: &Interrupt) -> Result<Self, Error> {
        let inside = inside.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir_in(&inside);
        let dir = dir.map_err(Error::io("cannot create a directory in", &inside))?;
        let port = local::free_port()?;
        let line = command.replace("{}", &port.to_string());
        let path = dir.path().join("log");
        let log = File::create(&path).map_err(Error::io("cannot write", &path))?;
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(dir.path()).stderr(log);
        let mut server = Process::start(shell).map_err(Error::io("cannot run", "sh"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let answers = || resp::ask_at(address, &["PING"]).is_ok().then_some(());
        let ready = until(Instant::now() + SERVER_READY, interrupt, || {
            if server.ended().is_some() { Some(false) } else { answers().map(|()| true) }
        });
        match ready {
            Ok(true) => {}
            _ if interrupt.is_raised() => return Err(Error::Interrupted),
            _ => return Err(Error::Words(not_ready(&line, &path))),
        }
        let pids = facts(address).ok().and_then(|facts| facts.pid()).into_iter().collect();
        let kind = Kind::Other { _server: server, _dir: dir };
        Ok(Self { addresses: vec![address], pids, quorums: None, kind })
    }

    /// In words, with what is the same in all measurements.
    pub fn describe(&self, work: &Work) -> String {
        let servers = self.addresses.len();
        let mut text = format!("{servers} server{}", if servers == 1 { "" } else { "s" });
        if let Some((n, r, w)) = self.quorums {
            text.push_str(&format!(" with N={n} R={r} W={w}"));
        }
        let (size, keys) = (work.value_size, grouped(work.keys as f64));
        format!("{text}; values of {size} bytes, {keys} keys, {}", work.skew.name())
    }

    /// The peers of our own, to do something to them.
    pub fn own(&mut self) -> Option<&mut Own> {
        match &mut self.kind {
            Kind::Own(own) => Some(own),
            Kind::Running | Kind::Other { .. } => None,
        }
    }

    /// Looks again who runs.
    pub fn refresh(&mut self) {
        if let Some((addresses, pids)) = self.own().map(Own::running) {
            (self.addresses, self.pids) = (addresses, pids);
        }
    }
}

impl Own {
    fn running(&mut self) -> (Vec<SocketAddr>, Vec<u32>) {
        let places = 0..self.network.seats().len();
        let running = places.filter_map(|index| Some((index, self.network.pid(index)?))).collect::<Vec<_>>();
        let address = |index: usize| SocketAddr::from(([127, 0, 0, 1], self.network.seats()[index].resp));
        running.iter().map(|(index, pid)| (address(*index), *pid)).unzip()
    }
}

fn not_ready(line: &str, log: &Path) -> String {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last: String =
        lines[lines.len().saturating_sub(LOG_SHOWN)..].iter().map(|line| format!("\n  | {line}")).collect();
    format!(
        "--against: {line:?} did not answer PING within {} s; it must stay in the foreground and listen at \
         127.0.0.1 on the port that {{}} stands for{last}",
        SERVER_READY.as_secs()
    )
}

fn address(word: &str) -> Result<SocketAddr, Error> {
    let found = word.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| Error::Words(format!("--connect: {word} is not host:port, like 127.0.0.1:7379")))
}

/// What a server says of itself in INFO.
struct Facts(BTreeMap<String, String>);

fn facts(address: SocketAddr) -> Result<Facts, Error> {
    let text = resp::ask_at(address, &["INFO"])
        .map_err(|why| Error::Words(format!("the server at {address} does not answer INFO: {why}")))?;
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    Ok(Facts(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

impl Facts {
    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }

    fn pid(&self) -> Option<u32> {
        self.number("process_id")
    }

    fn quorums(&self) -> Option<(u8, u8, u8)> {
        self.0.get("peer_id")?;
        Some((self.number("n")?, self.number("r")?, self.number("w")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_none_are_named() {
        assert_eq!(address("127.0.0.1:80").unwrap().port(), 80);
        let text = address("here").unwrap_err().to_string();
        assert!(text.contains("--connect") && text.contains("here"), "{text}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_shown_with_its_words() {
        let Err(error) = Target::start("echo broken {} >&2; exit 1", None, &Interrupt::default()) else {
            panic!("nothing was started");
        };
        let text = error.to_string();
        assert!(text.contains("--against") && text.contains("| broken "), "{text}");
    }
}
