//! What each room asks for, handed to whom it concerns.

use super::{Asker, Membership, Message, Peer, coordinator, membership, repair, replica, scan};
use crate::coordinator::Client;
use crate::effect::{Effect, Notice};
use crate::ids::{OpId, PartitionId, PeerId, StoreId};
use crate::member::{Health, Step, View};
use crate::message::{Call, Refusal};
use crate::request::{Failure, FailureKind, Outcome, Response, Role};
use crate::store::{Answer, Question};
use crate::time::{Moment, Now};
use starling_crdt::{Event, Stamp};
use std::sync::Arc;

impl Peer {
    pub(super) fn called(&mut self, now: Now, from: PeerId, call: Call) {
        match call {
            Call::Forward { op, key, command, r, w, explain, until, last } => {
                let here = Moment { life: self.life, time: now.time };
                if !self.coordinator.take_up(from, op, last) {
                    // It came before, and is being carried out or was refused.
                    marked!(TakenTwice);
                } else if until.is_some_and(|until| until.is_past(here)) {
                    marked!(TooLate);
                    self.send(from, Message::Call(Call::Refused { op, why: Refusal::Late }));
                } else {
                    let client = Client::Peer { peer: from, op, until: until.map(|until| until.time) };
                    self.forwarded_here(now, client, key, command, (r, w), (explain, last));
                }
            }
            Call::Apply { view, .. } | Call::Read { view, .. } => {
                self.heard_view(now, from, view);
                self.serve(now, from, call)
            }
            Call::Keys { .. } => self.serve(now, from, call),
            Call::KeysFound { op, keys, more } => {
                let out = self.scans.found(from, op, keys, more);
                out.into_iter().for_each(|out| self.route_scan(out));
            }
            Call::Refused { op, why } if scan::Scans::owns(op) => {
                let out = self.scans.refused(from, op, why);
                out.into_iter().for_each(|out| self.route_scan(out));
            }
            answer => {
                if let Call::Behind { view, .. } = &answer {
                    self.heard_view(now, from, *view);
                }
                match answer.under().filter(|(_, under)| !self.membership.knows_view(*under)) {
                    Some((ops, under)) => self.answered_apart(now, from, ops, under),
                    None => self.coordinator.answered(now, from, answer),
                }
                self.route_coordinator(now);
            }
        }
    }

    /// An answer of one that may know a step that we do not: of another owner, without which it may be no answer.
    fn answered_apart(&mut self, now: Now, from: PeerId, ops: &[OpId], under: u64) {
        marked!(AnsweredApart);
        // Only the hash was told. With fewest steps, it is taken for one that needs our table as well.
        self.heard_view(now, from, View { steps: 0, hash: under });
        for op in ops {
            self.coordinator.behind(now, from, *op, None);
        }
    }

    fn serve(&mut self, now: Now, from: PeerId, call: Call) {
        if let Call::Apply { op, view, partition, event, .. } = &call
            && !view.is_behind(&self.view)
            && self.has_no_room(now, *partition, event)
        {
            let call = Call::Refused { op: *op, why: Refusal::NoRoom };
            return self.send(from, Message::Call(call));
        }
        let step = self.membership.me().standing.step;
        let (view, partitions, latest) = (self.view, self.genesis.partitions, self.latest(now));
        let owns = match call {
            Call::Keys { partition, .. } | Call::Apply { partition, .. } => {
                partition >= partitions || self.placement.lists(partition).owns(self.me)
            }
            _ => true,
        };
        let whole = match &call {
            Call::Read { partition, .. } => !self.is_unfilled(*partition),
            Call::Keys { partition, last, .. } => *last || !self.lacks_keys(*partition),
            _ => true,
        };
        let scene = replica::Scene { view, step, partitions, owns, whole, latest };
        for out in self.replica.called(scene, from, call) {
            self.route_replica(now, out);
        }
    }

    fn has_no_room(&mut self, now: Now, partition: PartitionId, event: &Arc<Event>) -> bool {
        let mut misses = false;
        if self.is_low && partition < self.genesis.partitions {
            let events = std::slice::from_ref(event);
            self.with_repair(now, |repair, scene| misses = repair.misses(scene, partition, events));
        }
        misses
    }

    pub(super) fn stored(&mut self, now: Now, answers: Vec<(StoreId, Answer)>) {
        for (id, answer) in answers {
            self.answered_by_store(now, id, answer);
        }
        for out in self.replica.acknowledge() {
            self.route_replica(now, out);
        }
    }

