//! Every message has one spelling: what says the same in other bytes is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::{ByteArray, ByteBuf};
use starling_crdt::{
    Actor, Cell, Command, Context, Dot, Event, Field, Memory, Piece, Replica, Stamp, Target,
};
use starling_protocol::admission::certificate;
use starling_protocol::admission::invite::JoinRefusal;
use starling_protocol::admission::wire::{self, JoinReply, JoinRequest, Opening, Refused, Reply, Verdict};
use starling_protocol::ids::{OpId, PeerId};
use starling_protocol::member::{Accusation, Health, Record, Standing, Step, View, Voucher};
use starling_protocol::message::{Call, Gossip, GossipBody, Held, Message, Refusal, Repair, WIRE_VERSION};
use starling_protocol::request::{AnswerKind, Asked, Failure, FailureKind, Named, Outcome, Role, Trace};
use starling_protocol::signature::Signature;
use starling_protocol::store::{Answer, Question, answer};
use starling_protocol::time::{Moment, Time};
use std::path::Path;

const VIEW: View = View { steps: 300, hash: u64::MAX };

fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

fn gossip() -> Vec<Message> {
    let (seq, target) = (70_000, PeerId::numbered(2));
    let record = Record {
        id: target,
        incarnation: 1,
        health: Health::Suspect,
        standing: Standing { version: 3, step: Step::Joining },
        life: u64::MAX,
        started_ms: 1 << 40,
        name: "p2".into(),
        addresses: vec!["/ip4/10.0.0.1/tcp/1".into()],
        zone: String::new(),
        weight: 100,
        signature: Some(Signature([7; 64])),
        certificates: bytes("certificates"),
        voucher: Some(Voucher {
            by: PeerId::numbered(3),
            certificates: bytes("others"),
            signature: Signature([8; 64]),
        }),
    };
    let accusation = Accusation { suspect: target, incarnation: 24, by: PeerId::numbered(3) };
    let bodies = [
        GossipBody::Ping { seq },
        GossipBody::Ack { seq },
        GossipBody::PingReq { seq, target },
        GossipBody::Nack { seq },
        GossipBody::Exchange { reply: true },
        GossipBody::Compare { digest: 1 << 40 },
        GossipBody::Update,
    ];
    let sent = Some(Moment { life: 1, time: Time(256) });
    let said = |body| Gossip {
        view: VIEW,
        records: vec![record.clone()],
        accusations: vec![accusation],
        sent,
        body,
    };
    bodies.map(|body| Message::Gossip(said(body))).into()
}

/// A replica with a little of everything, and an event of it.
fn replica() -> (Replica, Memory, Event) {
    let mut storage = Memory::default();
    let mut replica = Replica::open(&storage, Actor(1), 1).unwrap();
    let commands = [
        ("s", Command::Set { value: bytes("v") }),
        ("h", Command::HSet { entries: vec![(bytes("f"), bytes("1"))] }),
        ("t", Command::SAdd { members: vec![bytes("x"), bytes("y")] }),
        ("n", Command::IncrBy { by: -300 }),
        ("t", Command::SRem { members: vec![bytes("x")] }),
    ];
    let mut last = None;
    for (key, command) in commands {
        last = replica.execute(&mut storage, 1, key.as_bytes(), &command, 1_000).unwrap().event.or(last);
    }
    (replica, storage, last.unwrap())
}

fn pieces() -> Vec<Piece> {
    let (mut replica, mut storage, _) = replica();
    match answer(&mut replica, &mut storage, Time(0), &Question::Snapshot { partition: 1, max_bytes: 4096 }) {
        Ok(Answer::Snapshot { pieces }) => pieces,
        other => panic!("{other:?}"),
    }
}

