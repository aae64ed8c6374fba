//! Ports on 127.0.0.1: whether they are free, who holds them, and free ones to choose from.

use super::error::Error;
use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Where ports are chosen from: below the ports that Linux (32768 and up) and the IANA range (49152
/// and up) hand out to outgoing connections, so that no connection takes the port of a peer that is
/// down for a while.
const CHOICE: std::ops::Range<u16> = 20_000..32_000;

/// The process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
}

/// Errors: the first port that is taken, over TCP or UDP, and by whom where that can be seen.
pub fn check(ports: impl IntoIterator<Item = u16>) -> Result<(), Error> {
    match ports.into_iter().find(|port| hold(*port).is_none()) {
        Some(port) => Err(Error::PortTaken { port, holder: holder(port) }),
        None => Ok(()),
    }
}

/// As many ports as asked for that were free a moment ago, over TCP and UDP, and are not in `used`.
pub fn choose(count: usize, used: &BTreeSet<u16>) -> Result<Vec<u16>, Error> {
    let width = u64::from(CHOICE.end - CHOICE.start);
    let offset = RandomState::new().build_hasher().finish() % width;
    let start = CHOICE.start + u16::try_from(offset).expect("the range is narrower than u16");
    let found: Vec<u16> = (start..CHOICE.end)
        .chain(CHOICE.start..start)
        .filter(|port| !used.contains(port) && hold(*port).is_some())
        .take(count)
        .collect();
    if found.len() < count { Err(Error::NoPorts(count)) } else { Ok(found) }
}

fn hold(port: u16) -> Option<(TcpListener, UdpSocket)> {
    let address = (Ipv4Addr::LOCALHOST, port);
    Some((TcpListener::bind(address).ok()?, UdpSocket::bind(address).ok()?))
}

/// Who holds the port, as far as `/proc` tells us: nobody elsewhere than on Linux, and none of other
/// users' processes.
fn holder(port: u16) -> Option<Holder> {
    let sockets: BTreeSet<String> = ["tcp", "tcp6", "udp", "udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| sockets_at(port, &table))
        .collect();
    fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| has_one_of(*pid, &sockets))
        .map(|pid| Holder { pid, command: command(pid) })
}

/// The sockets bound to a port, as links in `/proc/PID/fd` name them, from the text of `/proc/net/tcp` and its like
/// (proc_pid_net(5): the address is the second column, its port in hex; the inode is the tenth).
fn sockets_at(port: u16, table: &str) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let columns = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|c| c.get(1).is_some_and(|address| address.ends_with(&suffix)))
        .filter_map(|c| c.get(9).copied())
        .filter(|inode| *inode != "0")
        .map(|inode| format!("socket:[{inode}]"))
        .collect()
}

fn has_one_of(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .any(|target| target.to_str().is_some_and(|t| sockets.contains(t)))
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    words.trim().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let Err(Error::PortTaken { port: named, holder }) = check([port]) else {
            panic!("port {port} is held")
        };
        assert_eq!(named, port);
        if cfg!(target_os = "linux") {
            assert_eq!(holder.unwrap().pid, std::process::id());
        }
    }

    #[test]
    fn a_port_taken_over_udp_alone_is_taken() {
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(matches!(check([port]), Err(Error::PortTaken { .. })));
    }

    #[test]
    fn chosen_ports_are_distinct_free_and_unused() {
        let first = choose(10, &BTreeSet::new()).unwrap();
        let used: BTreeSet<u16> = first.iter().copied().collect();
        assert_eq!(used.len(), 10);
        let second = choose(10, &used).unwrap();
        assert!(second.iter().all(|port| !used.contains(port)));
        assert!(check(second).is_ok());
    }

    #[test]
    fn inodes_are_read_from_the_table_of_sockets() {
        let table =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CD3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0
   1: 0100007F:1CD4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0
   2: 0100007F:9C40 0100007F:1CD3 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0";
        assert_eq!(sockets_at(7379, table), ["socket:[4242]"]);
        assert!(sockets_at(40_000, table).is_empty());
        assert!(sockets_at(7379, "nothing of the kind").is_empty());
    }
}
