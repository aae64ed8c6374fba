mod digests;

use super::*;
use crate::member::Health;
use crate::seats::Seat;
use crate::time::{Duration, Moment};
use starling_crdt::{Actor, Dot, Event, Reply, Stamp};
use std::sync::Arc;

const ME: u64 = 1;
const OTHER: u64 = 2;

fn view(steps: u64) -> View {
    View { steps, hash: steps }
}

fn seats(view: View) -> Seats {
    let owners: Vec<_> =
        [ME, OTHER].map(|n| Seat { peer: PeerId::numbered(n), health: Health::Alive }).to_vec();
    let (old, new, read) = (owners.clone(), owners.clone(), owners.clone());
    Seats { partition: 0, view, old, new, between: vec![], read, preference: owners }
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
    let seats = Seats { partition: 0, view: view(1), old, new, between: vec![], read, preference };
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

/// A SET handed to two others, one after the other, whose own time is a second ahead of ours.
struct Handed {
    coordinator: Coordinator,
    config: Config,
}

const OWNER: PeerId = PeerId([2; 32]);
const NEXT: PeerId = PeerId([3; 32]);

impl Handed {
    fn new() -> Self {
        let config = Config::default();
        let mut coordinator = Coordinator::new(PeerId::numbered(ME), config.clone(), 0);
        let there = Some(Moment { life: 7, time: Time(1_000_000) });
        let candidates = [OWNER, NEXT].map(|peer| Candidate { peer, there }).to_vec();
        let command = Command::Set { value: ByteBuf::from("v") };
        coordinator.forward(Now::default(), begin(command, seats(view(1))), candidates);
        Self { coordinator, config }
    }

    /// Who was asked now, and until when it may begin.
    fn asked(&mut self) -> Vec<(PeerId, Time)> {
        let sent = self.coordinator.drain().into_iter().filter_map(|out| match out {
            Out::Send { to, call: Call::Forward { until: Some(Moment { life: 7, time }), .. } } => {
                Some((to, time))
            }
            _ => None,
        });
        sent.collect()
    }

    fn at(&self, span: Duration) -> Now {
        Now { time: Time(0) + span, wall_ms: 0 }
    }

    fn answer(&mut self, span: Duration, from: PeerId) -> bool {
        let outcome = Outcome { reply: Reply::Ok, hidden: 0, trace: None };
        let call = Call::Forwarded { op: OpId(1), result: Ok(outcome) };
        self.coordinator.answered(self.at(span), from, call);
        self.is_done()
    }

    fn is_done(&mut self) -> bool {
        self.coordinator.drain().iter().any(|out| matches!(out, Out::Done { result: Ok(_), .. }))
    }
}

#[test]
fn whoever_is_asked_may_begin_only_until_another_is_asked() {
    let mut handed = Handed::new();
    let patience = handed.config.patience;
    assert_eq!(handed.asked(), [(OWNER, Time(1_000_000) + patience)]);
    handed.coordinator.timeout(handed.at(patience * 2));
    assert_eq!(handed.asked(), [(NEXT, Time(1_000_000) + patience * 3)]);
}

#[test]
fn nobody_is_told_that_it_is_done_while_another_may_begin() {
    let mut handed = Handed::new();
    let patience = handed.config.patience;
    handed.coordinator.timeout(handed.at(patience * 2));
    assert!(!handed.answer(patience * 2, OWNER), "the next may be about to begin");
    assert!(handed.answer(patience * 2, NEXT));

    let mut handed = Handed::new();
    handed.coordinator.timeout(handed.at(patience * 2));
    assert!(!handed.answer(patience * 2, OWNER));
    handed.coordinator.timeout(handed.at(patience * 3));
    assert!(handed.is_done(), "now it may not");
}

/// Its connection is gone, and what was sent over it may arrive all the same (simulator, swarm 1004019).
#[test]
fn one_whose_connection_is_lost_may_begin_as_well() {
    let mut handed = Handed::new();
    let patience = handed.config.patience;
    handed.coordinator.timeout(handed.at(patience * 2));
    handed.coordinator.unreachable(handed.at(patience * 2), NEXT);
    assert!(!handed.answer(patience * 2, OWNER), "the next may be about to begin");
    handed.coordinator.timeout(handed.at(patience * 3));
    assert!(handed.is_done(), "now it may not");
}

#[test]
fn one_whose_connection_is_lost_is_followed_when_it_can_begin_no_more() {
    let mut handed = Handed::new();
    let patience = handed.config.patience;
    handed.asked();
    handed.coordinator.unreachable(handed.at(Duration::ZERO), OWNER);
    assert_eq!(handed.asked(), []);
    handed.coordinator.timeout(handed.at(patience));
    assert_eq!(handed.asked(), [(NEXT, Time(1_000_000) + patience * 2)]);
}

#[test]
fn one_that_refuses_is_followed_at_once() {
    let mut handed = Handed::new();
    handed.asked();
    let call = Call::Refused { op: OpId(1), why: Refusal::Late };
    handed.coordinator.answered(handed.at(Duration::ZERO), OWNER, call);
    assert_eq!(handed.asked().len(), 1);
}

#[test]
fn where_owners_refuse_nobody_stands_in_who_has_nothing_to_remove_or_whose_copy_reads_would_not_find() {
    let set = || Command::Set { value: ByteBuf::from("v") };
    let cases = [
        (Command::Del, Refusal::Busy, 0),
        (set(), Refusal::Busy, 1),
        (set(), Refusal::NoRoom, 0),
        (Command::IncrBy { by: 1 }, Refusal::NoRoom, 0),
    ];
    for (command, why, asked) in cases {
        let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
        let there = Some(Moment { life: 7, time: Time(1_000_000) });
        let stranger = PeerId([9; 32]);
        let candidates = [OWNER, stranger].map(|peer| Candidate { peer, there }).to_vec();
        let owner = vec![Seat { peer: OWNER, health: Health::Alive }];
        let seats = Seats { old: owner.clone(), new: owner, ..seats(view(1)) };
        coordinator.forward(Now::default(), begin(command, seats), candidates);
        coordinator.drain();
        let refused = Call::Refused { op: OpId(coordinator.last), why };
        coordinator.answered(Now::default(), OWNER, refused);
        let out = coordinator.drain();
        let sent = out.iter().filter(|out| matches!(out, Out::Send { .. })).count();
        let failed: Vec<_> = out.into_iter().filter_map(failed_with).collect();
        assert_eq!((sent, failed.len()), (asked, 1 - asked), "{failed:?}");
    }
}

#[test]
fn where_all_owners_lack_something_the_first_is_asked_again_before_who_stands_in() {
    for command in [Command::Del, Command::IncrBy { by: 1 }] {
        let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
        let there = Some(Moment { life: 7, time: Time(1_000_000) });
        let candidates = [OWNER, NEXT, PeerId([9; 32])].map(|peer| Candidate { peer, there }).to_vec();
        let owners = [OWNER, NEXT].map(|peer| Seat { peer, health: Health::Alive }).to_vec();
        let seats = Seats { old: owners.clone(), new: owners, ..seats(view(1)) };
        coordinator.forward(Now::default(), begin(command, seats), candidates);
        let op = OpId(coordinator.last);
        let mut refuse = |peer| {
            coordinator.answered(Now::default(), peer, Call::Refused { op, why: Refusal::NotFilled });
            let asked = coordinator.drain().into_iter().filter_map(|out| match out {
                Out::Send { to, call: Call::Forward { last, .. } } => Some((to, last)),
                Out::Done { .. } => panic!("it is not over"),
                _ => None,
            });
            asked.collect::<Vec<_>>()
        };
        assert_eq!(refuse(OWNER), [(OWNER, false), (NEXT, false)]);
        assert_eq!(refuse(NEXT), [(OWNER, true)]);
        assert_eq!(refuse(OWNER), [], "that came twice: the last resort does not refuse for this");
        let done = Outcome { reply: Reply::Int(1), hidden: 0, trace: None };
        coordinator.answered(Now::default(), OWNER, Call::Forwarded { op, result: Ok(done) });
        assert!(matches!(coordinator.drain()[..], [Out::Done { result: Ok(_), .. }]));
    }
}

#[test]
fn a_request_is_taken_up_once_and_once_more_as_the_last_resort() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let taken = [false, false, true, true].map(|last| coordinator.take_up(OWNER, OpId(1), last));
    assert_eq!(taken, [true, false, true, false]);
}

