//! What commands answer and change, type by type, on one peer and on several that learn of each other.

mod common;

use common::{P, Peer, bytes, pull, set};
use serde_bytes::ByteBuf;
use starling_crdt::cell::{EVENT_MAX, FIELD_MAX, KEY_MAX, VALUE_MAX};
use starling_crdt::slice::{REPLY_MAX, SLICE_MAX};
use starling_crdt::{Actor, Answered, Command, CommandError, Event, Executed, Reply, Scrubbed};

impl Peer {
    /// By a clock that goes on from one command to the next.
    fn run(&mut self, key: &str, command: &Command) -> Executed {
        self.wall_ms += 1;
        self.execute(key, command, self.wall_ms)
    }

    fn ask(&mut self, key: &str, command: Command) -> Reply {
        let reply = self.run(key, &command).reply;
        if !command.writes() {
            assert_eq!(self.answer(key, &command).reply, reply);
        }
        reply
    }

    fn answer(&self, key: &str, command: &Command) -> Answered {
        command.answer(&self.replica.read(&self.disk, P, key.as_bytes(), command).unwrap())
    }

    fn event(&mut self, key: &str, command: Command) -> Event {
        self.run(key, &command).event.expect("a change")
    }
}

/// Both learn all that the other has.
fn sync(a: &mut Peer, b: &mut Peer) {
    pull(a, b, usize::MAX);
    pull(b, a, usize::MAX);
    let (one, two) = (a.replica.summary(P), b.replica.summary(P));
    assert_eq!(one, two);
    for peer in [a, b] {
        assert_eq!(peer.replica.scrub(&peer.disk, P, usize::MAX).unwrap(), Scrubbed::Sound);
    }
}

fn many(texts: &[&str]) -> Vec<ByteBuf> {
    texts.iter().map(|text| bytes(text)).collect()
}

fn incr(by: i64) -> Command {
    Command::IncrBy { by }
}

fn sadd(members: &[&str]) -> Command {
    Command::SAdd { members: many(members) }
}

fn srem(members: &[&str]) -> Command {
    Command::SRem { members: many(members) }
}

fn hset(entries: &[(&str, &str)]) -> Command {
    Command::HSet { entries: entries.iter().map(|(field, value)| (bytes(field), bytes(value))).collect() }
}

fn text(value: &str) -> Reply {
    Reply::Bytes(bytes(value))
}

fn word(name: &str) -> Reply {
    Reply::Word(name.into())
}

#[test]
fn a_string_is_read_as_written_until_it_is_deleted() {
    let mut a = Peer::new(1);
    assert_eq!(a.ask("k", Command::Get), Reply::Nil);
    assert_eq!(a.ask("k", set("v")), Reply::Ok);
    assert_eq!(a.ask("k", set("word")), Reply::Ok);
    assert_eq!(a.ask("k", Command::Get), text("word"));
    assert_eq!(a.ask("k", Command::Strlen), Reply::Int(4));
    assert_eq!(a.ask("k", Command::Exists), Reply::Int(1));
    assert_eq!(a.ask("k", Command::Type), word("string"));
    assert_eq!(a.ask("k", Command::Del), Reply::Int(1));
    assert_eq!(a.ask("k", Command::Del), Reply::Int(0));
    assert_eq!(a.ask("k", Command::Get), Reply::Nil);
    assert_eq!(a.ask("k", Command::Type), word("none"));
    assert_eq!((a.replica.summary(P).keys, a.replica.summary(P).cells), (0, 0));
}

#[test]
fn concurrent_strings_are_both_kept_and_the_later_is_shown() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.ask("k", set("early"));
    b.wall_ms = 9_000;
    b.ask("k", set("late"));
    sync(&mut a, &mut b);
    for peer in [&a, &b] {
        assert_eq!(peer.answer("k", &Command::Get), Answered { reply: text("late"), hidden: 1 });
        let Reply::Siblings(siblings) = peer.answer("k", &Command::Siblings).reply else { panic!() };
        let values: Vec<_> = siblings.iter().map(|sibling| &sibling.value[..]).collect();
        assert_eq!(values, [&b"late"[..], b"early"]);
    }
    a.ask("k", set("both seen"));
    sync(&mut a, &mut b);
    assert_eq!(b.answer("k", &Command::Get), Answered { reply: text("both seen"), hidden: 0 });
}

