//! The peers that run: starting, stopping, and every fault that can be done to them.

use super::cut::Cut;
use super::error::Error;
use super::plan::{Plan, Seat};
use super::process::{Interrupt, Missed, Process, until};
use super::resp;
use serde::Deserialize;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a peer may take until it is ready: its storage opens, its ports are bound, and one that
/// joins has met somebody. Debug builds on a machine under load are slow.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long peers may take to know each other as members: some time for the network to form, and some for
/// each peer, since they come in one after another.
const MEET_MAX: Duration = Duration::from_secs(90);
const MEET_MAX_EACH: Duration = Duration::from_secs(10);
/// How long a peer may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// A peer that joins is told this many addresses: any one that answers is enough.
const INTRODUCTIONS: usize = 3;
/// Lines of a log that are shown when its peer does not start.
const LOG_SHOWN: usize = 12;
/// What a replaced disk keeps: who the peer is, which network has let it in, and our own log.
const KEPT_BY_WIPE: [&str; 4] = ["identity.key", "genesis.cbor", "certificate.cbor", LOG];
const LOG: &str = "log";

/// The peers of one directory. Dropping it kills them all.
#[derive(Debug)]
pub struct Network {
    dir: PathBuf,
    program: PathBuf,
    plan: Plan,
    /// One for each seat of the plan.
    peers: Vec<Peer>,
    cut: Option<Cut>,
    /// Further options that every peer gets.
    flags: Vec<String>,
    interrupt: Interrupt,
    /// Set when all are being stopped: nothing is started any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Peer {
    process: Option<Process>,
    /// How it ended, in a word or two.
    ended: Option<String>,
}

/// What a peer says on its stdout once it is ready.
#[derive(Deserialize)]
struct Ready {
    peer_id: String,
}

impl Network {
    pub fn new(dir: PathBuf, program: PathBuf, plan: Plan, interrupt: Interrupt) -> Self {
        let peers = plan.seats.iter().map(|_| Peer::default()).collect();
        Self { dir, program, plan, peers, cut: None, flags: Vec::new(), interrupt, closed: false }
    }

    pub fn set_flags(&mut self, flags: Vec<String>) {
        self.flags = flags;
    }

