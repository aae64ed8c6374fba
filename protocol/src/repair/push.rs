//! Sending what another lacks, and taking in what this peer lacked.

use super::{Out, Pending, Repair, Scene};
use crate::ids::{PartitionId, PeerId};
use crate::message::Repair as Message;
use crate::store::Question;
use crate::time::{Duration, Time};
use starling_crdt::Event;
use starling_crdt::{Missing, Piece};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What has not moved for this long is given up; the next comparison begins it anew.
const STALLED: Duration = Duration::from_secs(10);
/// Most state transfers under way in either direction: each keeps one partition in memory.
pub(super) const TRANSFERS_MAX: usize = 4;
/// Most of them between the same two, so that one that never ends one does not keep all others off.
pub(super) const OF_ONE_MAX: usize = TRANSFERS_MAX - 1;

/// What is on its way to one peer, of one partition.
pub(super) struct Push {
    moved: Time,
    session: u64,
    /// The whole state is sent, or will be for all that is known: one of so many at once.
    whole: bool,
    /// Something of it was sent; until then storage prepares it.
    sent: bool,
    transfer: Option<Transfer>,
}

impl Push {
    /// What storage still prepares takes as long as that does: begun anew, it would never be done.
    fn has_stalled(&self, now: Time) -> bool {
        self.sent && now.since(self.moved) >= STALLED
    }
}

struct Transfer {
    id: u64,
    pieces: Vec<Piece>,
    /// The last piece that was sent; the one before it is staged there.
    last: usize,
}

impl Transfer {
    fn is_under_way(&self) -> bool {
        self.last > 0 && self.last + 1 < self.pieces.len()
    }
}

impl Repair {
    /// Begins as many pushes as are allowed at once.
    pub(super) fn pump(&mut self, scene: &Scene<'_>) {
        while self.pushes.len() < self.config.repairs_max {
            let sated = self.sated();
            let ready = |(key, whole): &(&(PartitionId, PeerId), &bool)| {
                let room = !sated.contains(&key.1) && (!**whole || self.has_room_for(key.1));
                room && !self.pushes.contains_key(*key)
            };
            let behind = |begun| self.todo.range((Bound::Excluded(begun), Bound::Unbounded)).find(ready);
            let next = self.begun.and_then(behind).or_else(|| self.todo.iter().find(ready));
            let Some(key) = next.map(|(key, _)| *key) else { return };
            self.begun = Some(key);
            let whole = self.todo.remove(&key).unwrap_or_default();
            self.begin_push(scene, key, whole);
        }
    }

    /// Who is sent three times as much as may still be begun: one alone gets three quarters of all, and there is some
    /// left for others when several do not acknowledge, which keeps what they are sent under way for `STALLED`.
    fn sated(&self) -> BTreeSet<PeerId> {
        let free = self.config.repairs_max.saturating_sub(self.pushes.len());
        let mut counts: BTreeMap<PeerId, usize> = BTreeMap::new();
        self.pushes.keys().for_each(|(_, to)| *counts.entry(*to).or_default() += 1);
        counts.into_iter().filter(|(_, count)| *count >= 3 * free).map(|(peer, _)| peer).collect()
    }

    fn begin_push(&mut self, scene: &Scene<'_>, key: (PartitionId, PeerId), whole: bool) {
        let (partition, to) = key;
        let Some(told) = self.told(partition, to) else { return };
        let Some(session) = told.session.filter(|_| self.reachable(scene, to)) else { return };
        let (context, max_bytes) = (told.context.clone(), self.config.repair_batch);
        self.pushes.insert(key, Push { moved: scene.now.time, session, whole, sent: false, transfer: None });
        self.ask_store(
            Pending::Missing { partition, to, session },
            Question::Missing { partition, context, max_bytes },
        );
    }

    /// What is missing from a context that ended meanwhile is not for the one that followed it: what the receiver had
    /// dropped there would not come again.
    pub(super) fn push(
        &mut self,
        scene: &Scene<'_>,
        key: (PartitionId, PeerId),
        session: u64,
        missing: Missing,
    ) {
        let (partition, to) = key;
        let room = self.has_room_for(to);
        let current = |push: &&mut Push| push.session == session;
        let Some(push) = self.pushes.get_mut(&key).filter(current) else { return };
        push.moved = scene.now.time;
        match missing {
            Missing::Nothing => drop(self.pushes.remove(&(partition, to))),
            Missing::Events { events, .. } => {
                (push.whole, push.sent) = (false, true);
                self.send(to, Message::Events { session, partition, events })
            }
            Missing::Cut if room || push.whole => {
                push.whole = true;
                let question = Question::Snapshot { partition, max_bytes: self.config.repair_batch };
                self.ask_store(Pending::Snapshot { partition, to }, question);
            }
            Missing::Cut => {
                marked!(StateWaits);
                self.pushes.remove(&(partition, to));
                self.todo.insert((partition, to), true);
            }
        }
    }

