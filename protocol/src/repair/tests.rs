use super::*;
use crate::message::Held;
use crate::seats::{Map, Seat, Seats};
use starling_crdt::{Actor, Dot, Event, Memory, Missing, Piece, Replica, Stamp};

const ME: u64 = 1;
const OTHER: u64 = 2;
const COMING: u64 = 3;

/// One partition that two own, or four; while this peer leaves, a third comes for it, and while the fourth does, this
/// peer, if it owned nothing.
struct Fixed {
    steps: u64,
    leaving: bool,
    four: bool,
    /// This peer owns nothing.
    idle: bool,
    /// Nobody else does.
    alone: bool,
}

const TWO: Fixed = Fixed { steps: 1, leaving: false, four: false, idle: false, alone: false };

impl Map for Fixed {
    fn view(&self) -> View {
        View { steps: self.steps, hash: self.steps }
    }

    fn view_of(&self, _: PeerId) -> Option<View> {
        Some(self.view())
    }

    fn health(&self, _: PeerId) -> Health {
        Health::Alive
    }

    fn partitions(&self) -> u16 {
        8
    }

    fn seats(&self, partition: PartitionId) -> Seats {
        let seats = |peers: &[u64]| -> Vec<Seat> {
            let seat = |n: &u64| Seat { peer: PeerId::numbered(*n), health: Health::Alive };
            peers.iter().map(seat).collect()
        };
        let own = match self {
            Self { alone: true, .. } => &[ME][..],
            Self { four: true, .. } => &[ME, OTHER, COMING, 4],
            _ => &[ME, OTHER],
        };
        let old = seats(&own[usize::from(self.idle)..]);
        let new = match self {
            Self { leaving: true, idle: true, .. } => seats(&[ME, OTHER, COMING]),
            Self { leaving: true, .. } => seats(&[OTHER, COMING]),
            _ => old.clone(),
        };
        Seats { partition, view: self.view(), read: old.clone(), old, new, ..Seats::default() }
    }

    fn owns(&self, peer: PeerId, partition: PartitionId) -> bool {
        self.seats(partition).owns(peer)
    }

    fn owned_by(&self, peer: PeerId) -> Vec<PartitionId> {
        if self.owns(peer, 0) { vec![0] } else { Vec::new() }
    }

    fn others(&self) -> Vec<PeerId> {
        (OTHER..=if self.four { 4 } else { COMING }).map(PeerId::numbered).collect()
    }
}

fn scene(map: &Fixed) -> Scene<'_> {
    scene_at(map, Time(0))
}

fn scene_at(map: &Fixed, time: Time) -> Scene<'_> {
    let step = if map.leaving && !map.idle { Step::Leaving } else { Step::Member };
    let (now, me) = (Now { time, wall_ms: 0 }, PeerId::numbered(ME));
    Scene { now, me, step, w: 2, is_low: false, map }
}

fn begun(map: &Fixed) -> Repair {
    let mut repair = Repair::new(Config::default(), 7, Time(0));
    repair.replanned(&scene(map));
    answered(&mut repair, map, &Context::new());
    repair
}

fn seen(count: u64) -> Context {
    (1..=count).map(|counter| Dot::new(Actor(1), counter)).collect()
}

/// Answers all that was asked of storage, which has synced this; tells what is sent, and the steps.
fn answered(repair: &mut Repair, map: &Fixed, context: &Context) -> Vec<Out> {
    let asked: Vec<_> = repair.drain();
    for out in &asked {
        if let Out::Store { ticket, .. } = out {
            repair.stored(&scene(map), *ticket, Answer::Contexts { contexts: vec![(0, context.clone())] });
        }
    }
    asked.into_iter().filter(|out| !matches!(out, Out::Store { .. })).collect()
}

fn report(map: &Fixed, context: Context) -> Message {
    Message::Report { view: map.view(), held: vec![Held { partition: 0, session: 1, context, filled: true }] }
}

#[test]
fn what_was_read_before_a_step_is_not_told_as_if_it_were_of_now() {
    let (before, after) = (TWO, Fixed { steps: 2, ..TWO });
    let mut repair = begun(&before);
    repair.received(&scene(&before), PeerId::numbered(OTHER), Message::Ask { partitions: vec![0] });
    let asked = repair.drain();
    repair.replanned(&scene(&after));
    let [Out::Store { ticket, .. }] = asked[..] else { panic!("storage is asked: {asked:?}") };
    repair.stored(&scene(&after), ticket, Answer::Contexts { contexts: vec![(0, seen(1))] });

    assert!(answered(&mut repair, &after, &seen(2)).is_empty(), "it is read again");
    let told = repair.drain();
    let expected = Held { partition: 0, session: 7, context: seen(2), filled: true };
    let message = Message::Report { view: after.view(), held: vec![expected] };
    assert_eq!(told, [Out::Send { to: PeerId::numbered(OTHER), message }]);
}

