//! A client port before a peer that is only as much as clients see of one: real data, no network.
//! Commands run on one replica in memory; a second one stands for the rest of the world.
#![allow(dead_code)] // Each test program uses its own part.

use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Memory, PartitionId, Replica};
use starling_node::peer_handle::{ClientRequest, Facts, FaultHandle, PeerHandle};
use starling_node::resp;
use starling_protocol::config::Genesis;
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Health, Step};
use starling_protocol::request::*;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const PARTITIONS: PartitionId = 8;

pub struct FakePeer {
    pub address: SocketAddr,
    world: Arc<Mutex<World>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct World {
    here: (Replica, Memory),
    elsewhere: (Replica, Memory),
    failure: Option<FailureKind>,
    /// R and W of the last command.
    asked: (Option<u8>, Option<u8>),
}

impl FakePeer {
    pub fn start() -> Self {
        Self::start_with(resp::Port::default().clients, None)
    }

    pub fn start_with(clients_max: usize, faults: Option<FaultHandle>) -> Self {
        Self::start_as(clients_max, |facts, requests| PeerHandle::new(facts, requests, faults))
    }

    /// As its handle says.
    pub fn start_as(
        clients_max: usize,
        handle: impl FnOnce(Facts, mpsc::Sender<ClientRequest>) -> PeerHandle + Send + 'static,
    ) -> Self {
        Self::start_at(resp::Port { clients: clients_max, ..resp::Port::default() }, handle)
    }

    /// At such a port.
    pub fn start_at(
        port: resp::Port,
        handle: impl FnOnce(Facts, mpsc::Sender<ClientRequest>) -> PeerHandle + Send + 'static,
    ) -> Self {
        let world = Arc::new(Mutex::new(World {
            here: replica(1),
            elsewhere: replica(2),
            failure: None,
            asked: (None, None),
        }));
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let there = world.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                ready.send(address).unwrap();
                let (sender, mut requests) = mpsc::channel::<ClientRequest>(64);
                let answering = tokio::spawn(async move {
                    while let Some(request) = requests.recv().await {
                        let response = there.lock().unwrap().answer(request.request);
                        request.reply.send(response);
                    }
                });
                let handle = handle(facts(address), sender);
                resp::serve(listener, handle, port, async { drop(stopped.await) }).await;
                answering.await.unwrap();
            });
        });
        let address = address.recv().unwrap();
        Self { address, world, stop: Some(stop), thread: Some(thread) }
    }

    /// A write at another peer that has seen nothing of what happened here, and now arrives.
    pub fn write_elsewhere(&self, key: &str, command: Command) {
        let mut world = self.world.lock().unwrap();
        let World { here, elsewhere, .. } = &mut *world;
        let partition = partition(key.as_bytes());
        let (replica, storage) = elsewhere;
        let done = replica.execute(storage, partition, key.as_bytes(), &command, 9_000_000_000_000).unwrap();
        here.0.apply(&mut here.1, partition, &done.event.unwrap()).unwrap();
    }

    /// From now on commands on keys fail like this.
    pub fn fail(&self, failure: Option<FailureKind>) {
        self.world.lock().unwrap().failure = failure;
    }

    /// R and W of the last command.
    pub fn asked(&self) -> (Option<u8>, Option<u8>) {
        self.world.lock().unwrap().asked
    }

    /// Stops as a peer does: clients are answered and let go.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

fn replica(actor: u64) -> (Replica, Memory) {
    let storage = Memory::default();
    (Replica::open(&storage, Actor(actor), actor).unwrap(), storage)
}

fn partition(key: &[u8]) -> PartitionId {
    PartitionId::from(key.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))) % PARTITIONS
}

fn facts(resp: SocketAddr) -> Facts {
    let genesis =
        Genesis { name: "testnet".into(), partitions: PARTITIONS, ..Genesis::made_up(PeerId::numbered(1)) };
    Facts {
        peer: PeerId::numbered(1),
        peer_id: starling_node::transport::peer_text(&PeerId::numbered(1)),
        name: "p1".into(),
        resp,
        listen: Vec::new(),
        genesis,
        dir: "/nowhere".into(),
        started: SystemTime::now(),
    }
}