fn outcome() -> Outcome {
    let named = |n| Named { id: PeerId::numbered(n), name: format!("p{n}") };
    let role = Role::StandIn { instead_of: named(3) };
    let (health, answer) = (Health::Alive, AnswerKind::Differs);
    let trace = Trace {
        partition: 9,
        coordinator: named(1),
        n: 3,
        r: 2,
        w: 2,
        write: true,
        asked: vec![Asked { peer: named(2), role, health, answer, took_us: Some(1000) }],
        stand_ins: vec![named(4)],
        took_us: 70_000,
        verdict: "so".into(),
    };
    let reply = starling_crdt::Reply::Map(vec![(bytes("f"), bytes("v"))]);
    Outcome { reply, hidden: 1, trace: Some(Box::new(trace)) }
}

fn calls() -> Vec<Message> {
    let (op, view, partition, key) = (OpId(u64::MAX), VIEW, 500, bytes("key"));
    let (mut replica, mut storage, event) = replica();
    let question = Question::Read { partition: 1, key: bytes("h"), command: Command::HGetAll };
    let Ok(Answer::Read { slice, .. }) = answer(&mut replica, &mut storage, Time(0), &question) else {
        panic!()
    };
    let until = Some(Moment { life: 3, time: Time(5) });
    let failure = Failure {
        kind: FailureKind::Quorum,
        why: "w".into(),
        state: "s".into(),
        hint: "h".into(),
        trace: None,
    };
    let command = Command::HMGet { fields: vec![bytes("f")] };
    let calls = [
        Call::Forward {
            op,
            key: key.clone(),
            command: command.clone(),
            r: 2,
            w: 2,
            explain: true,
            until,
            last: true,
        },
        Call::Forwarded { op, result: Ok(outcome()) },
        Call::Forwarded { op, result: Err(failure) },
        Call::Apply { op, view, partition, event: event.into(), held_for: Some(PeerId::numbered(9)) },
        Call::Applied { ops: vec![op, OpId(u64::MAX)], under: 1 << 60 },
        Call::Read { op, view, partition, key: key.clone(), command, digest: true },
        Call::ReadSlice { op, under: 7, slice },
        Call::ReadDigest { op, under: 0, digest: 1 << 33 },
        Call::Keys { op, partition, after: Some(key.clone()), limit: 1000, last: false },
        Call::KeysFound { op, keys: vec![key], more: true },
        Call::Behind { op, view },
        Call::Refused { op, why: Refusal::Malformed },
    ];
    calls.map(Message::Call).into()
}

/// A page of a large set is asked for, and told together with where it ends.
fn pages() -> Vec<Message> {
    let (mut replica, mut storage, _) = replica();
    let add = Command::SAdd { members: vec![bytes("z")] };
    replica.execute(&mut storage, 1, b"t", &add, 1_001).unwrap();
    let command = Command::SScan { after: Some(bytes("x")), limit: 1 };
    let slice = replica.read(&storage, 1, b"t", &command).unwrap();
    assert_eq!(slice.until, Some(bytes("y")));
    let (op, view, partition, key) = (OpId(1), VIEW, 1, bytes("t"));
    let calls = [
        Call::Read { op, view, partition, key, command, digest: false },
        Call::ReadSlice { op, under: 7, slice: slice.into() },
    ];
    calls.map(Message::Call).into()
}

fn repairs() -> Vec<Message> {
    let (view, partition, session, hash) = (VIEW, 3, 1 << 50, 77);
    let context: Context = [1, 2, 5].map(|counter| Dot::new(Actor(1), counter)).into_iter().collect();
    let cell = Cell { key: bytes("k"), field: Field::Member(bytes("m")) };
    let event = Event {
        dot: Dot::new(Actor(1), 9),
        stamp: Stamp(1 << 60),
        puts: vec![(cell.clone(), Some(bytes("v"))), (Cell { field: Field::Register, ..cell.clone() }, None)],
        drops: vec![(Target::Cell(cell), context.clone()), (Target::Key(bytes("k")), context.clone())],
    };
    let piece = pieces().remove(0);
    let repairs = [
        Repair::Compare { view, hash },
        Repair::Same { view, hash },
        Repair::Hashes { view, hashes: vec![(partition, hash)] },
        Repair::Meet { partition, with: PeerId::numbered(2) },
        Repair::Ask { partitions: vec![partition, 300] },
        Repair::Report { view, held: vec![Held { partition, session, context, filled: true }] },
        Repair::Events { session, partition, events: vec![event] },
        Repair::State { session, partition, transfer: 1, index: 0, count: 1, piece },
        Repair::Staged { partition, transfer: 1, index: 0 },
    ];
    repairs.map(Message::Repair).into()
}

