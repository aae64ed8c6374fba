//! What happens because time passes.

use super::probe::Outcome;
use super::{EXCHANGE_GAP, Membership, Out};
use crate::ids::PeerId;
use crate::member::{Health, Record, Step};
use crate::message::GossipBody;
use crate::time::Time;
use rand::seq::SliceRandom;

/// How many peers that are connected but not in the table are greeted again in one period.
const GREETINGS: usize = 4;
/// This many periods late, and this peer was paused: its machine slept, or was too busy.
const PAUSE_PERIODS: u32 = 2;

impl Membership {
    /// To be called at `next_timeout`, or as soon after it as possible.
    pub fn timeout(&mut self, now: Time, out: &mut Vec<Out>) {
        // Not by suspicions: what others say may end those at a time that has passed.
        let due = self.probe_at.min(self.retry_at);
        let due = self.probes.next_timeout().map_or(due, |probe| due.min(probe));
        let late = now.since(due) > self.config.probe_period * PAUSE_PERIODS;
        if self.started && late && self.config.lifeguard {
            self.resume(now);
        }
        if !std::mem::replace(&mut self.started, true) {
            self.connect_all(out);
        }
        let outcomes = self.probes.expire(now);
        self.probes_came_to(now, outcomes, out);
        self.end_suspicions(now, out);
        self.hurry_unless_quiet(now);
        if now >= self.probe_at {
            self.probe_next(now, out);
            self.schedule_probe(now);
        }
        if now >= self.retry_at {
            self.begin_period(now, out);
        }
        if now >= self.exchange_at {
            self.exchange_at = now + self.config.exchange_period * self.pace();
            self.compare_with_one(now, out);
            self.changed |= self.table.forget_gone(now);
        }
        self.exchange_differing(now, out);
        self.finish(now, out);
    }

