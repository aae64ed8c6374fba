//! Who was asked, in whose place, and what came back.

use crate::ids::PeerId;
use crate::member::Health;
use crate::request::{AnswerKind, Asked, Named, Role};
use crate::seats::Seat;
use crate::time::Time;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
struct Entry {
    peer: PeerId,
    instead_of: Option<PeerId>,
    health: Health,
    answer: AnswerKind,
    /// It knew steps that we may not have known; it is asked again when we have learned them.
    behind: bool,
    /// Somebody stands in for it already.
    covered: bool,
    asked_at: Time,
    took_us: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ballot {
    entries: Vec<Entry>,
    spares: VecDeque<Seat>,
}

impl Ballot {
    pub fn new(spares: VecDeque<Seat>) -> Self {
        Self { entries: Vec::new(), spares }
    }

    pub fn has(&self, peer: PeerId) -> bool {
        self.entries.iter().any(|entry| entry.peer == peer)
    }

    /// Notes that `seat` is asked now; asked before, its answer is awaited anew.
    pub fn ask(&mut self, now: Time, seat: Seat, instead_of: Option<PeerId>) {
        self.entries.retain(|entry| entry.peer != seat.peer);
        self.note(now, seat, instead_of, AnswerKind::Pending);
    }

    /// Notes an owner that is not even asked.
    pub fn skip(&mut self, now: Time, seat: Seat) {
        self.note(now, seat, None, AnswerKind::NotAsked);
    }

    fn note(&mut self, now: Time, seat: Seat, instead_of: Option<PeerId>, answer: AnswerKind) {
        let Seat { peer, health } = seat;
        let (behind, covered, took_us) = (false, false, None);
        self.entries.push(Entry {
            peer,
            instead_of,
            health,
            answer,
            behind,
            covered,
            asked_at: now,
            took_us,
        });
    }