#[test]
fn who_is_refused_by_all_is_told_why() {
    let text = |refusals: &[Refusal]| verdict::refused_by_all(refusals, None).why;
    let late = text(&[Refusal::Late]);
    assert!(late.contains("too late") && !late.contains("disk"), "{late}");
    let both = text(&[Refusal::NoRoom, Refusal::NotFilled]);
    assert!(both.contains("disks are nearly full") && both.contains("not whole"), "{both}");
}

/// An owner that is silent would keep all that the others have acknowledged under way.
#[test]
fn writes_that_are_done_for_their_clients_make_room_for_others() {
    let config = Config { operations_max: 4, ..Config::default() };
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), config, 0);
    let mut write = || {
        let command = Command::Set { value: ByteBuf::from("v") };
        coordinator.write(Now::default(), begin(command, owned_with(&[OTHER, 3], 1)));
        let op = OpId(coordinator.last);
        let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event()) };
        coordinator.stored(Now::default(), op, executed);
        (op, coordinator.drain().into_iter().find_map(failed_with))
    };
    let first: Vec<_> = (0..4).map(|_| write().0).collect();
    assert_eq!(write().1, Some(FailureKind::Busy), "all of them wait for copies");

    for op in &first[1..3] {
        coordinator.stored(Now::default(), *op, Answer::Synced);
        coordinator.answered(
            Now::default(),
            PeerId::numbered(OTHER),
            Call::Applied { ops: vec![*op], under: 1 },
        );
    }
    for _ in 0..2 {
        coordinator.write(Now::default(), begin(Command::Del, owned_with(&[OTHER, 3], 1)));
    }
    let failed: Vec<_> = coordinator.drain().into_iter().filter_map(failed_with).collect();
    assert_eq!((failed, coordinator.len()), (vec![], 4));
    coordinator.write(Now::default(), begin(Command::Del, owned_with(&[OTHER, 3], 1)));
    assert_eq!(coordinator.drain().into_iter().find_map(failed_with), Some(FailureKind::Busy));
    assert_eq!(coordinator.ops.keys().copied().collect::<Vec<_>>()[..2], [first[0], first[3]]);
}

