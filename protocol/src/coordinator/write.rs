//! One write: issued here, copied to the owners, acknowledged by W synced copies.

use super::ballot::Ballot;
use super::quorum::Quorum;
use super::{Begin, Client, Next, Scene, verdict};
use crate::ids::PeerId;
use crate::member::Health;
use crate::message::{Call, Refusal};
use crate::request::{AnswerKind, Outcome};
use crate::seats::{Seat, Seats};
use crate::store::{Answer, Question};
use crate::time::Time;
use starling_crdt::{Event, Reply};
use std::sync::Arc;

pub(super) struct Write {
    client: Client,
    pub seats: Seats,
    pub ballot: Ballot,
    quorum: Quorum,
    pub r: u8,
    pub w: u8,
    explain: bool,
    pub began: Time,
    /// When silent owners get stand-ins; passed: the deadline comes next.
    patience: Option<Time>,
    issued: Option<Issued>,
    answered: bool,
}

struct Issued {
    event: Arc<Event>,
    reply: Reply,
    hidden: u32,
}

impl Write {
    pub fn begin(scene: &mut Scene<'_>, begin: Begin) -> (Self, Next) {
        let Begin { client, seats, key, command, r, w, explain } = begin;
        let (partition, wall_ms, began) = (seats.partition, scene.now.wall_ms, scene.now.time);
        let until = match client {
            Client::Peer { until, .. } => until,
            Client::Local(_) => None,
        };
        scene.store(Question::Execute { partition, key, command, wall_ms, until });
        let ballot = Ballot::new(seats.stand_ins().filter(|seat| seat.peer != scene.me).collect());
        let quorum = Quorum::new(&seats, w.into());
        let (patience, issued, answered) = (None, None, false);
        let write = Self { client, seats, ballot, quorum, r, w, explain, began, patience, issued, answered };
        let next = write.wait_in(scene);
        (write, next)
    }

    pub fn stored(&mut self, scene: &mut Scene<'_>, answer: Answer) -> Next {
        match answer {
            Answer::Executed { reply, hidden, event: None } => {
                let trace = self.explain.then(|| verdict::unchanged(self, scene));
                scene.done(self.client, Ok(Outcome { reply, hidden, trace }));
                Next::Over
            }
            Answer::Executed { reply, hidden, event: Some(event) } => {
                self.issued = Some(Issued { event: Arc::new(event), reply, hidden });
                self.patience = Some(scene.now.time + scene.config.patience);
                self.send_copies(scene);
                if mutated!(OwnUnsynced) {
                    return self.acked(scene, scene.me);
                }
                self.wait_in(scene)
            }
            Answer::Synced => self.acked(scene, scene.me),
            Answer::Late => self.too_late(scene),
            _ => self.wait_in(scene),
        }
    }

    /// Storage was so slow that whoever handed the write to us may have handed it to another by now.
    fn too_late(&self, scene: &mut Scene<'_>) -> Next {
        if let Client::Peer { peer, op, .. } = self.client {
            scene.send(peer, Call::Refused { op, why: Refusal::Late });
        }
        Next::Over
    }

    /// The event goes out while our own sync is still under way; our share counts when it is synced.
    fn send_copies(&mut self, scene: &mut Scene<'_>) {
        let owners = self.seats.owners();
        let mut here = owners.iter().find(|seat| seat.peer == scene.me).map(|_| None);
        let me = scene.me;
        for seat in owners.iter().filter(|seat| seat.peer != me) {
            if !seat.is_dead() {
                self.copy_to(scene, *seat, None);
                continue;
            }
            self.ballot.skip(scene.now.time, *seat);
            if here.is_none() {
                here = Some(Some(seat.peer));
                self.ballot.set_covered(seat.peer);
            } else {
                self.cover(scene, seat.peer);
            }
        }
        let seat = Seat { peer: me, health: Health::Alive };
        // Who owns nothing is no owner, though none of them is dead: it was asked because all were silent.
        let instead_of = here.unwrap_or_else(|| owners.first().map(|seat| seat.peer));
        self.ballot.ask(scene.now.time, seat, instead_of);
    }

    fn copy_to(&mut self, scene: &mut Scene<'_>, seat: Seat, held_for: Option<PeerId>) {
        let Some(issued) = &self.issued else { return };
        let (op, view, partition, event) =
            (scene.op, self.seats.view, self.seats.partition, Arc::clone(&issued.event));
        scene.send(seat.peer, Call::Apply { op, view, partition, event, held_for });
        self.ballot.ask(scene.now.time, seat, held_for);
    }

