//! Addresses: what people write, what peers tell one another, what is dialled first.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use starling_protocol::member::{ADDRESS_LEN_MAX, ADDRESSES_MAX};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

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

/// What is dialled together, `after` the beginning, or sooner once all before it has failed.
#[derive(Debug)]
pub(super) struct Stage {
    pub after: Duration,
    pub addresses: Vec<Multiaddr>,
    /// From the port that this peer listens on, so that a NAT shows the world one port for both.
    pub own_port: bool,
}

/// How long the better way gets before the next is tried as well (happy eyeballs, RFC 8305: 250 ms).
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// In which order to dial. On a LAN, TCP: QUIC's first handshake in a process costs 100 ms and each later
/// one twice that of TCP (measured). Over the internet, QUIC, from the port that we listen on: that is
/// where holes are punched later. TCP has a port of its own each time: were it the one that we listen on,
/// two peers that dial each other at once would share one TCP connection, each the dialler of it, and wait
/// for each other's handshake. Through a relay only if nobody has answered directly.
pub(super) fn in_order(addresses: &[Multiaddr]) -> VecDeque<Stage> {
    let chosen = |relayed: bool, global: bool, quic: bool| {
        let addresses = addresses.iter().filter(|address| is_relayed(address) == relayed);
        let addresses = addresses.filter(|at| relayed || (is_global(at) == global && is_quic(at) == quic));
        addresses.cloned().collect::<Vec<_>>()
    };
    let stages = [
        Stage { after: Duration::ZERO, addresses: chosen(false, false, false), own_port: false },
        Stage { after: Duration::ZERO, addresses: chosen(false, true, true), own_port: true },
        Stage { after: HEAD_START, addresses: chosen(false, false, true), own_port: false },
        Stage { after: HEAD_START, addresses: chosen(false, true, false), own_port: false },
        Stage { after: 2 * HEAD_START, addresses: chosen(true, false, false), own_port: false },
    ];
    stages.into_iter().filter(|stage| !stage.addresses.is_empty()).collect()
}

pub(super) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The relay that a relayed address names.
pub(super) fn relay_of(address: &Multiaddr) -> Option<libp2p::PeerId> {
    let before = address.iter().take_while(|part| !matches!(part, Protocol::P2pCircuit));
    before.filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None }).last()
}

/// The address at which a relay takes reservations of ours, where it is connected at `relay`.
pub(super) fn through(relay: Multiaddr, peer: libp2p::PeerId) -> Multiaddr {
    without_peer(relay).with(Protocol::P2p(peer)).with(Protocol::P2pCircuit)
}

/// Every way through a relay: the reservation was made over one transport, and others may have only another
/// to the same machine. `relay`: what it has told of itself.
pub(super) fn ways_through(relayed: &Multiaddr, relay: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut ways = vec![without_peer(relayed.clone())];
    let Some(peer) = relay_of(relayed) else { return ways };
    let there = relay.iter().filter(|at| !is_relayed(at) && ip(at).is_some() && ip(at) == ip(relayed));
    for way in there.map(|at| through(at.clone(), peer)) {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Where `listening` would be seen, were its port kept, by one who sees us at `seen`.
pub(super) fn at_port_of(seen: &Multiaddr, listening: &Multiaddr) -> Option<Multiaddr> {
    let ip = ip(seen).filter(|_| !is_relayed(seen) && !is_relayed(listening))?;
    let same_family = self::ip(listening)?.is_ipv4() == ip.is_ipv4();
    same_family.then(|| listening.iter().skip(1).fold(Multiaddr::empty().with(ip.into()), Multiaddr::with))
}

/// Whether one that has dialled this peer at `us`, from `remote`, proves by that where others reach it. A name leads
/// where the dialler's machine thinks, `localhost` even to this one; and neighbours on a LAN have global addresses in
/// IPv6, those of one net (the first 64 bits, RFC 4291), with nothing between them that keeps the world out.
pub(super) fn proves_way(us: &Multiaddr, remote: &Multiaddr) -> bool {
    let net = |ip: std::net::Ipv6Addr| ip.octets().first_chunk::<8>().copied();
    match (ip(us), ip(remote)) {
        (Some(IpAddr::V6(us)), Some(IpAddr::V6(remote))) => net(us) != net(remote),
        (us, _) => us.is_some(),
    }
}

/// Whether the whole internet may know it: not one of a LAN, of a provider's own net (RFC 6598), of this
/// machine. A name is.
pub(super) fn is_global(address: &Multiaddr) -> bool {
    if is_relayed(address) {
        return false;
    }
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            let reserved = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast();
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || reserved)
        }
        // All that is given out begins with 001 (RFC 4291).
        Some(Protocol::Ip6(ip)) => ip.segments()[0] & 0xe000 == 0x2000,
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    }
}