    /// When `timeout` wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let rounds = [self.probe_at, self.retry_at, self.exchange_at];
        let suspicions = self.suspicions.values().map(|suspicion| suspicion.deadline());
        let differing = self.differing.values().copied();
        rounds.into_iter().chain(self.probes.next_timeout()).chain(suspicions).chain(differing).min()
    }

    /// After a pause the silence was this peer's own: nobody is accused of it, and whoever was suspect
    /// gets its time again, for the refutation may lie unread.
    fn resume(&mut self, now: Time) {
        self.probes.paused();
        self.refused.clear();
        for suspicion in self.suspicions.values_mut() {
            suspicion.restart(now);
        }
        self.hurried_at = now + self.config.probe_period;
        self.probe_at = self.hurried_at;
    }

    /// A new life: the peers of the saved table are where it begins.
    fn connect_all(&mut self, out: &mut Vec<Out>) {
        let others: Vec<PeerId> = self.table.others().map(|record| record.id).collect();
        for peer in others {
            self.connect(peer, out);
        }
    }

    /// The next of a shuffled list, and all of it before anyone comes again: a dead peer is probed within
    /// 2n - 1 periods by everyone (SWIM, section 4.3). Before it the neighbour, if that is due; while it is quiet,
    /// the neighbour alone.
    fn probe_next(&mut self, now: Time, out: &mut Vec<Out>) {
        let is_quiet = self.is_quiet();
        if self.watches(now) {
            self.watched_at = now;
            self.probe_one(now, self.neighbour(), out);
            if is_quiet {
                return;
            }
        }
        if let Some(peer) = self.next_of_round() {
            return self.probe(now, peer, out);
        }
        self.round = self.table.others_not_dead().map(|record| record.id).collect();
        self.round.shuffle(&mut self.rng);
        if let Some(peer) = self.next_of_round() {
            self.probe(now, peer, out);
        }
    }

    fn next_of_round(&mut self) -> Option<PeerId> {
        while let Some(peer) = self.round.pop() {
            let known = self.table.other(peer).is_some_and(|record| record.health != Health::Dead);
            if known && self.probes.probing(peer).is_none() {
                return Some(peer);
            }
        }
        None
    }

    /// Unless it is being probed.
    fn probe_one(&mut self, now: Time, peer: Option<PeerId>, out: &mut Vec<Out>) {
        if let Some(peer) = peer.filter(|peer| self.probes.probing(*peer).is_none()) {
            self.probe(now, peer, out);
        }
    }

    fn probe(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        if let Some(seq) = self.probes.start(now, peer) {
            self.ping(peer, seq, out);
        }
    }

    /// Probes a peer out of turn, once in a period at most. One that is being probed is pinged again, for
    /// the first ping may have gone with its connection.
    pub(super) fn look_into(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        let lives = self.table.other(peer).is_some_and(|record| record.health != Health::Dead);
        if !lives || !self.looked_into.insert(peer) {
            return;
        }
        match self.probes.probing(peer) {
            Some(seq) => self.ping(peer, seq, out),
            None => self.probe(now, peer, out),
        }
    }

    pub(super) fn probes_came_to(
        &mut self,
        now: Time,
        outcomes: impl IntoIterator<Item = Outcome>,
        out: &mut Vec<Out>,
    ) {
        for outcome in outcomes {
            match outcome {
                Outcome::AskOthers { seq, target } => self.ask_others(now, seq, target, out),
                Outcome::Failed { target } => self.accuse(now, target, self.me().id, out),
                Outcome::Forward { origin, seq } => {
                    self.send(origin, GossipBody::Ack { seq }, Vec::new(), out);
                }
                Outcome::Nack { origin, seq } => {
                    marked!(Nack);
                    self.send(origin, GossipBody::Nack { seq }, Vec::new(), out);
                }
            }
        }
    }

    fn ask_others(&mut self, now: Time, seq: u64, target: PeerId, out: &mut Vec<Out>) {
        let helpers = self.some_alive(self.config.indirect_probes, target);
        self.probes.asked(seq, &helpers);
        for helper in helpers {
            self.send(helper, GossipBody::PingReq { seq, target }, Vec::new(), out);
        }
        if let Some(Outcome::Failed { target }) = self.probes.give_up(seq) {
            self.accuse(now, target, self.me().id, out);
        }
    }

    fn end_suspicions(&mut self, now: Time, out: &mut Vec<Out>) {
        let over = self.suspicions.iter().filter(|(_, suspicion)| suspicion.deadline() <= now);
        let over: Vec<PeerId> = over.map(|(peer, _)| *peer).collect();
        for peer in over {
            self.suspicions.remove(&peer);
            if let Some(known) = self.table.other(peer) {
                let claim = Record { health: Health::Dead, ..known.clone() };
                let change = self.table.merge(now, claim);
                self.merged(now, peer, change, out);
            }
        }
    }

    /// A base period is over, however unwell this peer is: one of the dead is tried, and those that are
    /// connected but unknown are greeted again. The first, and the first after a pause, is shorter.
    fn begin_period(&mut self, now: Time, out: &mut Vec<Out>) {
        // With the next probe, if that comes before or nobody is to be tried, so that an idle peer wakes once for both.
        let tries = self.dead_after(None).next().is_some() || !self.strangers.is_empty();
        self.retry_at = if tries { self.probe_at.min(now + self.config.probe_period) } else { self.probe_at };
        self.has_refuted = false;
        self.answered.clear();
        self.looked_into.clear();
        self.exchanges = 0;
        self.exchanged.retain(|_, last| now.since(*last) < EXCHANGE_GAP);
        self.try_dead(1, out);
        if !self.table.is_full() {
            self.strangers.retain(|peer| !self.table.holds(*peer));
            let strangers: Vec<PeerId> = self.strangers.iter().take(GREETINGS).copied().collect();
            for peer in strangers {
                self.exchange(now, peer, true, out);
            }
        }
    }

    /// The next of the dead, in turn, are pinged: what they are told makes them refute.
    pub(super) fn try_dead(&mut self, count: usize, out: &mut Vec<Out>) {
        if mutated!(ForgetDead) {
            return;
        }
        let dead: Vec<PeerId> = self.dead_after(self.tried).take(count).collect();
        for peer in dead {
            self.tried = Some(peer);
            let seq = self.probes.fresh_seq();
            self.ping(peer, seq, out);
        }
    }

    /// Those who may come back, in the order of ids from there on. Whoever was forgotten may live on, cut off, and have
    /// forgotten this peer as well: then neither hears of it but by being tried.
    fn dead_after(&self, peer: Option<PeerId>) -> impl Iterator<Item = PeerId> {
        let may_return = |r: &Record| r.standing.step != Step::Left || r.was_forgotten();
        let dead = move |r: &&Record| r.health == Health::Dead && may_return(r);
        let known = if self.table.all_live() { None } else { Some(self.table.others_after(peer)) };
        known.into_iter().flatten().filter(dead).map(|record| record.id)
    }

    fn compare_with_one(&mut self, now: Time, out: &mut Vec<Out>) {
        let one = self.some_alive(1, self.me().id).first().copied();
        if self.is_quiet() {
            self.probe_one(now, one, out);
        }
        if let Some(peer) = one {
            let digest = self.table.digest();
            self.send(peer, GossipBody::Compare { digest }, Vec::new(), out);
        }
    }

    /// Those beyond what this period allows have to wait for the next; by then most will agree.
    fn exchange_differing(&mut self, now: Time, out: &mut Vec<Out>) {
        let due = self.differing.iter().filter(|(_, at)| **at <= now);
        let due: Vec<PeerId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            self.differing.remove(&peer);
            let hash = self.view().hash;
            if self.table.view_of(peer).is_none_or(|theirs| theirs.hash == hash) {
                continue;
            }
            if !self.may_exchange() {
                self.differing.insert(peer, self.retry_at);
                continue;
            }
            self.exchange(now, peer, true, out);
            if let Some(member) = self.table.member_mut(peer) {
                member.disagreements = member.disagreements.saturating_add(1);
            }
        }
    }
}
