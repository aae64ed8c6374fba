//! The driver's part in admission: who has shown what, and who is told of revocations.

use super::admission::{Outcome, Saying, Told, report_refused_by};
use super::driver::{Driver, REMEMBERED_MAX};
use super::keys::{peer_text, to_libp2p};
use super::streams::{OpenError, Purpose};
use crate::network::wall_ms;
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use starling_protocol::admission::certificate::{Grant, Refusal};
use starling_protocol::ids::PeerId;

/// How many peers are told at once of a revocation that is new here; each tells as many, and what these
/// miss comes with the digests.
const FANOUT: usize = 4;
/// For so many sweeps after revocations or a peer came in, a minute, each sweep tells one: a newcomer learns the time
/// by that, too. Then, when what is new was told to nearly all, one sweep in so many does.
const BUSY_SWEEPS: u32 = 12;
const QUIET_SWEEPS: u32 = 6;

impl Driver {
    pub(super) fn say(&mut self, peer: PeerId, on: ConnectionId, saying: Saying) {
        if self.peer(peer).will_say(on, saying) {
            self.swarm.behaviour_mut().streams.open(to_libp2p(&peer), on, Purpose::Admission);
        }
    }

    /// A stream to say something on is open, or cannot be had.
    pub(super) fn may_say(&mut self, peer: PeerId, on: ConnectionId, result: Result<Stream, OpenError>) {
        let Some(saying) = self.peer(peer).take_saying(on) else { return };
        match result {
            Ok(stream) => drop(tokio::spawn(self.desk.clone().say(saying, stream, peer, on))),
            Err(OpenError::Unsupported) => self.is_foreign(peer, on),
            Err(OpenError::Failed) if saying == Saying::Hello => drop(self.swarm.close_connection(on)),
            Err(OpenError::Failed) => {}
        }
    }

    pub(super) fn spoken_to(&mut self, peer: PeerId, on: ConnectionId, stream: Stream) {
        let is_in = self.peer(peer).admitted.is_some();
        let answer = self.desk.clone().answer(stream, peer, on, is_in);
        self.peer(peer).add_answer(tokio::spawn(answer).abort_handle());
    }

    pub(super) fn told(&mut self, told: Told) {
        let Told { peer, connection, outcome } = told;
        let stands =
            |connections: &[super::peers::Connection]| connections.iter().any(|c| c.id == connection);
        if self.blocked.contains(&peer) || !self.peers.get(&peer).is_some_and(|p| stands(&p.connections)) {
            return;
        }
        match outcome {
            Outcome::Admitted { grant, differ } => {
                // It may have been revoked since it showed its certificate.
                if let Err(refusal) = self.desk.admission.check_again(peer) {
                    return self.turn_away(peer, refusal);
                }
                self.let_in(peer, connection, grant);
                if differ {
                    self.say(peer, connection, Saying::Push);
                }
            }
            Outcome::Differ => self.say(peer, connection, Saying::Push),
            Outcome::Refused(refusal) => self.turn_away(peer, refusal),
            Outcome::RefusedBy(refusal) => {
                report_refused_by(&self.desk.admission, peer, refusal);
                self.close_all(peer);
            }
            Outcome::Broken(error) => {
                tracing::debug!(peer = peer_text(&peer), %error, "an exchange of certificates broke");
                if self.peer(peer).admitted.is_none() {
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn let_in(&mut self, peer: PeerId, by: ConnectionId, grant: Grant) {
        self.quiet_sweeps = 0;
        self.peer(peer).admitted = Some(grant);
        self.turned_away.remove(&peer);
        self.insiders.insert(&peer);
        let held = self.peer(peer).take_held();
        self.speaks(peer, by);
        self.works(peer, by);
        for (class, stream) in held {
            self.accepted(peer, class, stream);
        }
        self.open_first(peer);
        self.leave_relay(peer);
        self.consider(peer);
    }

    fn turn_away(&mut self, peer: PeerId, refusal: Refusal) {
        let peer_id = peer_text(&peer);
        // A line for each stranger once, and for no more than are remembered: keys cost them nothing.
        if self.turned_away.len() < REMEMBERED_MAX && self.turned_away.insert(peer) {
            tracing::warn!(peer = peer_id, why = %refusal, "a peer is not let in");
        } else {
            tracing::debug!(peer = peer_id, why = %refusal, "a peer is not let in");
        }
        // One that takes nothing more may keep a connection from closing.
        self.peer(peer).put_out();
        self.insiders.remove(&peer);
        self.tell_connection(peer);
        self.close_all(peer);
    }

    pub(super) fn close_all(&mut self, peer: PeerId) {
        self.give_up(&peer);
        let connections: Vec<_> = self.peer(peer).connections.iter().map(|c| c.id).collect();
        for connection in connections {
            self.swarm.close_connection(connection);
        }
    }

    /// Turns away those whose certificate has ended since they were let in.
    pub(super) fn sweep_certificates(&mut self) {
        let now = wall_ms();
        let ended = |grant: &Grant| grant.not_after_ms < now;
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.admitted.as_ref().is_some_and(ended))
            .map(|(id, _)| *id)
            .collect();
        for peer in gone {
            self.turn_away(peer, Refusal::Expired);
        }
        if self.quiet_sweeps < BUSY_SWEEPS || self.quiet_sweeps.is_multiple_of(QUIET_SWEEPS) {
            for (peer, on) in self.some_admitted(1) {
                self.say(peer, on, Saying::Digest);
            }
        }
        self.quiet_sweeps = self.quiet_sweeps.saturating_add(1);
    }

    /// Revocations have come, from another peer or from a person here.
    pub(super) fn revocations_changed(&mut self) {
        self.quiet_sweeps = 0;
        let admitted = self.peers.iter().filter(|(_, peer)| peer.admitted.is_some());
        for peer in admitted.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Err(refusal) = self.desk.admission.check_again(peer) {
                self.turn_away(peer, refusal);
            }
        }
        for (peer, on) in self.some_admitted(FANOUT) {
            self.say(peer, on, Saying::Push);
        }
        if let Err(refusal) = self.desk.admission.own_grant() {
            let why = crate::admission::to_oneself(refusal);
            tracing::error!(why, "this peer is out of its network; see `starling status`");
        }
    }

    /// That many of those who are in and can be reached, chosen by chance.
    fn some_admitted(&self, count: usize) -> Vec<(PeerId, ConnectionId)> {
        let reachable =
            self.peers.iter().filter(|(id, peer)| peer.admitted.is_some() && !self.blocked.contains(id));
        let all: Vec<_> = reachable.filter_map(|(id, peer)| Some((*id, peer.best_connection()?))).collect();
        // Without chance the first are chosen, which is good enough.
        let start = getrandom::u32().unwrap_or(0) as usize % all.len().max(1);
        all.iter().cycle().skip(start).take(count.min(all.len())).copied().collect()
    }
}
