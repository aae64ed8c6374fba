//! One that waits and knows no member yet.

use super::*;

/// With a part of a table it would take others for owners than the members do, and after two steps of its own count
/// more steps than they know (simulator, lite 1003528).
#[test]
fn one_that_knows_no_member_learns_a_table_as_a_whole() {
    let mut new = Alone::new();
    new.receive(1, vec![member(1, 1), member(2, 1)], GossipBody::Ping { seq: 9 });
    assert_eq!(new.peer.records().count(), 1, "a rumor is not a table");
    let table = (1..4).map(|host| member(host, 1)).collect();
    new.receive(1, table, GossipBody::Exchange { reply: false });
    assert_eq!(new.peer.records().count(), 4);
    new.receive(1, vec![member(4, 1)], GossipBody::Update);
    assert_eq!(new.peer.records().count(), 5, "from then on it hears of each that comes");
}

#[test]
fn one_that_was_told_a_part_asks_for_the_whole() {
    let mut new = Alone::new();
    let said = new.receive(1, vec![member(1, 1), member(2, 1)], GossipBody::Update);
    let asked = sent(&said)
        .into_iter()
        .any(|(to, gossip)| to == id(1) && matches!(gossip.body, GossipBody::Exchange { reply: true }));
    assert!(asked, "{said:?}");
}
