//! Who may leave: nobody without whom fewer than W would keep copies (rule `enough`).

#[allow(dead_code)] // other tests use the rest of it
mod world;

use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::member::Step;
use starling_protocol::request::{Request, Response};
use starling_protocol::time::Duration;
use world::World;

/// Two copies of everything, and both needed.
fn network(owners: usize, clients: usize) -> World {
    let mut world = World::new(4, 3, 2, 2, 1);
    for weight in std::iter::repeat_n(100, owners).chain(std::iter::repeat_n(0, clients)) {
        world.add_with_weight(weight);
    }
    let all = owners + clients;
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(all)), "all members");
    world
}

fn set(world: &mut World, key: &str) {
    let response = world.command(0, key, Command::Set { value: ByteBuf::from("v") }, None, None);
    assert!(matches!(response, Response::Data(Ok(_))), "{response:?}");
}

fn why(response: Response) -> String {
    let Response::Failed(failure) = response else { panic!("{response:?}") };
    failure.why
}

#[test]
fn several_leave_one_after_the_other_and_no_more_than_may() {
    let mut world = network(4, 0);
    set(&mut world, "k");
    let asked = [0, 1, 2].map(|index| world.request(index, Request::Leave));
    world.run(Duration::from_secs(20));
    let answers = asked.map(|id| world.reply(id).expect("each is answered"));
    let left = answers.iter().filter(|answer| **answer == Response::Done).count();
    assert_eq!(left, 2, "{answers:?}");
    let refused = answers.into_iter().find(|answer| *answer != Response::Done).expect("one is refused");
    assert_eq!(why(refused), "only 1 of the 2 members that a write needs would remain");
    let members = (0..4).filter(|index| world.own_step(*index) == Some(Step::Member));
    assert_eq!(members.count(), 2, "two go on keeping copies");
    assert!(world.owners_agree() && world.only_owners_hold());
}

#[test]
fn the_last_two_that_are_told_at_once_do_not_go_both() {
    for seed in 0..20 {
        let mut world = network(3, 0);
        // Neither has heard of the other when it begins.
        let first = world.request(0, Request::Leave);
        world.run(Duration::from_micros(seed * 200));
        let second = world.request(1, Request::Leave);
        world.run(Duration::from_secs(20));
        let answers = [first, second].map(|id| world.reply(id).expect("each is answered"));
        let left = answers.iter().filter(|answer| **answer == Response::Done).count();
        assert_eq!(left, 1, "{answers:?}");
        assert_eq!((0..3).filter(|index| world.own_step(*index) == Some(Step::Member)).count(), 2);
    }
}

#[test]
fn one_that_keeps_nothing_does_not_count_and_may_always_leave() {
    let mut world = network(2, 1);
    let said = "only 1 of the 2 members that a write needs would remain";
    assert_eq!(why(world.ask(0, Request::Leave)), said);
    assert_eq!(world.ask(2, Request::Leave), Response::Done);

    let mut world = network(1, 1);
    assert_eq!(world.ask(1, Request::Leave), Response::Done);
}

#[test]
fn the_only_one_that_kept_copies_does_not_begin_anew_without_them() {
    let mut world = network(2, 1);
    set(&mut world, "k");
    // The first founded the network, and would begin again as its founder.
    let forget = Request::Forget { peer: world.id(0) };
    world.stop(0);
    assert!(world.run_until(Duration::from_secs(60), |world| world.holds_dead(2, 0)), "it is dead");
    assert_eq!(world.ask(2, forget), Response::Done);
    world.run(Duration::from_secs(1));
    world.stop(1);
    world.wipe(1);
    world.start(1, true);
    for other in [0, 2] {
        world.connect(1, other);
    }
    world.run(Duration::from_secs(30));
    assert_eq!(world.own_step(1), Some(Step::Waiting), "nobody has what it held");
}

#[test]
fn a_founder_that_keeps_nothing_admits_the_first_that_does() {
    let mut world = World::new(4, 3, 2, 2, 1);
    for weight in [0, 100, 100] {
        world.add_with_weight(weight);
    }
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(3)), "all members");
    set(&mut world, "k");
    assert_eq!(
        world.command(1, "k", Command::Get, None, None),
        world.command(0, "k", Command::Get, None, None)
    );
    let Response::Data(Ok(outcome)) = world.command(1, "k", Command::Get, None, None) else { panic!("read") };
    assert_eq!(outcome.reply, Reply::Bytes(ByteBuf::from("v")));
}

/// One begins to leave and goes away before it has: until it is back, nobody comes in.
fn begins_to_leave(world: &mut World) {
    let leaves = world.add();
    assert!(world.run_until(Duration::from_secs(30), |world| world.all_members(leaves + 1)), "all members");
    world.request(leaves, Request::Leave);
    let is_leaving = |world: &World| world.own_step(leaves) == Some(Step::Leaving);
    assert!(world.run_until(Duration::from_secs(9), is_leaving), "it begins");
    world.stop(leaves);
}

#[test]
fn one_that_only_comes_may_leave_at_once() {
    for until in [Step::Waiting, Step::Joining] {
        let mut world = network(2, 0);
        if until == Step::Waiting {
            begins_to_leave(&mut world);
        }
        let comes = world.add();
        let is_there = |world: &World| world.step_seen(0, comes) == Some(until);
        assert!(world.run_until(Duration::from_secs(30), is_there), "{until:?}");
        assert_eq!(world.ask(comes, Request::Leave), Response::Done, "{until:?}");
    }
}

/// Two come at once, and one steps back for the other, which then is lost before it holds anything.
#[test]
fn a_founder_that_keeps_nothing_admits_one_that_has_stepped_back() {
    let mut world = World::new(4, 3, 2, 2, 1);
    for weight in [0, 100, 100] {
        world.add_with_weight(weight);
    }
    world.cut(&[vec![1], vec![2]]);
    let joins = |world: &World| (1..3).all(|index| world.own_step(index) == Some(Step::Joining));
    assert!(world.run_until(Duration::from_secs(30), joins), "both join");
    world.heal();
    world.connect(2, 1);
    let steps_back = |world: &World| world.own_step(2) == Some(Step::Waiting);
    assert!(world.run_until(Duration::from_secs(30), steps_back), "one steps back");
    world.stop(1);
    assert!(world.run_until(Duration::from_secs(60), |world| world.holds_dead(0, 1)), "it is dead");
    let forget = Request::Forget { peer: world.id(1) };
    assert_eq!(world.ask(0, forget), Response::Done);
    let admitted = |world: &World| world.own_step(2) == Some(Step::Member);
    assert!(world.run_until(Duration::from_secs(30), admitted), "{:?}", world.own_step(2));
}

/// Else it would be acknowledged with as few copies as there are newcomers.
#[test]
fn nothing_is_written_while_nobody_is_filled_that_keeps_copies() {
    let mut world = World::new(4, 3, 2, 2, 1);
    world.add_with_weight(0);
    world.run(Duration::from_secs(1));
    world.add();
    assert!(world.run_until(Duration::from_secs(30), |world| world.step_seen(0, 1) == Some(Step::Joining)));
    let response = world.command(0, "k", Command::Set { value: ByteBuf::from("v") }, None, None);
    let Response::Data(Err(failure)) = response else { panic!("{response:?}") };
    assert_eq!(failure.why, "this peer has not found the members of its network yet");
}
