//! What an operation costs in the state machine: no sockets, no disks. Three peers exchange messages
//! through a queue, and storage is rows in memory.
//!
//! `cargo bench -p starling-protocol`

use criterion::{Criterion, criterion_group, criterion_main};
use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Memory, Replica};
use starling_protocol::config::{Config, Genesis};
use starling_protocol::effect::Effect;
use starling_protocol::ids::{PeerId, RequestId};
use starling_protocol::input::Input;
use starling_protocol::member::Record;
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::message::{Call, Message};
use starling_protocol::peer::{Peer, Start};
use starling_protocol::placement::Placement;
use starling_protocol::request::{Request, Response};
use starling_protocol::store::{Answer, answer};
use starling_protocol::time::{Now, Time};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

const KEYS: u64 = 1000;
/// 2026-01-01, so that stamps look like stamps.
const WALL_MS: u64 = 1_767_225_600_000;

/// Three members with N=3, R=W=2, that deliver to each other at once.
struct Trio {
    peers: Vec<(PeerId, Peer, Replica, Memory)>,
    queue: VecDeque<(usize, Input)>,
    requests: u64,
    /// The first message that carried an event.
    apply: Option<Message>,
}

impl Trio {
    fn new() -> Self {
        let genesis = Genesis::made_up(PeerId::numbered(1));
        let peer = |i: u64| {
            let Record { id, name, zone, weight, addresses, .. } = Record::numbered(i);
            let (life, config, table) = (i + 10, Config::default(), (1..=3).map(Record::numbered).collect());
            let (genesis, seed, founding, fresh) = (genesis.clone(), i, false, false);
            let start = Start {
                id,
                name,
                zone,
                weight,
                addresses,
                life,
                genesis,
                signing: Arc::new(Unsigned),
                config,
                seed,
                table,
                founding,
                fresh,
                came: Default::default(),
            };
            let disk = Memory::default();
            let replica = Replica::open(&disk, Actor(life), life).expect("memory does not fail");
            (id, Peer::new(start, now()), replica, disk)
        };
        let peers = (1..=3).map(peer).collect();
        let mut trio = Self { peers, queue: VecDeque::new(), requests: 0, apply: None };
        for (at, i) in [(0, 2), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
            trio.queue.push_back((at, Input::Connected { peer: PeerId::numbered(i) }));
        }
        trio.settle();
        trio
    }

    /// One command at the first peer, and all that follows from it everywhere.
    fn ask(&mut self, key: u64, command: Command) -> Response {
        self.requests += 1;
        let key = ByteBuf::from(format!("k{:015}", key % KEYS));
        let request = Request::Data { key, command, r: None, w: None, explain: false };
        self.queue.push_back((0, Input::Request { id: RequestId(self.requests), request }));
        self.settle().expect("the request is answered")
    }

    fn settle(&mut self) -> Option<Response> {
        let mut reply = None;
        while let Some((at, input)) = self.queue.pop_front() {
            let (from, peer, replica, disk) = &mut self.peers[at];
            for effect in peer.handle(now(), input) {
                match effect {
                    Effect::Send { to, message } => {
                        let there = (0..3).find(|i| PeerId::numbered(i + 1) == to).expect("one of three");
                        if self.apply.is_none() && matches!(message, Message::Call(Call::Apply { .. })) {
                            self.apply = Some(message.clone());
                        }
                        self.queue.push_back((there as usize, Input::Received { from: *from, message }));
                    }
                    Effect::Store { id, question } => {
                        let answer = answer(replica, disk, Time(0), &question).expect("memory does not fail");
                        let executed = matches!(answer, Answer::Executed { .. });
                        self.queue.push_back((at, Input::Stored { answers: vec![(id, answer)] }));
                        if executed {
                            self.queue.push_back((at, Input::Stored { answers: vec![(id, Answer::Synced)] }));
                        }
                    }
                    Effect::Reply { response, .. } => reply = Some(response),
                    Effect::Connect { .. } | Effect::Save { .. } | Effect::Notify(_) => {}
                }
            }
        }
        reply
    }
}

fn now() -> Now {
    Now { time: Time(1_000_000), wall_ms: WALL_MS }
}

fn set() -> Command {
    Command::Set { value: ByteBuf::from([b'x'; 100]) }
}

fn operations(c: &mut Criterion) {
    let mut trio = Trio::new();
    let mut key = 0;
    for key in 0..KEYS {
        let Response::Data(Ok(_)) = trio.ask(key, set()) else { panic!("a write failed") };
    }
    c.bench_function("a write of 100 bytes: all steps of three peers, storage included", |b| {
        b.iter(|| {
            key += 1;
            trio.ask(key, set())
        });
    });
    c.bench_function("a read with R=2: all steps of three peers, storage included", |b| {
        b.iter(|| {
            key += 1;
            trio.ask(key, Command::Get)
        });
    });
    let message = trio.apply.expect("writes were sent to others");
    let frame = message.encode();
    c.bench_function("encode a message with an event of 100 bytes", |b| {
        b.iter(|| black_box(&message).encode());
    });
    c.bench_function("decode a message with an event of 100 bytes", |b| {
        b.iter(|| Message::decode(black_box(&frame)).expect("it was encoded here"));
    });
}

/// One step alone: the first peer takes a request and says what it asks for.
fn steps(c: &mut Criterion) {
    for (name, command) in [("write", set()), ("read", Command::Get)] {
        c.bench_function(&format!("the first step of a {name}"), |b| {
            b.iter_batched_ref(
                Trio::new,
                |trio| {
                    let peer = &mut trio.peers[0].1;
                    // Fewer than the operations that may be under way; the time of a step is this by 1000.
                    for i in 0..1000 {
                        let key = ByteBuf::from(format!("k{i:015}"));
                        let command = command.clone();
                        let request = Request::Data { key, command, r: None, w: None, explain: false };
                        let input = Input::Request { id: RequestId(i), request };
                        black_box(peer.handle(now(), input).count());
                    }
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
}

fn placement(c: &mut Criterion) {
    for peers in [3, 50] {
        let (few, all): (Vec<_>, Vec<_>) =
            ((1..peers).map(Record::numbered).collect(), (1..=peers).map(Record::numbered).collect());
        let mut placement = Placement::new(256, 3);
        placement.update(few.iter());
        c.bench_function(&format!("placement: one peer joins {peers}, and leaves"), |b| {
            b.iter(|| {
                placement.update(all.iter());
                placement.update(few.iter())
            });
        });
        c.bench_function(&format!("placement: nothing has changed among {peers}"), |b| {
            b.iter(|| placement.update(few.iter()));
        });
    }
    let placement = Placement::new(256, 3);
    c.bench_function("partition of a key", |b| {
        b.iter(|| placement.partition_of(black_box(b"k000000000000007")))
    });
}

criterion_group!(benches, operations, steps, placement);
criterion_main!(benches);
