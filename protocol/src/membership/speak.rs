//! What is said to whom.

use super::dissemination::Rumor;
use super::{EXCHANGE_GAP, EXCHANGES_MAX, Membership, Out, TELL_ALL_MAX, TELL_SOME};
use crate::ids::PeerId;
use crate::member::{Accusation, Health, Record};
use crate::message::{Gossip, GossipBody};
use crate::time::Time;
use rand::Rng;
use rand::seq::SliceRandom;

impl Membership {
    /// Sends `first`, what is held against the receiver (Lifeguard's buddy system: a suspect hears of it
    /// from whoever speaks to it), and as many rumors as fit.
    pub(super) fn send(&mut self, to: PeerId, body: GossipBody, first: Vec<Record>, out: &mut Vec<Out>) {
        let mut records = first;
        if self.config.lifeguard
            && self.health(to) != Health::Alive
            && let Some(held) = self.table.held(to)
        {
            push_new(&mut records, held);
        }
        let mut accusations = Vec::new();
        if !self.rumors.is_empty() && !matches!(body, GossipBody::Exchange { .. }) {
            for rumor in self.rumors.take(self.config.updates_per_message, self.retransmit_limit(), to) {
                match rumor {
                    Rumor::About(peer) => push_new_of(&mut records, self.get(peer)),
                    Rumor::Accusation { suspect, by } => accusations.extend(self.accusation(suspect, by)),
                }
            }
        }
        let gossip = Gossip { view: self.view(), records, accusations, sent: None, body };
        out.push(Out::Send { to, gossip });
    }

    /// As it stands now; none if the suspicion is over.
    fn accusation(&self, suspect: PeerId, by: PeerId) -> Option<Accusation> {
        let incarnation = self.suspicions.get(&suspect)?.incarnation;
        Some(Accusation { suspect, incarnation, by })
    }

    /// The factor times log2 of the members: SWIM, section 4.1.
    fn retransmit_limit(&self) -> u32 {
        self.config.retransmit_factor * (self.table.living() + 1).next_power_of_two().ilog2()
    }

    pub(super) fn ping(&mut self, peer: PeerId, seq: u64, out: &mut Vec<Out>) {
        self.connect(peer, out);
        self.send(peer, GossipBody::Ping { seq }, Vec::new(), out);
    }

    /// Asks for a connection, unless there is one to a peer that answers: of one that does not, the
    /// transport may find out only after minutes that it leads nowhere.
    pub(super) fn connect(&self, peer: PeerId, out: &mut Vec<Out>) {
        let Some(record) = self.table.other(peer) else { return };
        let stands = self.connected.contains(&peer) && record.health == Health::Alive;
        if !stands && !record.addresses.is_empty() {
            out.push(Out::Connect { peer, addresses: record.addresses.clone() });
        }
    }

    /// Always in a small network; in a large one of about `TELL_SOME` peers, where all are asked.
    pub(super) fn is_one_of_some(&mut self) -> bool {
        let living = self.table.living();
        living <= TELL_ALL_MAX || self.rng.random_range(0..living) < TELL_SOME
    }

    /// True, and one less is left, while this period has an exchange left.
    pub(super) fn may_exchange(&mut self) -> bool {
        let may = self.exchanges < EXCHANGES_MAX;
        self.exchanges += u32::from(may);
        may
    }

    /// When the table was sent to this peer, if that is so short ago that it is not sent again.
    pub(super) fn exchanged_lately(&self, now: Time, to: PeerId) -> Option<Time> {
        self.exchanged.get(&to).copied().filter(|last| now.since(*last) < EXCHANGE_GAP)
    }

    /// Sends the whole table; not twice within the gap. Then, if views still differ, after it.
    pub(super) fn exchange(&mut self, now: Time, to: PeerId, reply: bool, out: &mut Vec<Out>) {
        if let Some(last) = self.exchanged_lately(now, to) {
            self.differing.entry(to).or_insert(last + EXCHANGE_GAP);
            return;
        }
        if self.exchanged.len() >= self.config.members_max * 2 {
            return;
        }
        self.exchanged.insert(to, now);
        let everything = self.table.everything();
        self.send(to, GossipBody::Exchange { reply }, everything, out);
    }

    /// Tells everybody a record at once, or some in a large network; the rest hear it as a rumor.
    pub(super) fn tell(&mut self, record: Record, out: &mut Vec<Out>) {
        self.rumors.add(Rumor::About(record.id));
        let others = self.table.others_not_dead().map(|other| other.id);
        let mut peers: Vec<PeerId> = others.filter(|id| *id != record.id).collect();
        if peers.len() > TELL_ALL_MAX {
            peers = peers.partial_shuffle(&mut self.rng, TELL_SOME).0.to_vec();
        }
        for peer in peers {
            self.send(peer, GossipBody::Update, vec![record.clone()], out);
        }
    }

    /// A few are told at once of a new suspicion, and in a small network all: that saves the periods that a rumor
    /// takes, and the suspect hears of it sooner as well.
    pub(super) fn spread(&mut self, suspect: PeerId, out: &mut Vec<Out>) {
        let all = self.table.living() <= TELL_ALL_MAX;
        let Some(accusation) = self.accusation(suspect, self.me().id) else { return };
        for to in self.some_alive(if all { TELL_ALL_MAX } else { TELL_SOME }, suspect) {
            let (view, records, accusations) = (self.view(), Vec::new(), vec![accusation]);
            let gossip = Gossip { view, records, accusations, sent: None, body: GossipBody::Update };
            out.push(Out::Send { to, gossip });
        }
    }

    /// Up to `count` others that are alive, at random.
    pub(super) fn some_alive(&mut self, count: usize, but: PeerId) -> Vec<PeerId> {
        let alive = self.table.others().filter(|record| record.health == Health::Alive);
        let mut alive: Vec<PeerId> = alive.map(|record| record.id).filter(|id| *id != but).collect();
        let (some, _) = alive.partial_shuffle(&mut self.rng, count);
        some.to_vec()
    }

    /// True once per peer and period: what it had not asked for is told no more often, so that two that
    /// disagree never flood each other.
    pub(super) fn may_answer(&mut self, peer: PeerId) -> bool {
        self.answered.len() < self.config.members_max * 2 && self.answered.insert(peer)
    }
}

fn push_new(records: &mut Vec<Record>, record: Record) {
    if !records.iter().any(|known| known.id == record.id) {
        records.push(record);
    }
}

fn push_new_of(records: &mut Vec<Record>, record: Option<&Record>) {
    if let Some(record) = record {
        push_new(records, record.clone());
    }
}
