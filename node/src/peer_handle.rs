//! How the client side reaches the peer that runs in this process.

use crate::admission::{Admission, to_oneself};
use crate::password::Password;
use crate::resp::budget::{Answers, no_room, size_of_reply};
use crate::transport::Paths;
use starling_protocol::admission::certificate::Refusal;
use starling_protocol::config::Genesis;
use starling_protocol::ids::PeerId;
use starling_protocol::request::{Failure, FailureKind, Request, Response};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that wait for the event loop. A client that finds the queue full waits its turn.
pub const REQUESTS_MAX: usize = 4096;

/// A client's request on its way to the event loop.
#[derive(Debug)]
pub struct ClientRequest {
    pub request: Request,
    /// Answered exactly once; dropped without an answer only when the peer stops.
    pub reply: Asker,
}

/// Who waits for the answer to one request.
#[derive(Debug)]
pub struct Asker {
    to: oneshot::Sender<Response>,
    /// Where it is counted: as soon as there is one, for many may come about before the client looks at the first.
    counted: Option<Arc<Answers>>,
}

impl Asker {
    /// Hands it over, or in its place that there is no room for it. A client that has gone does not mind.
    pub fn send(self, response: Response) {
        let Self { to, counted } = self;
        if to.is_closed() {
            return;
        }
        let fits = match (&counted, &response) {
            (Some(answers), Response::Data(Ok(outcome))) => answers.take(size_of_reply(&outcome.reply)),
            _ => true,
        };
        // An error says that the client has gone meanwhile.
        let _ = to.send(if fits { response } else { Response::Data(Err(no_room())) });
    }
}

/// What does not change while this process runs.
#[derive(Clone, Debug)]
pub struct Facts {
    pub peer: PeerId,
    /// As people see it: `12D3Koo…`.
    pub peer_id: String,
    pub name: String,
    pub resp: SocketAddr,
    /// Multiaddrs at the moment of start.
    pub listen: Vec<String>,
    pub genesis: Genesis,
    pub dir: PathBuf,
    pub started: SystemTime,
}

/// The peer of this process, as clients see it. Cheap to clone.
#[derive(Clone)]
pub struct PeerHandle {
    facts: Arc<Facts>,
    requests: mpsc::Sender<ClientRequest>,
    faults: Option<FaultHandle>,
    admission: Option<Arc<Admission>>,
    paths: Option<Paths>,
    password: Option<Password>,
}

impl PeerHandle {
    /// `requests`: whoever holds the other end must answer each request once.
    pub fn new(facts: Facts, requests: mpsc::Sender<ClientRequest>, faults: Option<FaultHandle>) -> Self {
        Self { facts: Arc::new(facts), requests, faults, admission: None, paths: None, password: None }
    }

    pub fn with_admission(self, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    pub fn with_paths(self, paths: Paths) -> Self {
        Self { paths: Some(paths), ..self }
    }

    /// How each peer is reached. `None`: this peer is no part of a real network.
    pub fn paths(&self) -> Option<Paths> {
        self.paths.clone()
    }

    /// What clients must say first.
    pub fn with_password(self, password: Option<Password>) -> Self {
        Self { password, ..self }
    }

    pub fn password(&self) -> Option<Password> {
        self.password
    }

    /// Who is let in. `None`: this peer is no part of a real network.
    pub fn admission(&self) -> Option<Arc<Admission>> {
        self.admission.clone()
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Present only when the peer was started with `--faults`.
    pub fn faults(&self) -> Option<&FaultHandle> {
        self.faults.as_ref()
    }

    /// Waits while too many requests are under way, then for the answer. The peer itself sets the
    /// deadline; when it stops meanwhile, the answer says so.
    pub async fn request(&self, request: Request) -> Response {
        self.request_counted(request, None).await
    }

    /// The same. What is read is counted here, and refused where there is no room for it.
    pub async fn request_counted(&self, request: Request, counted: Option<Arc<Answers>>) -> Response {
        let (to, answer) = oneshot::channel();
        let reply = Asker { to, counted };
        if self.requests.send(ClientRequest { request, reply }).await.is_err() {
            return Response::Failed(stopping(FailureKind::NotReady, "nothing was done"));
        }
        // Not `NotReady`: whoever reads that may do it again elsewhere, and then it is done twice.
        let in_doubt = |_| Response::Failed(stopping(FailureKind::Timeout, "a write may still take effect"));
        let mut response = answer.await.unwrap_or_else(in_doubt);
        if let (Response::Data(Err(failure)), Some(admission)) = (&mut response, &self.admission)
            && matches!(failure.kind, FailureKind::Quorum | FailureKind::Timeout)
        {
            say_who_is_out(failure, admission);
        }
        response
    }
}

/// Nobody answers a peer that is out of its network.
fn say_who_is_out(failure: &mut Failure, admission: &Admission) {
    let why = if admission.is_out() {
        failure.hint =
            "let it in again: `starling invite` on a machine that is in, and the line that it prints here; \
                        or ask another peer"
                .into();
        format!("this peer is out of its network: {}", to_oneself(Refusal::Revoked))
    } else if let Some((_, refusal)) = admission.refusals().first() {
        format!("others do not let this peer in, see STATUS: {}", to_oneself(*refusal))
    } else {
        return;
    };
    failure.why = format!("{why}; {}", failure.why);
}

fn stopping(kind: FailureKind, state: &str) -> Failure {
    Failure {
        kind,
        why: "this peer is stopping".into(),
        state: state.into(),
        hint: "ask another peer, or this one once it is up again".into(),
        trace: None,
    }
}

/// Cuts this peer off from others, as a pulled cable would: nothing is reset, nothing arrives.
#[derive(Clone, Debug)]
pub struct FaultHandle(Arc<watch::Sender<BTreeSet<PeerId>>>);

impl FaultHandle {
    pub fn new(blocked: BTreeSet<PeerId>) -> Self {
        Self(Arc::new(watch::channel(blocked).0))
    }

    /// Replaces the set of peers that this one is cut off from. Empty: none.
    pub fn block(&self, peers: BTreeSet<PeerId>) {
        self.0.send_replace(peers);
    }

    pub fn blocked(&self) -> BTreeSet<PeerId> {
        self.0.borrow().clone()
    }

    /// Tells when the set changes.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<PeerId>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let founder = PeerId::numbered(1);
        Facts {
            peer: founder,
            peer_id: String::new(),
            name: "p1".into(),
            resp: SocketAddr::from(([127, 0, 0, 1], 0)),
            listen: Vec::new(),
            genesis: Genesis::made_up(founder),
            dir: PathBuf::new(),
            started: SystemTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn what_was_under_way_when_the_peer_stopped_is_in_doubt_and_what_came_later_is_not() {
        let (sender, mut requests) = mpsc::channel(1);
        let handle = PeerHandle::new(facts(), sender, None);
        let asked = tokio::spawn({
            let handle = handle.clone();
            async move { handle.request(Request::Status).await }
        });
        drop(requests.recv().await);
        let Ok(Response::Failed(failure)) = asked.await else { panic!("it was not answered") };
        assert_eq!(failure.kind, FailureKind::Timeout);
        drop(requests);
        let Response::Failed(failure) = handle.request(Request::Status).await else {
            panic!("who answered?")
        };
        assert_eq!(failure.kind, FailureKind::NotReady);
    }
}
