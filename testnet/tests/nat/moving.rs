//! Machines and NATs whose addresses change while everything runs.

use crate::internet::{alive, await_path, members, world};
use crate::lab::{Lab, Mapping, Peer, eventually};
use std::time::Instant;

/// That what one writes the other reads, both ways.
fn await_agreement(b: &Peer, c: &Peer, value: &str) {
    for (writer, reader) in [(b, c), (c, b)] {
        let key = format!("{value}-by-{}", writer.host);
        eventually(&format!("{} to write", writer.host), || writer.ask(&format!("set {key} {value}")));
        eventually(&format!("{} to read", reader.host), || match reader.ask(&format!("get {key}"))? {
            found if found == value => Ok(()),
            other => Err(other),
        });
    }
}

#[test]
fn a_laptop_that_moves_to_another_lan_and_a_nat_with_a_new_address_go_on_without_a_restart() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Kept]);
    let [p, b, c] = members(&lab);
    await_path(&b, "c", |path| path["kind"] == "punched");

    let begun = Instant::now();
    lab.ip("n1", "addr del 5.5.5.11/24 dev wan");
    lab.ip("n1", "addr add 5.5.5.21/24 dev wan");
    await_agreement(&b, &c, "renewed");
    eprintln!("a NAT's new address was overcome within {} ms", begun.elapsed().as_millis());

    let begun = Instant::now();
    lab.ip("b", "link del eth0");
    lab.plug("b", "eth0", "192.168.2.9/24", "n2-lan");
    lab.ip("b", "route add default via 192.168.2.1");
    await_path(&b, "c", |path| path["kind"] == "direct");
    await_path(&b, "p", |path| path["kind"] == "direct");
    eprintln!("a move was overcome within {} ms", begun.elapsed().as_millis());
    await_agreement(&b, &c, "moved");
    [&p, &b, &c].iter().for_each(|peer| alive(peer, 3));
}