    fn answered_by_store(&mut self, now: Now, id: StoreId, answer: Answer) {
        let Some(asker) = self.askers.get(&id).copied() else { return };
        if !matches!(answer, Answer::Executed { .. }) {
            self.askers.remove(&id);
        }
        match asker {
            Asker::Coordinator { op, issues } => {
                // Whether or not anybody still waits for it: what was issued here is held here.
                if let (Some(partition), Answer::Executed { event: Some(_), .. }) = (issues, &answer) {
                    self.with_repair(now, |repair, scene| repair.kept(scene, partition));
                }
                self.coordinator.stored(now, op, answer);
                self.route_coordinator(now);
            }
            Asker::Replica(ticket) => {
                for out in self.replica.stored(ticket, answer) {
                    self.route_replica(now, out);
                }
            }
            Asker::Repair(ticket) => {
                self.with_repair(now, |repair, scene| repair.stored(scene, ticket, answer));
                self.save_when_noted();
            }
            Asker::Scan(op) => {
                let out = self.scans.stored(op, answer);
                out.into_iter().for_each(|out| self.route_scan(out));
            }
        }
    }

    fn ask_store(&mut self, asker: Asker, question: Question) {
        self.last_question += 1;
        let id = StoreId(self.last_question);
        self.askers.insert(id, asker);
        self.effects.push_back(Effect::Store { id, question });
    }

    pub(super) fn send(&mut self, to: PeerId, message: Message) {
        self.effects.push_back(Effect::Send { to, message });
    }

    pub(super) fn route_membership(&mut self, now: Now, out: membership::Out) {
        match out {
            membership::Out::Send { to, mut gossip } => {
                gossip.sent = Some(Moment { life: self.life, time: now.time });
                self.send(to, Message::Gossip(gossip))
            }
            membership::Out::Connect { peer, addresses } => {
                self.effects.push_back(Effect::Connect { peer, addresses })
            }
            membership::Out::Health { peer, health } => self.health_changed(now, peer, health),
            membership::Out::Stepped { peer, step } => {
                let name = self.name_of(peer);
                self.notify(Notice::Stepped { peer, name, step });
            }
            membership::Out::Refuted { incarnation } => self.notify(Notice::Refuted { incarnation }),
            membership::Out::ViewHeard { peer } => {
                self.view_heard(now, peer);
                self.with_repair(now, |repair, scene| repair.view_heard(scene));
            }
            // Whoever hears of a step of ours counts on it: it is saved before it is told.
            membership::Out::Changed if self.saved != Some(self.membership.me().standing) => self.save(),
            membership::Out::Changed => self.unsaved = true,
            membership::Out::Outlived => self.notify(Notice::Outlived),
            membership::Out::Overruled { standing } => self.overruled(now, standing.step),
            membership::Out::Misbehaved { peer, why } => {
                let why = why.to_owned();
                self.notify(Notice::Misbehaved { peer, why })
            }
        }
    }

    pub(super) fn save_when_noted(&mut self) {
        if self.unsaved && !self.repair.is_noting() {
            self.save();
        }
    }

    fn save(&mut self) {
        (self.unsaved, self.saved) = (false, Some(self.membership.me().standing));
        let table = self.membership.table();
        self.effects.push_back(Effect::Save { table });
    }

    /// Where views have changed here too, all is asked again that waits for that: see `owners_changed`.
    fn view_heard(&mut self, now: Now, peer: PeerId) {
        let is_known = |view: View| self.membership.knows_view(view.hash);
        if self.membership.view() == self.view && self.membership.view_of(peer).is_some_and(is_known) {
            self.coordinator.caught_up(now, peer);
            self.route_coordinator(now);
        }
    }

    /// The latest stamp that is taken from another.
    pub(super) fn latest(&self, now: Now) -> Stamp {
        Stamp::at(now.wall_ms.saturating_add(self.clock_ahead_ms))
    }

    pub(super) fn heard_view(&mut self, now: Now, from: PeerId, view: View) {
        self.gossip(now, |membership, out| membership.heard_view(now.time, from, view, out));
    }

    /// Others know a later step of ours. One that has lost what it held, or was forgotten, begins anew.
    fn overruled(&mut self, now: Now, step: Step) {
        if mutated!(IgnoreAmnesia) {
            return;
        }
        if self.amnesiac || step == Step::Left && self.leaving.is_none() {
            marked!(BegunAnew);
            self.take_step(now, Step::Waiting);
        }
    }

    fn health_changed(&mut self, now: Now, peer: PeerId, health: Health) {
        let name = self.name_of(peer);
        self.notify(Notice::Health { peer, name, health });
        match health {
            Health::Alive => self.with_repair(now, |repair, scene| repair.met(scene, peer)),
            Health::Suspect => {}
            Health::Dead => self.give_up_on(now, peer),
        }
    }

    pub(super) fn route_coordinator(&mut self, now: Now) {
        for out in self.coordinator.drain() {
            match out {
                coordinator::Out::Send { to, call } => self.send(to, Message::Call(call)),
                // What it would refuse another, it refuses itself.
                coordinator::Out::Store { op, question: Question::Read { partition, .. } }
                    if self.is_unfilled(partition) =>
                {
                    self.coordinator.stored(now, op, Answer::NotFilled);
                    self.route_coordinator(now);
                }
                coordinator::Out::Store { op, question } => {
                    let issues = match &question {
                        Question::Execute { partition, .. } => Some(*partition),
                        _ => None,
                    };
                    self.ask_store(Asker::Coordinator { op, issues }, question)
                }
                coordinator::Out::Done { client, result } => self.done(client, result),
                coordinator::Out::Differ { partition, peers } => {
                    self.with_repair(now, |repair, scene| repair.differ(scene, partition, &peers))
                }
                coordinator::Out::LearnFrom { peer } => self.exchange_with(now, peer),
            }
        }
    }

