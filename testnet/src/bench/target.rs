//! What is measured: peers started for it, servers that run already, or another server to compare with.

use super::disk;
use super::table::grouped;
use super::work::Work;
use crate::local::{self, Error, Home, Interrupt, Network, Plan, Process, Wishes, resp, until};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The processes of all members, where they run on this machine.
    pub pids: Vec<u32>,
    /// Why there are none.
    pub unseen: Option<String>,
    /// N, R and W of a Starling network.
    pub quorums: Option<(u8, u8, u8)>,
    in_memory: bool,
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
        let in_memory = disk::is_in_memory(own.network.dir());
        Ok(Self { addresses, pids, unseen: None, quorums, in_memory, kind: Kind::Own(Box::new(own)) })
    }

    pub fn connect(words: &[String]) -> Result<Self, Error> {
        let addresses = words.iter().map(|word| address(word)).collect::<Result<Vec<_>, _>>()?;
        let all = addresses.iter().map(|address| Ok((*address, facts(*address)?)));
        let all = all.collect::<Result<Vec<_>, Error>>()?;
        let quorums = all.iter().find_map(|(_, facts)| facts.quorums());
        let (pids, unseen) = processes(&all).map_or_else(|why| (Vec::new(), Some(why)), |pids| (pids, None));
        Ok(Self { addresses, pids, unseen, quorums, in_memory: false, kind: Kind::Running })
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
        let ready = until(Instant::now() + SERVER_READY, interrupt, || {
            if server.ended().is_some() { Some(Ok(false)) } else { pong(address) }
        });
        match ready {
            Ok(Ok(true)) => {}
            Ok(Err(refusal)) => {
                return Err(Error::Words(format!("--against: {line:?} answers PING with {refusal:?}")));
            }
            _ if interrupt.is_raised() => return Err(Error::Interrupted),
            _ => return Err(Error::Words(not_ready(&line, &path))),
        }
        let pids = facts(address).ok().and_then(|facts| facts.pid()).into_iter().collect();
        let in_memory = disk::is_in_memory(dir.path());
        let kind = Kind::Other { _server: server, _dir: dir };
        Ok(Self { addresses: vec![address], pids, unseen: None, quorums: None, in_memory, kind })
    }

    /// Whether the data of what was started here lies in memory, where nothing is written to a disk.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
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

/// The processes of all members, where they run here. Errors: why that cannot be told, or is not so.
fn processes(all: &[(SocketAddr, Facts)]) -> Result<Vec<u32>, String> {
    let here = all.iter().filter(|(address, _)| address.ip().is_loopback());
    let pids: BTreeSet<u32> = here.filter_map(|(_, facts)| facts.pid()).collect();
    let members = all.iter().filter_map(|(_, facts)| facts.number::<usize>("members")).max().unwrap_or(1);
    let least = members.max(all.iter().map(|(address, _)| address).collect::<BTreeSet<_>>().len());
    if pids.len() < least {
        return Err(format!(
            "no figures of CPU, memory, disk and wire: of {least} servers that do the work, {} were named with \
             --connect and run here",
            pids.len()
        ));
    }
    Ok(pids.into_iter().collect())
}

/// Whether a server answers. `None`: not yet. Errors: what it says instead.
fn pong(address: SocketAddr) -> Option<Result<bool, String>> {
    match resp::try_ask_at(address, &["PING"]).ok()? {
        // Redis says so while it reads its data.
        Err(refusal) if refusal.starts_with("LOADING") => None,
        answer => Some(answer.map(|_| true)),
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
    Ok(Facts::parse(&text))
}

impl Facts {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

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
    use crate::bench::server;

    #[test]
    fn addresses_that_are_none_are_named() {
        assert_eq!(address("127.0.0.1:80").unwrap().port(), 80);
        let text = address("here").unwrap_err().to_string();
        assert!(text.contains("--connect") && text.contains("here"), "{text}");
    }

    #[test]
    fn processes_count_only_where_all_members_are_named() {
        let of = |port: u16, text: &str| (SocketAddr::from(([127, 0, 0, 1], port)), Facts::parse(text));
        let peer = |port| of(port, &format!("process_id:{port}\r\nmembers:3\r\n"));
        assert_eq!(processes(&[peer(3), peer(1), peer(2)]), Ok(vec![1, 2, 3]));
        assert_eq!(processes(&[of(9, "process_id:7\r\n")]), Ok(vec![7]));
        let why = processes(&[peer(1), peer(1)]).unwrap_err();
        assert!(why.contains("of 3 servers") && why.contains("1 were named"), "{why}");
        let far = (SocketAddr::from(([192, 0, 2, 1], 1)), Facts::parse("process_id:7\r\n"));
        assert!(processes(&[far]).is_err());
        assert!(processes(&[of(1, "process_id:1\r\n"), of(2, "")]).is_err(), "one does not tell");
    }

    #[test]
    fn what_a_server_says_instead_of_pong_is_told_at_once() {
        assert_eq!(pong(server::answering(|_| "+PONG\r\n")), Some(Ok(true)));
        assert_eq!(pong(server::answering(|_| "-LOADING data\r\n")), None);
        let refusal = pong(server::answering(|_| "-NOAUTH no\r\n"));
        assert_eq!(refusal, Some(Err("NOAUTH no".into())));
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
