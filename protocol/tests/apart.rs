//! An answer of a peer that may know a step that this one does not counts once it is known what it knew. Steps were
//! counted instead: after a cut one half had let a peer in, and the other had taken more steps without that one
//! (simulator, lite 1022652).

use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Dot, Event, Reply, Stamp};
use starling_protocol::config::{Config, Genesis};
use starling_protocol::effect::Effect;
use starling_protocol::ids::{OpId, PeerId, RequestId};
use starling_protocol::input::Input;
use starling_protocol::member::{Health, Record, Standing, Step, View};
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::message::{Call, Gossip, GossipBody, Message};
use starling_protocol::peer::{Peer, Start};
use starling_protocol::request::{Request, Response};
use starling_protocol::store::{Answer, Question};
use starling_protocol::time::{Duration, Now, Time};
use std::sync::Arc;

const NOW: Now = Now { time: Time(1_000_000), wall_ms: 1_767_225_600_000 };
/// Of the other owner: it knows something else than this peer, in fewer steps.
fn theirs() -> View {
    One::of(2, vec![record(2, 1)]).peer.known()
}

fn record(number: u64, version: u64) -> Record {
    Record { standing: Standing { version, step: Step::Member }, ..Record::numbered(number) }
}

/// One of two owners of everything. Both have to answer a read, and keep a write.
struct One {
    peer: Peer,
}

impl One {
    fn new() -> Self {
        Self::of(1, vec![record(1, 9), record(2, 1)])
    }

    fn of(number: u64, table: Vec<Record>) -> Self {
        let id = PeerId::numbered(number);
        let genesis = Genesis { partitions: 8, n: 2, ..Genesis::made_up(id) };
        let start = Start {
            id,
            name: format!("p{number}"),
            zone: String::new(),
            weight: 100,
            addresses: vec![format!("/memory/{number}")],
            life: number,
            genesis,
            signing: Arc::new(Unsigned),
            config: Config::default(),
            seed: 1,
            table,
            founding: false,
            fresh: false,
            came: Default::default(),
        };
        let mut one = Self { peer: Peer::new(start, NOW) };
        one.begins();
        one
    }

    /// Its storage tells that it holds nothing.
    fn begins(&mut self) {
        let begun: Vec<_> = self.peer.handle(NOW, Input::Timeout).collect();
        let asked = begun.iter().find_map(|effect| match effect {
            Effect::Store { id, question: Question::Survey } => Some(*id),
            _ => None,
        });
        let nothing = Answer::Surveyed { contexts: Vec::new(), logs: Vec::new(), given_up: Vec::new() };
        let answers = vec![(asked.expect("storage is asked what it holds"), nothing)];
        drop(self.peer.handle(NOW, Input::Stored { answers }));
    }

    fn hears(&mut self, call: Call) -> Vec<Effect> {
        self.receives(Message::Call(call))
    }

    fn receives(&mut self, message: Message) -> Vec<Effect> {
        self.peer.handle(NOW, Input::Received { from: PeerId::numbered(2), message }).collect()
    }

    /// Its whole table, which is no news.
    fn is_told_all(&mut self) -> Vec<Effect> {
        let (records, accusations) = (vec![record(2, 1)], Vec::new());
        let body = GossipBody::Exchange { reply: false };
        self.receives(Message::Gossip(Gossip { view: theirs(), records, accusations, sent: None, body }))
    }

    /// What a client has asked for.
    fn is_asked_for(&mut self, command: Command) -> Vec<Effect> {
        let request = Request::Data { key: ByteBuf::from("k"), command, r: None, w: None, explain: false };
        self.peer.handle(NOW, Input::Request { id: RequestId(1), request }).collect()
    }

    /// What a client has asked for, and what this peer's own storage has answered to that.
    fn carries_out(&mut self, command: Command, answers: &[Answer]) -> Vec<Effect> {
        let mut effects = self.is_asked_for(command);
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Store { id, question: Question::Read { .. } | Question::Execute { .. } } => Some(*id),
            _ => None,
        });
        let id = asked.expect("an owner asks its own storage");
        for answer in answers {
            let answers = vec![(id, answer.clone())];
            effects.extend(self.peer.handle(NOW, Input::Stored { answers }));
        }
        effects
    }
}

fn asked(effects: &[Effect]) -> Option<OpId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Call(Call::Read { op, .. } | Call::Apply { op, .. }), .. } => {
            Some(*op)
        }
        _ => None,
    })
}

fn is_answered(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Reply { .. }))
}

fn asks_for_the_table(effects: &[Effect]) -> bool {
    let asks = |message: &Message| {
        matches!(message, Message::Gossip(Gossip { body: GossipBody::Exchange { reply: true }, .. }))
    };
    effects.iter().any(|effect| matches!(effect, Effect::Send { message, .. } if asks(message)))
}

/// `answer` is the other owner's, with its view.
fn counts_once_all_is_known(command: Command, own: &[Answer], answer: fn(OpId, u64) -> Call) {
    let mut one = One::new();
    assert!(one.peer.known().steps > theirs().steps && !one.peer.knows_view(theirs().hash));
    let began = one.carries_out(command, own);
    let op = asked(&began).expect("the other owner is asked");

    let apart = one.hears(answer(op, theirs().hash));
    assert!(!is_answered(&apart) && asks_for_the_table(&apart), "{apart:?}");
    let told = one.is_told_all();
    assert_eq!(asked(&told), Some(op), "asked again: {told:?}");
    assert!(is_answered(&one.hears(answer(op, theirs().hash))));
}

