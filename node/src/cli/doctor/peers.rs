//! The running peer, its network, and whether this machine reaches the others.

use super::Finding;
use crate::console::Link;
use crate::render::{MemberLine, StatusPage, plain};
use crate::transport::dial_text;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// How long a connection to another peer may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Most other peers that are tried.
const TRIED_MAX: usize = 32;

pub fn examine(mut link: Link) -> Vec<Finding> {
    let address = link.address().to_owned();
    let Some(status) = link.status() else {
        let found = format!("no peer answers at {address}");
        return vec![Finding::warn("peer", found, "starling up starts one; --connect names another")];
    };
    let peer = Finding::ok("peer", format!("{} answers at {address}", plain(&status.name)));
    vec![peer, network(&status), reachable(&status), reaches(&status)]
}

fn network(status: &StatusPage) -> Finding {
    const CHECK: &str = "network";
    if let Some(why) = &status.out {
        let fix = "starling invite on a machine that is in, and the line that it prints here";
        return Finding::fail(CHECK, format!("this peer is out of it: {}", plain(why)), fix);
    }
    let StatusPage { alive, all, n, .. } = status;
    let found = format!("{alive} of {all} peers are alive, each key is kept by {n}");
    match () {
        () if *alive == 1 && *all > 1 => {
            Finding::fail(CHECK, found, "see that the others run, and that no firewall is between")
        }
        () if alive < all => Finding::warn(
            CHECK,
            found,
            "start the others again; `starling forget NAME` if one will not come back",
        ),
        () if *alive < usize::from(*n) => {
            Finding::warn(CHECK, found, "let more machines in: starling invite")
        }
        () if !status.refusals.is_empty() => {
            Finding::warn(CHECK, "some peers do not let this one in", "`starling status` says which and why")
        }
        () => Finding::ok(CHECK, found),
    }
}

/// Whether others could reach this peer, by what it tells them.
fn reachable(status: &StatusPage) -> Finding {
    const CHECK: &str = "reachability";
    let me = status.members.iter().find(|member| member.peer_id == status.peer_id);
    let addresses = me.map(|me| me.addresses.clone()).unwrap_or_default();
    let is_loopback = |address: &String| address.contains("/127.") || address.contains("/ip6/::1/");
    if addresses.is_empty() {
        return Finding::fail(CHECK, "this peer listens nowhere", "see --listen");
    }
    if addresses.iter().all(is_loopback) {
        let fix = "leave --listen out, or name an address of this machine that others can reach";
        return Finding::warn(CHECK, "this peer listens on loopback only", fix);
    }
    let shown: Vec<_> = addresses.iter().take(2).map(|address| plain(address)).collect();
    Finding::ok(CHECK, format!("others are told {}", shown.join(" and ")))
}

/// Whether this machine reaches the others, over TCP.
fn reaches(status: &StatusPage) -> Finding {
    const CHECK: &str = "others";
    let others = status.members.iter().filter(|member| member.peer_id != status.peer_id);
    let others: Vec<_> = others.filter(|member| member.step != "left").take(TRIED_MAX).collect();
    let threads: Vec<_> = others.iter().map(|member| start_trying(member)).collect();
    let silent = others
        .iter()
        .zip(threads)
        .filter_map(|(member, reached)| (!reached.join().unwrap_or(false)).then(|| plain(&member.name)));
    let silent: Vec<_> = silent.collect();
    match (others.len(), silent.is_empty()) {
        (0, _) => Finding::ok(CHECK, "there are none"),
        (count, true) => Finding::ok(CHECK, format!("all {count} are reached over TCP")),
        (count, false) => Finding::warn(
            CHECK,
            format!("of {count}, not reached over TCP: {}", silent.join(", ")),
            "see that they run, that their addresses are right and that no firewall is between",
        ),
    }
}

fn start_trying(member: &MemberLine) -> thread::JoinHandle<bool> {
    let sockets = member.addresses.iter().filter_map(|address| dial_text(address)?.parse().ok());
    let sockets: Vec<SocketAddr> = sockets.take(2).collect();
    thread::spawn(move || sockets.iter().any(|at| TcpStream::connect_timeout(at, CONNECT).is_ok()))
}