/// Of each kind of message one, counted here so that none is forgotten that is added.
#[test]
fn there_is_a_sample_of_every_message() {
    let place = |message: &Message| match message {
        Message::Gossip(gossip) => match gossip.body {
            GossipBody::Ping { .. } => 0,
            GossipBody::Ack { .. } => 1,
            GossipBody::PingReq { .. } => 2,
            GossipBody::Nack { .. } => 3,
            GossipBody::Exchange { .. } => 4,
            GossipBody::Compare { .. } => 5,
            GossipBody::Update => 6,
        },
        Message::Call(call) => match call {
            Call::Forward { .. } => 7,
            Call::Forwarded { result: Ok(_), .. } => 8,
            Call::Forwarded { result: Err(_), .. } => 9,
            Call::Apply { .. } => 10,
            Call::Applied { .. } => 11,
            Call::Read { .. } => 12,
            Call::ReadSlice { .. } => 13,
            Call::ReadDigest { .. } => 14,
            Call::Keys { .. } => 15,
            Call::KeysFound { .. } => 16,
            Call::Behind { .. } => 17,
            Call::Refused { .. } => 18,
        },
        Message::Repair(repair) => match repair {
            Repair::Compare { .. } => 19,
            Repair::Same { .. } => 20,
            Repair::Hashes { .. } => 21,
            Repair::Meet { .. } => 22,
            Repair::Ask { .. } => 23,
            Repair::Report { .. } => 24,
            Repair::Events { .. } => 25,
            Repair::State { .. } => 26,
            Repair::Staged { .. } => 27,
        },
    };
    let places: Vec<usize> = [gossip(), calls(), repairs()].concat().iter().map(place).collect();
    assert_eq!(places, (0..28).collect::<Vec<_>>());
}

#[test]
fn a_message_between_peers_has_one_spelling() {
    for message in [gossip(), calls(), pages(), repairs()].concat() {
        let frame = message.encode();
        assert_eq!(Message::decode(&frame).as_ref(), Ok(&message));
        let others = other_spellings(&frame[1..]);
        assert!(others.len() > 5, "{message:?}");
        for other in others {
            let other = [&[WIRE_VERSION][..], &other].concat();
            let read = Message::decode(&other);
            assert!(read.is_err(), "{other:x?} was read as {read:?}");
        }
    }
}

/// `STARLING_REWRITE=1` writes them anew.
#[test]
fn the_fuzzer_of_frames_begins_with_one_of_each() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
    for (i, message) in [gossip(), calls(), pages(), repairs()].concat().iter().enumerate() {
        let (path, frame) = (corpus.join(format!("message-{i:02}")), message.encode());
        if std::env::var_os("STARLING_REWRITE").is_some() {
            std::fs::write(&path, &frame).unwrap();
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(
            there == frame,
            "{path:?} is not {message:?}; write all of them anew with STARLING_REWRITE=1"
        );
    }
}

fn has_one_spelling<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: T) {
    let frame = wire::encode(&message);
    assert_eq!(wire::decode::<T>(&frame).as_ref(), Ok(&message));
    for other in other_spellings(&frame) {
        assert!(wire::decode::<T>(&other).is_err(), "{other:x?} was read as {message:?}");
    }
}