#[test]
fn one_that_leaves_hands_over_what_came_before_it_left_unread() {
    let (before, after) = (TWO, Fixed { steps: 2, leaving: true, ..TWO });
    let mut repair = begun(&before);
    repair.received(&scene(&before), PeerId::numbered(OTHER), report(&before, seen(1)));
    answered(&mut repair, &before, &seen(1));
    repair.drain();

    // A second event has come, was acknowledged, and has not been read yet.
    repair.replanned(&scene(&after));
    for peer in [OTHER, COMING] {
        repair.received(&scene(&after), PeerId::numbered(peer), report(&after, seen(1)));
    }
    repair.settle(&scene(&after), true);
    let asked = repair.drain();
    assert!(!asked.contains(&Out::Step(Step::Departing)), "{asked:?}");

    for out in &asked {
        if let Out::Store { ticket, question: Question::Contexts { .. } } = out {
            repair.stored(&scene(&after), *ticket, Answer::Contexts { contexts: vec![(0, seen(2))] });
        }
    }
    assert!(!repair.drain().contains(&Out::Step(Step::Departing)), "they lack the second event");
    for peer in [OTHER, COMING] {
        repair.received(&scene(&after), PeerId::numbered(peer), report(&after, seen(2)));
    }
    answered(&mut repair, &after, &seen(2));
    assert!(repair.drain().contains(&Out::Step(Step::Departing)));
}

/// What is sent to whom, of reports.
fn told(out: &[Out]) -> Vec<PeerId> {
    let told = out.iter().filter_map(|out| match out {
        Out::Send { to, message: Message::Report { .. } } => Some(*to),
        _ => None,
    });
    told.collect()
}

#[test]
fn one_that_owns_nothing_and_saw_a_difference_introduces_the_others_and_not_itself() {
    let map = Fixed { idle: true, ..TWO };
    let mut repair = begun(&map);
    repair.drain();
    let [me, other, coming] = [ME, OTHER, COMING].map(PeerId::numbered);
    repair.differ(&scene(&map), 0, &[me, other, coming]);
    let message = Message::Meet { partition: 0, with: coming };
    assert_eq!(repair.drain(), [Out::Send { to: other, message }]);
}

#[test]
fn one_at_a_time_is_told_what_is_lacked_and_the_next_when_the_first_is_gone() {
    let map = TWO;
    let (first, second) = (PeerId::numbered(OTHER), PeerId::numbered(COMING));
    let mut repair = begun(&map);
    let hears = |repair: &mut Repair, from| {
        repair.received(&scene(&map), from, report(&map, seen(9)));
        answered(repair, &map, &Context::new());
        told(&repair.drain())
    };
    assert_eq!(hears(&mut repair, first), [first]);
    assert_eq!(hears(&mut repair, second), [], "the first is sending");
    assert_eq!(hears(&mut repair, first), [], "and was told");

    repair.unreachable(first);
    repair.timeout(&scene(&map));
    answered(&mut repair, &map, &Context::new());
    assert_eq!(told(&repair.drain()), [second]);
}

#[test]
fn one_at_a_time_is_told_that_a_partition_is_empty_here() {
    let map = TWO;
    let (first, second) = (PeerId::numbered(OTHER), PeerId::numbered(COMING));
    let mut repair = begun(&map);
    let differs = |repair: &mut Repair, from| {
        let hashes = vec![(0, seen(9).hash())];
        repair.received(&scene(&map), from, Message::Hashes { view: map.view(), hashes });
        told(&answered(repair, &map, &Context::new()))
    };
    repair.received(&scene(&map), first, report(&map, Context::new()));
    answered(&mut repair, &map, &Context::new());
    differs(&mut repair, first);
    assert_eq!(told(&repair.drain()), [first], "what it has told is older than its hash");
    differs(&mut repair, second);
    assert_eq!(told(&repair.drain()), [], "the first is sending");
}

