//! The simulated machines: peers, their disks and clocks, one queue of all that is to happen.

use super::chance::{Chance, Concern};
use super::checkers::meeting::Acknowledged;
use super::checkers::tables;
use super::clients::Clients;
use super::disk::Disk;
use super::faults::{Faults, Mend};
use super::ledger::Ledger;
use super::links::Links;
use super::plan::{Fault, Plan};
use super::schedule::Scheduled;
use super::watch::Before;
use starling_crdt::{Context, Replica};
use starling_protocol::config::{Config, Genesis};
use starling_protocol::effect::{Effect, Notice};
use starling_protocol::ids::{PartitionId, PeerId, StoreId};
use starling_protocol::input::Input;
use starling_protocol::member::{Record, Standing};
use starling_protocol::message::Message;
use starling_protocol::peer::Peer;
use starling_protocol::store::{Answer, Question};
use starling_protocol::time::{Duration, Now, Time};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

/// 2026-01-01, so that stamps look like stamps.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// How often tables are held against their bounds.
const TABLES_EVERY: Time = Time(100_000);

/// One machine with its disk.
pub struct Node {
    pub name: String,
    pub id: PeerId,
    /// 0: it owns nothing.
    pub weight: u32,
    pub peer: Option<Peer>,
    pub replica: Option<Replica>,
    pub disk: Disk,
    /// The contexts of what is synced.
    pub durable: BTreeMap<PartitionId, Context>,
    /// Of what is being synced, and which partitions have changed since that began.
    pub syncing: BTreeMap<PartitionId, Context>,
    pub dirty: BTreeSet<PartitionId>,
    /// What was let go since the last sync began, and before: reports that were asked for earlier name it.
    pub released: BTreeMap<PartitionId, Context>,
    pub releasing: BTreeMap<PartitionId, Context>,
    /// What is to be asked of storage, in order.
    pub questions: Vec<(StoreId, Question)>,
    /// Answers that wait for the next sync, and those that wait for the one under way.
    pub waiting: Vec<(StoreId, Answer)>,
    pub answers: Vec<(StoreId, Answer)>,
    pub is_syncing: bool,
    pub slow_until: Time,
    pub table: Vec<Record>,
    /// Counts the disks that this machine has had; of which one the table was saved beside.
    pub disks: u32,
    pub table_of: u32,
    /// Counts starts: what was scheduled in an earlier one is void.
    pub boot: u32,
    /// The actor of this start, and how often each partition was let go or given up since.
    pub life: u64,
    pub let_go: BTreeMap<PartitionId, u64>,
    /// The incarnations of the others that were known here when that was looked at last, in this life.
    pub incarnations: BTreeMap<PeerId, u64>,
    /// The furthest that each peer was ever known here to have come.
    pub knew: BTreeMap<PeerId, Standing>,
    pub wake: Option<Time>,
    pub paused_until: Time,
    /// How far this machine's clock is off, and by how many millionths it runs too fast since when.
    pub skew_ms: i64,
    pub drift: (i64, Time),
    /// How many milliseconds more it is off while nobody looks after it: days.
    pub far_ms: i64,
    /// Its next sync fails.
    pub disk_fails: bool,
    /// A bit of what it looks at next, to see whether it is damaged, will be.
    pub rots: bool,
    /// This partition was found damaged and kept.
    pub kept_damaged: Option<PartitionId>,
    /// It stays away for ever, and has not left.
    pub is_frozen: bool,
    /// It was told to leave, and may not have heard it yet.
    pub is_to_leave: bool,
    /// It has left, and does not return.
    pub is_gone: bool,
    pub copy: Option<Box<DiskCopy>>,
    /// An older copy was put back: it knows fewer steps than it had told, until it has heard them all again.
    pub was_put_back: bool,
    /// Which version of its standing was known when its disk was last wiped: it begins anew after that.
    pub wiped_at: Option<u64>,
}

/// An older copy of a disk, with its member table and the contexts of what is on it.
pub struct DiskCopy {
    pub disk: Disk,
    pub disks: u32,
    pub table: Vec<Record>,
    pub durable: BTreeMap<PartitionId, Context>,
}

pub enum Event {
    Input {
        to: usize,
        boot: u32,
        input: Box<Input>,
    },
    Frame {
        from: usize,
        to: usize,
        link: u64,
        message: Box<Message>,
    },
    /// A dial arrives.
    Dial {
        from: usize,
        boot: u32,
        to: usize,
    },
    /// A peer learns that a connection is gone.
    Reset {
        to: usize,
        from: usize,
        link: u64,
    },
    Wake {
        to: usize,
        at: Time,
    },
    /// A peer comes to what it has put off to ask of storage.
    Ask {
        to: usize,
        boot: u32,
    },
    SyncBegins {
        to: usize,
        boot: u32,
    },
    SyncEnds {
        to: usize,
        boot: u32,
    },
    /// A peer dials one that it does not know.
    Seek {
        to: usize,
        boot: u32,
    },
    Client {
        client: usize,
    },
    GiveUp {
        op: usize,
    },
    Fault,
    Mend(Mend),
}