/// The short form for people, `host:port`, of a TCP address; `None` for others.
pub fn dial_text(address: &str) -> Option<String> {
    let address: Multiaddr = address.parse().ok()?;
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Dns(host), Protocol::Tcp(port)) => Some(format!("{host}:{port}")),
        _ => tcp_socket(&address).map(|socket| socket.to_string()),
    }
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

/// The same of a QUIC address.
pub(super) fn udp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    match address.iter().nth(1)? {
        Protocol::Udp(port) if is_quic(address) => Some(SocketAddr::new(ip(address)?, port)),
        _ => None,
    }
}

/// Most addresses from outside, and most through relays, that others are told.
const TOLD_MAX: usize = 4;

/// What others are told: where this peer was reached from outside, where it listens, and through whom it
/// is reached else. At most as many as a record takes.
pub(super) fn to_tell<'a>(
    external: impl Iterator<Item = &'a Multiaddr>,
    listening: impl Iterator<Item = &'a Multiaddr>,
) -> Vec<String> {
    let (relayed, direct): (Vec<_>, Vec<_>) = listening.cloned().partition(is_relayed);
    let mut all: Vec<Multiaddr> = external.take(TOLD_MAX).cloned().collect();
    let mut direct = of_use(direct.into_iter());
    if !all.is_empty() {
        direct.retain(|address| !is_loopback(address));
    }
    direct.sort();
    let mut relayed: Vec<_> = relayed.into_iter().map(without_peer).take(TOLD_MAX).collect();
    relayed.sort();
    direct.truncate(ADDRESSES_MAX - relayed.len());
    for address in direct {
        if all.len() + relayed.len() < ADDRESSES_MAX && !all.contains(&address) {
            all.push(address);
        }
    }
    all.extend(relayed);
    all.iter().map(Multiaddr::to_string).filter(|text| text.len() <= ADDRESS_LEN_MAX).collect()
}

/// As a ticket has them, which has room for few: what the whole internet knows, then what reaches this
/// peer from anywhere, then what its LAN knows.
pub(super) fn for_strangers(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let (relayed, mut direct): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_relayed);
    direct.sort_by_key(|address| !is_global(address));
    let first = direct.iter().take_while(|address| is_global(address)).count().max(2).min(direct.len());
    let rest = direct.split_off(first);
    direct.into_iter().chain(relayed).chain(rest).collect()
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

