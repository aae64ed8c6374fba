//! Frames: what is sent is read as it was, and nothing that comes can do harm.

use proptest::prelude::*;
use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Cell, Command, Context, Dot, Event, Field, Stamp, Target};
use starling_protocol::ids::{OpId, PeerId};
use starling_protocol::member::View;
use starling_protocol::message::{
    APPLIED_MAX, Call, FRAME_MAX, Held, Message, MessageError, Repair, WIRE_VERSION,
};
use starling_protocol::store::KEYS_MAX;
use starling_protocol::time::{Moment, Time};

fn bytes() -> impl Strategy<Value = ByteBuf> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(ByteBuf::from)
}

fn context() -> impl Strategy<Value = Context> {
    let dot = (1..4u64, 1..20u64).prop_map(|(actor, counter)| Dot::new(Actor(actor), counter));
    proptest::collection::vec(dot, 0..30).prop_map(|dots| dots.into_iter().collect())
}

fn event() -> impl Strategy<Value = Event> {
    let cell = || (bytes(), bytes()).prop_map(|(key, member)| Cell { key, field: Field::Member(member) });
    let puts = proptest::collection::vec((cell(), proptest::option::of(bytes())), 0..4);
    let drops = proptest::collection::vec((cell().prop_map(Target::Cell), context()), 0..3);
    (any::<u64>(), 1..1000u64, any::<u64>(), puts, drops).prop_map(|(actor, counter, stamp, puts, drops)| {
        Event { dot: Dot::new(Actor(actor), counter), stamp: Stamp(stamp), puts, drops }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let view = View { steps: 7, hash: 9 };
    let apply = (any::<u64>(), any::<u16>(), event()).prop_map(move |(op, partition, event)| {
        let held_for = Some(PeerId::numbered(3));
        Message::Call(Call::Apply { op: OpId(op), view, partition, event: event.into(), held_for })
    });
    let forward = (bytes(), bytes(), any::<bool>()).prop_map(|(key, value, explain)| {
        Message::Call(Call::Forward {
            op: OpId(1),
            key,
            command: Command::Set { value },
            r: 2,
            w: 2,
            explain,
            until: explain.then_some(Moment { life: 3, time: Time(5) }),
            last: explain,
        })
    });
    let report = (any::<u16>(), any::<u64>(), context()).prop_map(move |(partition, session, context)| {
        let filled = session % 2 == 0;
        Message::Repair(Repair::Report { view, held: vec![Held { partition, session, context, filled }] })
    });
    prop_oneof![apply, forward, report]
}

proptest! {
    #[test]
    fn what_is_sent_is_read_as_it_was(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()).expect("it was encoded here"), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut frame in proptest::collection::vec(any::<u8>(), 0..400), versioned in any::<bool>()) {
        if let Some(first) = frame.first_mut().filter(|_| versioned) {
            *first = WIRE_VERSION;
        }
        let _ = Message::decode(&frame);
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused(message in message(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut frame = message.encode();
        let at = at.index(frame.len());
        frame[at] ^= flip;
        let _ = Message::decode(&frame);
    }

    #[test]
    fn a_frame_cut_short_or_with_more_behind_it_is_refused(message in message(), at in any::<prop::sample::Index>()) {
        let mut frame = message.encode();
        prop_assert!(Message::decode(&frame[..at.index(frame.len())]).is_err());
        frame.push(0);
        prop_assert!(Message::decode(&frame).is_err());
    }
}

#[test]
fn each_refusal_has_its_reason() {
    assert_eq!(Message::decode(&[]), Err(MessageError::Empty));
    let newer = Message::decode(&[WIRE_VERSION + 1, 0xf6]).unwrap_err();
    assert_eq!(newer, MessageError::Version(WIRE_VERSION + 1));
    let both = format!("of wire version {}, and this peer speaks version {WIRE_VERSION}:", WIRE_VERSION + 1);
    assert!(newer.to_string().contains(&both), "{newer}");
    assert!(newer.to_string().ends_with("update Starling on the older of the two"), "{newer}");
    assert!(matches!(Message::decode(&vec![0; FRAME_MAX + 1]), Err(MessageError::TooLong(_))));
    // A byte string that claims 2^63 bytes, and arrays nested 10,000 deep.
    let huge = [WIRE_VERSION, 0xa1, 0x61, b'C', 0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(Message::decode(&huge), Err(MessageError::Malformed(_))));
    for (count, fits) in [(APPLIED_MAX, true), (APPLIED_MAX + 1, false)] {
        let call = Call::Applied { ops: vec![OpId(1); count], under: 0 };
        assert_eq!(Message::decode(&Message::Call(call).encode()).is_ok(), fits);
    }
    for (count, fits) in [(usize::from(KEYS_MAX), true), (usize::from(KEYS_MAX) + 1, false)] {
        let call = Call::KeysFound { op: OpId(1), keys: vec![ByteBuf::new(); count], more: true };
        assert_eq!(Message::decode(&Message::Call(call).encode()).is_ok(), fits);
    }
    let mut deep = vec![0x81; 10_000];
    deep[0] = WIRE_VERSION;
    assert!(matches!(Message::decode(&deep), Err(MessageError::Malformed(_))));
}
