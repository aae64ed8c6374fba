//! Clients that have not said yet who they are, or are still at their TLS handshake. They are few: one more
//! ends the wait of the oldest. A client that knows its password is in within a round trip, so a flood of
//! others does not keep it out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

pub struct Lobby {
    most: usize,
    waiting: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// The oldest first.
    clients: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One who waits. It leaves when this is dropped.
pub struct Waiting {
    lobby: Arc<Lobby>,
    id: u64,
    shown_out: oneshot::Receiver<()>,
}

impl Lobby {
    pub fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), waiting: Mutex::default() })
    }

    pub fn enter(self: &Arc<Self>) -> Waiting {
        let (end, shown_out) = oneshot::channel();
        let mut queue = self.queue();
        let id = queue.next;
        queue.next += 1;
        if queue.clients.len() >= self.most {
            // Its end is dropped, by which it learns.
            queue.clients.pop_front();
        }
        queue.clients.push_back((id, end));
        drop(queue);
        Waiting { lobby: self.clone(), id, shown_out }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Until it must go. Never, for one who does not wait.
    pub async fn shown_out(waiting: &mut Option<Self>) {
        match waiting {
            Some(waiting) => drop((&mut waiting.shown_out).await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.lobby.queue().clients.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn one_too_many_shows_the_oldest_out() {
        let lobby = Lobby::of(2);
        let mut clients: Vec<_> = (0..3).map(|_| Some(lobby.enter())).collect();
        let out: Vec<_> =
            clients.iter_mut().map(|client| Waiting::shown_out(client).now_or_never().is_some()).collect();
        assert_eq!(out, [true, false, false]);
        clients[1] = None;
        let mut fourth = Some(lobby.enter());
        for client in [&mut clients[2], &mut fourth] {
            assert!(Waiting::shown_out(client).now_or_never().is_none(), "there was a place");
        }
        drop(clients);
        assert_eq!(lobby.queue().clients.len(), 1);
    }
}
