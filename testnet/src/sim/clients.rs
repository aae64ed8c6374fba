//! Clients: what they ask, what they are told, and what they do about silence.

use super::chance::{Chance, Concern};
use super::checkers::{acknowledged, regular};
use super::faults::OPERATOR;
use super::ledger::label;
use super::plan::Plan;
use super::world::{Event, World};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::ids::RequestId;
use starling_protocol::input::Input;
use starling_protocol::request::{FailureKind, Request, Response, Role, ScanCursor, Trace};
use starling_protocol::time::{Duration, Time};
use std::collections::{BTreeMap, BTreeSet};

/// A little longer than a peer takes to answer at all.
const PATIENCE: Duration = Duration::from_millis(2_600);

/// Whoever walks over all keys: apart from clients and the operator. And how many keys a page has.
const WALK: RequestId = RequestId(OPERATOR << 1);
const PAGE: u16 = 2;

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Open,
    Ok(Reply),
    /// The peer says that nothing was done.
    Refused,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// One attempt of one operation.
pub struct Op {
    pub key: String,
    pub command: Command,
    pub outcome: Outcome,
    pub began: Time,
    pub answered: Option<Time>,
    /// Every copy that counted for the answer was an owner's.
    pub by_owners: bool,
    request: RequestId,
}

impl Op {
    /// One of a real client.
    pub fn done(key: String, command: Command, outcome: Outcome) -> Self {
        let (began, answered, by_owners, request) = (Time(0), None, false, RequestId(0));
        Self { key, command, outcome, began, answered, by_owners, request }
    }

    /// The same, from when to when.
    pub fn between(self, began: Time, answered: Time) -> Self {
        Self { began, answered: Some(answered), ..self }
    }
}

pub struct Clients {
    pub ops: Vec<Op>,
    open: BTreeMap<RequestId, usize>,
    chance: Chance,
    quorums: Chance,
    /// See `Plan`.
    value_max: u64,
    /// They begin nothing any more.
    pub stopped: bool,
    /// The page of keys that was asked for last, once it is there.
    page: Option<(Vec<ByteBuf>, Option<ScanCursor>)>,
}

impl Clients {
    pub fn new(seed: u64, value_max: u64) -> Self {
        let (chance, quorums) = (Chance::new(seed, Concern::Clients), Chance::named(seed, "quorums"));
        let (ops, open) = (Vec::new(), BTreeMap::new());
        Self { ops, open, chance, quorums, value_max, stopped: false, page: None }
    }

    pub fn answered(&self) -> u64 {
        self.ops.iter().filter(|op| matches!(op.outcome, Outcome::Ok(_))).count() as u64
    }

    /// Every element, value and increment is another one, so that what is found can be told apart. The first
    /// letter of a key is its type; only counters that begin with a `c` are deleted.
    fn next(&mut self, keys: u64) -> (String, Command) {
        let (number, key) = (self.ops.len() as u64 + 1, self.chance.below(keys));
        let name = ByteBuf::from(number.to_string());
        let by = i64::try_from(number).unwrap_or(1);
        match self.chance.below(20) {
            0..=3 => (format!("s{key}"), Command::SAdd { members: vec![name] }),
            4 => self.removal(key),
            5..=6 => (format!("n{key}"), Command::IncrBy { by }),
            7..=8 => (format!("r{key}"), Command::Set { value: self.padded(name) }),
            9 if self.chance.one_in(3) => (format!("r{key}"), Command::Del),
            9 => (format!("s{key}"), Command::SMembers),
            10 => (format!("h{key}"), Command::HSet { entries: vec![(name.clone(), name)] }),
            11 => (format!("n{key}"), Command::Get),
            12 => self.two(number, key),
            13 => (format!("c{key}"), Command::IncrBy { by }),
            14 if self.chance.one_in(2) => (format!("c{key}"), Command::Del),
            14 => (format!("c{key}"), Command::IncrBy { by }),
            15 => self.overwriting(name, key),
            16 if self.chance.one_in(4) => (format!("{}{key}", self.chance.letter("sh")), Command::Del),
            16..=17 => (format!("s{key}"), Command::SMembers),
            18 => (format!("r{key}"), Command::Siblings),
            _ => (format!("h{key}"), Command::HKeys),
        }
    }

