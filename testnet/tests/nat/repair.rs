//! A replica that is filled over the only way there is, through a relay.

use crate::internet::{alive, await_path, world};
use crate::lab::{Lab, Mapping, Peer, eventually};
use std::time::Instant;

/// 100 MiB: 800 times what libp2p's relays carry by default.
const KEYS: usize = 1600;
const VALUE_BYTES: usize = 64 * 1024;

fn fill(peer: &Peer) {
    let value = "x".repeat(VALUE_BYTES);
    let lines: String = (0..KEYS).map(|n| format!("set k{n} {value}\n")).collect();
    let answers = peer.console(lines);
    assert_eq!(answers.iter().filter(|answer| *answer == "OK").count(), KEYS, "{:?}", answers.last());
}

/// Whether it has all of it, whatever others have.
fn holds_all(peer: &Peer) -> Result<(), String> {
    let lines: String = (0..KEYS).map(|n| format!("with 1 - strlen k{n}\n")).collect();
    let answers = peer.console(lines);
    let whole = answers.iter().filter(|answer| **answer == VALUE_BYTES.to_string()).count();
    if whole == KEYS { Ok(()) } else { Err(format!("{} has {whole} of {KEYS}", peer.host)) }
}

/// A peer whose store is new becomes a member once it has what the others have.
fn is_filled(peer: &Peer) -> Result<(), String> {
    let status = peer.status()?;
    let members = status["members"].as_array().ok_or("no members")?;
    let own = members.iter().find(|member| member["name"] == *peer.host).ok_or("it does not know itself")?;
    if own["step"] == "member" && status["repairing"] == 0 { Ok(()) } else { Err(own.to_string()) }
}

#[test]
fn a_lost_replica_is_filled_through_a_relay() {
    let Some(mut lab) = Lab::open(true) else { return };
    world(&mut lab, [Mapping::Kept, Mapping::Random]);
    // It relays and holds nothing.
    let p = lab.start("p", &["up", "--replicas", "2", "--weight", "0"]);
    let b = lab.start("b", &["join", &p.must("invite -q")]);
    let c = lab.start("c", &["join", &p.must("invite -q")]);
    await_path(&b, "c", |path| path["kind"] == "relayed");
    alive(&p, 3);
    fill(&c);
    eventually("both copies to be whole", || is_filled(&b).and(is_filled(&c)));

    b.lose_data();
    let begun = Instant::now();
    let b = lab.start("b", &["up"]);
    eventually("the lost copy to be filled", || is_filled(&b));
    eprintln!("{} MiB were repaired within {} ms", (KEYS * VALUE_BYTES) >> 20, begun.elapsed().as_millis());
    await_path(&b, "c", |path| path["kind"] == "relayed");
    c.kill();
    holds_all(&b).unwrap();
}
