//! What is looked at whenever a peer has taken an input, and whenever a client was answered.

use super::checkers::meeting::{self, Acknowledged};
use super::checkers::views::{self, Asked};
use super::checkers::{incarnations, owners_told, sessions, steps};
use super::clients::Outcome;
use super::ledger::label;
use super::world::{Node, World};
use starling_protocol::effect::Effect;
use starling_protocol::ids::{PartitionId, PeerId};
use starling_protocol::input::Input;
use starling_protocol::member::{Standing, View};
use starling_protocol::peer::Peer;
use std::collections::BTreeMap;

/// A peer as it was before an input, and what matters of that.
pub struct Before {
    known: View,
    standing: Option<Standing>,
    asked: Asked,
    made_for: Option<(PartitionId, u64)>,
}

impl Before {
    pub fn of(peer: &Peer, input: &Input) -> Self {
        let (asked, made_for) = match input {
            Input::Received { message, .. } => (Asked::from(message), sessions::made_for(message)),
            _ => (Asked::Other, None),
        };
        Self { known: peer.known(), standing: standing(peer), asked, made_for }
    }
}

/// Its own record is the first.
fn standing(peer: &Peer) -> Option<Standing> {
    peer.members().next().map(|record| record.standing)
}

impl Node {
    /// What its peer knows now. Not what it has saved: a table may wait for what is to be saved before it.
    fn learn(&mut self) {
        for record in self.peer.iter().flat_map(Peer::members) {
            let known = self.knew.entry(record.id).or_insert(record.standing);
            *known = (*known).max(record.standing);
        }
    }
}

impl World {
    pub fn note_told(&mut self, index: usize, input: &Input) {
        let Input::Received { from, message } = input else { return };
        let Some((view, partitions)) = owners_told::told(message) else { return };
        let (id, boot) = (self.nodes[index].id, self.nodes[index].boot);
        self.told.extend(partitions.into_iter().map(|partition| ((id, boot, *from, partition), view)));
    }

    pub fn judge(&mut self, index: usize, before: &Before, effects: &[Effect]) {
        if self.nodes[index].peer.as_ref().is_some_and(|peer| peer.known() != before.known) {
            self.nodes[index].learn();
        }
        let node = &self.nodes[index];
        let Some(before_standing) = before.standing else { return };
        let steps = [before_standing.step, self.step_of(index).unwrap_or(before_standing.step)];
        let outcome = views::check(before.known, steps, &before.asked, effects);
        let outcome = outcome.and_then(|()| match before.made_for {
            Some(made_for) => sessions::check(node, made_for, effects),
            None => Ok(()),
        });
        // Where the table has changed with this very input, nobody can say from outside which came first.
        let same_table = node.peer.as_ref().is_some_and(|peer| peer.known() == before.known);
        let outcome = outcome.and_then(|()| match same_table {
            true => owners_told::check(self, node, effects),
            false => Ok(()),
        });
        let stepped = node.peer.as_ref().and_then(standing).filter(|now| *now != before_standing);
        let outcome = outcome.and_then(|()| match stepped {
            Some(_) => steps::check(self, index, before_standing),
            None => Ok(()),
        });
        let name = node.name.clone();
        if let Err(why) = outcome {
            return self.check(Err(format!("{name} {why}")));
        }
        self.catches_up(index);
        if stepped.is_some() {
            let outcome = self.all_meet(index);
            self.check(outcome);
        }
    }

    /// No peer goes back to what it knew earlier of others.
    pub fn go_on(&mut self) -> Result<(), String> {
        self.nodes.iter_mut().try_for_each(|node| {
            let Some(now) = node.peer.as_ref().map(incarnations::of) else { return Ok(()) };
            let before = std::mem::replace(&mut node.incarnations, now);
            incarnations::check(&before, &node.incarnations).map_err(|why| format!("{} {why}", node.name))
        })
    }

    /// One whose disk was put back is as any other again once it knows each step that anybody ever knew, and no
    /// second process is this peer.
    fn catches_up(&mut self, index: usize) {
        let node = &self.nodes[index];
        let was_put_back = node.was_put_back && !self.has_twins();
        let Some(peer) = node.peer.as_ref().filter(|_| was_put_back) else { return };
        let table: BTreeMap<_, _> = peer.members().map(|record| (record.id, record.standing)).collect();
        let knows = |(id, known): (&PeerId, &Standing)| table.get(id).is_some_and(|own| own >= known);
        self.nodes[index].was_put_back = !self.nodes.iter().flat_map(|node| &node.knew).all(knows);
    }

    /// What was written before is seen by whoever reads as this peer now would.
    fn all_meet(&self, reader: usize) -> Result<(), String> {
        self.acknowledged.iter().try_for_each(|(partition, writes)| {
            let writes = writes.iter().filter(|write| write.began > self.disk_lost);
            meeting::check(self, reader, *partition, writes)
        })
    }

    /// A write that owners have acknowledged: every read from now on must see it.
    pub fn meets(&mut self, op: usize) {
        let op = &self.clients.ops[op];
        let overlaps = self.plan.r + self.plan.w > self.plan.n && op.began > self.disk_lost;
        if !overlaps || !op.by_owners || !op.command.writes() || !matches!(op.outcome, Outcome::Ok(_)) {
            return;
        }
        let label = label(op.key.as_bytes(), &op.command);
        let events = self.ledger.of(&label).filter(|(_, issued)| issued.at >= op.began);
        let events: Vec<_> = events.map(|(name, _)| name).collect();
        let Some((partition, _)) = events.first().copied() else { return };
        let write = Acknowledged { began: op.began, label, events };
        let meets = |at| meeting::check(self, at, partition, std::iter::once(&write));
        let outcome = self.up().into_iter().try_for_each(meets);
        self.check(outcome);
        self.acknowledged.entry(partition).or_default().push(write);
    }
}