    /// R and W of a single operation, if it is given others than the network's: never less, so that what is promised
    /// of all holds for it too.
    fn quorum(&mut self, plan: &Plan) -> Option<(u8, u8)> {
        let mut upto = |least: u8| {
            let drawn = self.quorums.between((least.into(), plan.n.into()));
            u8::try_from(drawn).unwrap_or(least)
        };
        let quorum = (upto(plan.r), upto(plan.w));
        self.quorums.one_in(8).then_some(quorum)
    }

    /// As long as any value up to the limit of this plan, each magnitude as likely as the others.
    fn padded(&mut self, name: ByteBuf) -> ByteBuf {
        if self.value_max == 0 {
            return name;
        }
        let most = self.value_max >> self.chance.below(u64::from(self.value_max.ilog2()));
        let mut value = name.into_vec();
        value.resize(value.len().max(usize::try_from(most).unwrap_or(0)), b'.');
        ByteBuf::from(value)
    }

    /// Two cells by one event.
    fn two(&mut self, number: u64, key: u64) -> (String, Command) {
        let (one, other) = (ByteBuf::from(format!("{number}a")), ByteBuf::from(format!("{number}b")));
        match self.chance.below(2) {
            0 => (format!("s{key}"), Command::SAdd { members: vec![one, other] }),
            _ => (
                format!("h{key}"),
                Command::HSet { entries: vec![(one.clone(), one), (other.clone(), other)] },
            ),
        }
    }

    /// Of a field that others write and remove as well.
    fn overwriting(&mut self, value: ByteBuf, key: u64) -> (String, Command) {
        let field = ByteBuf::from(self.chance.letter("xy").to_string());
        match self.chance.below(3) {
            0 => (format!("h{key}"), Command::HDel { fields: vec![field] }),
            _ => (format!("h{key}"), Command::HSet { entries: vec![(field, value)] }),
        }
    }

    /// Of an element that somebody has tried to add.
    fn removal(&mut self, key: u64) -> (String, Command) {
        let added = self.ops.iter().filter_map(|op| match &op.command {
            Command::SAdd { members } => Some((op.key.clone(), members.clone())),
            _ => None,
        });
        let added: Vec<_> = added.collect();
        match self.chance.pick(&added) {
            Some((key, members)) => (key.clone(), Command::SRem { members: members.clone() }),
            None => (format!("s{key}"), Command::SMembers),
        }
    }
}

impl World {
    pub fn client_acts(&mut self, client: usize) {
        if self.clients.stopped {
            return;
        }
        let think = self.clients.chance.span_ms((0, 2 * self.plan.think_ms));
        self.schedule(think, Event::Client { client });
        let (key, command) = self.clients.next(self.plan.keys);
        self.attempt(key, command);
    }

    fn attempt(&mut self, key: String, command: Command) {
        let up = self.up();
        let Some(at) = self.clients.chance.pick(&up).copied() else { return };
        let op = self.clients.ops.len();
        self.tell(Some(at), || format!("client asks ({op}): {}", label(key.as_bytes(), &command)));
        self.schedule(PATIENCE, Event::GiveUp { op });
        let quorum = self.clients.quorum(&self.plan);
        self.request(at, key, command, quorum);
    }

    /// Asks, with this R and W if any are given, and explains how it went.
    fn request(&mut self, at: usize, key: String, command: Command, quorum: Option<(u8, u8)>) {
        let op = self.clients.ops.len();
        let (request, began, name) = (RequestId(op as u64 + 1), self.now, ByteBuf::from(&key[..]));
        let (outcome, answered, by_owners) = (Outcome::Open, None, false);
        let asked = command.clone();
        self.clients.ops.push(Op { key, command, outcome, began, answered, by_owners, request });
        self.clients.open.insert(request, op);
        let (r, w) = quorum.unzip();
        let request = Request::Data { key: name, command: asked, r, w, explain: true };
        let id = RequestId(op as u64 + 1);
        self.schedule_input(at, Duration::ZERO, Input::Request { id, request });
    }

    /// Asks once and waits, when all is healed. `Open`: no answer in time.
    pub fn ask(&mut self, at: usize, key: &str, command: Command) -> Outcome {
        let op = self.clients.ops.len();
        self.request(at, key.to_owned(), command, None);
        let end = self.now + PATIENCE;
        while self.now < end && self.clients.ops[op].outcome == Outcome::Open {
            self.run(Duration::from_millis(10));
        }
        self.clients.ops[op].outcome.clone()
    }