impl World {
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Data { key, command, r, w, explain } => {
                self.asked = (r, w);
                Response::Data(self.data(&key, &command, explain))
            }
            Request::Scan { cursor, limit } => self.scan(cursor, limit.into()),
            Request::Status => Response::Status(Box::new(status())),
            Request::Where { key } => Response::Where(Whereabouts {
                partition: partition(&key),
                owners: (1..4).map(seat).collect(),
                stand_ins: (4..6).map(seat).collect(),
            }),
            Request::Leave | Request::Forget { .. } => Response::Done,
        }
    }

    fn data(&mut self, key: &[u8], command: &Command, explain: bool) -> Result<Outcome, Failure> {
        let trace = explain.then(|| Box::new(trace(partition(key), command.writes())));
        if let Some(kind) = self.failure {
            return Err(Failure {
                kind,
                why: "1 of the 2 copies required (W=2) answered in 2 s".into(),
                state: "it may still take effect".into(),
                hint: "accept one copy: --w 1".into(),
                trace,
            });
        }
        let (replica, storage) = &mut self.here;
        let done = replica.execute(storage, partition(key), key, command, 1_000).unwrap();
        Ok(Outcome { reply: done.reply, hidden: done.hidden, trace })
    }

    fn scan(&self, cursor: ScanCursor, limit: usize) -> Response {
        let (replica, storage) = &self.here;
        let after = cursor.after.as_deref().map(|key| &key[..]);
        let keys = replica.keys(storage, cursor.partition, after, limit).unwrap();
        let next = match keys.last().filter(|_| keys.len() == limit) {
            Some(last) => Some(ScanCursor { partition: cursor.partition, after: Some(last.clone()) }),
            None => Some(cursor.partition + 1)
                .filter(|partition| *partition < PARTITIONS)
                .map(|partition| ScanCursor { partition, after: None }),
        };
        Response::Keys { keys, next }
    }
}

fn name(n: u64) -> String {
    format!("p{n}")
}

fn seat(n: u64) -> SeatView {
    SeatView { peer: PeerId::numbered(n), name: name(n), health: Health::Alive, step: Step::Member }
}

fn status() -> Status {
    let member = |n| MemberView {
        id: PeerId::numbered(n),
        name: name(n),
        health: if n == 5 { Health::Dead } else { Health::Alive },
        step: Step::Member,
        incarnation: 1,
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{}", 7478 + n)],
        zone: String::new(),
        weight: 100,
        share: 200,
    };
    Status {
        me: PeerId::numbered(1),
        network: facts("127.0.0.1:1".parse().unwrap()).genesis.network_id(),
        network_name: "testnet".into(),
        partitions: PARTITIONS,
        n: 3,
        r: 2,
        w: 2,
        members: (1..6).map(member).collect(),
        owned: 5,
        held_for_others: 1,
        repairing: 0,
        operations: 1,
        is_low: false,
        forged: 0,
    }
}

fn trace(partition: PartitionId, write: bool) -> Trace {
    let named = |n| Named { id: PeerId::numbered(n), name: name(n) };
    let asked =
        |n, role, answer, took_us| Asked { peer: named(n), role, health: Health::Alive, answer, took_us };
    Trace {
        partition,
        coordinator: named(1),
        n: 3,
        r: 2,
        w: 2,
        write,
        asked: vec![
            asked(1, Role::Owner, AnswerKind::Ok, Some(100)),
            asked(2, Role::Owner, AnswerKind::Ok, Some(1_200)),
            asked(3, Role::Owner, AnswerKind::Unreachable, None),
            asked(4, Role::StandIn { instead_of: named(3) }, AnswerKind::Pending, None),
        ],
        stand_ins: vec![named(5)],
        took_us: 1_300,
        verdict: "2 of 2 needed answers agree".into(),
    }
}

/// Bytes as a key or value.
pub fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes().to_vec())
}