#[test]
fn a_counter_counts_on_a_string_and_on_nothing() {
    let mut a = Peer::new(1);
    assert_eq!(a.ask("n", incr(5)), Reply::Int(5));
    assert_eq!(a.ask("n", incr(-7)), Reply::Int(-2));
    assert_eq!(a.ask("n", Command::Get), text("-2"));
    assert_eq!(a.ask("n", set("40")), Reply::Ok);
    assert_eq!(a.ask("n", incr(2)), Reply::Int(42));
    assert_eq!(a.ask("n", Command::Get), text("42"));
    assert_eq!(a.ask("s", set("word")), Reply::Ok);
    assert_eq!(a.ask("s", incr(1)), Reply::Error(CommandError::NotAnInteger));
    assert_eq!(a.ask("s", set("007")), Reply::Ok);
    assert_eq!(a.ask("s", incr(1)), Reply::Error(CommandError::NotAnInteger));
    assert_eq!(a.ask("zero", incr(0)), Reply::Int(0));
    assert_eq!(a.ask("zero", Command::Get), text("0"));
}

#[test]
fn a_counter_does_not_overflow() {
    let mut a = Peer::new(1);
    assert_eq!(a.ask("n", incr(i64::MAX)), Reply::Int(i64::MAX));
    assert_eq!(a.ask("n", incr(1)), Reply::Error(CommandError::Overflow));
    assert_eq!(a.ask("n", incr(i64::MIN)), Reply::Int(-1));
    assert_eq!(a.ask("n", incr(i64::MIN)), Reply::Error(CommandError::Overflow));
    assert_eq!(a.ask("n", incr(i64::MAX)), Reply::Int(i64::MAX - 1));
    let mut b = Peer::new(2);
    b.ask("n", incr(i64::MAX));
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", Command::Get), text("18446744073709551613"));
    assert_eq!(b.ask("n", incr(-1)), Reply::Error(CommandError::Overflow));
}

/// Up and down are counted apart, and both only grow.
#[test]
fn what_went_up_and_down_by_more_than_a_total_holds_counts_on() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    for _ in 0..4 {
        assert_eq!(a.ask("n", incr(i64::MAX)), Reply::Int(i64::MAX));
        assert_eq!(a.ask("n", incr(-i64::MAX)), Reply::Int(0));
    }
    assert_eq!(a.ask("n", incr(7)), Reply::Int(7));
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", incr(1)), Reply::Int(8));
    sync(&mut a, &mut b);
    assert_eq!(a.ask("n", Command::Del), Reply::Int(1));
    assert_eq!(a.ask("n", incr(2)), Reply::Int(2));
    sync(&mut a, &mut b);
    assert_eq!((a.ask("n", Command::Get), b.ask("n", Command::Get)), (text("2"), text("2")));
}

#[test]
fn one_actor_s_chains_in_a_counter_are_few() {
    let mut a = Peer::new(1);
    let mut asked = (0..1000).map(|n| a.ask("n", incr(if n % 2 == 0 { i64::MAX } else { -i64::MAX })));
    assert!(asked.any(|reply| reply == Reply::Error(CommandError::Overflow)));
    assert_eq!(a.replica.summary(P).cells, 16);
    assert_eq!(a.ask("n", Command::Del), Reply::Int(1));
    assert_eq!(a.ask("n", incr(1)), Reply::Int(1));
}

/// Its actor drops each chain of which all is deleted, though another of its chains counts.
#[test]
fn chains_beside_one_another_end_each_by_itself() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    for by in [i64::MAX, -i64::MAX, i64::MAX, -i64::MAX, 5, -5] {
        a.ask("n", incr(by));
    }
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", Command::Del), Reply::Int(1));
    sync(&mut a, &mut b);
    assert_eq!(a.ask("n", incr(3)), Reply::Int(3));
    sync(&mut a, &mut b);
    for peer in [&mut a, &mut b] {
        let cells = peer.replica.summary(P).cells;
        assert_eq!((peer.ask("n", Command::Get), cells), (text("3"), 1), "the one chain that counts");
    }
}

#[test]
fn a_deletion_takes_the_increments_it_has_seen_and_no_others() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.ask("n", incr(10));
    sync(&mut a, &mut b);
    a.ask("n", incr(3));
    assert_eq!(b.ask("n", Command::Del), Reply::Int(1));
    assert_eq!(b.ask("n", Command::Exists), Reply::Int(0));
    assert_eq!(b.replica.summary(P).cells, 2, "the total is its actor's, and a base beside it");
    sync(&mut a, &mut b);
    assert_eq!(a.ask("n", Command::Get), text("3"));
    assert_eq!(b.ask("n", Command::Del), Reply::Int(1));
    sync(&mut a, &mut b);
    assert_eq!(a.ask("n", Command::Get), Reply::Nil);
    assert_eq!(a.ask("n", incr(1)), Reply::Int(1));
    assert_eq!(a.replica.summary(P).cells, 1, "the old chain is gone");
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", Command::Get), text("1"));
}

