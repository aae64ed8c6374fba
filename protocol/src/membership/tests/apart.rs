//! Two that were apart, each with steps of its own.

use super::*;

fn with_steps(host: usize, version: u64) -> Record {
    Record { standing: Standing { version, step: Step::Member }, ..member(host, 1) }
}

fn knows(me: usize, others: &[Record]) -> Membership {
    Membership::new(member(me, 1), others.to_vec(), Arc::new(Unsigned), Config::default(), 7, Time(0))
}

#[test]
fn whose_every_step_is_known_shows_by_its_table_and_not_by_how_many_they_are() {
    let mut here = knows(0, &[member(1, 1), with_steps(2, 5), member(3, 1)]);
    let there = knows(1, &[member(0, 1), member(2, 1), with_steps(3, 3)]);
    let theirs = there.view();
    assert!(!here.view().is_behind(&theirs), "more steps are known here");
    assert!(!here.knows_view(theirs.hash));

    let before = here.view();
    let told = |records| Gossip { view: theirs, ..gossip(records, GossipBody::Exchange { reply: false }) };
    let mut out = Vec::new();
    here.received(Time(0), id(1), told(there.table()), &mut out);
    assert!(here.knows_view(theirs.hash) && here.knows_view(before.hash), "and what was known before");
    assert!(here.view() != before && here.view() != theirs);
    assert!(out.contains(&Out::ViewHeard { peer: id(1) }), "{out:?}");
}

#[test]
fn a_table_of_which_a_record_was_dropped_is_not_known() {
    let mut here = knows(0, &[member(1, 1), with_steps(2, 5)]);
    let unsound = Record { weight: crate::member::WEIGHT_MAX + 1, ..member(3, 1) };
    let theirs = View { steps: 3, hash: table::view_hash([&unsound].into_iter()) };
    let told = Gossip { view: theirs, ..gossip(vec![unsound], GossipBody::Exchange { reply: false }) };
    here.received(Time(0), id(1), told, &mut Vec::new());
    assert!(!here.knows_view(theirs.hash));
}

#[test]
fn a_view_is_not_known_for_being_claimed() {
    let mut here = knows(0, &[member(1, 1), with_steps(2, 5)]);
    let honest = knows(2, &[member(1, 1), member(0, 1), member(3, 1)]).view();
    for records in [Vec::new(), vec![member(1, 1)]] {
        let told = Gossip { view: honest, ..gossip(records, GossipBody::Exchange { reply: false }) };
        here.received(Time(0), id(1), told, &mut Vec::new());
        assert!(!here.knows_view(honest.hash), "another has it, with a step that was not told");
    }
}
