//! What a connection remembers, and what all connections of a peer share.

use super::access::{Access, Holder};
use super::cursors::Cursors;
use super::failure::{failure_frame, mismatch};
use super::{Arguments, Combine, DataCall, Plan, Prepared, Run, Spec, elements, prepare, transaction};
use crate::peer_handle::PeerHandle;
use crate::resp::budget::{Answers, Budget, ELEMENT, no_room, size_of_reply};
use crate::resp::frame::{Frame, Version};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, CommandError, Reply};
use starling_protocol::admission::token::Token;
use starling_protocol::request::{Failure, FailureKind, Outcome, Request, Response, Status};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Keys of one command that are under way at once.
const KEYS_AT_ONCE: usize = 128;
/// Most that is read for one command over several keys, in bytes. It is held in memory whole.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Wrong passwords and tokens that a connection may try: each further one costs a new connection.
const WRONG_MAX: u32 = 3;

/// What all connections of this peer share.
pub struct Server {
    pub peer: PeerHandle,
    pub clients_max: usize,
    pub totals: Totals,
    clients: Mutex<BTreeMap<u64, ClientFacts>>,
    cursors: Mutex<Cursors>,
    answers: Arc<Budget>,
}

/// Counted since the start, for `INFO`.
#[derive(Debug, Default)]
pub struct Totals {
    pub connections: AtomicU64,
    pub refused: AtomicU64,
    pub commands: AtomicU64,
}

/// What `CLIENT LIST` tells of a connection.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    pub address: SocketAddr,
    pub since: Instant,
    /// `default`, or `token`.
    pub user: &'static str,
    pub last: Arc<Mutex<Last>>,
    pub name: String,
    pub library: String,
    pub library_version: String,
    pub version: Version,
}

/// The command that a connection has given last. Each has its own, which nobody else waits for.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    pub command: Option<&'static str>,
    pub at: Instant,
}

impl Server {
    /// `answers_max`: bytes of replies that all clients together may hold.
    pub fn new(peer: PeerHandle, clients_max: usize, answers_max: usize) -> Self {
        let started = peer.facts().started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            peer,
            clients_max,
            totals: Totals::default(),
            clients: Mutex::default(),
            cursors: Mutex::new(Cursors::starting_at(started)),
            answers: Budget::of(answers_max),
        }
    }

    pub fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, ClientFacts>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn status(&self) -> Result<Status, Failure> {
        match self.peer.request(Request::Status).await {
            Response::Status(status) => Ok(*status),
            Response::Failed(failure) => Err(failure),
            _ => Err(mismatch()),
        }
    }
}

/// Copies to read and copies to sync; `None`: the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    pub r: Option<u8>,
    pub w: Option<u8>,
}

/// One connection.
pub struct Session {
    pub server: Arc<Server>,
    pub id: u64,
    pub version: Version,
    pub quorum: Quorum,
    pub access: Access,
    last: Arc<Mutex<Last>>,
    /// Replies that are not written yet.
    pub answers: Arc<Answers>,
    /// Wrong passwords and tokens in a row.
    wrong: u32,
    /// The client has begun a transaction, which was refused.
    pub in_refused: bool,
    /// Replies carry notes, such as how many concurrent values they do not show.
    pub notes: bool,
    /// The connection ends after the next reply.
    pub closing: bool,
}

impl Session {
    pub fn open(server: Arc<Server>, address: SocketAddr) -> Self {
        let id = server.totals.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let since = Instant::now();
        let last = Arc::new(Mutex::new(Last { command: None, at: since }));
        let facts = ClientFacts {
            address,
            since,
            user: DEFAULT_USER,
            last: last.clone(),
            name: String::new(),
            library: String::new(),
            library_version: String::new(),
            version: Version::Resp2,
        };
        server.clients().insert(id, facts);
        let access = first_access(&server.peer);
        let answers = Arc::new(Answers::of(&server.answers));
        Self {
            server,
            id,
            version: Version::Resp2,
            quorum: Quorum::default(),
            access,
            last,
            answers,
            wrong: 0,
            in_refused: false,
            notes: false,
            closing: false,
        }
    }

    /// Says who the client is: by the password, where there is one, or by a token. Errors: the line for
    /// what is wrong; after a few in a row the connection is closed.
    pub fn authenticate(&mut self, user: &[u8], given: &[u8]) -> Result<(), String> {
        let access = self.access_by(user, given);
        self.wrong = if access.is_ok() { 0 } else { self.wrong + 1 };
        self.closing |= self.wrong >= WRONG_MAX;
        self.access = access?;
        self.describe(|facts| facts.user = self.user());
        Ok(())
    }