#[test]
fn a_string_written_over_a_counter_leaves_concurrent_increments() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.ask("n", incr(10));
    sync(&mut a, &mut b);
    a.ask("n", incr(1));
    b.ask("n", set("100"));
    sync(&mut a, &mut b);
    assert_eq!(a.ask("n", Command::Get), text("101"));
    assert_eq!(a.ask("n", incr(1)), Reply::Int(102));
}

#[test]
fn a_counter_survives_that_its_partition_is_let_go_and_taken_again() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let first = a.event("n", incr(7));
    a.event("n", incr(3));
    sync(&mut a, &mut b);
    let held = b.replica.context(P).clone();
    assert!(a.replica.let_go(&mut a.disk, P, &held).unwrap());
    assert_eq!(a.replica.partitions().count(), 0);
    // It comes back to a part of its own past, and must not go on from there.
    assert!(a.apply(&first));
    let next = a.event("n", incr(1));
    assert_eq!(next.dot.counter, 3);
    assert_eq!(a.ask("n", Command::Get), text("8"));
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", Command::Get), text("11"));
    a.ask("n", Command::Del);
    sync(&mut a, &mut b);
    assert_eq!(b.ask("n", Command::Get), Reply::Nil);
    assert_eq!(a.replica.actor(), Actor(1), "own dots that are known are no alarm");
}

/// What made a repetition change nothing may lie on one copy alone, so it goes out again.
#[test]
fn what_is_said_twice_is_an_event_twice() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let hdel = Command::HDel { fields: many(&["f"]) };
    let lost = [("s", sadd(&["x"])), ("s", srem(&["x"])), ("h", hdel), ("k", Command::Del)];
    for (key, command) in lost {
        a.ask(key, command.clone());
        let again = a.run(key, &command).event.expect("an event of its own");
        assert!(b.apply(&again));
    }
    assert_eq!(b.ask("s", Command::SCard), Reply::Int(0));
    pull(&mut b, &mut a, usize::MAX);
    assert_eq!(b.ask("s", Command::SCard), Reply::Int(0), "the first addition comes late");
    assert_eq!(b.replica.summary(P), a.replica.summary(P));
}

#[test]
fn a_set_holds_each_element_once() {
    let mut a = Peer::new(1);
    assert_eq!(a.ask("s", sadd(&["b", "a", "b"])), Reply::Int(2));
    assert_eq!(a.ask("s", sadd(&["a"])), Reply::Int(0));
    assert_eq!(a.replica.summary(P).cells, 2);
    assert_eq!(a.ask("s", Command::SMembers), Reply::Set(many(&["a", "b"])));
    assert_eq!(a.ask("s", Command::SCard), Reply::Int(2));
    assert_eq!(a.ask("s", Command::SIsMember { member: bytes("a") }), Reply::Int(1));
    let asked = Command::SMIsMember { members: many(&["a", "x"]) };
    assert_eq!(a.ask("s", asked), Reply::Array(vec![Reply::Int(1), Reply::Int(0)]));
    assert_eq!(a.ask("s", srem(&["x"])), Reply::Int(0));
    assert_eq!(a.ask("s", srem(&["a", "a", "b"])), Reply::Int(2));
    assert_eq!(a.ask("s", Command::Exists), Reply::Int(0));
    assert_eq!(a.ask("s", Command::SMembers), Reply::Set(vec![]));
}

#[test]
fn an_addition_wins_over_a_removal_that_has_not_seen_it() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.ask("s", sadd(&["x", "y"]));
    sync(&mut a, &mut b);
    b.ask("s", srem(&["x", "y"]));
    a.ask("s", srem(&["x"]));
    a.ask("s", sadd(&["x"]));
    sync(&mut a, &mut b);
    assert_eq!(b.ask("s", Command::SMembers), Reply::Set(many(&["x"])));
}

