//! Two processes with one key.

use super::net::{Net, id, record};
use crate::member::{Health, Record, Standing, Step};
use crate::membership::Out;
use crate::message::GossipBody;

/// What another process says that has the key of host 0 and began at `started_ms`.
fn claim(net: &Net, life: u64, started_ms: u64) -> Record {
    let incarnation = net.peer(0).me().incarnation + 1;
    let standing = Standing { version: 1, step: Step::Member };
    Record { incarnation, life, started_ms, health: Health::Alive, standing, ..record(0, 77) }
}

fn hear(net: &mut Net, started_ms: u64) {
    hear_of(net, 77, started_ms);
}

fn hear_of(net: &mut Net, life: u64, started_ms: u64) {
    let claim = claim(net, life, started_ms);
    net.receive(0, id(1), vec![claim], GossipBody::Update);
}

fn has_stopped(net: &Net) -> bool {
    net.told.iter().any(|(_, host, out)| *host == 0 && *out == Out::Outlived)
}

#[test]
fn one_that_began_earlier_is_told_so_as_often_as_it_speaks() {
    let mut net = Net::settled(1, 3);
    let began = net.peer(0).me().started_ms;
    for _ in 0..5 {
        hear(&mut net, began - 1);
        assert_eq!(net.peer(0).me().started_ms, began);
    }
    assert!(!has_stopped(&net));
}

#[test]
fn a_forgotten_life_that_seems_to_be_later_is_outdone_once_and_for_all() {
    let mut net = Net::settled(2, 3);
    let later = net.peer(0).me().started_ms + 1_000;
    hear(&mut net, later);
    assert_eq!(net.peer(0).me().started_ms, later + 1, "it answers that it began after that");
    hear(&mut net, later);
    assert!(!has_stopped(&net), "what is left of that life is no later for being heard again");
}

#[test]
fn one_that_answers_that_it_began_later_still_goes_on_alone() {
    let mut net = Net::settled(3, 3);
    let later = net.peer(0).me().started_ms + 1_000;
    hear(&mut net, later);
    hear(&mut net, later + 2);
    assert!(has_stopped(&net));
}

/// One half of a cut network knows one of them, the other half the other (simulator, lite 7016233).
#[test]
fn two_forgotten_lives_that_seem_to_be_later_are_no_other_process() {
    let mut net = Net::settled(4, 3);
    let later = net.peer(0).me().started_ms + 1_000;
    hear_of(&mut net, 77, later);
    hear_of(&mut net, 78, later + 1_000);
    assert!(!has_stopped(&net));
    assert_eq!(net.peer(0).me().started_ms, later + 1_001);
    hear_of(&mut net, 78, later + 1_002);
    assert!(has_stopped(&net), "that one answers");
}