#[test]
fn one_that_has_done_nothing_does_not_speak_for_one_that_may_have() {
    let mut handed = Handed::new();
    let patience = handed.config.patience;
    handed.coordinator.timeout(handed.at(patience * 2));
    handed.asked();
    let busy = |op| Call::Forwarded { op, result: Err(verdict::busy(1)) };
    handed.coordinator.answered(handed.at(patience * 2), NEXT, busy(OpId(1)));
    assert_eq!(handed.coordinator.drain(), [], "the first may still answer");
    assert!(handed.answer(patience * 3, OWNER));

    let mut handed = Handed::new();
    handed.coordinator.unreachable(handed.at(Duration::ZERO), OWNER);
    handed.coordinator.timeout(handed.at(patience));
    handed.asked();
    handed.coordinator.answered(handed.at(patience), NEXT, busy(OpId(1)));
    let kinds: Vec<_> = handed.coordinator.drain().into_iter().filter_map(failed_with).collect();
    assert_eq!(kinds, [FailureKind::Timeout]);

    let mut handed = Handed::new();
    handed.asked();
    handed.coordinator.answered(handed.at(Duration::ZERO), OWNER, busy(OpId(1)));
    let kinds: Vec<_> = handed.coordinator.drain().into_iter().filter_map(failed_with).collect();
    assert_eq!(kinds, [FailureKind::Busy], "nobody else was asked");
}

