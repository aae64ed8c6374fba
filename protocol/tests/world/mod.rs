//! A small network of the very `Peer`s that run in real processes, with one clock and one queue.

use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Memory, Replica, Reply, Storage};
use starling_protocol::config::{Config, Genesis};
use starling_protocol::effect::{Effect, Notice};
use starling_protocol::ids::{PeerId, RequestId, StoreId};
use starling_protocol::input::Input;
use starling_protocol::member::{Health, Record, Step};
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::message::Message;
use starling_protocol::peer::{Peer, Start};
use starling_protocol::request::{Request, Response, Status};
use starling_protocol::store::{Answer, Question, answer};
use starling_protocol::time::{Duration, Now, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LATENCY: Duration = Duration::from_millis(1);
const SYNC: Duration = Duration::from_millis(2);
/// 2026-01-01, so that stamps look like stamps.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// One peer with its disk.
struct Node {
    name: String,
    id: PeerId,
    weight: u32,
    peer: Option<Peer>,
    replica: Option<Replica>,
    /// What the peer sees, and what a crash leaves.
    disk: Memory,
    synced: Memory,
    /// Answers that wait for the next commit.
    waiting: Vec<(StoreId, Answer)>,
    table: Vec<Record>,
    /// Counts starts; what was scheduled in an earlier life is void.
    life: u64,
    wake: Option<Time>,
}

enum Event {
    Input {
        to: usize,
        life: u64,
        input: Input,
    },
    /// `lives`: of the sender and the receiver when it was sent. A connection does not outlive either.
    Frame {
        from: usize,
        to: usize,
        lives: (u64, u64),
        message: Message,
    },
    Wake {
        node: usize,
    },
    Commit {
        node: usize,
        life: u64,
    },
}

/// Not every test uses all of it.
pub struct World {
    genesis: Genesis,
    pub config: Config,
    now: Time,
    nodes: Vec<Node>,
    queue: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    seed: u64,
    cut: BTreeSet<(usize, usize)>,
    replies: BTreeMap<RequestId, Response>,
    requests: u64,
    /// Frames that were delivered, in words, while somebody listens.
    pub log: Option<Vec<String>>,
    /// What peers said of damaged partitions.
    pub damages: Vec<String>,
    pub frames: u64,
    /// Whether a peer may be stopped: what its disk has synced is kept for that, at the cost of a copy each time.
    pub may_stop: bool,
    /// Where peers stand, in the order in which they are added; of those beyond, no zone is known.
    pub zones: Vec<String>,
    /// Bytes of what peers said to repair and to compare.
    pub repair_bytes: u64,
    /// Milliseconds by which the clocks of all machines are ahead.
    pub ahead_ms: u64,
}

impl World {
    pub fn new(partitions: u16, n: u8, r: u8, w: u8, seed: u64) -> Self {
        let genesis = Genesis::made_up(PeerId::numbered(1));
        Self {
            genesis: Genesis { partitions, n, r, w, ..genesis },
            config: Config::default(),
            now: Time(0),
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            seed,
            cut: BTreeSet::new(),
            replies: BTreeMap::new(),
            requests: 0,
            log: None,
            damages: Vec::new(),
            frames: 0,
            may_stop: true,
            zones: Vec::new(),
            repair_bytes: 0,
            ahead_ms: 0,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Starts one more peer, which is told the address of the first.
    pub fn add(&mut self) -> usize {
        self.add_with_weight(100)
    }

    /// With a weight of 0 it owns nothing.
    pub fn add_with_weight(&mut self, weight: u32) -> usize {
        let index = self.nodes.len();
        let (name, id) = (format!("p{}", index + 1), PeerId::numbered(index as u64 + 1));
        let (disk, synced, waiting, table) = (Memory::default(), Memory::default(), Vec::new(), Vec::new());
        let (peer, replica, life, wake) = (None, None, 0, None);
        self.nodes.push(Node { name, id, weight, peer, replica, disk, synced, waiting, table, life, wake });
        self.start(index, true);
        index
    }

    pub fn index(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name == name).unwrap_or_else(|| panic!("no peer {name}"))
    }

    fn now_both(&self) -> Now {
        Now { time: self.now, wall_ms: EPOCH_MS + self.now.0 / 1000 + self.ahead_ms }
    }

    pub fn start(&mut self, index: usize, fresh: bool) {
        let now = self.now_both();
        let node = &mut self.nodes[index];
        node.life += 1;
        let life = (index as u64 + 1) * 1_000_000 + node.life;
        let founding = index == 0 && node.life == 1;
        let replica = Replica::open(&node.disk, Actor(life), life).expect("memory does not fail");
        let came = replica.came().clone();
        node.replica = Some(replica);
        let start = Start {
            id: node.id,
            name: node.name.clone(),
            zone: self.zones.get(index).cloned().unwrap_or_default(),
            weight: node.weight,
            addresses: vec![format!("/memory/{index}")],
            life,
            genesis: self.genesis.clone(),
            signing: Arc::new(Unsigned),
            config: self.config.clone(),
            seed: self.seed.wrapping_add(life),
            table: node.table.clone(),
            founding,
            fresh,
            came,
        };
        node.peer = Some(Peer::new(start, now));
        self.input(index, Input::Listening { addresses: vec![format!("/memory/{index}")] });
        if index != 0 {
            self.connect(index, 0);
        }
    }

    pub fn stop(&mut self, index: usize) {
        assert!(self.may_stop, "what it has synced was not kept");
        let node = &mut self.nodes[index];
        node.peer = None;
        node.replica = None;
        node.waiting.clear();
        node.disk = node.synced.clone();
        let id = node.id;
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            if self.reaches(index, other) {
                self.schedule_input(other, LATENCY, Input::Disconnected { peer: id });
            }
        }
    }

    /// The disk is replaced by an empty one; the peer's key and the genesis record were kept elsewhere.
    pub fn wipe(&mut self, index: usize) {
        self.lose_store(index);
        self.nodes[index].table = Vec::new();
    }

    /// Its store is moved away; its member table stays.
    pub fn lose_store(&mut self, index: usize) {
        self.nodes[index].disk = Memory::default();
        self.nodes[index].synced = Memory::default();
    }

    /// One bit of a key's first cell is not what it was.
    pub fn damage(&mut self, index: usize, key: &str) {
        let node = &mut self.nodes[index];
        let is_cell = |row: &[u8]| row[2] == 1 && row[5..].starts_with(key.as_bytes());
        let found = node.disk.rows().find(|(row, _)| is_cell(row));
        let (row, mut value) = found.map(|(row, value)| (row.to_vec(), value.to_vec())).expect("a cell");
        *value.last_mut().expect("no cell is empty") ^= 1;
        node.disk.put(&row, &value);
        node.synced.put(&row, &value);
    }

    pub fn cut(&mut self, groups: &[Vec<usize>]) {
        for (a, b) in groups.iter().flat_map(|a| groups.iter().map(move |b| (a, b))).filter(|(a, b)| a != b) {
            self.cut.extend(a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y))));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a, b))
    }

    pub fn connect(&mut self, from: usize, to: usize) {
        let (a, b) = (self.nodes[from].id, self.nodes[to].id);
        if self.reaches(from, to) && self.nodes[to].peer.is_some() {
            self.schedule_input(from, LATENCY, Input::Connected { peer: b });
            self.schedule_input(to, LATENCY, Input::Connected { peer: a });
        } else if self.reaches(from, to) {
            self.schedule_input(from, LATENCY, Input::Refused { peer: b });
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn schedule_input(&mut self, to: usize, after: Duration, input: Input) {
        let life = self.nodes[to].life;
        self.schedule(after, Event::Input { to, life, input });
    }

    pub fn input(&mut self, index: usize, input: Input) {
        let now = self.now_both();
        let Some(peer) = self.nodes[index].peer.as_mut() else { return };
        let effects: Vec<_> = peer.handle(now, input).collect();
        for effect in effects {
            self.carry_out(index, effect);
        }
        self.set_wake(index);
    }

    fn set_wake(&mut self, index: usize) {
        let next = self.nodes[index].peer.as_ref().and_then(Peer::next_timeout);
        if let Some(time) = next.filter(|time| self.nodes[index].wake.is_none_or(|wake| *time < wake)) {
            self.nodes[index].wake = Some(time.max(self.now));
            self.schedule(time.since(self.now), Event::Wake { node: index });
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                let bytes = message.encode();
                if matches!(message, Message::Repair(_)) {
                    self.repair_bytes += bytes.len() as u64;
                }
                let message = Message::decode(&bytes).expect("what a peer sends can be read");
                if let Some(to) = self.nodes.iter().position(|node| node.id == to) {
                    self.frame(index, to, message);
                }
            }
            Effect::Connect { peer, .. } => {
                if let Some(to) = self.nodes.iter().position(|node| node.id == peer) {
                    self.connect(index, to);
                }
            }
            Effect::Store { id, question } => self.store(index, id, question),
            Effect::Reply { id, response } => drop(self.replies.insert(id, response)),
            Effect::Save { table } => self.nodes[index].table = table,
            Effect::Notify(notice) => {
                if let Notice::Damaged { .. } | Notice::OnlyCopyDamaged { .. } | Notice::Refilled { .. } =
                    notice
                {
                    self.damages.push(format!("{} {notice:?}", self.nodes[index].name));
                }
            }
        }
    }

    fn frame(&mut self, from: usize, to: usize, message: Message) {
        let lives = (self.nodes[from].life, self.nodes[to].life);
        self.schedule(LATENCY, Event::Frame { from, to, lives, message });
    }

    fn store(&mut self, index: usize, id: StoreId, question: Question) {
        if self.nodes[index].replica.is_none() {
            return;
        }
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_mut() else { return };
        let told = answer(replica, &mut node.disk, self.now, &question).expect("memory does not fail");
        let told = if matches!(told, Answer::Executed { .. }) {
            self.schedule_input(index, Duration::ZERO, Input::Stored { answers: vec![(id, told)] });
            Answer::Synced
        } else {
            told
        };
        let node = &mut self.nodes[index];
        node.waiting.push((id, told));
        if node.waiting.len() == 1 {
            let life = node.life;
            self.schedule(SYNC, Event::Commit { node: index, life });
        }
    }

    /// What was changed since the last commit becomes durable at once, and only then is it told.
    fn commit(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if self.may_stop {
            node.synced = node.disk.clone();
        }
        let answers = std::mem::take(&mut node.waiting);
        self.input(index, Input::Stored { answers });
    }

    /// Lets things happen until `until` says so, or the time is up. True if it did.
    pub fn run_until(&mut self, limit: Duration, until: impl Fn(&World) -> bool) -> bool {
        let end = self.now + limit;
        while !until(self) {
            match self.queue.first_key_value().map(|(at, _)| *at) {
                Some(at) if at.0 <= end => self.step(at),
                _ => {
                    self.now = end;
                    return until(self);
                }
            }
        }
        true
    }

    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    fn step(&mut self, at: (Time, u64)) {
        let Some(event) = self.queue.remove(&at) else { return };
        self.now = at.0;
        match event {
            Event::Input { to, life, input } if self.nodes[to].life == life => self.input(to, input),
            Event::Input { .. } => {}
            Event::Frame { from, to, lives, message }
                if lives == (self.nodes[from].life, self.nodes[to].life) =>
            {
                self.deliver(from, to, message)
            }
            Event::Frame { .. } => {}
            Event::Commit { node, life } if self.nodes[node].life == life && self.is_up(node) => {
                self.commit(node)
            }
            Event::Commit { .. } => {}
            Event::Wake { node } => {
                self.nodes[node].wake = None;
                self.input(node, Input::Timeout);
                self.set_wake(node);
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        if !self.reaches(from, to) || self.nodes[from].peer.is_none() {
            return;
        }
        if self.nodes[to].peer.is_none() {
            let peer = self.nodes[to].id;
            return self.input(from, Input::Unreachable { peer });
        }
        self.frames += 1;
        if let Some(log) = &mut self.log {
            let (a, b) = (&self.nodes[from].name, &self.nodes[to].name);
            log.extend(in_words(&message).map(|words| format!("{a} -> {b}  {words}")));
        }
        self.input(to, Input::Received { from: self.nodes[from].id, message });
    }

    pub fn request(&mut self, index: usize, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.input(index, Input::Request { id, request });
        id
    }

    pub fn ask(&mut self, index: usize, request: Request) -> Response {
        let id = self.request(index, request);
        assert!(self.run_until(Duration::from_secs(10), |world| world.replies.contains_key(&id)), "no reply");
        self.replies.remove(&id).expect("it is there")
    }

    pub fn reply(&mut self, id: RequestId) -> Option<Response> {
        self.replies.remove(&id)
    }

    pub fn command(
        &mut self,
        index: usize,
        key: &str,
        command: Command,
        r: Option<u8>,
        w: Option<u8>,
    ) -> Response {
        let key = ByteBuf::from(key);
        self.ask(index, Request::Data { key, command, r, w, explain: false })
    }

    pub fn status(&mut self, index: usize) -> Status {
        match self.ask(index, Request::Status) {
            Response::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn is_up(&self, index: usize) -> bool {
        self.nodes[index].peer.is_some()
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn name(&self, index: usize) -> &str {
        &self.nodes[index].name
    }

    pub fn id(&self, index: usize) -> PeerId {
        self.nodes[index].id
    }

    /// What one peer's own disk says of a key, and whether it has anything of its partition at all.
    pub fn copy(&self, index: usize, partition: u16, key: &str) -> Option<Reply> {
        let node = &self.nodes[index];
        let replica = node.replica.as_ref()?;
        if replica.context(partition).is_empty() {
            return None;
        }
        let slice =
            replica.read(&node.disk, partition, key.as_bytes(), &Command::Get).expect("memory does not fail");
        Some(Command::Get.answer(&slice).reply)
    }

    /// Whether all peers that are up and own a partition hold the same, and nobody else holds anything.
    pub fn is_settled(&mut self) -> bool {
        let up: Vec<_> = (0..self.len()).filter(|index| self.is_up(*index)).collect();
        up.iter().all(|index| {
            let status = self.status(*index);
            status.held_for_others == 0 && status.repairing == 0
        })
    }
}

impl World {
    /// Whether all that are up take all `count` for members.
    pub fn all_members(&self, count: usize) -> bool {
        let members = |node: &Node| {
            let peer = node.peer.as_ref()?;
            Some(peer.members().filter(|record| record.standing.step == Step::Member).count())
        };
        self.nodes.iter().filter_map(members).all(|members| members == count)
    }

    /// How far a peer that is up has come, in its own eyes.
    pub fn own_step(&self, index: usize) -> Option<Step> {
        self.step_seen(index, index)
    }

    /// How far another has come, in the eyes of a peer that is up.
    pub fn step_seen(&self, by: usize, index: usize) -> Option<Step> {
        let mut members = self.nodes[by].peer.as_ref()?.members();
        members.find(|record| record.id == self.nodes[index].id).map(|record| record.standing.step)
    }

    /// Whether a peer that is up takes another for dead.
    pub fn holds_dead(&self, index: usize, other: usize) -> bool {
        let members = self.nodes[index].peer.iter().flat_map(|peer| peer.members());
        members.into_iter().any(|r| r.id == self.nodes[other].id && r.health == Health::Dead)
    }

    pub fn log_len(&self, index: usize, partition: u16) -> u64 {
        self.nodes[index].replica.as_ref().map_or(0, |replica| replica.log_len(partition))
    }

    /// Whether all owners that are up have the same events and the same cells of every partition.
    pub fn owners_agree(&mut self) -> bool {
        let up: Vec<_> = (0..self.len()).filter(|index| self.is_up(*index)).collect();
        (0..self.genesis.partitions).all(|partition| {
            let owners = self.owners(up[0], partition);
            let mut summaries = up.iter().filter(|i| owners.contains(&self.id(**i))).filter_map(|i| {
                let summary = self.nodes[*i].replica.as_ref()?.summary(partition);
                Some((summary.context, summary.fingerprint))
            });
            let first = summaries.next();
            summaries.all(|summary| Some(summary) == first)
        })
    }

    /// Whether nobody but owners holds anything.
    pub fn only_owners_hold(&mut self) -> bool {
        let up: Vec<_> = (0..self.len()).filter(|index| self.is_up(*index)).collect();
        (0..self.genesis.partitions).all(|partition| {
            let owners = self.owners(up[0], partition);
            let holds = |i: &usize| {
                self.nodes[*i].replica.as_ref().is_some_and(|replica| !replica.context(partition).is_empty())
            };
            up.iter().filter(|i| !owners.contains(&self.id(**i))).all(|i| !holds(i))
        })
    }

    fn owners(&mut self, asked: usize, partition: u16) -> Vec<PeerId> {
        let key = (0..).map(|n: u32| ByteBuf::from(n.to_string())).find_map(|key| {
            let Response::Where(found) = self.ask(asked, Request::Where { key }) else { return None };
            (found.partition == partition).then_some(found)
        });
        key.map(|found| found.owners.iter().map(|seat| seat.peer).collect()).unwrap_or_default()
    }
}

/// A frame in words; `None` for the chatter of membership.
fn in_words(message: &Message) -> Option<String> {
    let text = format!("{message:?}");
    let inner = text.strip_prefix("Call(").or_else(|| text.strip_prefix("Repair("))?;
    let end = inner.find([' ', '(', '{']).unwrap_or(inner.len());
    Some(inner[..end].to_owned())
}