/// How much of what there was.
#[derive(Default)]
pub struct Counts {
    pub frames: u64,
    /// Frames of operations, and of repair beyond the regular comparison.
    pub calls: u64,
    pub repairs: u64,
    /// Frames by which peers watch one another.
    pub gossip: u64,
    pub events: u64,
    pub faults: BTreeMap<Fault, u64>,
}

pub struct World {
    pub plan: Plan,
    pub genesis: Genesis,
    pub config: Config,
    pub now: Time,
    pub nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Scheduled<Event>>>,
    sequence: u64,
    pub links: Links,
    /// Frames to be replayed: from, to, connection.
    pub kept: VecDeque<(usize, usize, u64, Message)>,
    pub network: Chance,
    pub disks: Chance,
    pub lives: Chance,
    pub checks: Chance,
    pub clients: Clients,
    pub faults: Faults,
    pub ledger: Ledger,
    pub counts: Counts,
    /// A hash of all that has happened, in order.
    pub trace: u64,
    /// What a checker found first.
    pub broken: Option<String>,
    /// Whether the story is told on stdout.
    pub aloud: bool,
    /// When faults end.
    pub heals_at: Time,
    /// When tables were last held against their bounds.
    looked_at: Time,
    /// Under which view a peer, in one start of it, was last told by another what that holds of a partition.
    pub told: BTreeMap<(PeerId, u32, PeerId, PartitionId), u64>,
    /// Writes that owners alone have acknowledged.
    pub acknowledged: BTreeMap<PartitionId, Vec<Acknowledged>>,
    /// Some peer has run twice.
    pub twinned: bool,
    /// When a disk was last wiped, or put back to an older copy.
    pub disk_lost: Time,
}

impl World {
    pub fn new(plan: Plan, aloud: bool) -> Self {
        let seed = plan.seed;
        let (partitions, n, r, w) = (plan.partitions, plan.n, plan.r, plan.w);
        let genesis = Genesis::made_up(PeerId::numbered(1));
        Self {
            genesis: Genesis { partitions, n, r, w, ..genesis },
            config: Config {
                repair_batch: plan.repair_batch,
                scrub_batch: plan.scrub_batch,
                log_step: plan.log_step,
                log_max: plan.log_max,
                ..Config::default()
            },
            now: Time(0),
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            links: Links::default(),
            kept: VecDeque::new(),
            network: Chance::new(seed, Concern::Network),
            disks: Chance::new(seed, Concern::Disk),
            lives: Chance::new(seed, Concern::Lives),
            checks: Chance::new(seed, Concern::Checks),
            clients: Clients::new(seed, plan.value_max),
            faults: Faults::new(seed),
            ledger: Ledger::default(),
            told: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            twinned: false,
            counts: Counts::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            broken: None,
            aloud,
            heals_at: Time(u64::MAX),
            looked_at: Time(0),
            disk_lost: Time(0),
            plan,
        }
    }

    /// Adds a line to the story.
    pub fn tell(&self, who: Option<usize>, what: impl FnOnce() -> String) {
        if self.aloud {
            let name = who.and_then(|who| self.nodes.get(who)).map_or("*", |node| &node.name);
            println!("{:>12?} {name:<4} {}", self.now, what());
        }
    }

