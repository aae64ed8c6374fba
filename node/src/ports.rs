//! The ports for other peers, kept over restarts where the system chose them: the others look for this
//! peer where it was.

use crate::directory::{Directory, read_text_at_most, write_atomically};
use crate::transport::Address;

const FILE: &str = "ports";
/// Longest file that is read, in bytes.
const LONGEST: usize = 64;

/// The ports that this peer last had, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    tcp: Option<u16>,
    udp: Option<u16>,
}

impl Ports {
    /// Those of the first addresses that have any.
    pub fn of(addresses: &[String]) -> Self {
        let first = |name| addresses.iter().find_map(|address| port_of(address, name));
        Self { tcp: first("tcp"), udp: first("udp") }
    }

    /// A file that is missing or damaged only means other ports.
    pub fn load(directory: &Directory) -> Self {
        let text = read_text_at_most(&directory.path().join(FILE), LONGEST).unwrap_or_default();
        let line = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u16>().ok());
            found.filter(|port| *port != 0)
        };
        Self { tcp: line("tcp "), udp: line("udp ") }
    }

    pub fn save(&self, directory: &Directory) {
        let line =
            |name: &str, port: Option<u16>| port.map_or(String::new(), |port| format!("{name} {port}\n"));
        let text = line("tcp", self.tcp) + &line("udp", self.udp);
        let path = directory.path().join(FILE);
        if let Err(error) = write_atomically(&path, text.as_bytes()) {
            tracing::warn!(path = %path.display(), %error, "the ports of this start may be others than those of the next");
        }
    }

    /// These addresses with the kept ports, where any would do. `None`: nothing changes.
    pub fn put_into(&self, addresses: &[Address]) -> Option<Vec<Address>> {
        let kept: Vec<_> = addresses.iter().map(|address| self.kept(address)).collect();
        (kept != addresses).then_some(kept)
    }

    fn kept(&self, address: &Address) -> Address {
        let text = address.to_string();
        let put = |text: &str, name: &str, port: Option<u16>| match (port, port_of(text, name)) {
            (Some(port), Some(0)) => text.replace(&format!("/{name}/0"), &format!("/{name}/{port}")),
            _ => text.to_owned(),
        };
        let text = put(&put(&text, "tcp", self.tcp), "udp", self.udp);
        text.parse().unwrap_or_else(|_| address.clone())
    }
}

fn port_of(address: &str, name: &str) -> Option<u16> {
    let mut parts = address.split('/');
    parts.find(|part| *part == name)?;
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ports_are_kept_where_any_would_do_and_nowhere_else() {
        let had = ["/ip4/10.0.0.1/tcp/4001".to_owned(), "/ip4/10.0.0.1/udp/4002/quic-v1".to_owned()];
        let ports = Ports::of(&had);
        let any = addresses(&["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/7"]);
        let kept = addresses(&["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4002/quic-v1", "/ip6/::/tcp/7"]);
        assert_eq!(ports.put_into(&any), Some(kept));
        assert_eq!(ports.put_into(&any[2..]), None);
        assert_eq!(Ports::default().put_into(&any), None);
    }

    #[test]
    fn ports_are_read_back_and_nonsense_is_none() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        assert_eq!(Ports::load(&directory), Ports::default());
        let ports = Ports { tcp: Some(1), udp: Some(65_535) };
        ports.save(&directory);
        assert_eq!(Ports::load(&directory), ports);
        std::fs::write(home.path().join(FILE), "tcp 0\nudp 99999\n").unwrap();
        assert_eq!(Ports::load(&directory), Ports::default());
    }
}