#[test]
fn a_hash_holds_values_by_field() {
    let mut a = Peer::new(1);
    assert_eq!(a.ask("h", hset(&[("b", "1"), ("a", "2"), ("b", "3")])), Reply::Int(2));
    assert_eq!(a.ask("h", hset(&[("b", "4"), ("c", "5")])), Reply::Int(1));
    assert_eq!(a.ask("h", Command::HGet { field: bytes("b") }), text("4"));
    assert_eq!(a.ask("h", Command::HGet { field: bytes("x") }), Reply::Nil);
    let asked = Command::HMGet { fields: many(&["a", "x"]) };
    assert_eq!(a.ask("h", asked), Reply::Array(vec![text("2"), Reply::Nil]));
    let all = vec![(bytes("a"), bytes("2")), (bytes("b"), bytes("4")), (bytes("c"), bytes("5"))];
    assert_eq!(a.ask("h", Command::HGetAll), Reply::Map(all));
    assert_eq!(a.ask("h", Command::HKeys), Reply::Array(vec![text("a"), text("b"), text("c")]));
    assert_eq!(a.ask("h", Command::HVals), Reply::Array(vec![text("2"), text("4"), text("5")]));
    assert_eq!(a.ask("h", Command::HLen), Reply::Int(3));
    assert_eq!(a.ask("h", Command::HExists { field: bytes("c") }), Reply::Int(1));
    let scan = |after: Option<&str>, values| Command::HScan { after: after.map(bytes), limit: 2, values };
    let page = |elements: &[&str], next: Option<&str>| Reply::Page {
        elements: many(elements),
        next: next.map(bytes),
    };
    assert_eq!(a.ask("h", scan(None, true)), page(&["a", "2", "b", "4"], Some("b")));
    assert_eq!(a.ask("h", scan(Some("b"), true)), page(&["c", "5"], None));
    assert_eq!(a.ask("h", scan(Some("a"), false)), page(&["b", "c"], None));
    assert_eq!(a.ask("h", scan(Some("c"), true)), page(&[], None));
    assert_eq!(a.ask("nothing", scan(None, true)), page(&[], None));
    assert_eq!(a.ask("h", Command::HDel { fields: many(&["a", "x"]) }), Reply::Int(1));
    assert_eq!(a.ask("h", Command::HExists { field: bytes("a") }), Reply::Int(0));
}

#[test]
fn concurrent_values_of_a_hash_field_are_counted_as_hidden() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.ask("h", hset(&[("f", "a")]));
    b.wall_ms = 9_000;
    b.ask("h", hset(&[("f", "b")]));
    sync(&mut a, &mut b);
    let asked = Command::HGet { field: bytes("f") };
    assert_eq!(a.answer("h", &asked), Answered { reply: text("b"), hidden: 1 });
}

