//! Addresses: what people write, what peers tell one another, what is dialled first.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use starling_protocol::member::{ADDRESS_LEN_MAX, ADDRESSES_MAX};
use std::net::{IpAddr, SocketAddr};

/// Reads a multiaddr, or `host:port`, which stands for TCP and QUIC at that port.
/// Errors: neither of them, in words for the user.
pub fn parse(text: &str) -> Result<Vec<Multiaddr>, String> {
    if text.starts_with('/') {
        return match text.parse() {
            Ok(address) => Ok(vec![address]),
            Err(error) => Err(format!("{text:?} is not a multiaddr ({error}); one looks like {EXAMPLE}")),
        };
    }
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = split.filter(|(host, _)| is_host(host)) else {
        return Err(format!("{text:?} is neither host:port nor a multiaddr like {EXAMPLE}"));
    };
    let host = host_part(host);
    Ok(vec![
        Multiaddr::from_iter([host.clone(), Protocol::Tcp(port)]),
        Multiaddr::from_iter([host, Protocol::Udp(port), Protocol::QuicV1]),
    ])
}

const EXAMPLE: &str = "/ip4/192.0.2.7/tcp/4001";

fn is_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || (!host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_'))
}

fn host_part(host: &str) -> Protocol<'static> {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => ip.into(),
        Err(_) => Protocol::Dns(host.to_owned().into()),
    }
}

/// The addresses to try at once, and those to try when none of the first has answered: QUIC, because
/// its first handshake in a process costs 100 ms and each later one twice that of TCP (measured).
pub(super) fn in_order(addresses: &[Multiaddr]) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let (quic, others): (Vec<_>, Vec<_>) = addresses.iter().cloned().partition(is_quic);
    if others.is_empty() { (quic, others) } else { (others, quic) }
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// The short form for people, `host:port`, of a TCP address; `None` for others.
pub fn dial_text(address: &str) -> Option<String> {
    tcp_socket(&address.parse().ok()?).map(|socket| socket.to_string())
}

/// The socket of a TCP address with an IP; `None` for others.
pub(super) fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Tcp(port)) => Some(SocketAddr::new(ip.into(), port)),
        (Protocol::Ip6(ip), Protocol::Tcp(port)) => Some(SocketAddr::new(ip.into(), port)),
        _ => None,
    }
}

/// What others are told: those that may be of use to them, at most as many as a record takes.
pub(super) fn to_tell<'a>(listening: impl Iterator<Item = &'a Multiaddr>) -> Vec<String> {
    let mut all = of_use(listening.cloned());
    all.sort();
    all.iter().map(Multiaddr::to_string).collect()
}

/// No loopback where there is anything better, at most as many as a record takes.
pub(super) fn of_use(addresses: impl Iterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut all: Vec<_> = addresses.take(4 * ADDRESSES_MAX).collect();
    if !all.iter().all(is_loopback) {
        all.retain(|address| !is_loopback(address));
    }
    all.truncate(ADDRESSES_MAX);
    all
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// Reads addresses that came from others. What cannot be read, is too long, or too much, is left out.
pub(super) fn from_others(texts: &[String]) -> Vec<Multiaddr> {
    let readable =
        texts.iter().filter(|text| text.len() <= ADDRESS_LEN_MAX).filter_map(|text| text.parse().ok());
    readable.map(without_peer).take(ADDRESSES_MAX).collect()
}

/// Drops a `/p2p/…` at the end: who is meant is said elsewhere.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(Multiaddr::to_string).collect()
    }

    #[test]
    fn a_host_and_port_stand_for_both_transports() {
        assert_eq!(parsed("192.0.2.7:4001"), ["/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/udp/4001/quic-v1"]);
        assert_eq!(parsed("[::1]:9"), ["/ip6/::1/tcp/9", "/ip6/::1/udp/9/quic-v1"]);
        assert_eq!(parsed("box.local:80")[0], "/dns/box.local/tcp/80");
        assert_eq!(parsed("/ip4/10.0.0.1/tcp/1"), ["/ip4/10.0.0.1/tcp/1"]);
    }

    #[test]
    fn what_is_no_address_is_refused_in_words() {
        for text in ["", "box", "box:", "box:99999", ":80", "a b:1", "/ip4/nowhere/tcp/1", "/tcp"] {
            let refused = parse(text);
            assert!(refused.is_err() || text == "/tcp", "{text:?} gave {refused:?}");
        }
        assert!(parse("box:99999").unwrap_err().contains("host:port"));
    }

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_better() {
        let loopback: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let lan: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(to_tell([&loopback].into_iter()), [loopback.to_string()]);
        assert_eq!(to_tell([&loopback, &lan].into_iter()), [lan.to_string()]);
    }

    #[test]
    fn what_others_say_is_bounded() {
        let good = "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".to_owned();
        let mut texts = vec!["nonsense".to_owned(), "/dns/".to_owned() + &"x".repeat(ADDRESS_LEN_MAX)];
        texts.extend(std::iter::repeat_n(good, 100));
        let read = from_others(&texts);
        assert_eq!(read.len(), ADDRESSES_MAX);
        assert_eq!(read[0].to_string(), "/ip4/10.0.0.1/tcp/1");
    }
}
