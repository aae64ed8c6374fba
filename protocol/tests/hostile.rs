//! A member that floods this peer: what it holds for it stays bounded, and others are served.

use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Cell, Command, Dot, Event, Field, Stamp};
use starling_protocol::config::{Config, Genesis};
use starling_protocol::effect::Effect;
use starling_protocol::ids::{OpId, PeerId, RequestId};
use starling_protocol::input::Input;
use starling_protocol::member::{Record, Standing, Step, View};
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::message::{Call, Gossip, GossipBody, Message, Refusal};
use starling_protocol::peer::{Peer, Start};
use starling_protocol::request::Request;
use starling_protocol::time::{Now, Time};
use std::sync::Arc;

const NOW: Now = Now { time: Time(1_000_000), wall_ms: 1_767_225_600_000 };
const LIMIT: usize = 100;
const FLOODER: PeerId = PeerId([9; 32]);

fn founder() -> Peer {
    let id = PeerId::numbered(1);
    let genesis = Genesis { n: 1, r: 1, w: 1, ..Genesis::made_up(id) };
    let start = Start {
        id,
        name: "p1".into(),
        zone: String::new(),
        weight: 100,
        addresses: vec!["/memory/1".into()],
        life: 1,
        genesis,
        signing: Arc::new(Unsigned),
        config: Config { operations_max: LIMIT, ..Config::default() },
        seed: 1,
        table: Vec::new(),
        founding: true,
        fresh: true,
        came: Default::default(),
    };
    let mut peer = Peer::new(start, NOW);
    peer.handle(NOW, Input::Listening { addresses: vec!["/memory/1".into()] }).count();
    peer
}

/// An event that the flooder wants kept in the place of somebody.
fn hint(n: u64) -> Message {
    let cell = Cell { key: ByteBuf::from(n.to_be_bytes()), field: Field::Register };
    let event = Event {
        dot: Dot::new(Actor(9), n + 1),
        stamp: Stamp(1),
        puts: vec![(cell, Some(ByteBuf::from([0; 100])))],
        drops: Vec::new(),
    };
    // It claims to know every step that there is, or it were told to learn first.
    let (view, held_for) = (View { steps: u64::MAX, hash: 0 }, Some(PeerId::numbered(5)));
    let partition = (n % 8) as u16;
    Message::Call(Call::Apply { op: OpId(n), view, partition, event: event.into(), held_for })
}

fn is_busy(effect: &Effect) -> bool {
    let Effect::Send { message: Message::Call(Call::Refused { why, .. }), .. } = effect else { return false };
    *why == Refusal::Busy
}

/// Lets the peer handle that many hints. How many it asked storage to keep, and how many it refused.
fn flood(peer: &mut Peer, hints: u64) -> (usize, usize) {
    let (mut asked, mut refused) = (0, 0);
    for n in 0..hints {
        for effect in peer.handle(NOW, Input::Received { from: FLOODER, message: hint(n) }) {
            asked += usize::from(matches!(effect, Effect::Store { .. }));
            refused += usize::from(is_busy(&effect));
        }
    }
    (asked, refused)
}

/// Tells who it is, as every member does first.
fn introduce(peer: &mut Peer) {
    let standing = Standing { version: 1, step: Step::Waiting };
    let record = Record { id: FLOODER, standing, ..Record::numbered(9) };
    let (view, accusations) = (View::default(), Vec::new());
    let gossip = Gossip { view, records: vec![record], accusations, sent: None, body: GossipBody::Update };
    peer.handle(NOW, Input::Received { from: FLOODER, message: Message::Gossip(gossip) }).count();
}

#[test]
fn nothing_is_kept_for_one_that_has_not_said_who_it_is() {
    let mut peer = founder();
    let (known, tables) = (peer.known(), peer.tables());
    assert_eq!(flood(&mut peer, 1_000), (0, 0));
    assert_eq!((peer.known(), peer.tables()), (known, tables));
}

#[test]
fn a_flood_of_hints_is_refused_beyond_a_bound_and_clients_are_served() {
    let mut peer = founder();
    introduce(&mut peer);
    assert_eq!(flood(&mut peer, 10_000), (LIMIT, 10_000 - LIMIT), "storage has answered none of them");
    for (name, length, most) in peer.tables() {
        assert!(length <= most, "{name} has {length}, and may have {most}");
    }
    let (key, command) = (ByteBuf::from("k"), Command::Set { value: ByteBuf::from("v") });
    let request = Request::Data { key, command, r: None, w: None, explain: false };
    let effects: Vec<_> = peer.handle(NOW, Input::Request { id: RequestId(1), request }).collect();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Store { .. })), "{effects:?}");
}