fn failed_with(out: Out) -> Option<FailureKind> {
    match out {
        Out::Done { result: Err(failure), .. } => Some(failure.kind),
        _ => None,
    }
}

/// What it said was true of a time when writes did not pass it by.
#[test]
fn a_former_owner_is_not_counted_even_if_it_is_this_peer() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), begin(Command::Get, seats(view(1))));
    let here = Answer::Read { slice: Arc::default(), digest: None };
    coordinator.stored(Now::default(), OpId(1), here);
    coordinator.drain();

    let owners: Vec<_> = [OWNER, NEXT].map(|peer| Seat { peer, health: Health::Alive }).into_iter().collect();
    let (old, new, read) = (owners.clone(), owners.clone(), owners.clone());
    let now_theirs =
        Seats { partition: 0, view: view(2), old, new, between: vec![], read, preference: owners };
    coordinator.replan(Now::default(), view(2), |_| now_theirs.clone());
    let asked: Vec<_> = asked(&mut coordinator).into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(asked, [OWNER, NEXT]);
    let answer = || Call::ReadSlice { op: OpId(1), under: 2, slice: Arc::default() };
    coordinator.answered(Now::default(), OWNER, answer());
    assert!(!coordinator.is_empty(), "one of the two that are needed");
    coordinator.answered(Now::default(), NEXT, answer());
    assert!(coordinator.is_empty());
}

#[test]
fn a_former_owner_that_kept_a_write_stands_in() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let command = Command::Set { value: ByteBuf::from("v") };
    coordinator.write(Now::default(), Begin { explain: true, ..begin(command, seats(view(1))) });
    let op = OpId(coordinator.last);
    let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event()) };
    coordinator.stored(Now::default(), op, executed);
    coordinator.stored(Now::default(), op, Answer::Synced);

    let owners = [OTHER, 3].map(|n| Seat { peer: PeerId::numbered(n), health: Health::Alive }).to_vec();
    let (old, new, read) = (owners.clone(), owners.clone(), owners.clone());
    let seats = Seats { partition: 0, view: view(2), old, new, between: vec![], read, preference: owners };
    coordinator.replan(Now::default(), view(2), |_| seats.clone());
    coordinator.answered(Now::default(), PeerId::numbered(OTHER), Call::Applied { ops: vec![op], under: 2 });
    let done = coordinator.drain().into_iter().find_map(|out| match out {
        Out::Done { result: Ok(outcome), .. } => outcome.trace,
        _ => None,
    });
    let asked = done.expect("two copies are enough").asked;
    let mine = asked.iter().find(|asked| asked.peer.id == PeerId::numbered(ME)).expect("it asked itself");
    assert!(matches!(mine.role, crate::request::Role::StandIn { .. }), "{mine:?}");
}

/// One of them came while more had to acknowledge it, and will not answer again.
#[test]
fn a_write_ends_with_the_step_that_makes_its_acknowledgements_enough() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let coming = owned_with(&[OTHER, 4], 1).new;
    let command = Command::Set { value: ByteBuf::from("v") };
    coordinator.write(Now::default(), begin(command, Seats { new: coming, ..owned_with(&[OTHER, 3], 1) }));
    let op = OpId(coordinator.last);
    let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event()) };
    coordinator.stored(Now::default(), op, executed);
    coordinator.stored(Now::default(), op, Answer::Synced);
    coordinator.answered(Now::default(), PeerId::numbered(3), Call::Applied { ops: vec![op], under: 1 });
    let is_done = |out: &Out| matches!(out, Out::Done { result: Ok(_), .. });
    assert!(!coordinator.drain().iter().any(is_done), "of those that come only one has it");

    coordinator.replan(Now::default(), view(2), |_| owned_with(&[OTHER, 3], 2));
    assert!(coordinator.drain().iter().any(is_done));
}

