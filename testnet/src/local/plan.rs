//! What is needed to start the same testnet again: `testnet.json` in its directory.

use super::error::Error;
use super::ports;
use serde::{Deserialize, Serialize};
use starling_protocol::config::{PARTITIONS_MAX, REPLICAS_MAX};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FORMAT: u32 = 1;
const FILE: &str = "testnet.json";
/// Peer-to-peer ports lie this far above the RESP ports, so there are at most as many peers.
const APART: u16 = 100;
/// Most peers of a testnet: those that fit between the two ranges of ports.
pub const PEERS_MAX: usize = APART as usize;
/// How many peers there are unless told.
pub const PEERS: usize = 5;
/// N unless told, if there are as many peers.
const REPLICAS: u8 = 3;

/// What was asked for on the command line; `None`: as it was, or the default.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub peers: Option<usize>,
    pub replicas: Option<u8>,
    pub partitions: Option<u16>,
    pub base_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    format: u32,
    /// The RESP port of the first peer; 0: each port was chosen among the free ones.
    pub base_port: u16,
    pub replicas: u8,
    pub partitions: Option<u16>,
    pub seats: Vec<Seat>,
}

/// One peer of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub name: String,
    /// The port for clients.
    pub resp: u16,
    /// The port for other peers, over TCP and over UDP.
    pub listen: u16,
    /// Known once it has run: from then on it has a network.
    pub peer_id: Option<String>,
    /// Where others are told to reach it, instead of where it listens: proxies.
    #[serde(skip)]
    pub through: Vec<String>,
}

impl Seat {
    pub fn resp_address(&self) -> String {
        format!("127.0.0.1:{}", self.resp)
    }

    /// Where others reach it.
    pub fn multiaddr(&self) -> String {
        self.through.first().cloned().unwrap_or_else(|| multiaddrs(self.listen)[0].clone())
    }

    /// Where it listens.
    pub fn multiaddrs(&self) -> [String; 2] {
        multiaddrs(self.listen)
    }
}

/// A port of this machine, over TCP and over QUIC.
pub fn multiaddrs(port: u16) -> [String; 2] {
    [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/udp/{port}/quic-v1")]
}

impl Plan {
    /// The plan that stands in `dir`, or a new one, fitted to what was asked for. All ports of it are
    /// free. Errors: a wish that contradicts what the network was founded with; ports taken.
    pub fn prepare(dir: &Path, wishes: &Wishes) -> Result<Self, Error> {
        let mut plan = match Self::load(dir)? {
            Some(plan) => plan.fitted(dir, wishes)?,
            None => Self::new(wishes)?,
        };
        if let Some(base) = wishes.base_port.filter(|base| *base == 0 || *base != plan.base_port) {
            plan.move_to(base)?;
        }
        ports::check(plan.seats.iter().flat_map(|seat| [seat.resp, seat.listen]))?;
        plan.save(dir)?;
        Ok(plan)
    }

    fn new(wishes: &Wishes) -> Result<Self, Error> {
        let count = wishes.peers.unwrap_or(PEERS);
        let fitting = u8::try_from(count).unwrap_or(REPLICAS).clamp(1, REPLICAS);
        let replicas = wishes.replicas.unwrap_or(fitting);
        let base_port = wishes.base_port.unwrap_or(super::BASE_PORT);
        let mut plan =
            Plan { format: FORMAT, base_port, replicas, partitions: wishes.partitions, seats: Vec::new() };
        check_range("--replicas", replicas.into(), REPLICAS_MAX.into())?;
        check_range("--partitions", wishes.partitions.unwrap_or(1).into(), PARTITIONS_MAX.into())?;
        check_range("-n", count, PEERS_MAX)?;
        for _ in 0..count {
            plan.add(None)?;
        }
        Ok(plan)
    }

    fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("cannot read", path)(e)),
        };
        let damaged = |why: String| Error::Plan { path: path.clone(), why };
        let plan: Plan = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if plan.format != FORMAT {
            return Err(damaged(format!("format {}, not {FORMAT}", plan.format)));
        }
        match plan.seats.iter().find(|seat| !is_name(&seat.name)) {
            Some(seat) => Err(damaged(format!("a peer named {:?}", seat.name))),
            None => Ok(Some(plan)),
        }
    }

    fn fitted(self, dir: &Path, wishes: &Wishes) -> Result<Self, Error> {
        let partitions = self.partitions.map_or(0, usize::from);
        let pairs = [
            ("a number of peers of", "-n", self.seats.len(), wishes.peers),
            ("N =", "--replicas", self.replicas.into(), wishes.replicas.map(usize::from)),
            ("Q =", "--partitions", partitions, wishes.partitions.map(usize::from)),
        ];
        for (what, flag, was, asked) in pairs {
            if let Some(asked) = asked.filter(|asked| *asked != was && was != 0) {
                return Err(Error::Founded { dir: dir.to_owned(), what, flag, was, asked });
            }
        }
        Ok(self)
    }

    /// Gives every peer other ports; they find each other again by what they are told at the start.
    fn move_to(&mut self, base: u16) -> Result<(), Error> {
        let seats = std::mem::take(&mut self.seats);
        self.base_port = base;
        for seat in seats {
            let (resp, listen) = self.next_ports()?;
            self.seats.push(Seat { resp, listen, ..seat });
        }
        Ok(())
    }

    /// One more peer, with the name given or the next free one, and ports of its own.
    pub fn add(&mut self, name: Option<&str>) -> Result<&Seat, Error> {
        check_range("the number of peers", self.seats.len() + 1, PEERS_MAX)?;
        let name = name.map_or_else(|| self.next_name(), str::to_owned);
        if !is_name(&name) {
            let why = "a name has 1 to 32 of the letters a-z, A-Z, 0-9, - and _, and begins with a letter";
            return Err(Error::Words(format!("{name:?} cannot be a peer's name; {why}")));
        }
        if self.seats.iter().any(|seat| seat.name == name) {
            return Err(Error::Words(format!("there is a peer {name} already; choose another name")));
        }
        let (resp, listen) = self.next_ports()?;
        self.seats.push(Seat { name, resp, listen, peer_id: None, through: Vec::new() });
        Ok(self.seats.last().expect("one was pushed"))
    }

    fn next_name(&self) -> String {
        let free = |name: &String| self.seats.iter().all(|seat| seat.name != *name);
        (1..).map(|i| format!("p{i}")).find(free).expect("there are more numbers than seats")
    }

    fn next_ports(&self) -> Result<(u16, u16), Error> {
        if self.base_port == 0 {
            let used: BTreeSet<u16> = self.seats.iter().flat_map(|s| [s.resp, s.listen]).collect();
            let two = ports::choose(2, &used)?;
            return Ok((two[0], two[1]));
        }
        let resp = u16::try_from(self.seats.len()).ok().and_then(|i| self.base_port.checked_add(i));
        let pair = resp.and_then(|resp| Some((resp, resp.checked_add(APART)?)));
        pair.ok_or(Error::PortRange { base: self.base_port, count: self.seats.len() + 1 })
    }

    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let (path, fresh) = (dir.join(FILE), dir.join("testnet.json.new"));
        let text = serde_json::to_vec_pretty(self).expect("a plan is plain data");
        fs::write(&fresh, text).map_err(Error::io("cannot write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::io("cannot write", &path))
    }
}