    /// Whom this client has said to be.
    pub fn user(&self) -> &'static str {
        if self.is_scoped() { "token" } else { DEFAULT_USER }
    }

    /// Redis' clients call the user `default` unless they are told otherwise.
    fn access_by(&self, user: &[u8], given: &[u8]) -> Result<Access, String> {
        let password = self.server.peer.password();
        if user == b"default" && password.is_some_and(|password| password.is(given)) {
            return Ok(Access::Full);
        }
        match self.server.peer.admission() {
            Some(admission) if Token::is_like(given) && matches!(user, b"default" | b"token") => {
                let holder = Holder::new(&String::from_utf8_lossy(given), admission);
                holder
                    .map(|holder| Access::Scoped(Box::new(holder)))
                    .map_err(|why| format!("WRONGPASS {why}"))
            }
            // As with Redis, where the default user without a password is let in with any.
            _ if user == b"default" && password.is_none() => Ok(Access::Full),
            _ => Err("WRONGPASS invalid username-password pair or user is disabled.".into()),
        }
    }

    /// As it was when the connection was new.
    pub fn forget_login(&mut self) {
        self.access = first_access(&self.server.peer);
        self.describe(|facts| facts.user = DEFAULT_USER);
    }

    /// What is to be done for these words of the client.
    pub fn take(&mut self, words: Arguments) -> Prepared {
        let prepared = match transaction::refused(self, &words) {
            Some(frame) => Prepared::Refused(frame),
            None => self.admit(prepare(words)),
        };
        let command = match &prepared {
            Prepared::Data(call) => Some(call.spec.name),
            Prepared::Other(spec, _) => Some(spec.name),
            Prepared::Refused(_) => None,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { command, at: Instant::now() };
        prepared
    }

    /// Runs one command.
    pub async fn call(&mut self, words: Arguments) -> Frame {
        match self.take(words) {
            Prepared::Data(call) => self.data(call).await,
            Prepared::Other(spec, args) => self.other(spec, args).await,
            Prepared::Refused(frame) => frame,
        }
    }

    pub fn other<'a>(&'a mut self, spec: &Spec, args: Arguments) -> BoxFuture<'a, Frame> {
        match spec.run {
            Run::Here(run) => futures::future::ready(run(self, args)).boxed(),
            Run::Ask(run) => run(self, args),
            Run::Data { .. } | Run::Shaped(_) => unreachable!("{} is prepared as a data call", spec.name),
        }
    }

    /// Runs a command on keys. Several may run at once; none changes the session.
    pub async fn data(&self, call: DataCall) -> Frame {
        let (replies, hidden, read) = match self.gather(call.plan).await {
            Ok(gathered) => gathered,
            Err(failure) => return failure_frame(&failure),
        };
        // What is drawn with repetition may be more than what was read for it.
        let may_grow = matches!(call.combine, Combine::With(_));
        let reply = call.combine.of(replies, self.version);
        let grown = if may_grow { size_of_reply(&reply).saturating_sub(read) } else { 0 };
        if grown > ELEMENT && !self.answers.take(grown) {
            return failure_frame(&no_room());
        }
        self.noted(frame_of(reply), hidden)
    }

    fn noted(&self, frame: Frame, hidden: u32) -> Frame {
        if !self.notes || hidden == 0 {
            return frame;
        }
        Frame::Attributed(vec![(Frame::bulk("hidden"), Frame::Int(hidden.into()))], Box::new(frame))
    }

    /// All replies in the order of the plan, how many concurrent values they do not show, and how large they are.
    async fn gather(&self, mut plan: Plan) -> Result<(Vec<Reply>, u32, usize), Failure> {
        if plan.len() == 1 {
            let (key, command) = plan.remove(0);
            let outcome = self.ask(key, command, false).await?;
            let size = size_of_reply(&outcome.reply);
            return if size > ANSWER_MAX {
                Err(too_large())
            } else {
                Ok((vec![outcome.reply], outcome.hidden, size))
            };
        }
        let writes = plan.iter().any(|(_, command)| command.writes());
        let outcomes =
            stream::iter(plan).map(|(key, command)| self.ask(key, command, false)).buffered(KEYS_AT_ONCE);
        let gathered =
            outcomes.try_fold((Vec::new(), 0u32, 0usize), |(mut replies, hidden, size), outcome| {
                let size = size + size_of_reply(&outcome.reply);
                replies.push(outcome.reply);
                let gathered = (replies, hidden.saturating_add(outcome.hidden), size);
                futures::future::ready(if size > ANSWER_MAX { Err(too_large()) } else { Ok(gathered) })
            });
        gathered.await.map_err(|failure| if writes { of_several(failure) } else { failure })
    }

    /// One command on one key, at the R and W of this connection. What is too large to be counted at once is
    /// counted in pages, and what is too large to be removed at once is removed in parts.
    pub async fn ask(&self, key: ByteBuf, command: Command, explain: bool) -> Result<Outcome, Failure> {
        let Some(of) = elements::counts(&command) else {
            // What a write answers is small; and done is done.
            let counted = (!command.writes()).then(|| self.answers.clone());
            let again = command.ends().then(|| (key.clone(), command.clone()));
            let outcome = self.ask_counted(key, command, explain, counted).await?;
            return match (outcome.reply, again) {
                (Reply::Partly, Some((key, command))) => elements::removed(self, key, command, explain).await,
                (reply, _) => Ok(Outcome { reply, ..outcome }),
            };
        };
        let outcome = self.ask_once(key.clone(), command, explain).await?;
        match outcome.reply {
            Reply::Error(CommandError::TooLarge { .. }) => elements::counted(self, of, key, explain).await,
            _ => Ok(outcome),
        }
    }

    pub(super) async fn ask_once(
        &self,
        key: ByteBuf,
        command: Command,
        explain: bool,
    ) -> Result<Outcome, Failure> {
        self.ask_counted(key, command, explain, None).await
    }

    async fn ask_counted(
        &self,
        key: ByteBuf,
        command: Command,
        explain: bool,
        counted: Option<Arc<Answers>>,
    ) -> Result<Outcome, Failure> {
        let Quorum { r, w } = self.quorum;
        let request = Request::Data { key, command, r, w, explain };
        match self.server.peer.request_counted(request, counted).await {
            Response::Data(result) => result,
            Response::Failed(failure) => Err(failure),
            _ => Err(mismatch()),
        }
    }

    /// Changes what `CLIENT LIST` tells of this connection.
    pub fn describe(&self, change: impl FnOnce(&mut ClientFacts)) {
        if let Some(facts) = self.server.clients().get_mut(&self.id) {
            change(facts);
        }
    }

    /// Text over several lines: shown as it is by RESP3 clients, a line per element to others.
    pub fn page(&self, text: &str) -> Frame {
        match self.version {
            Version::Resp3 => Frame::Verbatim(text.into()),
            Version::Resp2 => Frame::Array(text.lines().map(Frame::bulk).collect()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.clients().remove(&self.id);
    }
}

fn first_access(peer: &PeerHandle) -> Access {
    if peer.password().is_none() { Access::Full } else { Access::Nothing }
}

/// As Redis calls the one that has no other name.
const DEFAULT_USER: &str = "default";

/// A failure that says nothing of what was done is of the whole answer, not of one key.
fn of_several(mut failure: Failure) -> Failure {
    if !failure.state.is_empty() {
        failure.state += "; each key goes on its own: others may be done";
    }
    failure
}

fn too_large() -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        why: format!("what is read for the answer is larger than {ANSWER_MAX} bytes"),
        state: String::new(),
        hint: "ask for fewer keys at once".into(),
        trace: None,
    }
}

