//! The client port: RESP2 and RESP3 over TCP, for Redis clients and for the console.

pub mod budget;
pub mod client;
pub mod connection;
pub mod frame;
pub mod request;

use crate::commands::session::{Server, Session};
use crate::peer_handle::PeerHandle;
use budget::{Budget, Share};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Most clients at once, as in Redis. An idle one costs a few KiB and a file descriptor.
pub const CLIENTS_MAX: usize = 10_000;
/// Bytes of unfinished commands of all clients together; one that needs more is let go.
const UNFINISHED_MAX: usize = 512 * 1024 * 1024;
/// How long to wait when the system has no file descriptor for a new client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until `stop` is ready; then no new ones are taken, commands under way are answered,
/// and all connections are closed before this returns. The caller sets a deadline for that.
pub async fn serve(listener: TcpListener, peer: PeerHandle, stop: impl Future<Output = ()>) {
    serve_up_to(listener, peer, stop, CLIENTS_MAX).await;
}

/// As `serve`, with another limit of clients.
pub async fn serve_up_to(
    listener: TcpListener,
    peer: PeerHandle,
    stop: impl Future<Output = ()>,
    clients_max: usize,
) {
    let server = Arc::new(Server::new(peer, clients_max));
    let budget = Budget::of(UNFINISHED_MAX);
    let places = Arc::new(Semaphore::new(clients_max));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let (stream, address) = tokio::select! {
            () = &mut stop => break,
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
        let client = client(stream, Session::open(server.clone(), address), budget.share(), stopped.clone());
        connections.spawn(async move {
            client.await;
            drop(place);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn client(stream: TcpStream, session: Session, share: Share, stopped: watch::Receiver<bool>) {
    // Replies are written whole: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let client = session.id;
    if let Err(error) = connection::run(stream, session, share, stopped).await {
        tracing::debug!(client, %error, "a client's connection broke");
    }
}

/// Tells why, as far as that is possible without waiting for a client that may not read.
fn refuse(mut stream: TcpStream) {
    tokio::spawn(async move {
        let line = b"-ERR max number of clients reached; close some connections or ask another peer\r\n";
        let _ = tokio::time::timeout(ACCEPT_PAUSE, stream.write_all(line)).await;
    });
}