    /// Asks the next stand-in in the place of `peer`; it has the same patience to answer in.
    fn cover(&mut self, scene: &mut Scene<'_>, peer: PeerId) {
        if let Some((spare, owner)) = self.ballot.cover(peer) {
            marked!(StandIn);
            marked!(StandInAgain if owner != peer);
            self.copy_to(scene, spare, Some(owner));
            self.patience = Some(scene.now.time + scene.config.patience);
        }
    }

    pub fn acked(&mut self, scene: &mut Scene<'_>, from: PeerId) -> Next {
        self.ballot.answered(scene.now.time, from, AnswerKind::Ok);
        self.judge(scene)
    }

    pub fn ask_again(&mut self, scene: &mut Scene<'_>, peer: PeerId) -> Next {
        if let Some((seat, held_for)) = self.ballot.take_behind(peer) {
            self.copy_to(scene, seat, held_for);
        }
        self.wait_in(scene)
    }

    pub fn lost(&mut self, scene: &mut Scene<'_>, peer: PeerId, how: AnswerKind) -> Next {
        if self.ballot.answered(scene.now.time, peer, how) {
            self.cover(scene, peer);
        }
        self.judge(scene)
    }

    fn judge(&mut self, scene: &mut Scene<'_>) -> Next {
        if !self.answered && self.is_met() {
            self.succeed(scene);
        }
        match (self.ballot.is_pending(), self.answered) {
            (true, _) => self.wait_in(scene),
            (false, true) => Next::Over,
            (false, false) => self.fail(scene),
        }
    }

    fn succeed(&mut self, scene: &mut Scene<'_>) {
        let trace = self.explain.then(|| verdict::written(self, scene));
        if let Some(Issued { reply, hidden, .. }) = &self.issued {
            let outcome = Outcome { reply: reply.clone(), hidden: *hidden, trace };
            scene.done(self.client, Ok(outcome));
        }
        self.answered = true;
    }

    fn fail(&mut self, scene: &mut Scene<'_>) -> Next {
        let failure = verdict::not_written(self, scene);
        scene.done(self.client, Err(failure));
        Next::Over
    }

    pub fn replan(&mut self, scene: &mut Scene<'_>, seats: Seats) -> Next {
        self.quorum = Quorum::new(&seats, self.w.into());
        self.seats = seats;
        self.ballot.demote_former(&self.seats.owners());
        let behind = self.ballot.behind();
        let again = |seat: &Seat, write: &Self| behind.contains(&seat.peer) || !write.ballot.has(seat.peer);
        let owners = if self.issued.is_some() { self.seats.owners() } else { Vec::new() };
        for seat in owners.into_iter().filter(|seat| again(seat, self)).collect::<Vec<_>>() {
            marked!(WriteReplanned);
            self.copy_to(scene, seat, None);
        }
        // Of those that were behind, the others stand in.
        for peer in behind {
            self.ask_again(scene, peer);
        }
        // Those who have acknowledged it may be enough of those who own it now.
        if self.issued.is_some() && self.is_met() { self.judge(scene) } else { self.wait_in(scene) }
    }

    /// The client has its answer.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    fn is_met(&self) -> bool {
        self.quorum.is_met(&self.ballot.with(AnswerKind::Ok))
    }

    pub fn alarm(&mut self, scene: &mut Scene<'_>) -> Next {
        if scene.now.time >= self.deadline(scene) {
            return if self.answered { Next::Over } else { self.fail(scene) };
        }
        // Whoever is asked now gets the same patience, until nobody is left to ask.
        self.patience = self.ballot.has_spares().then(|| scene.now.time + scene.config.patience);
        for peer in self.ballot.uncovered() {
            if peer != scene.me {
                self.cover(scene, peer);
            }
        }
        self.wait_in(scene)
    }

    fn deadline(&self, scene: &Scene<'_>) -> Time {
        self.began + scene.config.deadline
    }

    fn wait_in(&self, scene: &Scene<'_>) -> Next {
        Next::Wait(self.patience.unwrap_or(self.deadline(scene)).min(self.deadline(scene)))
    }

    pub fn tally(&self) -> (usize, usize) {
        self.quorum.tally(&self.ballot.with(AnswerKind::Ok))
    }

    pub fn is_issued(&self) -> bool {
        self.issued.is_some()
    }
}