#[test]
fn who_was_put_off_is_told_when_the_first_has_sent_all_that_it_has() {
    let map = TWO;
    let (first, second) = (PeerId::numbered(OTHER), PeerId::numbered(COMING));
    let mut repair = begun(&map);
    for (from, count) in [(first, 1), (second, 9)] {
        repair.received(&scene(&map), from, report(&map, seen(count)));
        answered(&mut repair, &map, &Context::new());
    }
    repair.drain();
    let events = Message::Events { session: 7, partition: 0, events: vec![event(1)] };
    repair.received(&scene(&map), first, events);
    let asked = repair.drain();
    let [Out::Store { ticket, question: Question::Apply { .. } }] = asked[..] else { panic!("{asked:?}") };
    repair.stored(&scene(&map), ticket, Answer::Applied { refused: 0 });
    answered(&mut repair, &map, &seen(1));
    let out = answered(&mut repair, &map, &seen(1));
    assert_eq!(told(&out), [first], "as its acknowledgement");
    assert_eq!(told(&repair.drain()), [second], "who has more");
}

#[test]
fn those_that_were_put_off_are_told_one_by_one_too() {
    let map = Fixed { four: true, ..TWO };
    let [first, second, third] = [OTHER, COMING, 4].map(PeerId::numbered);
    let mut repair = begun(&map);
    for from in [first, second, third] {
        let hashes = vec![(0, seen(9).hash())];
        repair.received(&scene(&map), from, Message::Hashes { view: map.view(), hashes });
    }
    answered(&mut repair, &map, &Context::new());
    assert_eq!(told(&repair.drain()), [first]);
    repair.unreachable(first);
    repair.timeout(&scene(&map));
    let sent: Vec<_> = (0..4).flat_map(|_| told(&answered(&mut repair, &map, &Context::new()))).collect();
    assert_eq!(sent, [second], "and the third when that one is silent as well");
}

#[test]
fn a_report_that_says_nothing_new_does_not_begin_anew_what_storage_prepares() {
    let map = TWO;
    let other = PeerId::numbered(OTHER);
    let mut repair = begun(&map);
    repair.received(&scene(&map), other, report(&map, seen(1)));
    answered(&mut repair, &map, &seen(2));
    let missing = |out: &Out| match out {
        Out::Store { ticket, question: Question::Missing { .. } } => Some(*ticket),
        _ => None,
    };
    let ticket = repair.drain().iter().find_map(missing).expect("what it lacks is looked up");
    repair.received(&scene(&map), other, report(&map, seen(1)));
    answered(&mut repair, &map, &seen(2));
    assert_eq!(repair.drain().iter().find_map(missing), None, "it is being looked up");

    let events = vec![event(2)];
    let found = Answer::Missing(Missing::Events { events: events.clone(), more: false });
    repair.stored(&scene(&map), ticket, found);
    let message = Message::Events { session: 1, partition: 0, events };
    assert!(repair.drain().contains(&Out::Send { to: other, message }));
}

/// Else both would say the same again and again, as fast as they can.
#[test]
fn what_was_refused_is_not_asked_for_again_at_once() {
    let map = TWO;
    let mut repair = begun(&map);
    let events = Message::Events { session: 7, partition: 0, events: vec![event(2)] };
    repair.received(&scene(&map), PeerId::numbered(OTHER), events);
    let asked = repair.drain();
    let [Out::Store { ticket, question: Question::Apply { .. } }] = asked[..] else { panic!("{asked:?}") };
    repair.stored(&scene(&map), ticket, Answer::Applied { refused: 1 });
    answered(&mut repair, &map, &Context::new());
    assert_eq!(told(&repair.drain()), []);
}

fn event(counter: u64) -> Event {
    Event { dot: Dot::new(Actor(1), counter), stamp: Stamp(1), puts: Vec::new(), drops: Vec::new() }
}

fn pieces(partition: PartitionId) -> Vec<Piece> {
    let storage = Memory::default();
    let replica = Replica::open(&storage, Actor(1), 1).expect("memory does not fail");
    replica.snapshot(&storage, partition, 1).expect("memory does not fail")
}

/// The first of two pieces of a state.
fn state(partition: PartitionId) -> Message {
    let piece = pieces(partition).into_iter().next().expect("there is one at least");
    Message::State { session: 7, partition, transfer: 1, index: 0, count: 2, piece }
}