    fn exchange_with(&mut self, now: Now, peer: PeerId) {
        self.gossip(now, |membership: &mut Membership, out| membership.send_table(now.time, peer, out));
    }

    pub(super) fn done(&mut self, client: Client, mut result: Result<Outcome, Failure>) {
        let trace = match &mut result {
            Ok(outcome) => outcome.trace.as_mut(),
            Err(failure) => failure.trace.as_mut(),
        };
        if let Some(trace) = trace {
            self.fill_in_names(trace);
        }
        match client {
            Client::Local(id) => {
                let result = result.map_err(with_dead_owners);
                self.effects.push_back(Effect::Reply { id, response: Response::Data(result) })
            }
            Client::Peer { peer, op, .. } => self.send(peer, Message::Call(Call::Forwarded { op, result })),
        }
    }

    fn fill_in_names(&self, trace: &mut crate::request::Trace) {
        trace.coordinator.name = self.name_of(trace.coordinator.id);
        for stand_in in &mut trace.stand_ins {
            stand_in.name = self.name_of(stand_in.id);
        }
        for asked in &mut trace.asked {
            asked.peer.name = self.name_of(asked.peer.id);
            if let Role::StandIn { instead_of } = &mut asked.role {
                instead_of.name = self.name_of(instead_of.id);
            }
        }
    }

    pub(super) fn name_of(&self, peer: PeerId) -> String {
        self.membership.get(peer).map_or_else(|| peer.to_string(), |record| record.name.clone())
    }

    fn route_replica(&mut self, now: Now, out: replica::Out) {
        match out {
            replica::Out::Send { to, call } => self.send(to, Message::Call(call)),
            replica::Out::Store { ticket, question } => self.ask_store(Asker::Replica(ticket), question),
            replica::Out::Teach { peer } => self.exchange_with(now, peer),
            replica::Out::Kept { partition } => {
                self.with_repair(now, |repair, scene| repair.kept(scene, partition))
            }
        }
    }

    pub(super) fn route_repair(&mut self, now: Now) {
        for out in self.repair.drain() {
            match out {
                repair::Out::Send { to, message } => self.send(to, Message::Repair(message)),
                repair::Out::Store { ticket, question } => self.ask_store(Asker::Repair(ticket), question),
                repair::Out::Step(step) => self.come_further(now, step),
                repair::Out::LetGo { partition } => self.notify(Notice::LetGo { partition }),
                repair::Out::Damaged { partition } => self.notify(Notice::Damaged { partition }),
                repair::Out::DamageKept { partition } => self.notify(Notice::DamageKept { partition }),
                repair::Out::OnlyCopyDamaged { partition } => {
                    self.notify(Notice::OnlyCopyDamaged { partition })
                }
                repair::Out::Refilled { partition } => self.notify(Notice::Refilled { partition }),
                repair::Out::TooLarge { partition, from } => {
                    self.notify(Notice::TooLarge { partition, from })
                }
            }
        }
    }

    fn notify(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notify(notice));
    }

    /// One step further on this peer's own way. A stale wish, of before the last step, is dropped.
    pub(super) fn take_step(&mut self, now: Now, step: Step) {
        let here = self.membership.me().standing.step;
        if step == here {
            return;
        }
        self.amnesiac &= step != Step::Arriving;
        self.gossip(now, |membership, out| membership.take_step(now.time, step, out));
    }

    pub(super) fn route_scan(&mut self, out: scan::Out) {
        match out {
            scan::Out::Send { to, call } => self.send(to, Message::Call(call)),
            scan::Out::Store { op, question: Question::Keys { partition, .. }, last: false }
                if self.lacks_keys(partition) =>
            {
                let out = self.scans.stored(op, Answer::NotFilled);
                out.into_iter().for_each(|out| self.route_scan(out));
            }
            scan::Out::Store { op, question, .. } => self.ask_store(Asker::Scan(op), question),
            scan::Out::Reply { id, response } => self.effects.push_back(Effect::Reply { id, response }),
        }
    }
}

/// Says on which owners it did not count, by their names.
fn with_dead_owners(mut failure: Failure) -> Failure {
    let trace = failure.trace.as_ref().filter(|_| failure.kind == FailureKind::Quorum);
    let owners = trace.into_iter().flat_map(|trace| &trace.asked).filter(|asked| asked.role == Role::Owner);
    let dead: Vec<_> =
        owners.filter(|asked| asked.health == Health::Dead).map(|asked| &*asked.peer.name).collect();
    if !dead.is_empty() {
        failure.why = format!("{}; believed dead: {}", failure.why, dead.join(", "));
    }
    failure
}