/// Names become directories, words of the console and arguments: nothing else than plain letters.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(plain)
}

fn check_range(what: &str, value: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Words(format!("{what} is {value}; it must be from 1 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> Wishes {
        Wishes { base_port: Some(0), ..Wishes::default() }
    }

    #[test]
    fn a_plan_is_kept_and_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::prepare(dir.path(), &free()).unwrap();
        assert_eq!(plan.seats.len(), PEERS);
        let again = Plan::prepare(dir.path(), &Wishes::default()).unwrap();
        assert_eq!(again, plan);
    }

    #[test]
    fn ports_move_when_asked_and_names_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = Plan::prepare(dir.path(), &free()).unwrap();
        plan.seats[0].peer_id = Some("somebody".into());
        plan.save(dir.path()).unwrap();
        let moved = Plan::prepare(dir.path(), &free()).unwrap();
        assert_eq!(moved.seats[0].peer_id.as_deref(), Some("somebody"));
        let names = |plan: &Plan| plan.seats.iter().map(|seat| seat.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&moved), names(&plan));
    }

    #[test]
    fn ports_count_up_from_the_base() {
        let plan = Plan::new(&Wishes { peers: Some(3), ..Wishes::default() }).unwrap();
        let ports: Vec<_> = plan.seats.iter().map(|seat| (seat.resp, seat.listen)).collect();
        assert_eq!(ports, [(7379, 7479), (7380, 7480), (7381, 7481)]);
        assert_eq!(plan.replicas, 3);
    }

    #[test]
    fn few_peers_keep_few_copies() {
        let plan = Plan::new(&Wishes { peers: Some(2), ..free() }).unwrap();
        assert_eq!(plan.replicas, 2);
    }

    #[test]
    fn what_a_network_was_founded_with_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        Plan::prepare(dir.path(), &free()).unwrap();
        let text = Plan::prepare(dir.path(), &Wishes { peers: Some(7), ..free() }).unwrap_err().to_string();
        assert!(text.contains("-n") && text.contains('5') && text.contains('7'), "{text}");
        let wishes = Wishes { replicas: Some(5), ..free() };
        assert!(matches!(Plan::prepare(dir.path(), &wishes), Err(Error::Founded { .. })));
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(Plan::new(&Wishes { peers: Some(0), ..free() }).is_err());
        assert!(Plan::new(&Wishes { peers: Some(PEERS_MAX + 1), ..free() }).is_err());
        assert!(Plan::new(&Wishes { replicas: Some(0), ..free() }).is_err());
        let wishes = Wishes { base_port: Some(65_530), ..Wishes::default() };
        assert!(matches!(Plan::new(&wishes), Err(Error::PortRange { .. })));
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        let mut plan = Plan::new(&free()).unwrap();
        for name in ["..", "a/b", "", "|", "-x", "p1"] {
            assert!(plan.add(Some(name)).is_err(), "{name:?}");
        }
        assert_eq!(plan.add(None).unwrap().name, "p6");
        assert_eq!(plan.add(Some("spare")).unwrap().name, "spare");
    }

    #[test]
    fn a_damaged_plan_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(matches!(Plan::prepare(dir.path(), &free()), Err(Error::Plan { .. })));
    }
}