#[test]
fn commands_of_another_type_are_refused_however_large_the_key_is() {
    let wrong = Reply::Error(CommandError::WrongType);
    for size in [1, 8, 9, 30] {
        let names: Vec<String> = (0..size).map(|i| format!("e{i:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, "v")).collect();
        let mut a = Peer::new(1);
        a.ask("s", sadd(&names));
        a.ask("h", hset(&pairs));
        a.ask("v", set("x"));
        for key in ["s", "h"] {
            for command in [Command::Get, Command::Strlen, Command::Siblings, incr(1)] {
                assert_eq!(a.ask(key, command), wrong);
            }
        }
        for key in ["s", "v"] {
            let scan = |after| Command::HScan { after, limit: 3, values: false };
            let get = Command::HGet { field: bytes("zz") };
            for command in [hset(&[("zz", "1")]), Command::HGetAll, get, scan(None), scan(Some(bytes("zz")))]
            {
                assert_eq!(a.ask(key, command), wrong);
            }
        }
        for key in ["h", "v"] {
            let scan = |after| Command::SScan { after, limit: 3 };
            for command in [Command::SMembers, Command::SCard, scan(None), scan(Some(bytes("zz")))] {
                assert_eq!(a.ask(key, command), wrong);
            }
            for command in [sadd(&["zz"]), srem(&["e00"])] {
                assert_eq!(a.ask(key, command), wrong);
            }
        }
        assert_eq!(a.ask("s", Command::Type), word("set"));
        assert_eq!(a.ask("h", Command::Type), word("hash"));
        assert_eq!(a.ask("h", Command::Exists), Reply::Int(1));
        assert_eq!(a.ask("s", set("now a string")), Reply::Ok);
        assert_eq!(a.ask("h", Command::Del), Reply::Int(1));
        assert_eq!((a.replica.summary(P).keys, a.replica.summary(P).cells), (2, 2));
        assert_eq!(a.replica.scrub(&a.disk, P, usize::MAX).unwrap(), Scrubbed::Sound);
    }
}

#[test]
fn of_types_written_at_once_the_string_is_served_then_the_hash() {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    a.ask("k", sadd(&["m"]));
    b.ask("k", hset(&[("f", "v")]));
    c.ask("k", incr(1));
    sync(&mut a, &mut b);
    assert_eq!(a.ask("k", Command::Type), word("hash"));
    sync(&mut a, &mut c);
    assert_eq!(a.ask("k", Command::Get), text("1"));
    assert_eq!(a.ask("k", Command::Del), Reply::Int(1));
    assert_eq!(a.ask("k", Command::Type), word("none"));
    sync(&mut a, &mut c);
    assert_eq!(c.ask("k", Command::Exists), Reply::Int(0));
}

#[test]
fn what_is_too_long_is_refused() {
    let mut a = Peer::new(1);
    let too_long =
        |reply, its: &str| matches!(reply, Reply::Error(CommandError::TooLong { what, .. }) if what == its);
    let of = |size| "x".repeat(size);
    assert!(too_long(a.ask(&of(KEY_MAX + 1), set("v")), "the key"));
    assert!(too_long(a.ask("k", set(&of(VALUE_MAX + 1))), "the value"));
    assert!(too_long(a.ask("k", sadd(&[&of(FIELD_MAX + 1)])), "the member"));
    assert!(too_long(a.ask("k", hset(&[(&of(FIELD_MAX + 1), "v")])), "the field"));
    let scan = Command::SScan { after: Some(bytes(&of(FIELD_MAX + 1))), limit: 1 };
    assert!(too_long(a.run("k", &scan).reply, "the member"));
    let (half, key) = (of(VALUE_MAX), of(KEY_MAX));
    assert!(too_long(a.ask("k", hset(&[("a", &half), ("b", &half), ("c", "v")])), "the command"));
    assert_eq!(a.ask(&key, hset(&[(&of(FIELD_MAX), &half)])), Reply::Int(1));
    assert!(matches!(a.ask(&key, Command::HVals), Reply::Array(values) if values.len() == 1));
    assert_eq!(a.ask(&key, hset(&[("b", &half)])), Reply::Int(1));
    assert_eq!(a.ask(&key, hset(&[("c", &half)])), Reply::Int(1));
    let too_large = Reply::Error(CommandError::TooLarge { limit: SLICE_MAX as u64 });
    assert_eq!(a.ask(&key, Command::HVals), too_large);
    assert_eq!(a.ask(&key, Command::HLen), too_large, "it is counted in pages");
    assert_eq!(a.ask("k", Command::Exists), Reply::Int(0));
}

#[test]
fn what_is_named_is_read_up_to_a_limit_and_written_beyond_it() {
    let mut a = Peer::new(1);
    let large = "x".repeat(VALUE_MAX);
    for field in ["a", "b", "c"] {
        a.ask("k", hset(&[(field, &large)]));
    }
    let hmget =
        |fields: &[&str]| Command::HMGet { fields: fields.iter().map(|field| bytes(field)).collect() };
    let too_large = |limit: usize| Reply::Error(CommandError::TooLarge { limit: limit as u64 });
    assert_eq!(a.ask("k", hmget(&["a", "b", "c"])), too_large(SLICE_MAX));
    let slice = a.replica.read(&a.disk, P, b"k", &hmget(&["a", "b", "c"])).unwrap();
    assert!(slice.oversized && slice.cells.is_empty());
    let both = Reply::Array(vec![text(&large), Reply::Nil, text(&large)]);
    assert!(a.ask("k", hmget(&["a", "none", "b"])) == both);
    assert!(matches!(a.ask("k", hmget(&["a"; 8])), Reply::Array(values) if values.len() == 8));
    assert_eq!(a.ask("k", hmget(&["a"; 9])), too_large(REPLY_MAX), "one value nine times");
    assert_eq!(a.ask("k", hset(&[("a", "v"), ("b", "v"), ("c", "v")])), Reply::Int(0));
    assert_eq!(a.ask("k", hmget(&["a", "b", "c"])), Reply::Array(vec![text("v"); 3]));
    ["a", "b", "c"].iter().for_each(|field| assert_eq!(a.ask("k", hset(&[(field, &large)])), Reply::Int(0)));
    assert_eq!(a.ask("k", Command::HDel { fields: ["a", "b", "c", "a"].map(bytes).to_vec() }), Reply::Int(3));
    assert_eq!(a.ask("k", Command::Exists), Reply::Int(0));
}

/// Each was written beside the others, so all are kept, and together they are more than anybody can read.
#[test]
fn a_string_of_too_many_values_is_ended_by_the_next_that_is_written_and_by_a_deletion() {
    let third = "x".repeat(VALUE_MAX - 1);
    let siblings = || {
        let mut peers = [1, 2, 3].map(Peer::new);
        let events: Vec<_> = peers.iter_mut().map(|peer| peer.event("k", set(&third))).collect();
        let [mut a, ..] = peers;
        assert_eq!(events.iter().filter(|event| a.apply(event)).count(), 2);
        let too_large = Reply::Error(CommandError::TooLarge { limit: SLICE_MAX as u64 });
        assert_eq!(a.ask("k", Command::Get), too_large);
        assert_eq!(a.ask("k", incr(1)), too_large);
        assert_eq!(a.ask("k", sadd(&["m"])), too_large);
        a.ask("next", set("v"));
        let keys = |limit| a.replica.keys(&a.disk, P, None, limit).unwrap();
        assert_eq!((keys(1), keys(9)), (vec![bytes("k")], vec![bytes("k"), bytes("next")]));
        a
    };
    let mut a = siblings();
    assert_eq!(a.ask("k", set("v")), Reply::Ok);
    assert_eq!(a.ask("k", Command::Get), text("v"));
    let mut a = siblings();
    assert_eq!(a.ask("k", Command::Del), Reply::Int(1));
    assert_eq!(a.ask("k", Command::Get), Reply::Nil);
}

/// Each name takes a context along, and every start of a peer adds to it: what fits no frame is copied nowhere.
#[test]
fn a_removal_of_too_many_names_is_refused_and_one_of_fewer_is_an_event_that_fits() {
    let mut a = Peer::new(1);
    for actor in 2..50 {
        let event = Peer::new(u64::MAX - actor).event("other", set("v"));
        assert!(a.apply(&event));
    }
    let names: Vec<_> = (0..30_000).map(|i| i.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    a.event("k", sadd(&names));
    let refused = a.ask("k", srem(&names));
    assert!(matches!(refused, Reply::Error(CommandError::TooLong { .. })), "{refused:?}");
    let event = a.event("k", srem(&names[..10_000]));
    let mut bytes = Vec::new();
    ciborium::into_writer(&event, &mut bytes).unwrap();
    assert!(bytes.len() <= event.size() && bytes.len() > EVENT_MAX / 4, "{} bytes", bytes.len());
}

#[test]
fn keys_are_listed_while_they_exist() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    for key in ["bb", "a", "c"] {
        a.ask(key, set("v"));
    }
    a.ask("n", incr(1));
    a.ask("s", sadd(&["x", "y"]));
    sync(&mut a, &mut b);
    b.ask("n", Command::Del);
    pull(&mut a, &mut b, usize::MAX);
    let keys = |after: Option<&str>, limit| {
        let keys = a.replica.keys(&a.disk, P, after.map(str::as_bytes), limit).unwrap();
        keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, 10), ["a", "c", "s", "bb"]);
    assert_eq!(keys(Some("a"), 2), ["c", "s"]);
    assert_eq!(keys(Some("b"), 1), ["c"]);
    assert!(keys(Some("bb"), 9).is_empty());
    assert!(a.replica.keys(&a.disk, P + 1, None, 9).unwrap().is_empty());
}

#[test]
fn large_keys_are_listed_once_and_hide_none_that_follow() {
    let mut a = Peer::new(1);
    let many: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (set_of, hash_of) =
        (|n: usize| sadd(&many[..n]), |n: usize| many[..n].iter().map(|f| (*f, "v")).collect());
    let mut expected = Vec::new();
    for n in [1, 7, 8, 9, 10, 40] {
        for key in [format!("s{n:02}"), format!("h{n:02}"), format!("t{n:02}")] {
            let fields: Vec<(&str, &str)> = hash_of(n);
            a.ask(&key, if key.starts_with('h') { hset(&fields) } else { set_of(n) });
            expected.push(key);
        }
    }
    expected.sort();
    for limit in [1, 2, 5, 100] {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let keys = a.replica.keys(&a.disk, P, after.as_deref().map(str::as_bytes), limit).unwrap();
            assert!(keys.len() <= limit);
            found.extend(keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()));
            let Some(last) = found.last().filter(|_| !keys.is_empty()) else { break };
            after = Some(last.clone());
        }
        assert_eq!(found, expected, "by {limit}");
    }
    assert!(a.replica.keys(&a.disk, P, None, 0).unwrap().is_empty());
}