    /// Walks over all keys when all is healed, a page after the other. `None`: no answer in time, or no end.
    pub fn walk(&mut self, at: usize) -> Option<BTreeSet<String>> {
        let (mut all, mut next) = (BTreeSet::new(), Some(ScanCursor::default()));
        // Each page but the last of a partition has something.
        for _ in 0..=5 * self.plan.keys + u64::from(self.plan.partitions) {
            let Some(cursor) = next else { return Some(all) };
            let request = Request::Scan { cursor, limit: PAGE };
            self.schedule_input(at, Duration::ZERO, Input::Request { id: WALK, request });
            let end = self.now + PATIENCE;
            while self.now < end && self.clients.page.is_none() {
                self.run(Duration::from_millis(10));
            }
            let (keys, cursor) = self.clients.page.take()?;
            all.extend(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
            next = cursor;
        }
        None
    }

    pub fn replied(&mut self, index: usize, id: RequestId, response: Response) {
        if let (WALK, Response::Keys { keys, next }) = (id, &response) {
            self.clients.page = Some((keys.clone(), next.clone()));
        }
        let Some(op) = self.clients.open.remove(&id) else { return };
        let outcome = match response {
            Response::Data(Ok(outcome)) => {
                self.tell(Some(index), || asked(outcome.trace.as_deref()));
                let knows = |peer| !self.nodes.iter().any(|node| node.id == peer && node.was_put_back);
                let by_owners = outcome.trace.as_deref().map(|trace| regular::by_owners(trace, knows));
                self.clients.ops[op].by_owners = by_owners.unwrap_or_default();
                Outcome::Ok(outcome.reply)
            }
            Response::Data(Err(failure)) => match failure.kind {
                FailureKind::Quorum | FailureKind::Timeout => Outcome::Unknown,
                FailureKind::Busy | FailureKind::NotReady | FailureKind::Invalid => Outcome::Refused,
            },
            _ => Outcome::Unknown,
        };
        self.tell(Some(index), || format!("answers ({op}): {outcome:?}"));
        (self.clients.ops[op].outcome, self.clients.ops[op].answered) = (outcome, Some(self.now));
        self.look_back(op);
        let asked = &self.clients.ops[op];
        if let Op { outcome: Outcome::Ok(reply), key, command, .. } = asked {
            let label = label(key.as_bytes(), command);
            let kept = acknowledged::check(&self.ledger, asked, self.plan.w);
            // A removal that found nothing says nothing of one before it whose outcome is unknown.
            if !(removes(command) && *reply == Reply::Int(0)) {
                self.ledger.acknowledge(&label);
            }
            self.check(kept);
            self.meets(op);
        }
    }

    /// A read against what was written before it.
    fn look_back(&mut self, op: usize) {
        // While two processes are one peer, what one of them has taken in the other lacks.
        let from = if self.has_twins() { self.now } else { self.disk_lost };
        let ops = &self.clients.ops;
        let overlaps = u64::from(self.plan.r) + u64::from(self.plan.w) > u64::from(self.plan.n);
        if overlaps && ops[op].by_owners && !ops[op].command.writes() {
            let seen = regular::check(ops, &self.ledger, &ops[op], from);
            self.check(seen);
        }
    }

    /// After silence, half of what may be said twice is said again elsewhere.
    pub fn client_gives_up(&mut self, op: usize) {
        let Op { outcome, command, key, request, .. } = &self.clients.ops[op];
        if *outcome != Outcome::Open && *outcome != Outcome::Unknown {
            return;
        }
        let again = matches!(command, Command::SAdd { .. } | Command::SRem { .. });
        let (key, command, silent) = (key.clone(), command.clone(), *outcome == Outcome::Open);
        self.tell(None, || format!("client gives up ({op}, {request:?})"));
        if silent {
            self.clients.ops[op].outcome = Outcome::Unknown;
        }
        if again && !self.clients.stopped && self.clients.chance.one_in(2) {
            self.attempt(key, command);
        }
    }
}

/// Who was asked, in whose place, and what came of it.
fn asked(trace: Option<&Trace>) -> String {
    let Some(trace) = trace else { return "says nothing of whom it asked".into() };
    let role = |role: &Role| match role {
        Role::Owner => String::new(),
        Role::StandIn { instead_of } => format!(" for {}", instead_of.name),
    };
    let all = trace.asked.iter().map(|a| format!("{}{} {:?}", a.peer.name, role(&a.role), a.answer));
    let asked = all.collect::<Vec<_>>().join(", ");
    format!("coordinated by {} in partition {}: {asked}", trace.coordinator.name, trace.partition)
}

fn removes(command: &Command) -> bool {
    matches!(command, Command::SRem { .. } | Command::HDel { .. } | Command::Del)
}