#[test]
fn a_state_for_which_there_is_no_room_is_asked_for_when_there_is() {
    let map = TWO;
    let (first, second) = (PeerId::numbered(OTHER), PeerId::numbered(COMING));
    let mut repair = begun(&map);
    for partition in 0..push::TRANSFERS_MAX as u16 {
        // The last of them may not be of the same sender as all others.
        let from = if partition == 0 { second } else { first };
        repair.received(&scene(&map), from, state(partition));
    }
    let taken = repair.drain();
    assert!(taken.iter().all(|out| matches!(out, Out::Send { message: Message::Staged { .. }, .. })));
    repair.received(&scene(&map), second, state(5));
    repair.timeout(&scene(&map));
    let asked = |out: &Out| matches!(out, Out::Store { question: Question::Contexts { partitions }, .. } if *partitions == [5]);
    assert!(!repair.drain().iter().any(asked), "there is no room yet");

    repair.unreachable(first);
    repair.next_tick = Time(0);
    repair.timeout(&scene(&map));
    assert!(repair.drain().iter().any(asked), "what is held of it is told to who has it");
}

#[test]
fn who_sends_a_state_that_cannot_be_installed_does_not_keep_others_off() {
    let map = TWO;
    let (first, second) = (PeerId::numbered(OTHER), PeerId::numbered(COMING));
    let mut repair = begun(&map);
    for from in [first, second] {
        repair.received(&scene(&map), from, report(&map, seen(9)));
        answered(&mut repair, &map, &Context::new());
    }
    repair.drain();
    let Message::State { session, partition, transfer, index, piece, .. } = state(0) else { panic!() };
    let whole = Message::State { session, partition, transfer, index, count: 1, piece };
    repair.received(&scene(&map), first, whole);
    let asked = repair.drain();
    let [Out::Store { ticket, question: Question::Install { .. } }] = asked[..] else { panic!("{asked:?}") };
    repair.stored(&scene(&map), ticket, Answer::Installed { done: false });
    answered(&mut repair, &map, &Context::new());
    assert_eq!(told(&repair.drain()), [second]);
}

#[test]
fn however_often_membership_acts_repair_looks_only_so_often() {
    for (map, least) in [(TWO, TICK_FROM), (Fixed { leaving: true, ..TWO }, TICK_SETTLING)] {
        let mut repair = begun(&map);
        repair.timeout(&scene(&map));
        let now = scene(&map).now.time;
        assert!(!repair.may_tick(now + (least - Duration::from_micros(1))));
        assert!(repair.may_tick(now + least));
    }
}

/// The hashes that the other is asked about in a minute from there on, in which this has been synced here.
fn asked_about(repair: &mut Repair, map: &Fixed, from: Time, context: &Context) -> Vec<u64> {
    let mut hashes = Vec::new();
    for seconds in 0..60 {
        let scene = scene_at(map, from + Duration::from_secs(seconds));
        repair.timeout(&scene);
        for out in repair.drain() {
            if let Out::Store { ticket, .. } = out {
                repair.stored(&scene, ticket, Answer::Contexts { contexts: vec![(0, context.clone())] });
            }
        }
        hashes.extend(repair.drain().into_iter().filter_map(|out| match out {
            Out::Send { message: Message::Compare { hash, .. }, .. } => Some(hash),
            _ => None,
        }));
    }
    hashes
}

#[test]
fn with_whom_nothing_differed_is_asked_again_when_something_changes_or_after_a_while() {
    let mut repair = begun(&TWO);
    let minute = |n: u64| Time(0) + Duration::from_secs(60 * n);
    let asked = asked_about(&mut repair, &TWO, minute(0), &seen(1));
    assert!(asked.len() >= 5, "as long as there is no answer: {asked:?}");
    let same = |hash| Message::Same { view: TWO.view(), hash };
    repair.received(&scene_at(&TWO, minute(1)), PeerId::numbered(OTHER), same(asked[0]));
    assert_eq!(asked_about(&mut repair, &TWO, minute(1), &seen(1)), []);
    assert_eq!(asked_about(&mut repair, &TWO, minute(4), &seen(1)), []);
    assert_ne!(asked_about(&mut repair, &TWO, minute(6), &seen(1)), [], "five minutes are over");
    repair.received(&scene_at(&TWO, minute(7)), PeerId::numbered(OTHER), same(asked[0]));
    let asked = asked_about(&mut repair, &TWO, minute(7), &seen(2));
    assert_ne!(asked, [], "there is a new event here");
    repair.received(&scene_at(&TWO, minute(8)), PeerId::numbered(OTHER), same(asked[0]));
    assert_eq!(asked_about(&mut repair, &TWO, minute(8), &seen(2)), []);
    let stepped = Fixed { steps: 2, ..TWO };
    repair.replanned(&scene_at(&stepped, minute(9)));
    assert_ne!(asked_about(&mut repair, &stepped, minute(9), &seen(2)), [], "the table is another");
}

