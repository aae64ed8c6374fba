//! The client port: RESP2 and RESP3 over TCP, with TLS or without, for Redis clients and for the console.

pub mod budget;
pub mod client;
pub mod connection;
pub mod frame;
pub mod lobby;
pub mod patience;
pub mod request;
pub mod stream;
pub mod tls;

use crate::commands::session::{Server, Session};
use crate::peer_handle::PeerHandle;
use budget::{Budget, Share};
use lobby::{Lobby, Waiting};
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stream::Stream;
use tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long to wait when the system has no file descriptor for a new client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A client that has been silent for so long is asked by the system whether it is there. As with Redis.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How clients are served.
#[derive(Clone)]
pub struct Port {
    /// Most clients at once. An idle one costs a few KiB and a file descriptor, one with TLS some 40 KiB.
    pub clients: usize,
    /// Most clients that have not logged in, or not finished their TLS handshake.
    pub pending: usize,
    /// Bytes of unfinished commands of all clients together; one that needs more is let go. As much again may be held
    /// of replies that are not written yet; a read that needs more is refused.
    pub unfinished: usize,
    pub tls: Option<Tls>,
}

impl Default for Port {
    fn default() -> Self {
        Self { clients: 10_000, pending: 256, unfinished: 512 * 1024 * 1024, tls: None }
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clients, pending, unfinished, tls } = self;
        write!(f, "Port {clients} {pending} {unfinished}, TLS {}", tls.is_some())
    }
}

/// Serves clients until `stop` is ready; then no new ones are taken, commands under way are answered,
/// and all connections are closed before this returns. The caller sets a deadline for that.
pub async fn serve(listener: TcpListener, peer: PeerHandle, port: Port, stop: impl Future<Output = ()>) {
    let server = Arc::new(Server::new(peer, port.clients, port.unfinished));
    let (budget, lobby) = (Budget::of(port.unfinished), Lobby::of(port.pending));
    let places = Arc::new(Semaphore::new(port.clients));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let fresh = keep_fresh(port.tls.clone());
    tokio::pin!(stop, fresh);
    loop {
        let (stream, address) = tokio::select! {
            () = &mut stop => break,
            () = &mut fresh => continue,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            server.totals.refused.fetch_add(1, Ordering::Relaxed);
            refuse(stream);
            continue;
        };
        let guest = Guest {
            session: Session::open(server.clone(), address),
            tls: port.tls.clone(),
            share: budget.share(),
            lobby: lobby.clone(),
            stopped: stopped.clone(),
        };
        connections.spawn(async move {
            guest.serve(stream).await;
            drop(place);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// A client that has just come, and what it gets.
struct Guest {
    session: Session,
    tls: Option<Tls>,
    share: Share,
    lobby: Arc<Lobby>,
    stopped: watch::Receiver<bool>,
}

impl Guest {
    async fn serve(self, stream: TcpStream) {
        // Replies are written whole: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        // One whose machine is gone says nothing any more, and would keep its place for ever.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let client = self.session.id;
        if let Err(error) = self.try_serve(stream).await {
            tracing::debug!(client, %error, "a client's connection broke");
        }
    }

    async fn try_serve(self, stream: TcpStream) -> io::Result<()> {
        let Self { session, tls, share, lobby, mut stopped } = self;
        let waits = tls.is_some() || !session.is_in();
        let mut waiting = waits.then(|| lobby.enter());
        let stream = tokio::select! {
            stream = begin(stream, tls) => stream?,
            () = Waiting::shown_out(&mut waiting) => return Ok(()),
            _ = stopped.changed() => return Ok(()),
        };
        connection::run(stream, session, share, lobby, waiting, stopped).await
    }
}

/// Never ends.
async fn keep_fresh(tls: Option<Tls>) {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => std::future::pending().await,
    }
}

async fn begin(stream: TcpStream, tls: Option<Tls>) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await;
    Ok(Stream::Tls(Box::new(stream.map_err(|_| io::ErrorKind::TimedOut)??)))
}

/// Tells why. A new socket has room for it, so nothing is waited for: however many come, one file is open for them.
fn refuse(stream: TcpStream) {
    let line = b"-ERR max number of clients reached; close some connections or ask another peer\r\n";
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(line));
}