    /// A report came from whom we are sending to: it is the acknowledgement, unless a transfer is still on its way,
    /// or nothing was sent: were that begun anew for each report, reports might come faster than storage reads.
    /// One of which nothing is staged yet begins anew: there may have been no room for it.
    pub(super) fn end_push(&mut self, key: (PartitionId, PeerId), session: u64) {
        let Some(push) = self.pushes.get(&key).filter(|push| push.session == session) else {
            self.pushes.remove(&key);
            return;
        };
        marked!(ReportBeforePush if !push.sent);
        if push.sent && !push.transfer.as_ref().is_some_and(Transfer::is_under_way) {
            self.pushes.remove(&key);
        }
    }

    /// Whether one more partition may be sent as a whole: here, and where it goes to, else it would be read for nothing.
    fn has_room_for(&self, to: PeerId) -> bool {
        let whole = || self.pushes.iter().filter(|(_, push)| push.whole);
        whole().count() < TRANSFERS_MAX && whole().filter(|((_, of), _)| *of == to).count() < OF_ONE_MAX
    }

    pub(super) fn begin_transfer(
        &mut self,
        scene: &Scene<'_>,
        partition: PartitionId,
        to: PeerId,
        pieces: Vec<Piece>,
    ) {
        self.transfers += 1;
        let id = self.transfers;
        let Some(push) = self.pushes.get_mut(&(partition, to)).filter(|push| push.whole) else { return };
        marked!(StateBegun);
        push.transfer = Some(Transfer { id, pieces, last: 0 });
        self.send_nth(scene, partition, to, 0);
    }

    /// The last piece has been staged there: here is the next. Of an earlier one nothing follows, however often that is
    /// said.
    pub(super) fn send_piece(
        &mut self,
        scene: &Scene<'_>,
        partition: PartitionId,
        to: PeerId,
        transfer: u64,
        staged: u32,
    ) {
        let push = self.pushes.get(&(partition, to));
        let last = push.and_then(|push| push.transfer.as_ref()).filter(|t| t.id == transfer).map(|t| t.last);
        if let Some(index) = staged.checked_add(1).filter(|_| last == Some(staged as usize)) {
            self.send_nth(scene, partition, to, index);
        }
    }

    fn send_nth(&mut self, scene: &Scene<'_>, partition: PartitionId, to: PeerId, index: u32) {
        let Some(push) = self.pushes.get_mut(&(partition, to)) else { return };
        let Some(transfer) = &mut push.transfer else { return };
        let Some(piece) = transfer.pieces.get(index as usize).cloned() else { return };
        transfer.last = index as usize;
        (push.moved, push.sent) = (scene.now.time, true);
        let (session, transfer, count) = (push.session, transfer.id, transfer.pieces.len() as u32);
        self.out.push(Out::Send {
            to,
            message: Message::State { session, partition, transfer, index, count, piece },
        });
    }

    /// Takes in events made for the context that we have told (rule `session`), whatever their stamps: without one that
    /// was stamped by a wrong clock, no other would ever come, and our own clock does not follow it.
    pub(super) fn learn(
        &mut self,
        scene: &Scene<'_>,
        from: PeerId,
        session: u64,
        partition: PartitionId,
        events: Vec<Event>,
    ) {
        if partition >= scene.map.partitions() || events.is_empty() {
            return;
        }
        if !self.is_current(partition, session) {
            marked!(StaleSession);
            return self.report_to(scene, from, vec![partition]);
        }
        if self.misses(scene, partition, &events) {
            marked!(NoRoom);
            return self.not_taken(scene, partition, from);
        }
        self.coming.heard(scene.now.time, from);
        let pending = Pending::Learn { partition, from, events: events.len() };
        let held_for_others = !scene.map.owns(scene.me, partition);
        self.ask_store(pending, Question::Apply { partition, events, held_for_others });
    }

    pub(super) fn learned(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        self.kept(scene, partition);
        // Until our report shows that it has nothing more.
        self.coming.told(scene.now.time, partition, from);
        self.report_to(scene, from, vec![partition]);
        self.tell_all_put_off(scene);
    }

    /// Nothing of what it sent was taken: it was not whole and sound, or there is no room for it. It is not
    /// asked at once for the same again; the next comparison does that.
    pub(super) fn not_taken(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        self.coming.done(partition, from);
        self.tell_put_off(scene, [partition].into_iter());
    }

    pub(super) fn forget_stalled(&mut self, now: Time) {
        marked!(Stalled if self.pushes.values().any(|push| push.has_stalled(now)));
        self.pushes.retain(|_, push| !push.has_stalled(now));
        self.staging.retain(|(partition, from), staging| {
            let goes_on = now.since(staging.moved) < STALLED;
            if !goes_on {
                // Another is told, or the same with the next comparison.
                self.coming.done(*partition, *from);
            }
            goes_on
        });
        self.coming.forget_silent(now);
    }
}