/// Whoever is taken to hold the same is taken to hold all of it; but what else differs must not wait for that.
#[test]
fn while_something_is_filled_again_all_that_differs_is_still_found() {
    let mut repair = scrub::held(&TWO, true);
    assert!(scrub::found_damaged(&mut repair, &TWO).contains(&Out::Damaged { partition: 0 }));
    answered(&mut repair, &TWO, &seen(1));
    repair.drain();

    let (view, other) = (TWO.view(), PeerId::numbered(OTHER));
    let hashes = vec![(0, seen(1).hash())];
    let message = Message::Hashes { view, hashes };
    for (hash, is_answered) in [(0, true), (super::exchange::hash(&[(0, seen(1))]), false)] {
        repair.received(&scene(&TWO), other, Message::Compare { view, hash });
        answered(&mut repair, &TWO, &seen(1));
        let sent = repair.drain();
        assert_eq!(
            sent.contains(&Out::Send { to: other, message: message.clone() }),
            is_answered,
            "{sent:?}"
        );
        assert!(!sent.iter().any(|out| matches!(out, Out::Send { message: Message::Same { .. }, .. })));
    }
}

/// What would be refused there would have been read here for nothing.
#[test]
fn no_more_is_sent_as_a_whole_to_one_peer_than_it_takes_of_one() {
    let mut repair = begun(&TWO);
    repair.drain();
    for partition in 0..9 {
        repair.todo.insert((partition, PeerId::numbered(OTHER)), true);
        let told = Told { view: TWO.view(), session: Some(1), context: Context::new(), filled: false };
        repair.told.entry(partition).or_default().insert(PeerId::numbered(OTHER), told);
    }
    repair.pump(&scene(&TWO));
    let reads = |out: &Out| matches!(out, Out::Store { question: Question::Missing { .. }, .. });
    assert_eq!(repair.drain().into_iter().filter(reads).count(), push::OF_ONE_MAX);
}

mod handoff;
mod liars;
mod logs;
mod proof;
mod room;
mod scrub;

fn lacking(repair: &mut Repair, partition: PartitionId, peer: u64) {
    let (peer, context) = (PeerId::numbered(peer), Context::new());
    repair.todo.insert((partition, peer), false);
    let told = Told { view: TWO.view(), session: Some(1), context, filled: true };
    repair.told.entry(partition).or_default().insert(peer, told);
}

/// Those that never acknowledge would keep repair from all others.
#[test]
fn some_do_not_take_all_that_may_be_sent_at_once() {
    let mut repair = begun(&TWO);
    let max = repair.config.repairs_max;
    for silent in [OTHER, COMING] {
        (0..2 * max as PartitionId).for_each(|partition| lacking(&mut repair, partition, silent));
        repair.pump(&scene(&TWO));
    }
    lacking(&mut repair, 0, 4);
    repair.pump(&scene(&TWO));
    let to = |peer| repair.pushes.keys().filter(|(_, to)| *to == PeerId::numbered(peer)).count();
    assert_eq!((to(OTHER), to(COMING), to(4)), (max * 3 / 4, 3, 1));
}

/// Given up and begun anew, it would never be done.
#[test]
fn what_storage_takes_long_to_prepare_is_sent_all_the_same() {
    let mut repair = begun(&TWO);
    repair.drain();
    lacking(&mut repair, 0, OTHER);
    repair.pump(&scene(&TWO));
    let asked = |repair: &mut Repair| match repair.drain()[..] {
        [Out::Store { ticket, .. }] => ticket,
        ref other => panic!("storage is asked: {other:?}"),
    };
    let ticket = asked(&mut repair);
    repair.stored(&scene(&TWO), ticket, Answer::Missing(Missing::Cut));
    let ticket = asked(&mut repair);
    let later = Time(0) + Duration::from_secs(60);
    repair.timeout(&scene_at(&TWO, later));
    answered(&mut repair, &TWO, &Context::new());
    repair.drain();
    repair.stored(&scene_at(&TWO, later), ticket, Answer::Snapshot { pieces: pieces(0) });
    let sent = repair.drain();
    let begins = |out: &Out| matches!(out, Out::Send { message: Message::State { index: 0, .. }, .. });
    assert!(sent.iter().any(begins), "{sent:?}");
}
