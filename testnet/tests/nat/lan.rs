//! Machines on one switch, and nobody who tells them an address.

use crate::lab::{Lab, eventually};
use std::time::{Duration, Instant};

/// From `starling join` to the first value that it reads of the network.
const FIRST_READ: Duration = Duration::from_secs(3);

#[test]
fn machines_on_a_lan_find_one_another_by_mdns_alone() {
    let Some(mut lab) = Lab::open(false) else { return };
    lab.switch("lan");
    for (host, address) in [("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), ("c", "10.0.0.3/24")] {
        lab.machine(host, address, None, "lan");
    }
    let a = lab.start("a", &["up"]);
    a.must("set greeting hello");
    let mut peers = vec![a];
    for host in ["b", "c"] {
        let ticket = peers[0].must("invite -q --no-addresses");
        let begun = Instant::now();
        let peer = lab.start(host, &["join", &ticket]);
        eventually("the first read", || match peer.ask("get greeting")?.as_str() {
            "hello" => Ok(()),
            other => Err(format!("it reads {other:?}")),
        });
        let took = begun.elapsed();
        eprintln!("{host}: first read {} ms after the start", took.as_millis());
        assert!(took < FIRST_READ, "{host} needed {took:?}");
        peers.push(peer);
    }
    for peer in &peers {
        eventually("three members", || match peer.status()?["alive"].as_u64() {
            Some(3) => Ok(()),
            other => Err(format!("{} sees {other:?} alive", peer.host)),
        });
    }
}
