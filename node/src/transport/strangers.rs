//! Connections over which nobody has shown a certificate yet: they are few, and they do not last.

use super::driver::Driver;
use super::peers::{Connection, Peer};
use std::time::Duration;
use tokio::time::Instant;

/// A connection over which no certificate was shown within this time is closed.
pub(super) const STRANGER_TIME: Duration = Duration::from_secs(10);

impl Driver {
    /// Ends the oldest of those that others made, while they are more than there may be.
    pub(super) fn crowd_out_strangers(&mut self) {
        let made_by_others = self.strangers().flat_map(|peer| &peer.connections).filter(|c| !c.dialled);
        let mut found: Vec<_> = made_by_others.map(|c| (c.since, c.id)).collect();
        let Some(too_many) = found.len().checked_sub(self.strangers_max).filter(|many| *many > 0) else {
            return;
        };
        found.sort_unstable_by_key(|(since, _)| *since);
        tracing::debug!(too_many, "too many strangers are connected; the oldest are let go");
        for (_, connection) in &found[..too_many] {
            self.swarm.close_connection(*connection);
        }
    }

    pub(super) fn sweep_strangers(&mut self, now: Instant) {
        let overdue = self.strangers().filter(|peer| now - peer.connected_at > STRANGER_TIME);
        let overdue: Vec<_> =
            overdue.flat_map(|peer| &peer.connections).map(|connection: &Connection| connection.id).collect();
        for connection in overdue {
            self.swarm.close_connection(connection);
        }
    }

    fn strangers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.is_connected() && peer.admitted.is_none())
    }
}
