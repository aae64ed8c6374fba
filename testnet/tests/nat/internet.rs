//! Machines behind NATs, and one or two in the open.

use crate::lab::{Lab, Mapping, Peer, eventually};
use serde_json::Value;
use std::time::Instant;

/// A machine in the open, and two behind a NAT each.
pub fn world(lab: &mut Lab, mapping: [Mapping; 2]) {
    lab.switch("internet");
    lab.machine("p", "5.5.5.1/24", None, "internet");
    lab.router("n1", "192.168.1.1/24", "5.5.5.11/24", "internet", mapping[0]);
    lab.router("n2", "192.168.2.1/24", "5.5.5.12/24", "internet", mapping[1]);
    lab.machine("b", "192.168.1.2/24", Some("192.168.1.1"), "n1-lan");
    lab.machine("c", "192.168.2.2/24", Some("192.168.2.1"), "n2-lan");
}

/// Peers on the three: the one in the open has made the network, the others joined it by ticket.
pub fn members(lab: &Lab) -> [Peer<'_>; 3] {
    let p = lab.start("p", &["up"]);
    let b = lab.start("b", &["join", &p.must("invite -q")]);
    let c = lab.start("c", &["join", &p.must("invite -q")]);
    [p, b, c]
}

pub fn alive(peer: &Peer, count: u64) {
    eventually("all to be alive", || match peer.status()?["alive"].as_u64() {
        Some(found) if found == count => Ok(()),
        found => Err(format!("{} sees {found:?} of {count}", peer.host)),
    });
}

#[test]
fn machines_behind_nats_join_by_ticket_and_read_and_write() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Random]);
    let peers = members(&lab);
    peers.iter().for_each(|peer| alive(peer, 3));
    for writer in &peers {
        writer.must(&format!("set from-{} hello", writer.host));
        for reader in &peers {
            assert_eq!(reader.must(&format!("get from-{}", writer.host)), "hello", "at {}", reader.host);
        }
    }
}

/// The way from one peer to another.
pub fn path(from: &Peer, to: &str) -> Result<Value, String> {
    let status = from.status()?;
    let members = status["members"].as_array().ok_or("no members")?;
    let member = members.iter().find(|member| member["name"] == to);
    member.map(|member| member["path"].clone()).ok_or_else(|| format!("{} does not know {to}", from.host))
}

pub fn await_path(from: &Peer, to: &str, is_right: impl Fn(&Value) -> bool) {
    eventually(&format!("the right way from {} to {to}", from.host), || match path(from, to)? {
        path if is_right(&path) => Ok(()),
        path => Err(path.to_string()),
    });
}

#[test]
fn holes_are_punched_into_two_nats_that_keep_ports() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Kept]);
    let [_p, b, c] = members(&lab);
    await_path(&b, "c", |path| path["kind"] == "punched");
    await_path(&c, "b", |path| path["kind"] == "punched");
    await_path(&b, "p", |path| path["kind"] == "direct");
}

#[test]
fn through_a_symmetric_nat_a_member_in_the_open_relays() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Random]);
    let [p, b, c] = members(&lab);
    await_path(&b, "c", |path| path["kind"] == "relayed" && path["via"] == "p");
    await_path(&c, "b", |path| path["kind"] == "relayed" && path["via"] == "p");
    let words = b.must("status");
    assert!(words.contains("c is reached through p: both are behind a NAT or a firewall"), "{words}");
    let words = b.must("doctor");
    assert!(words.contains("behind a NAT (seen as") && words.contains("reached through p"), "{words}");
    assert!(p.must("doctor").contains("public: others reach this peer at /ip4/5.5.5.1/"));
}

#[test]
fn where_no_udp_passes_peers_meet_over_tcp() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Random]);
    lab.block_udp("n1");
    let [p, b, c] = members(&lab);
    await_path(&b, "p", |path| path["kind"] == "direct" && path["transport"] == "tcp");
    await_path(&b, "c", |path| path["kind"] == "relayed" && path["transport"] == "tcp");
    await_path(&c, "b", |path| path["kind"] == "relayed");
    // The only relay starts anew: it is found, and asked again.
    p.kill();
    let p = lab.start("p", &["up"]);
    [&p, &b, &c].iter().for_each(|peer| alive(peer, 3));
    await_path(&p, "b", |path| path["kind"] == "direct");
    // They may not be done with coming in, and then two copies without c are not enough.
    eventually("a write to be taken", || b.ask("set k v").map(drop));
    eventually("both to be reached again", || match (path(&b, "c")?, path(&c, "b")?) {
        (there, back) if there["via"] == "p" && back["via"] == "p" => Ok(()),
        ways => Err(format!("{ways:?}")),
    });
}

#[test]
fn a_public_address_behind_a_firewall_is_found_out_and_punched_through() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Kept]);
    lab.machine("q", "5.5.5.2/24", None, "internet");
    lab.wall("q");
    let p = lab.start("p", &["up"]);
    let q = lab.start("q", &["join", &p.must("invite -q")]);
    eventually("q to find out", || match &q.status()?["reachability"] {
        found if found["kind"] == "behind a firewall" && found["relays"][0] == "p" => Ok(()),
        found => Err(found.to_string()),
    });
    let b = lab.start("b", &["join", &q.must("invite -q")]);
    // A dial of b that was under way gets through, too, once q has sent something there.
    await_path(&b, "q", |path| path["kind"] == "punched" || path["kind"] == "direct");
    await_path(&q, "b", |path| path["kind"] == "punched" || path["kind"] == "direct");
}

#[test]
fn when_a_relay_is_cut_off_the_circuit_moves_to_another() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Random]);
    lab.machine("q", "5.5.5.2/24", None, "internet");
    lab.machine("d", "5.5.5.3/24", None, "internet");
    let p = lab.start("p", &["up"]);
    let q = lab.start("q", &["join", &p.must("invite -q")]);
    let b = lab.start("b", &["join", &p.must("invite -q")]);
    let c = lab.start("c", &["join", &p.must("invite -q")]);
    for peer in [&b, &c] {
        eventually("two relays", || match peer.status()?["reachability"]["relays"].as_array() {
            Some(relays) if relays.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    await_path(&b, "c", |path| path["kind"] == "relayed");
    let first = path(&b, "c").unwrap()["via"].clone();
    let (cut, other) = if first == "p" { (p, q) } else { (q, p) };
    lab.ip(&cut.host, "link set eth0 down");
    let begun = Instant::now();
    await_path(&b, "c", |path| path["via"] == *other.host);
    await_path(&c, "b", |path| path["via"] == *other.host);
    eprintln!("the circuit moved within {} ms", begun.elapsed().as_millis());
    eventually("a write", || b.ask("set k v"));
    eventually("a read", || c.ask("get k"));
    // A ticket of one behind a NAT leads through the relay that is left.
    let ticket = b.must("invite -q");
    let d = lab.start("d", &["join", &ticket]);
    eventually("a read of the newcomer", || d.ask("get k"));
    // What is refused on a direct connection is refused on that way, too.
    let words = lab.refused("d", &["join", &ticket, "--resp", "127.0.0.1:0"]);
    assert!(words.contains("lets this machine in no more"), "{words}");
}