#[test]
fn a_message_of_admission_has_one_spelling() {
    let (chain, revoked) = (ByteBuf::from([1; 30]), ByteArray::new([2; 32]));
    let refused =
        || Refused { refusal: certificate::Refusal::Revoked, revocation: Some(ByteBuf::from([3; 9])) };
    has_one_spelling(Opening::Hello { chain: chain.clone(), revoked });
    has_one_spelling(Opening::Digest { revoked, now_ms: 1 << 40 });
    has_one_spelling(Opening::Push { all: true });
    has_one_spelling(Reply::Welcome { chain: chain.clone(), revoked });
    has_one_spelling(Reply::Refused(refused()));
    has_one_spelling(Verdict::Welcome);
    has_one_spelling(Verdict::Refused(refused()));
    has_one_spelling(vec![ByteBuf::from([3; 300])]);
    has_one_spelling(JoinRequest {
        network: ByteArray::new([1; 16]),
        invite: ByteArray::new([2; 8]),
        proof: ByteArray::new([3; 32]),
    });
    has_one_spelling(JoinReply::Welcome { genesis: chain.clone(), chain });
    has_one_spelling(JoinReply::Refused(JoinRefusal::Spent));
}

/// The same value in other bytes, one change each: numbers and lengths that are longer than need be, texts,
/// arrays and maps without their length, entries of maps in another order, twice, or more of them.
fn other_spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut others = Vec::new();
    let end = item(bytes, 0, &mut others);
    assert_eq!(end, bytes.len(), "the sample is one item of CBOR");
    others
}

fn replaced(bytes: &[u8], from: usize, to: usize, by: &[&[u8]]) -> Vec<u8> {
    [&bytes[..from], &by.concat(), &bytes[to..]].concat()
}

/// Spellings of the item that begins at `at`, and of those within; where it ends.
fn item(bytes: &[u8], at: usize, others: &mut Vec<Vec<u8>>) -> usize {
    let (major, info) = (bytes[at] >> 5, bytes[at] & 31);
    let wide = if info < 24 { 0 } else { 1usize << (info - 24) };
    let body = at + 1 + wide;
    let number = if wide == 0 {
        u64::from(info)
    } else {
        bytes[at + 1..body].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    if major == 7 {
        assert!(matches!(info, 20..=22), "false, true or null");
        return body;
    }
    if wide < 8 {
        others.push(replaced(bytes, at, body, &[&[major << 5 | 27], &number.to_be_bytes()]));
    }
    let count = usize::try_from(number);
    let endless = [major << 5 | 31];
    match major {
        0 | 1 => body,
        2 | 3 => {
            let end = body + count.unwrap();
            others.push(replaced(bytes, at, end, &[&endless, &bytes[at..end], &[0xff]]));
            end
        }
        4 => {
            let end = (0..count.unwrap()).fold(body, |at, _| item(bytes, at, others));
            others.push(replaced(bytes, at, end, &[&endless, &bytes[body..end], &[0xff]]));
            end
        }
        5 => map(bytes, at, body, count.unwrap(), others),
        _ => panic!("no tags are written"),
    }
}

fn map(bytes: &[u8], at: usize, body: usize, count: usize, others: &mut Vec<Vec<u8>>) -> usize {
    let mut starts = vec![body];
    for _ in 0..count {
        let value = item(bytes, *starts.last().unwrap(), others);
        starts.push(item(bytes, value, others));
    }
    let end = *starts.last().unwrap();
    others.push(replaced(bytes, at, end, &[&[0xbf], &bytes[body..end], &[0xff]]));
    if let [first, second, third, ..] = starts[..] {
        others.push(replaced(bytes, first, third, &[&bytes[second..third], &bytes[first..second]]));
    }
    if count > 0 && count < 22 {
        let more = 0xa0 | (count as u8 + 1);
        let first = &bytes[starts[0]..starts[1]];
        others.push(replaced(bytes, at, end, &[&[more], &bytes[body..end], first]));
        others.push(replaced(bytes, at, end, &[&[more], &bytes[body..end], b"\x67unknown\x00"]));
    }
    end
}