    /// Notes an answer. False if none was awaited from that peer.
    pub fn answered(&mut self, now: Time, peer: PeerId, answer: AnswerKind) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.peer == peer && entry.is_awaited())
        else {
            return false;
        };
        (entry.answer, entry.behind) = (answer, false);
        entry.took_us = u64::try_from(now.since(entry.asked_at).as_micros()).ok();
        true
    }

    pub fn set(&mut self, peer: PeerId, answer: AnswerKind) {
        for entry in self.entries.iter_mut().filter(|entry| entry.peer == peer) {
            (entry.answer, entry.behind) = (answer, false);
        }
    }

    /// Notes that we knew less than `peer` when we asked it, if an answer of it was awaited.
    pub fn mark_behind(&mut self, now: Time, peer: PeerId) {
        if self.answered(now, peer, AnswerKind::Refused) {
            self.entries.iter_mut().filter(|entry| entry.peer == peer).for_each(|entry| entry.behind = true);
        }
    }

    pub fn is_behind(&self, peer: PeerId) -> bool {
        self.entries.iter().any(|entry| entry.peer == peer && entry.behind)
    }

    /// Of a peer that knew more than we did, and is to be asked again: whom it was asked as.
    pub fn take_behind(&mut self, peer: PeerId) -> Option<(Seat, Option<PeerId>)> {
        let entry = self.entries.iter_mut().find(|entry| entry.peer == peer && entry.behind)?;
        entry.behind = false;
        Some((Seat { peer, health: entry.health }, entry.instead_of))
    }

    /// Owners have changed: whoever is none of them any more stands in, for one that has not answered.
    pub fn demote_former(&mut self, owners: &[Seat]) {
        let is_owner = |peer| owners.iter().any(|seat| seat.peer == peer);
        let answered = |seat: &&Seat| self.with(AnswerKind::Ok).contains(&seat.peer);
        let silent = owners.iter().find(|seat| !answered(seat)).or(owners.first()).map(|seat| seat.peer);
        for entry in self.entries.iter_mut().filter(|entry| !is_owner(entry.peer)) {
            entry.instead_of = entry.instead_of.or(silent);
        }
    }

    /// Those that are to be asked again after we have learned what they know.
    pub fn behind(&self) -> Vec<PeerId> {
        self.entries.iter().filter(|entry| entry.behind).map(|entry| entry.peer).collect()
    }

    pub fn with(&self, answer: AnswerKind) -> Vec<PeerId> {
        self.entries.iter().filter(|entry| entry.answer == answer).map(|entry| entry.peer).collect()
    }

    pub fn is_pending(&self) -> bool {
        self.entries.iter().any(Entry::is_awaited)
    }

    /// Whether anything is to be expected of this peer yet.
    pub fn awaits(&self, peer: PeerId) -> bool {
        self.entries.iter().any(|entry| entry.peer == peer && entry.is_awaited())
    }

    /// Those of whom anything is to be expected yet.
    pub fn awaited(&self) -> Vec<PeerId> {
        self.entries.iter().filter(|entry| entry.is_awaited()).map(|entry| entry.peer).collect()
    }

    /// Asked without an answer yet, and nobody in their place.
    pub fn uncovered(&self) -> Vec<PeerId> {
        let silent = |entry: &&Entry| entry.answer != AnswerKind::Ok && !entry.covered && !entry.behind;
        self.entries.iter().filter(silent).map(|entry| entry.peer).collect()
    }

    pub fn has_spares(&self) -> bool {
        !self.spares.is_empty()
    }

    /// The next one to ask in the place of `peer`, if there is any left. Each is covered once.
    pub fn cover(&mut self, peer: PeerId) -> Option<(Seat, PeerId)> {
        let entry = self.entries.iter_mut().find(|entry| entry.peer == peer && !entry.covered)?;
        let owner = entry.instead_of.unwrap_or(peer);
        let spare = self.spares.pop_front()?;
        entry.covered = true;
        Some((spare, owner))
    }

    /// Notes that somebody who is at hand anyway stands in for `peer`.
    pub fn set_covered(&mut self, peer: PeerId) {
        self.entries.iter_mut().filter(|entry| entry.peer == peer).for_each(|entry| entry.covered = true);
    }

    /// Everybody asked, and then those of `owners` that were not. One that was asked as an owner, and has
    /// ceased to be one since, stands in for one that has come instead.
    pub fn report(&self, owners: &[Seat]) -> Vec<Asked> {
        let silent = |seat: &&Seat| !self.with(AnswerKind::Ok).contains(&seat.peer);
        let other = owners.iter().find(silent).or(owners.first()).map(|seat| seat.peer);
        let is_owner = |peer| owners.iter().any(|seat| seat.peer == peer);
        let asked = self.entries.iter().map(|entry| {
            let instead_of = entry.instead_of.or(other.filter(|_| !is_owner(entry.peer)));
            entry.report(instead_of)
        });
        let others = owners.iter().filter(|seat| !self.has(seat.peer)).map(|seat| {
            let (role, answer, took_us) = (Role::Owner, AnswerKind::NotAsked, None);
            Asked { peer: unnamed(seat.peer), role, health: seat.health, answer, took_us }
        });
        asked.chain(others).collect()
    }
}

impl Entry {
    fn is_awaited(&self) -> bool {
        self.answer == AnswerKind::Pending || self.behind
    }

    fn report(&self, instead_of: Option<PeerId>) -> Asked {
        let role = match instead_of {
            None => Role::Owner,
            Some(owner) => Role::StandIn { instead_of: unnamed(owner) },
        };
        let (health, answer, took_us) = (self.health, self.answer, self.took_us);
        Asked { peer: unnamed(self.peer), role, health, answer, took_us }
    }
}

/// Names are filled in by whoever keeps the member table.
pub(super) fn unnamed(id: PeerId) -> Named {
    Named { id, name: String::new() }
}
