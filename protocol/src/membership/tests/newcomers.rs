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

/// It was to stay in the table for an hour, for people to see; one that was let in by mistake, or by a peer that is out,
/// would keep its place as long.
#[test]
fn whoever_is_gone_makes_room_for_one_that_comes() {
    let mut alone = Alone::with(4, Config { members_max: 4, ..Config::default() });
    alone.receive(4, vec![member(4, 1)], GossipBody::Update);
    assert_eq!(alone.peer.get(id(4)), None, "there is no room");
    alone.receive(1, vec![with_health(2, 1, Health::Dead)], GossipBody::Update);
    alone.run_answering(secs(10), |out| {
        all_answer(out).into_iter().filter(|(peer, _)| *peer != id(2)).collect()
    });
    alone.peer.forget(alone.now, id(2), &mut alone.out).unwrap();
    let before = alone.peer.view();
    alone.receive(4, vec![member(4, 1)], GossipBody::Update);
    assert!(alone.peer.get(id(4)).is_some());
    assert!(alone.peer.get(id(2)).is_none() && alone.peer.has_met(id(2)), "that it has left is known still");
    assert_eq!(alone.peer.view().steps, before.steps + 1);
}