#[test]
fn a_read_counts_what_is_answered_under_a_view_that_is_known() {
    let own = [Answer::Read { slice: Arc::default(), digest: None }];
    counts_once_all_is_known(Command::Get, &own, |op, under| Call::ReadSlice {
        op,
        under,
        slice: Arc::default(),
    });
}

#[test]
fn a_write_counts_the_copies_of_those_whose_view_is_known() {
    let (dot, stamp) = (Dot::new(Actor(1), 1), Stamp::at(NOW.wall_ms));
    let event = Event { dot, stamp, puts: Vec::new(), drops: Vec::new() };
    let executed = Answer::Executed { reply: Reply::Ok, hidden: 0, event: Some(event) };
    let command = Command::Set { value: ByteBuf::from("v") };
    counts_once_all_is_known(command, &[executed, Answer::Synced], |op, under| Call::Applied {
        ops: vec![op],
        under,
    });
}

/// The two sides of a cut have forgotten each other, and one has lost what it held: to begin anew is for no peer to decide.
#[test]
fn one_that_may_lack_what_it_held_does_not_go_on_where_all_others_were_forgotten_and_says_so() {
    let stands = |number, step| Record { standing: Standing { version: 5, step }, ..record(number, 1) };
    // Forgotten at its last stop, it has all that it held; one that waited then may have lost it before.
    for (saved, goes_on) in [(Step::Left, true), (Step::Waiting, false)] {
        let mut one = One::of(1, vec![stands(1, saved), stands(2, Step::Left)]);
        let step = one.peer.members().next().map(|me| me.standing.step);
        assert_eq!(step, Some(if goes_on { Step::Member } else { Step::Waiting }));
        let effects = one.is_asked_for(Command::Get);
        let why = effects.iter().find_map(|effect| match effect {
            Effect::Reply { response: Response::Data(Err(failure)), .. } => Some(failure.why.as_str()),
            _ => None,
        });
        let refused = "each peer that is known here was forgotten, or has lost what it held";
        assert_eq!(why, (!goes_on).then_some(refused));
    }
}

/// Were the table saved first, what is to be filled would count as held all along after a crash.
#[test]
fn what_has_come_is_remembered_before_the_table_by_which_it_came() {
    let mut one = One::of(1, vec![record(1, 9), record(2, 1), record(3, 1)]);
    let saves = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Save { .. }));
    let forgotten = Record { standing: Standing { version: 2, step: Step::Left }, ..record(3, 1) };
    let (view, records, body) = (theirs(), vec![forgotten], GossipBody::Exchange { reply: false });
    let gossip = Gossip { view, records, accusations: Vec::new(), sent: None, body };
    let told = one.receives(Message::Gossip(gossip));
    let asked = told.iter().find_map(|effect| match effect {
        Effect::Store { id, question: Question::Came { partitions } } if !partitions.is_empty() => Some(*id),
        _ => None,
    });
    assert!(!saves(&told), "{told:?}");
    let answers = vec![(asked.expect("storage is to remember what has come"), Answer::Came)];
    let noted: Vec<_> = one.peer.handle(NOW, Input::Stored { answers }).collect();
    assert!(saves(&noted), "{noted:?}");
}

fn standing(number: u64, version: u64, step: Step) -> Record {
    Record { standing: Standing { version, step }, ..record(number, 1) }
}

/// What has become of it after so many seconds.
fn step_after(one: &mut One, seconds: u64) -> Option<Step> {
    let now = Now { time: NOW.time + Duration::from_secs(seconds), ..NOW };
    drop(one.peer.handle(now, Input::Timeout));
    let mut members = one.peer.members();
    let step = members.next().map(|me| me.standing.step);
    assert!(members.all(|other| other.health != Health::Dead), "others are there");
    step
}

/// That one may have lost what it held, or have been told to leave.
#[test]
fn where_the_lowest_that_was_forgotten_does_not_go_on_the_next_does_after_a_while() {
    let mut one = One::of(2, vec![standing(1, 5, Step::Left), standing(2, 5, Step::Left)]);
    assert_eq!(step_after(&mut one, 9), Some(Step::Waiting));
    assert_eq!(step_after(&mut one, 10), Some(Step::Member));
}

/// One with nothing that comes would else be the sole owner of what others hold.
#[test]
fn one_that_was_forgotten_goes_on_though_another_comes_which_waits_for_that() {
    let records = || vec![standing(1, 1, Step::Joining), standing(2, 5, Step::Left)];
    assert_eq!(step_after(&mut One::of(2, records()), 0), Some(Step::Member));
    let mut comes = One::of(1, records());
    assert_eq!(step_after(&mut comes, 9), Some(Step::Joining));
    assert_ne!(step_after(&mut comes, 10), Some(Step::Joining), "nobody has gone on");
}

/// The lowest may have lost what it held: then the next goes on, which has waited for it.
#[test]
fn one_that_comes_waits_for_each_that_may_go_on() {
    let may_go_on = [1, 2].map(|number| standing(number, 5, Step::Left));
    let records = may_go_on.into_iter().chain([standing(3, 1, Step::Joining)]);
    let mut comes = One::of(3, records.collect());
    assert_eq!(step_after(&mut comes, 19), Some(Step::Joining));
    assert_ne!(step_after(&mut comes, 20), Some(Step::Joining), "nobody has gone on");
}