pub fn no_room_frame() -> Frame {
    failure_frame(&no_room())
}

/// The reply in the shape that Redis gives it.
pub fn frame_of(reply: Reply) -> Frame {
    let bulk = |bytes: ByteBuf| Frame::Bulk(bytes.into_vec());
    match reply {
        Reply::Nil => Frame::Null,
        Reply::Ok => Frame::ok(),
        Reply::Int(number) => Frame::Int(number),
        Reply::Bytes(bytes) => bulk(bytes),
        Reply::Word(word) => Frame::Simple(word),
        Reply::Array(replies) => Frame::Array(replies.into_iter().map(frame_of).collect()),
        Reply::Set(members) => Frame::Set(members.into_iter().map(bulk).collect()),
        Reply::Map(entries) => Frame::Map(entries.into_iter().map(|(f, v)| (bulk(f), bulk(v))).collect()),
        Reply::Page { elements, next } => Frame::Array(vec![
            next.map_or(Frame::Null, bulk),
            Frame::Array(elements.into_iter().map(bulk).collect()),
        ]),
        Reply::Siblings(siblings) => Frame::Array(siblings.into_iter().map(|s| bulk(s.value)).collect()),
        Reply::Error(error) => Frame::error(error.to_string()),
        // Whoever asks goes on until nothing is left to do.
        Reply::Partly => failure_frame(&mismatch()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure_line;
    use super::*;

    #[test]
    fn many_short_members_count_as_much_as_they_take() {
        let members = vec![ByteBuf::from([0; 2]); 1_000];
        assert_eq!(size_of_reply(&Reply::Set(members)), 66_000);
    }

    #[test]
    fn an_answer_that_is_too_large_is_not_told_as_the_failure_of_one_key() {
        let line = failure_line(&of_several(too_large()));
        assert_eq!(
            line,
            "ERR what is read for the answer is larger than 67108864 bytes; ask for fewer keys at once"
        );
        assert!(failure_line(&of_several(mismatch())).contains("unknown; each key goes on its own: others"));
    }
}