pub(super) fn is_loopback(address: &Multiaddr) -> bool {
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
        for text in ["192.0.2.7:4001", "[::1]:9", "box.local:80"] {
            assert_eq!(dial_text(&parsed(text)[0]).as_deref(), Some(text));
        }
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
        assert_eq!(to_tell([].into_iter(), [&loopback].into_iter()), [loopback.to_string()]);
        assert_eq!(to_tell([].into_iter(), [&loopback, &lan].into_iter()), [lan.to_string()]);
        let given: Multiaddr = "/ip4/127.0.0.1/tcp/2".parse().unwrap();
        assert_eq!(to_tell([&given].into_iter(), [&loopback].into_iter()), [given.to_string()]);
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

    const RELAY: &str =
        "/ip4/5.5.5.1/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";

    fn read(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_lan_is_dialled_by_tcp_first_the_internet_by_quic_and_relays_last() {
        let all = [
            RELAY,
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/5.5.5.2/tcp/1",
            "/ip4/5.5.5.2/udp/1/quic-v1",
        ];
        let stages = in_order(&read(&all));
        let order: Vec<_> = stages.iter().map(|stage| stage.addresses[0].to_string()).collect();
        assert_eq!(order, [all[2], all[4], all[1], all[3], all[0]]);
        assert!(stages.iter().all(|stage| stage.own_port == (stage.addresses == read(&[all[4]]))));
    }

    #[test]
    fn what_the_whole_internet_may_know_is_told_from_what_it_cannot() {
        for global in ["/ip4/5.5.5.1/tcp/1", "/ip6/2a00::1/tcp/1", "/dns/example.org/tcp/1"] {
            assert!(is_global(&global.parse().unwrap()), "{global}");
        }
        for local in
            ["10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.0"]
        {
            assert!(!is_global(&format!("/ip4/{local}/tcp/1").parse().unwrap()), "{local}");
        }
        for local in ["/ip6/::1/tcp/1", "/ip6/fe80::1/tcp/1", "/ip6/fd00::1/tcp/1", RELAY] {
            assert!(!is_global(&local.parse().unwrap()), "{local}");
        }
    }

    #[test]
    fn neither_a_name_nor_a_neighbour_proves_that_others_reach_a_peer() {
        let proves = |us: &str, remote: &str| proves_way(&us.parse().unwrap(), &remote.parse().unwrap());
        assert!(proves("/ip4/5.5.5.1/tcp/1", "/ip4/5.5.5.2/tcp/9"));
        assert!(proves("/ip6/2a00::1/tcp/1", "/ip6/2a01::2/tcp/9"));
        assert!(!proves("/ip6/2a00::1/tcp/1", "/ip6/2a00::2/tcp/9"));
        for name in ["/dns/box/tcp/4001", "/dns/localhost/tcp/4001", "/dns4/example.org/udp/1/quic-v1"] {
            assert!(!proves(name, "/ip4/10.0.0.1/tcp/9"), "{name}");
        }
    }

    #[test]
    fn the_port_that_is_listened_on_is_put_to_the_address_that_was_seen() {
        let [seen, quic, tcp] =
            ["/ip4/5.5.5.1/udp/9/quic-v1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.1/tcp/1"]
                .map(|text| text.parse::<Multiaddr>().unwrap());
        assert_eq!(at_port_of(&seen, &quic).unwrap().to_string(), "/ip4/5.5.5.1/udp/1/quic-v1");
        assert_eq!(at_port_of(&seen, &tcp).unwrap().to_string(), "/ip4/5.5.5.1/tcp/1");
        assert_eq!(at_port_of(&seen, &"/ip6/fd00::1/tcp/1".parse().unwrap()), None);
    }

    #[test]
    fn a_relay_is_told_over_each_transport_that_it_has() {
        let relayed = read(&[RELAY]).remove(0);
        let own = relayed.clone().with(Protocol::P2p(relay_of(&relayed).unwrap()));
        let relay = read(&["/ip4/5.5.5.1/udp/1/quic-v1", "/ip4/10.0.0.1/tcp/1", "/ip4/5.5.5.1/tcp/2", RELAY]);
        let tcp = RELAY.replace("udp/1/quic-v1", "tcp/2");
        assert_eq!(ways_through(&own, &relay), read(&[RELAY, &tcp]));
        assert_eq!(ways_through(&own, &[]), read(&[RELAY]));
    }

    #[test]
    fn relays_are_told_and_put_into_tickets_beside_all_other_addresses() {
        let relayed: Multiaddr = RELAY.parse().unwrap();
        let own = relayed.clone().with(Protocol::P2p(relay_of(&relayed).unwrap()));
        let lan: Vec<Multiaddr> =
            (0..40).map(|n| format!("/ip4/10.0.0.1/tcp/{}", n + 1).parse().unwrap()).collect();
        let external = read(&["/ip4/5.5.5.2/tcp/1"]);
        let told = to_tell(external.iter(), lan.iter().chain([&own]));
        assert_eq!(told.len(), ADDRESSES_MAX);
        assert_eq!((told[0].as_str(), told[ADDRESSES_MAX - 1].as_str()), ("/ip4/5.5.5.2/tcp/1", RELAY));
        let ticket = for_strangers(read(&[
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/2",
            "/ip4/10.0.0.1/tcp/3",
            RELAY,
        ]));
        assert_eq!(ticket[2].to_string(), RELAY);
    }
}