    /// Others reach each peer at these addresses only, which lead to where it listens.
    pub fn set_through(&mut self, addresses: Vec<Vec<String>>) {
        for (seat, through) in self.plan.seats.iter_mut().zip(addresses) {
            seat.through = through;
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn seats(&self) -> &[Seat] {
        &self.plan.seats
    }

    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    pub fn names(&self) -> Vec<&str> {
        self.plan.seats.iter().map(|seat| seat.name.as_str()).collect()
    }

    pub fn dir_of(&self, seat: &Seat) -> PathBuf {
        self.dir.join(&seat.name)
    }

    /// What a peer has written to stderr in all its lives.
    pub fn log_of(&self, seat: &Seat) -> PathBuf {
        self.dir_of(seat).join(LOG)
    }

    pub fn find(&self, name: &str) -> Result<usize, Error> {
        let unknown = || Error::Unknown { name: name.to_owned(), known: self.names().join(" ") };
        self.plan.seats.iter().position(|seat| seat.name == name).ok_or_else(unknown)
    }

    pub fn is_running(&mut self, index: usize) -> bool {
        self.pid(index).is_some()
    }

    pub fn is_paused(&self, index: usize) -> bool {
        self.peers[index].process.as_ref().is_some_and(Process::is_paused)
    }

    pub fn pid(&mut self, index: usize) -> Option<u32> {
        let peer = &mut self.peers[index];
        if let Some(status) = peer.process.as_mut()?.ended() {
            peer.ended = Some(format!("ended by itself: {status}"));
            peer.process = None;
        }
        peer.process.as_ref().map(Process::pid)
    }

    /// How a peer that does not run has ended.
    pub fn ended(&self, index: usize) -> &str {
        self.peers[index].ended.as_deref().unwrap_or("not started")
    }

    /// Starts all, and waits until they know one another.
    pub fn start_all(&mut self) -> Result<(), Error> {
        let founding = self.plan.seats[0].peer_id.is_none();
        self.spawn(0)?;
        if founding {
            self.await_ready(0)?;
        }
        for index in 1..self.peers.len() {
            self.spawn(index)?;
        }
        for index in usize::from(founding)..self.peers.len() {
            self.await_ready(index)?;
        }
        self.await_members()
    }

    /// Starts one that does not run, and waits until it answers clients.
    pub fn start(&mut self, index: usize) -> Result<(), Error> {
        self.spawn(index)?;
        self.await_ready(index)?;
        self.apply_cut(index)
    }

    fn spawn(&mut self, index: usize) -> Result<(), Error> {
        if self.closed || self.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let dir = self.dir_of(&self.plan.seats[index]);
        fs::create_dir_all(&dir).map_err(Error::io("cannot create", &dir))?;
        let mut command = self.command(index);
        if index > 0 && self.plan.seats[index].peer_id.is_none() {
            command.env("STARLING_TICKET", self.ticket(index)?);
        }
        let path = dir.join(LOG);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        command.stderr(log.map_err(Error::io("cannot write", &path))?);
        let process = Process::start(command).map_err(Error::io("cannot run", &self.program))?;
        self.peers[index] = Peer { process: Some(process), ended: None };
        Ok(())
    }

    fn command(&self, index: usize) -> Command {
        let seat = &self.plan.seats[index];
        let mut command = Command::new(&self.program);
        match (index, &seat.peer_id) {
            (0, None) => command.arg("up").args(self.founding()),
            (_, None) => command.arg("join").args(self.introductions(index)),
            (_, Some(_)) => {
                command.arg("up").args(self.introductions(index).iter().flat_map(|a| ["--join", a]))
            }
        };
        command.arg("--dir").arg(self.dir_of(seat)).args(["--name", &seat.name]);
        command.args(["--resp", &seat.resp_address()]);
        command.args(seat.multiaddrs().iter().flat_map(|address| ["--listen", address]));
        command.args(seat.through.iter().flat_map(|address| ["--external", address]));
        self.add_flags(&mut command);
        command.env("STARLING_BLOCK", self.blocked(seat).join(","));
        command
    }

    /// Those that every process here gets.
    fn add_flags(&self, command: &mut Command) {
        command.args(["--no-mdns", "--json", "--faults", "--stop-on-stdin-eof"]).args(&self.flags);
        // What is tried out on a full disk may fill it.
        command.env("STARLING_KEEP_FREE_MIB", "0");
    }

    /// A second process that is the same peer, as far as it knows: `dir` is a copy of its directory. It gets ports of
    /// its own. Whether it stays up is its own affair.
    pub fn start_copy(&self, index: usize, dir: &Path) -> Result<Process, Error> {
        let mut command = Command::new(&self.program);
        command.arg("up").args(self.introductions(index).iter().flat_map(|a| ["--join", a]));
        command.arg("--dir").arg(dir).args(["--name", &self.plan.seats[index].name]);
        command.args(["--resp", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        self.add_flags(&mut command);
        let path = dir.join(LOG);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        command.stderr(log.map_err(Error::io("cannot write", &path))?);
        Process::start(command).map_err(Error::io("cannot run", &self.program))
    }

    /// A ticket for one that is new, made by a running peer on its side: best by the founder, for the
    /// further from it, the fewer are those whom a peer may let in.
    fn ticket(&self, index: usize) -> Result<String, Error> {
        let name = &self.plan.seats[index].name;
        let running = self.plan.seats.iter().zip(&self.peers).filter(|(_, peer)| peer.process.is_some());
        let near = running
            .filter(|(other, _)| self.cut.as_ref().is_none_or(|cut| cut.joins(name, &other.name)))
            .map(|(other, _)| other);
        let mut refused = format!("no peer runs that could let {name} in; restart one first");
        for seat in near.filter(|seat| seat.name != *name) {
            match resp::ask(seat.resp, &["INVITE", "TICKET"]) {
                Ok(ticket) => return Ok(ticket),
                Err(why) => refused = format!("{} lets nobody in: {why}", seat.name),
            }
        }
        Err(Error::Words(refused))
    }

    fn founding(&self) -> Vec<String> {
        let mut flags = ["--network", "testnet", "--replicas"].map(String::from).to_vec();
        flags.push(self.plan.replicas.to_string());
        if let Some(partitions) = self.plan.partitions {
            flags.extend(["--partitions".into(), partitions.to_string()]);
        }
        flags
    }

    /// Addresses of others that a peer may come in through: of running ones on its side, if there are any.
    fn introductions(&self, index: usize) -> Vec<String> {
        let seat = &self.plan.seats[index];
        let reachable = |other: &Seat| self.cut.as_ref().is_none_or(|cut| cut.joins(&seat.name, &other.name));
        let others = || self.plan.seats.iter().zip(&self.peers).filter(|(other, _)| other.name != seat.name);
        let near = others().filter(|(other, peer)| peer.process.is_some() && reachable(other));
        let known: Vec<String> = near.take(INTRODUCTIONS).map(|(other, _)| other.multiaddr()).collect();
        if known.is_empty() {
            return others().take(INTRODUCTIONS).map(|(other, _)| other.multiaddr()).collect();
        }
        known
    }

    /// The ids of those that the cut parts from this one.
    fn blocked(&self, seat: &Seat) -> Vec<&str> {
        let Some(cut) = &self.cut else { return Vec::new() };
        let apart = self.plan.seats.iter().filter(|other| !cut.joins(&seat.name, &other.name));
        apart.filter_map(|other| other.peer_id.as_deref()).collect()
    }

    fn await_ready(&mut self, index: usize) -> Result<(), Error> {
        let process = self.peers[index].process.as_ref();
        let line = match process.map(|p| p.line(Instant::now() + READY_MAX, &self.interrupt)) {
            Some(Ok(line)) => line,
            Some(Err(Missed::Interrupted)) => return Err(Error::Interrupted),
            Some(Err(Missed::Deadline)) => {
                return Err(self.not_started(index, format!("not ready after {} s", READY_MAX.as_secs())));
            }
            Some(Err(Missed::Ended)) | None => return Err(self.not_started(index, "it ended at once".into())),
        };
        match serde_json::from_str::<Ready>(&line) {
            Ok(ready) => self.is_known(index, ready.peer_id),
            Err(_) => Err(self.not_started(index, format!("it said {line:.80} instead of that it is ready"))),
        }
    }

    fn is_known(&mut self, index: usize, peer_id: String) -> Result<(), Error> {
        let known = &mut self.plan.seats[index].peer_id;
        if known.as_ref() != Some(&peer_id) {
            *known = Some(peer_id);
            self.plan.save(&self.dir)?;
        }
        Ok(())
    }

    fn not_started(&mut self, index: usize, why: String) -> Error {
        self.end(index, "did not start");
        let seat = &self.plan.seats[index];
        let log = fs::read(self.log_of(seat)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_SHOWN)..];
        Error::Start { name: seat.name.clone(), why, log: last.iter().map(|&l| l.to_owned()).collect() }
    }

    /// Waits until every peer sees all others as living members.
    pub fn await_members(&self) -> Result<(), Error> {
        let all = self.peers.len();
        let mut seen = String::new();
        let patience = MEET_MAX + MEET_MAX_EACH * u32::try_from(all).unwrap_or(u32::MAX);
        let met = until(Instant::now() + patience, &self.interrupt, || {
            let counts: Vec<usize> = self.plan.seats.iter().map(|seat| members_seen_by(seat.resp)).collect();
            let pairs = self.plan.seats.iter().zip(&counts);
            seen = pairs.map(|(s, c)| format!("{} sees {c}", s.name)).collect::<Vec<_>>().join(", ");
            counts.iter().all(|count| *count == all).then_some(())
        });
        let dir = self.dir.clone();
        met.map_err(|missed| match missed {
            Missed::Interrupted => Error::Interrupted,
            _ => Error::Strangers { seconds: patience.as_secs(), seen: format!("of {all}, {seen}"), dir },
        })
    }

    /// Waits until a new peer has come all the way in. False: that takes longer.
    pub fn await_member(&self, index: usize) -> Result<bool, Error> {
        let seat = &self.plan.seats[index];
        let is_in = || {
            let status = resp::status(seat.resp).ok()?;
            resp::members(&status).any(|m| m.name == seat.name && m.is_member()).then_some(())
        };
        match until(Instant::now() + MEET_MAX, &self.interrupt, is_in) {
            Ok(()) => Ok(true),
            Err(Missed::Interrupted) => Err(Error::Interrupted),
            Err(_) => Ok(false),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.end(index, "killed");
    }

    /// SIGTERM, and SIGKILL if that does not help.
    pub fn stop(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if let Some(mut process) = peer.process.take() {
            process.ask_to_stop();
            process.wait_or_kill(Instant::now() + STOP_MAX);
            peer.ended = Some("stopped".into());
        }
    }

    /// Stops all at once, within the time that one may take.
    pub fn stop_all(&mut self) {
        self.closed = true;
        let mut running: Vec<Process> =
            self.peers.iter_mut().filter_map(|peer| peer.process.take()).collect();
        running.iter_mut().for_each(Process::ask_to_stop);
        let deadline = Instant::now() + STOP_MAX;
        for process in running {
            process.wait_or_kill(deadline);
        }
    }

    fn end(&mut self, index: usize, how: &str) {
        let peer = &mut self.peers[index];
        if peer.process.take().is_some() {
            peer.ended = Some(how.into());
        }
    }

    pub fn pause(&mut self, index: usize) {
        if let Some(process) = &mut self.peers[index].process {
            process.pause();
        }
    }

    /// Wakes a paused peer, and tells it of a cut that was made or healed meanwhile.
    pub fn resume(&mut self, index: usize) -> Result<(), Error> {
        if let Some(process) = &mut self.peers[index].process {
            process.resume();
        }
        self.apply_cut(index)
    }

    /// Deletes what a peer that does not run has stored, as if its disk had been replaced.
    pub fn wipe(&mut self, index: usize) -> Result<(), Error> {
        let dir = self.dir_of(&self.plan.seats[index]);
        for entry in fs::read_dir(&dir).map_err(Error::io("cannot read", &dir))? {
            let entry = entry.map_err(Error::io("cannot read", &dir))?;
            if KEPT_BY_WIPE.iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = entry.path();
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("cannot delete", path))?;
        }
        Ok(())
    }

    /// One more peer, on the side of the first that runs. Returns its place.
    pub fn add(&mut self, name: Option<&str>) -> Result<usize, Error> {
        let beside = (0..self.peers.len()).find(|i| self.peers[*i].process.is_some());
        let Some(beside) = beside.map(|i| self.plan.seats[i].name.clone()) else {
            return Err(Error::Words("no peer runs that a new one could join; restart one first".into()));
        };
        let name = self.plan.add(name)?.name.clone();
        self.peers.push(Peer::default());
        if let Some(cut) = &mut self.cut {
            cut.add(&name, &beside);
        }
        let index = self.peers.len() - 1;
        if let Err(error) = self.start(index) {
            self.peers.pop();
            self.plan.seats.pop();
            self.plan.save(&self.dir)?;
            return Err(error);
        }
        self.set_cut(self.cut.clone())?;
        Ok(index)
    }

    /// Cuts, or heals with `None`; peers that are down or paused are told when they come back.
    pub fn set_cut(&mut self, cut: Option<Cut>) -> Result<(), Error> {
        self.cut = cut;
        (0..self.peers.len()).try_for_each(|index| self.apply_cut(index))
    }

    fn apply_cut(&mut self, index: usize) -> Result<(), Error> {
        if self.is_paused(index) || !self.is_running(index) {
            return Ok(());
        }
        let seat = &self.plan.seats[index];
        let blocked = self.blocked(seat);
        let words = if blocked.is_empty() {
            vec!["FAULT", "CLEAR"]
        } else {
            [vec!["FAULT", "BLOCK"], blocked].concat()
        };
        let silent = |why| Error::Silent { name: seat.name.clone(), why, log: self.log_of(seat) };
        // Said twice it is the same, and a machine that is very busy may need as long.
        let ask = || resp::ask(seat.resp, &words);
        ask().or_else(|_| ask()).map(drop).map_err(silent)
    }
}

/// How many members a peer sees alive; none if it does not answer.
fn members_seen_by(port: u16) -> usize {
    resp::status(port)
        .map_or(0, |status| resp::members(&status).filter(resp::Member::is_alive_member).count())
}