    /// Notes what a checker found; the first counts.
    pub fn check(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.tell(None, || format!("BROKEN: {what}"));
            self.broken.get_or_insert(what);
        }
    }

    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].peer.is_some()).collect()
    }

    fn now_at(&self, index: usize) -> Now {
        let Node { skew_ms, far_ms, drift: (millionths, since), .. } = self.nodes[index];
        let drifted = i64::try_from(self.now.since(since).as_millis()).unwrap_or(0) * millionths / 1_000_000;
        let wall_ms = (EPOCH_MS + self.now.0 / 1000).saturating_add_signed(skew_ms + far_ms + drifted);
        Now { time: self.now, wall_ms }
    }

    pub fn wall_ms(&self, index: usize) -> Now {
        self.now_at(index)
    }

    pub fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub fn schedule_at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), sequence: self.sequence, event }));
    }

    pub fn schedule_input(&mut self, to: usize, after: Duration, input: Input) {
        let (boot, input) = (self.nodes[to].boot, Box::new(input));
        self.schedule(after, Event::Input { to, boot, input });
    }

    /// Hands a peer one input, and carries out all that it asks for.
    pub fn input(&mut self, index: usize, input: Input) {
        let now = self.now_at(index);
        let Some(peer) = self.nodes[index].peer.as_mut() else { return };
        let before = Before::of(peer, &input);
        self.note_told(index, &input);
        let Some(peer) = self.nodes[index].peer.as_mut() else { return };
        let effects: Vec<_> = peer.handle(now, input).collect();
        self.judge(index, &before, &effects);
        for effect in effects {
            self.carry_out(index, effect);
        }
        self.set_wake(index);
    }

    fn set_wake(&mut self, index: usize) {
        let next = self.nodes[index].peer.as_ref().and_then(Peer::next_timeout);
        let Some(at) = next.map(|at| at.max(self.now)) else { return };
        if self.nodes[index].wake.is_none_or(|wake| at < wake) {
            self.nodes[index].wake = Some(at);
            self.schedule_at(at, Event::Wake { to: index, at });
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                if let Some(to) = self.reached(index, to) {
                    self.send(index, to, message);
                }
            }
            Effect::Connect { peer, .. } => {
                if let Some(to) = self.reached(index, peer) {
                    self.connect(index, to);
                }
            }
            Effect::Store { id, question } => self.questioned(index, id, question),
            Effect::Reply { id, response } => self.replied(index, id, response),
            Effect::Save { table } => {
                let node = &mut self.nodes[index];
                (node.table, node.table_of) = (table, node.disks);
            }
            Effect::Notify(Notice::Misbehaved { peer, why }) => {
                self.check(Err(format!("{} says that {peer} misbehaved: {why}", self.nodes[index].name)))
            }
            Effect::Notify(Notice::Outlived) => self.outlived(index),
            Effect::Notify(notice) => self.tell(Some(index), || format!("notes {notice:?}")),
        }
    }

    /// Whom a peer reaches by this name: of two with one key the one that it has a connection with, or either.
    fn reached(&mut self, from: usize, id: PeerId) -> Option<usize> {
        if !self.twinned {
            return self.nodes.iter().position(|node| node.id == id);
        }
        let mut all: Vec<_> = (0..self.nodes.len()).filter(|at| self.nodes[*at].id == id).collect();
        if all.len() > 1 {
            all.retain(|at| !self.nodes[*at].is_gone);
        }
        let linked = all.iter().copied().filter(|at| self.links.between(from, *at).is_some());
        let linked = linked.max_by_key(|at| self.links.between(from, *at));
        linked.or_else(|| if all.len() > 1 { self.network.pick(&all).copied() } else { all.first().copied() })
    }

    /// Lets everything happen up to `end`, or until a checker finds something.
    pub fn run_to(&mut self, end: Time) {
        while self.broken.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= end => self.step(),
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    pub fn run(&mut self, span: Duration) {
        self.run_to(self.now + span);
    }

    fn step(&mut self) {
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { return };
        self.now = at;
        if at.0 / TABLES_EVERY.0 != self.looked_at.0 / TABLES_EVERY.0 {
            self.looked_at = at;
            let outcome = tables::check(self).and_then(|()| self.go_on());
            self.check(outcome);
        }
        if let Some(to) = event.machine()
            && let until = self.nodes[to].paused_until
            && until > at
        {
            return self.schedule_at(until, event);
        }
        self.counts.events += 1;
        self.mix(at.0);
        self.mix(event.tag());
        self.happen(event);
    }

    /// FNV-1a, over words rather than bytes.
    pub fn mix(&mut self, word: u64) {
        self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    fn is_boot(&self, index: usize, boot: u32) -> bool {
        self.nodes[index].boot == boot && self.nodes[index].peer.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { to, boot, input } if self.is_boot(to, boot) => self.input(to, *input),
            Event::Frame { from, to, link, message } => self.arrive(from, to, link, *message),
            Event::Dial { from, boot, to } if self.is_boot(from, boot) => self.dialled(from, to),
            Event::Reset { to, from, link } => self.reset(to, from, link),
            Event::Wake { to, at } if self.nodes[to].wake == Some(at) => {
                self.nodes[to].wake = None;
                self.input(to, Input::Timeout);
            }
            Event::Ask { to, boot } if self.is_boot(to, boot) => self.ask_storage(to),
            Event::SyncBegins { to, boot } if self.is_boot(to, boot) => self.sync_begins(to),
            Event::SyncEnds { to, boot } if self.is_boot(to, boot) => self.sync_ends(to),
            Event::Seek { to, boot } if self.is_boot(to, boot) => self.seek(to),
            Event::Client { client } => self.client_acts(client),
            Event::GiveUp { op } => self.client_gives_up(op),
            Event::Fault => self.strike(),
            Event::Mend(mend) => self.mend(mend),
            _ => {}
        }
    }
}

impl Event {
    /// Whose machine must run for it.
    fn machine(&self) -> Option<usize> {
        match self {
            Event::Input { to, .. } | Event::Frame { to, .. } | Event::Dial { to, .. } => Some(*to),
            Event::Reset { to, .. } | Event::Wake { to, .. } | Event::Seek { to, .. } => Some(*to),
            Event::Ask { to, .. } | Event::SyncBegins { to, .. } | Event::SyncEnds { to, .. } => Some(*to),
            _ => None,
        }
    }

    fn tag(&self) -> u64 {
        let kind = match self {
            Event::Input { .. } => 1,
            Event::Frame { .. } => 2,
            Event::Dial { .. } => 3,
            Event::Reset { .. } => 4,
            Event::Wake { .. } => 5,
            Event::SyncBegins { .. } => 6,
            Event::SyncEnds { .. } => 7,
            Event::Seek { .. } => 8,
            Event::Client { .. } => 9,
            Event::GiveUp { .. } => 10,
            Event::Fault => 11,
            Event::Mend(_) => 12,
            Event::Ask { .. } => 13,
        };
        kind | (self.machine().map_or(0, |to| to as u64 + 1) << 8)
    }
}
