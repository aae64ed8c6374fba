use super::*;
use crate::member::Health;
use crate::seats::Seat;
use starling_crdt::{Actor, Dot, Event, Reply, Stamp};

const ME: u64 = 1;
const OTHER: u64 = 2;

fn view(steps: u64) -> View {
    View { steps, hash: steps }
}

fn seats(view: View) -> Seats {
    let owners: Vec<_> =
        [ME, OTHER].map(|n| Seat { peer: PeerId::numbered(n), health: Health::Alive }).to_vec();
    let (old, new, read) = (owners.clone(), owners.clone(), owners.clone());
    Seats { partition: 0, view, old, new, read, preference: owners }
}

fn begin(command: Command, seats: Seats) -> Begin {
    let (client, key) = (Client::Local(RequestId(1)), ByteBuf::from("k"));
    Begin { client, seats, key, command, r: 2, w: 2, explain: false }
}

fn event() -> Event {
    Event { dot: Dot::new(Actor(1), 1), stamp: Stamp::at(1), puts: vec![], drops: vec![] }
}

/// Who is asked under which view, among what the coordinator asks for.
fn asked(coordinator: &mut Coordinator) -> Vec<(PeerId, View)> {
    let sent = coordinator.drain().into_iter().filter_map(|out| match out {
        Out::Send { to, call: Call::Apply { view, .. } | Call::Read { view, .. } } => Some((to, view)),
        _ => None,
    });
    sent.collect()
}

/// `start` begins an operation and carries it to where it has asked the other owner.
fn learns_before_it_is_told(start: impl Fn(&mut Coordinator) -> OpId) {
    let other = PeerId::numbered(OTHER);
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let op = start(&mut coordinator);
    assert_eq!(asked(&mut coordinator), [(other, view(1))]);

    // The news of the step overtakes the answer of one that knew it first.
    coordinator.replan(Now::default(), view(2), |_| seats(view(2)));
    coordinator.drain();
    coordinator.answered(Now::default(), other, Call::Behind { op, view: view(2) });
    assert_eq!(asked(&mut coordinator), [(other, view(2))], "asked again under what is known now");

    // One that knows more still is asked again once that is known here.
    coordinator.answered(Now::default(), other, Call::Behind { op, view: view(3) });
    assert_eq!(asked(&mut coordinator), []);
    coordinator.replan(Now::default(), view(3), |_| seats(view(3)));
    assert_eq!(asked(&mut coordinator), [(other, view(3))]);
}

#[test]
fn a_write_is_sent_again_when_the_news_was_faster_than_the_refusal() {
    learns_before_it_is_told(|coordinator| {
        let command = Command::Set { value: ByteBuf::from("v") };
        coordinator.write(Now::default(), begin(command, seats(view(1))));
        let op = OpId(coordinator.last);
        let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event()) };
        coordinator.stored(Now::default(), op, executed);
        op
    });
}

#[test]
fn a_read_is_asked_again_when_the_news_was_faster_than_the_refusal() {
    learns_before_it_is_told(|coordinator| {
        coordinator.read(Now::default(), begin(Command::Get, seats(view(1))));
        OpId(coordinator.last)
    });
}

#[test]
fn a_read_goes_down_the_list_while_nobody_answers() {
    // All others are silent and not yet known to be; this peer stands in for them, last in the list.
    let seat = |n: &u64| Seat { peer: PeerId::numbered(*n), health: Health::Alive };
    let owners: Vec<_> = [11, 12, 13].iter().map(seat).collect();
    let preference = [11, 12, 13, 14, ME].iter().map(seat).collect();
    let (old, new, read) = (owners.clone(), owners.clone(), owners);
    let seats = Seats { partition: 0, view: view(1), old, new, read, preference };
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), Begin { r: 1, ..begin(Command::Get, seats) });
    let mut order = Vec::new();
    while let Some(time) = coordinator.next_timeout() {
        order.extend(coordinator.drain().into_iter().filter_map(|out| match out {
            Out::Send { to, .. } => Some(to),
            Out::Store { .. } => Some(PeerId::numbered(ME)),
            _ => None,
        }));
        coordinator.timeout(Now { time, ..Now::default() });
    }
    assert_eq!(order, [11, 12, 13, 14, ME].map(PeerId::numbered));
}