/// Another may have been asked by then (reliability: retried requests).
#[test]
fn a_write_that_storage_came_to_too_late_is_refused_and_nothing_is_said_of_it() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let client = Client::Peer { peer: OWNER, op: OpId(77), until: Some(Time(5)) };
    let command = Command::Set { value: ByteBuf::from("v") };
    coordinator.write(Now::default(), Begin { client, ..begin(command, seats(view(1))) });
    let asked = coordinator.drain();
    let told = |out: &Out| match out {
        Out::Store { question: Question::Execute { until, .. }, .. } => *until,
        _ => None,
    };
    assert_eq!(asked.iter().find_map(told), Some(Time(5)), "storage is told until when");
    coordinator.stored(Now::default(), OpId(coordinator.last), Answer::Late);
    let out = coordinator.drain();
    let refused = Call::Refused { op: OpId(77), why: Refusal::Late };
    assert!(matches!(&out[..], [Out::Send { to, call }] if *to == OWNER && *call == refused), "{out:?}");
    assert!(coordinator.is_empty());
}

/// Those of when it came may be none any more (simulator, swarm 1020029).
#[test]
fn a_write_that_nobody_took_over_is_carried_out_here_with_the_owners_of_that_moment() {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    let there = Some(Moment { life: 7, time: Time(1_000_000) });
    let candidates = [OWNER, PeerId::numbered(ME)].map(|peer| Candidate { peer, there }).to_vec();
    let command = Command::Set { value: ByteBuf::from("v") };
    coordinator.forward(Now::default(), begin(command, seats(view(1))), candidates);
    coordinator.replan(Now::default(), view(2), |_| seats(view(2)));
    let refused = Call::Refused { op: OpId(coordinator.last), why: Refusal::Late };
    coordinator.answered(Now::default(), OWNER, refused);
    let op = OpId(coordinator.last);
    let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event()) };
    coordinator.drain();
    coordinator.stored(Now::default(), op, executed);
    let views: Vec<_> = coordinator.drain().into_iter().filter_map(|out| out_view(&out)).collect();
    assert!(!views.is_empty() && views.iter().all(|told| *told == view(2)), "{views:?}");
}

fn out_view(out: &Out) -> Option<View> {
    match out {
        Out::Send { call: Call::Apply { view, .. }, .. } => Some(*view),
        _ => None,
    }
}

/// Owners of everything: this peer and those of these numbers.
fn owned_with(others: &[u64], steps: u64) -> Seats {
    let seat = |n: &u64| Seat { peer: PeerId::numbered(*n), health: Health::Alive };
    let owners: Vec<_> = [ME].iter().chain(others).map(seat).collect();
    let (old, new, read) = (owners.clone(), owners.clone(), owners.clone());
    Seats { partition: 0, view: view(steps), old, new, between: vec![], read, preference: owners }
}

/// Begins a read of which one other owner, `OTHER`, is asked, and answers under a view that is not known here.
fn answered_apart() -> (Coordinator, OpId) {
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), begin(Command::Get, owned_with(&[OTHER, 3], 1)));
    let op = OpId(coordinator.last);
    assert_eq!(asked(&mut coordinator), [(PeerId::numbered(OTHER), view(1))]);
    coordinator.behind(Now::default(), PeerId::numbered(OTHER), op, None);
    (coordinator, op)
}

#[test]
fn one_that_owned_it_before_is_not_asked_again_when_it_has_caught_up() {
    let (mut coordinator, _) = answered_apart();
    coordinator.replan(Now::default(), view(2), |_| owned_with(&[3, 4], 2));
    coordinator.drain();
    coordinator.caught_up(Now::default(), PeerId::numbered(OTHER));
    assert_eq!(asked(&mut coordinator), [], "writes may have passed it by");
}

#[test]
fn the_next_owner_is_asked_when_one_that_was_apart_is_lost() {
    let (mut coordinator, _) = answered_apart();
    coordinator.unreachable(Now::default(), PeerId::numbered(OTHER));
    assert_eq!(asked(&mut coordinator), [(PeerId::numbered(3), view(1))]);
}

