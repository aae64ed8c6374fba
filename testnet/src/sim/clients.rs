//! Clients: what they ask, what they are told, and what they do about silence.

use super::chance::{Chance, Concern};
use super::checkers::acknowledged;
use super::ledger::label;
use super::world::{Event, World};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, Reply};
use starling_protocol::ids::RequestId;
use starling_protocol::input::Input;
use starling_protocol::request::{FailureKind, Request, Response};
use starling_protocol::time::Duration;
use std::collections::BTreeMap;

/// A little longer than a peer takes to answer at all.
const PATIENCE: Duration = Duration::from_millis(2_600);

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
    request: RequestId,
}

pub struct Clients {
    pub ops: Vec<Op>,
    open: BTreeMap<RequestId, usize>,
    chance: Chance,
    /// They begin nothing any more.
    pub stopped: bool,
}

impl Clients {
    pub fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, Concern::Clients);
        Self { ops: Vec::new(), open: BTreeMap::new(), chance, stopped: false }
    }

    /// Every element, value and increment is another one, so that what is found can be told apart.
    fn next(&mut self, keys: u64) -> (String, Command) {
        let (number, key) = (self.ops.len() as u64 + 1, self.chance.below(keys));
        let name = ByteBuf::from(number.to_string());
        match self.chance.below(12) {
            0..=3 => (format!("s{key}"), Command::SAdd { members: vec![name] }),
            4 => self.removal(key),
            5..=6 => (format!("n{key}"), Command::IncrBy { by: i64::try_from(number).unwrap_or(1) }),
            7..=8 => (format!("r{key}"), Command::Set { value: name }),
            9 if self.chance.one_in(3) => (format!("r{key}"), Command::Del),
            9 => (format!("s{key}"), Command::SMembers),
            10 => (format!("h{key}"), Command::HSet { entries: vec![(name.clone(), name)] }),
            _ => (format!("n{key}"), Command::Get),
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
        let request = RequestId(op as u64 + 1);
        self.tell(Some(at), || format!("client asks ({op}): {}", label(key.as_bytes(), &command)));
        self.clients.ops.push(Op {
            key: key.clone(),
            command: command.clone(),
            outcome: Outcome::Open,
            request,
        });
        self.clients.open.insert(request, op);
        self.schedule(PATIENCE, Event::GiveUp { op });
        let key = ByteBuf::from(key);
        self.input(
            at,
            Input::Request {
                id: request,
                request: Request::Data { key, command, r: None, w: None, explain: false },
            },
        );
    }

    /// Asks once and waits, when all is healed. `None`: no answer in time.
    pub fn ask(&mut self, at: usize, key: &str, command: Command) -> Option<Reply> {
        let op = self.clients.ops.len();
        let request = RequestId(op as u64 + 1);
        let (outcome, name) = (Outcome::Open, ByteBuf::from(key));
        self.clients.ops.push(Op { key: key.to_owned(), command: command.clone(), outcome, request });
        self.clients.open.insert(request, op);
        self.input(
            at,
            Input::Request {
                id: request,
                request: Request::Data { key: name, command, r: None, w: None, explain: false },
            },
        );
        let end = self.now + PATIENCE;
        while self.now < end && self.clients.ops[op].outcome == Outcome::Open {
            self.run(Duration::from_millis(10));
        }
        match &self.clients.ops[op].outcome {
            Outcome::Ok(reply) => Some(reply.clone()),
            _ => None,
        }
    }

    pub fn replied(&mut self, index: usize, id: RequestId, response: Response) {
        let Some(op) = self.clients.open.remove(&id) else { return };
        let outcome = match response {
            Response::Data(Ok(outcome)) => Outcome::Ok(outcome.reply),
            Response::Data(Err(failure)) => match failure.kind {
                FailureKind::Quorum | FailureKind::Timeout => Outcome::Unknown,
                FailureKind::Busy | FailureKind::NotReady | FailureKind::Invalid => Outcome::Refused,
            },
            _ => Outcome::Unknown,
        };
        self.tell(Some(index), || format!("answers ({op}): {outcome:?}"));
        self.clients.ops[op].outcome = outcome;
        if let Op { outcome: Outcome::Ok(_), key, command, .. } = &self.clients.ops[op] {
            let label = label(key.as_bytes(), command);
            let kept = acknowledged::check(&self.ledger, &label, command, self.plan.w);
            self.ledger.acknowledge(&label);
            self.check(kept);
        }
    }

    /// After silence, half of what may be said twice is said again elsewhere.
    pub fn client_gives_up(&mut self, op: usize) {
        let Op { outcome, command, key, request } = &self.clients.ops[op];
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
