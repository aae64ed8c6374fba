//! Networks that are cut in two and healed.

use crate::harness::{Net, within};
use std::collections::BTreeSet;
use std::time::Duration;

/// How soon all must agree once the network is whole again. This one is a promise.
const AGREED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn both_sides_of_a_cut_take_writes_and_agree_after_it() {
    let net = Net::start(5);
    net.client("p1").must::<()>("SET greeting hi");
    net.ctl("partition p1 p2 | p3 p4 p5");
    let mut few = net.client("p1").quorum(1, 1);
    let mut many = net.client("p4").quorum(1, 1);
    few.must::<()>("SET greeting hello");
    few.must::<()>("SADD team ada");
    many.must::<()>("SET greeting hola");
    many.must::<()>("SADD team bob");
    assert_eq!(few.must::<String>("GET greeting"), "hello");
    assert_eq!(many.must::<String>("GET greeting"), "hola");
    // Once each side knows who is missing, counters count there too.
    net.await_seen(&["p1", "p2"], &["p3", "p4", "p5"], "dead");
    net.await_seen(&["p3", "p4", "p5"], &["p1", "p2"], "dead");
    few.must::<()>("INCR visits");
    many.must::<()>("INCR visits");
    net.ctl("heal");
    within(AGREED_WITHIN, "all five to agree", || agreed(&net));
}

/// Everybody has both members, both counts, one winner and the other value beside it, by quorum and by any one copy.
fn agreed(net: &Net) -> Result<(), String> {
    let mut shown = BTreeSet::new();
    for peer in &net.peers {
        for mut client in [net.client(&peer.name), net.client(&peer.name).quorum(1, 1)] {
            let at = |e: redis::RedisError| format!("{}: {e}", peer.name);
            let team: BTreeSet<String> = client.ask("SMEMBERS team").map_err(at)?;
            let values: BTreeSet<String> = client.ask("SIBLINGS greeting").map_err(at)?;
            shown.insert(client.ask::<String>("GET greeting").map_err(at)?);
            let visits: u64 = client.ask("GET visits").map_err(at)?;
            if !team.iter().eq(["ada", "bob"]) || !values.iter().eq(["hello", "hola"]) || visits != 2 {
                return Err(format!("{} has {team:?}, {values:?} and {visits} visits", peer.name));
            }
        }
    }
    if shown.len() == 1 { Ok(()) } else { Err(format!("shown: {shown:?}")) }
}

#[test]
fn a_cut_holds_for_a_peer_that_restarts_behind_it() {
    let net = Net::start(3);
    net.ctl("partition p1 | p2 p3");
    net.await_seen(&["p1"], &["p2", "p3"], "dead");
    net.ctl("restart p1");
    net.client("p2").must::<()>("SET k v");
    // It has come back, and still nothing of the others reaches it.
    let alone = net.client("p1").quorum(1, 1).ask::<Option<String>>("GET k");
    assert!(!matches!(alone, Ok(Some(_))), "{alone:?}");
    net.ctl("heal");
    net.await_seen(&["p1"], &["p2", "p3"], "alive");
}