#[test]
fn a_stand_in_that_was_apart_is_asked_again_under_the_view_that_is_learned() {
    let stand_in = PeerId::numbered(9);
    let with_stand_in = |steps| {
        let mut seats = owned_with(&[OTHER], steps);
        let both = seats.read.iter_mut().chain(&mut seats.preference);
        both.filter(|seat| seat.peer == PeerId::numbered(OTHER)).for_each(|seat| seat.health = Health::Dead);
        seats.preference.push(Seat { peer: stand_in, health: Health::Alive });
        seats
    };
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), begin(Command::Get, with_stand_in(1)));
    assert!(asked(&mut coordinator).contains(&(stand_in, view(1))));
    coordinator.behind(Now::default(), stand_in, OpId(coordinator.last), None);
    coordinator.drain();
    coordinator.replan(Now::default(), view(2), |_| with_stand_in(2));
    assert!(asked(&mut coordinator).contains(&(stand_in, view(2))));
}

#[test]
fn a_read_waits_for_an_owner_that_is_behind_before_it_believes_stand_ins_that_hold_nothing() {
    let seat = |n: &u64| Seat { peer: PeerId::numbered(*n), health: Health::Alive };
    let owners: Vec<_> = [11].iter().map(seat).collect();
    let preference = [11, 12, 13].iter().map(seat).collect();
    let (old, new, read) = (owners.clone(), owners.clone(), owners);
    let seats = Seats { partition: 0, view: view(1), old, new, between: vec![], read, preference };
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), Begin { r: 1, ..begin(Command::Get, seats) });
    let (op, owner) = (OpId(coordinator.last), PeerId::numbered(11));
    coordinator.behind(Now::default(), owner, op, None);
    let time = coordinator.next_timeout().expect("its patience");
    coordinator.timeout(Now { time, ..Now::default() });
    assert_eq!(asked(&mut coordinator).last(), Some(&(PeerId::numbered(12), view(1))), "it is covered");

    let answer = || Call::ReadSlice { op, under: 1, slice: Arc::default() };
    coordinator.answered(Now::default(), PeerId::numbered(12), answer());
    assert!(!coordinator.is_empty(), "the owner may have something");
    coordinator.caught_up(Now::default(), owner);
    assert_eq!(asked(&mut coordinator), [(owner, view(1))]);
    coordinator.answered(Now::default(), owner, answer());
    assert!(coordinator.is_empty());
}

#[test]
fn where_owners_that_live_are_not_filled_stand_ins_that_hold_nothing_answer_no_read() {
    let seat = |n: &u64| Seat { peer: PeerId::numbered(*n), health: Health::Alive };
    let owners: Vec<_> = [11, 12].iter().map(seat).collect();
    let preference = [11, 12, 13, 14].iter().map(seat).collect();
    let (old, new, read) = (owners.clone(), owners.clone(), owners);
    let seats = Seats { partition: 0, view: view(1), old, new, between: vec![], read, preference };
    let mut coordinator = Coordinator::new(PeerId::numbered(ME), Config::default(), 0);
    coordinator.read(Now::default(), begin(Command::Get, seats));
    let op = OpId(coordinator.last);
    for owner in [11, 12].map(PeerId::numbered) {
        coordinator.answered(Now::default(), owner, Call::Refused { op, why: Refusal::NotFilled });
    }
    for stand_in in [13, 14].map(PeerId::numbered) {
        let answer = Call::ReadSlice { op, under: 1, slice: Arc::default() };
        coordinator.answered(Now::default(), stand_in, answer);
    }
    let done = coordinator.drain();
    let Some(Out::Done { result: Err(Failure { hint, .. }), .. }) = done.last() else { panic!("{done:?}") };
    assert!(hint.contains("it is being filled") && !hint.contains("overloaded"), "{hint}");
}

/// Somebody has left of whom we knew before: the owners are the same, and the number of steps is not.
#[test]
fn one_that_was_behind_is_asked_again_after_a_step_that_changes_no_owner() {
    let (mut coordinator, _) = answered_apart();
    let known = View { steps: 2, ..view(1) };
    coordinator.replan(Now::default(), known, |_| Seats { view: known, ..owned_with(&[OTHER, 3], 1) });
    assert!(asked(&mut coordinator).contains(&(PeerId::numbered(OTHER), known)));
}
