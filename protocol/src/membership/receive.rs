//! What others say, and what it changes.

use super::dissemination::Rumor;
use super::suspicion::Suspicion;
use super::table::{Change, FORGOTTEN_MAX, view_hash};
use super::{Membership, Out};
use crate::ids::PeerId;
use crate::member::{Accusation, Health, Record, Step, View};
use crate::message::{Gossip, GossipBody};
use crate::time::Time;
use rand::Rng;
use std::collections::BTreeSet;

/// Most accusations in one message.
const ACCUSATIONS_MAX: usize = 64;
/// How many, on average, probe a suspect out of turn: twice as many as it takes to confirm.
const CONFIRMERS: usize = 6;
/// How many have to say between two probes that this peer is suspect before it believes that it is slow, and in a
/// network of how many one is enough.
const DOUBTERS: usize = 2;
const FEW: usize = 3;
/// When one of the dead answers, so many others are tried at once: a cut may have healed.
const BURST: usize = 8;

/// What has to be answered, gathered while a message is read.
#[derive(Default)]
struct Heard {
    /// The sender, or whom it heard, has something else about this peer than is so.
    about_me: bool,
    /// And it would have killed this peer.
    refuted: bool,
    /// The sender does not know what is held of itself.
    about_them: bool,
    /// The sender was dead.
    revived: bool,
    misbehaved: Option<&'static str>,
    /// There was no room for one.
    dropped: bool,
}

impl Membership {
    /// A message of a peer whose identity the transport has proved. What it says is checked record by
    /// record. Of a peer that is not in the table only its own record counts.
    pub fn received(&mut self, now: Time, from: PeerId, gossip: Gossip, out: &mut Vec<Out>) {
        if from == self.me().id {
            return;
        }
        let Gossip { view, mut records, accusations, sent, body } = gossip;
        if records.len() > self.config.members_max + FORGOTTEN_MAX || accusations.len() > ACCUSATIONS_MAX {
            out.push(Out::Misbehaved { peer: from, why: "its message has more records than allowed" });
            return;
        }
        // No honest peer says two things of one.
        let mut told = BTreeSet::new();
        records.retain(|record| told.insert(record.id));
        if self.is_new() && !matches!(body, GossipBody::Exchange { .. }) {
            let told = records.len();
            records.retain(|record| self.get(record.id).is_some());
            if records.len() < told && self.may_exchange() {
                self.exchange(now, from, true, out);
            }
        }
        let whole = matches!(body, GossipBody::Exchange { .. }) && is_table_of(view, &records);
        let mut heard = Heard::default();
        let (own, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.id == from);
        for record in own {
            self.claimed(now, from, record, &mut heard, out);
        }
        if let Some(known) = self.table.other(from) {
            // Another process with its key, or a start that others have outdone: it hears what is held of it.
            heard.about_them |= sent.is_some_and(|sent| sent.life != known.life);
            for record in others {
                // Of one that sends what no honest one does, no more is looked at: each signature takes a while.
                if heard.misbehaved.is_some() {
                    break;
                }
                self.claimed(now, from, record, &mut heard, out);
            }
            for accusation in accusations {
                self.accused(now, from, accusation, &mut heard, out);
            }
            if whole && heard.misbehaved.is_none() && !heard.dropped {
                self.heard_all(from, view, out);
            }
            self.heard_view(now, from, view, out);
            self.answer(now, from, body, &heard, out);
        } else {
            self.answer_stranger(now, from, &body, &heard, out);
        }
        if let Some(why) = heard.misbehaved {
            out.push(Out::Misbehaved { peer: from, why });
        }
        self.finish(now, out);
    }

    /// All records of whoever has this view were taken in.
    fn heard_all(&mut self, from: PeerId, view: View, out: &mut Vec<Out>) {
        if !self.knows_view(view.hash) {
            self.past.note(view.hash);
            out.push(Out::ViewHeard { peer: from });
        }
    }

    /// It waits, and knows no member. Then it learns a table as a whole or not at all: from a part of one other
    /// owners would follow, and the steps that it takes itself would hide from the members that it lacks theirs.
    fn is_new(&self) -> bool {
        let is_member = |record: &Record| record.standing.step == Step::Member;
        self.me().standing.step == Step::Waiting && !self.table.others().any(is_member)
    }

    fn claimed(&mut self, now: Time, from: PeerId, mut claim: Record, heard: &mut Heard, out: &mut Vec<Out>) {
        // Most of a table that is exchanged is known already, what is kept of the forgotten as well.
        if self.table.other(claim.id) == Some(&claim) || self.table.keeps(&claim) {
            return;
        }
        if !claim.is_sane() {
            heard.misbehaved = Some("one of its records is out of bounds");
            return;
        }
        if !self.table.is_plausible(from, &claim) {
            heard.misbehaved = Some("one of its records counts further than any peer can have got");
            return;
        }
        if self.signing.lacks_proof(&claim) {
            heard.dropped = true;
            return;
        }
        // Else whoever repeats what is old, however often, would be answered with as many verifications.
        let is_news = self.table.is_news(&claim);
        if is_news && let Err(why) = self.believe(&claim) {
            self.forged += 1;
            heard.misbehaved = Some(why);
            return;
        }
        if claim.id == self.me().id {
            return self.claimed_of_me(from, claim, heard, out);
        }
        if !is_news {
            heard.dropped |= !self.table.holds(claim.id);
            heard.about_them |= from == claim.id && self.table.holds(from);
            return;
        }
        // Nobody is dead here that was not suspect here for the least time: another's belief may be old,
        // or forged. Else the halves of a cut network would kill each other when they meet. (memberlist
        // does so for tables; SWIM itself believes whoever confirms a death.)
        let known = self.table.other(claim.id);
        let said_dead = claim.health == Health::Dead
            && self.config.lifeguard
            && known.is_some_and(|k| k.health != Health::Dead && k.incarnation <= claim.incarnation);
        if said_dead {
            claim.health = Health::Suspect;
        }
        let peer = claim.id;
        let said = (from == peer).then(|| claim.clone());
        let change = self.table.merge(now, claim);
        heard.dropped |= !self.table.holds(peer);
        self.merged(now, peer, change, out);
        if said_dead {
            self.said_dead(now, peer, change, out);
        }
        if let Some(said) = said {
            heard.revived |= change.was == Some(Health::Dead) && self.health(peer) == Health::Alive;
            heard.about_them |= self.table.held(peer).is_some_and(|held| held != said);
        }
    }

    /// What was verified before is not verified again, nor a step that would change nothing. `Err`: why no honest peer
    /// says so.
    fn believe(&self, claim: &Record) -> Result<(), &'static str> {
        let known = self.get(claim.id);
        let is_known = |known: &Record| {
            (known.incarnation, known.signature) == (claim.incarnation, claim.signature)
                && known.describes_like(claim)
        };
        if !known.is_some_and(is_known) && !self.signing.is_signed(claim) {
            return Err("one of its records is not signed by its subject");
        }
        let is_granted = |known: &Record| {
            (&known.certificates, known.weight, &known.zone)
                == (&claim.certificates, claim.weight, &claim.zone)
        };
        if !known.is_some_and(is_granted) && !self.signing.is_certified(claim) {
            return Err(
                "the subject of one of its records has no certificate, or claims more than that allows",
            );
        }
        if self.steps(claim) && !self.signing.is_vouched(claim) {
            return Err("a step in one of its records was not taken by who may take it");
        }
        Ok(())
    }

    /// True if its step, or who vouches for that, is news.
    fn steps(&self, claim: &Record) -> bool {
        let lacks = || self.get(claim.id).is_some_and(|known| known.voucher.is_none());
        match self.table.standing(claim.id) {
            Some(known) => claim.standing > known || claim.standing == known && lacks(),
            None => true,
        }
    }

    /// Whoever says so has waited already: here it has the least time left, and is probed if that is news.
    fn said_dead(&mut self, now: Time, peer: PeerId, change: Change, out: &mut Vec<Out>) {
        if let Some(suspicion) = self.suspicions.get_mut(&peer) {
            suspicion.hurry();
            marked!(SaidDead);
        }
        if change.life {
            self.look_into(now, peer, out);
        }
    }

    /// Tells what a claim has changed.
    pub(super) fn merged(&mut self, now: Time, peer: PeerId, change: Change, out: &mut Vec<Out>) {
        if change == Change::default() {
            return;
        }
        self.changed = true;
        let Some(record) = self.table.other(peer) else { return };
        let (health, step) = (record.health, record.standing.step);
        if change.life {
            self.rumors.remove_about(peer);
            self.life_changed(now, peer, change.was);
        }
        self.rumors.add(Rumor::About(peer));
        if change.was != Some(health) && change.life {
            out.push(Out::Health { peer, health });
        }
        if change.stepped {
            out.push(Out::Stepped { peer, step });
        }
        if change.addresses && health != Health::Dead {
            self.connect(peer, out);
        }
    }

    fn life_changed(&mut self, now: Time, peer: PeerId, was: Option<Health>) {
        let living = self.table.living();
        let Some(record) = self.table.other(peer) else { return };
        if record.health == Health::Suspect {
            let incarnation = record.incarnation;
            if self.suspicions.get(&peer).is_none_or(|known| known.incarnation != incarnation) {
                let mut suspicion = Suspicion::new(now, incarnation, living, &self.config);
                suspicion.refused(self.refused.contains(&peer));
                self.suspicions.insert(peer, suspicion);
            }
        } else {
            self.suspicions.remove(&peer);
            self.refused.remove(&peer);
        }
        let is_new = was.is_none_or(|was| was == Health::Dead);
        if is_new && record.health != Health::Dead {
            // "Joining members are inserted at a position chosen uniformly at random" (SWIM, section 4.3).
            let at = self.rng.random_range(0..=self.round.len());
            self.round.insert(at, peer);
        }
    }

    /// What others say of this peer is never believed of its health, nor of what it is. It is refuted if
    /// it could win against what this peer says; and a later standing is taken over.
    ///
    /// A life of this peer that began after this one is either an earlier one that it has forgotten, under a clock
    /// that was set back, or another process with a copy of its key. The first cannot answer when this peer says
    /// that it began later still; the second does, and so one of both hears that it has to stop. There may be several
    /// of the first: the halves of a cut network may know different ones.
    fn claimed_of_me(&mut self, from: PeerId, claim: Record, heard: &mut Heard, out: &mut Vec<Out>) {
        let me = self.me();
        let (mine, standing) = (me.incarnation, me.standing);
        let differs = claim.health != Health::Alive || !claim.describes_like(me);
        let began_later = claim.started_after(me);
        if claim.standing > standing {
            let (standing, voucher) = (claim.standing, claim.voucher.clone());
            self.table.change_me(|me| (me.standing, me.voucher) = (standing, voucher));
            self.rumors.add(Rumor::About(claim.id));
            self.changed = true;
            marked!(Overruled);
            out.push(Out::Overruled { standing: claim.standing });
        }
        if claim.incarnation > mine || (claim.incarnation == mine && differs) {
            if mutated!(ForgetRefutation) {
                return;
            }
            if began_later && self.outdone.replace(claim.life) == Some(claim.life) {
                return out.push(Out::Outlived);
            }
            // After an own life that it has forgotten, too.
            let started_ms = if began_later { claim.started_ms + 1 } else { 0 };
            self.raise_me(claim.incarnation + 1, |me| me.started_ms = me.started_ms.max(started_ms));
            if claim.health != Health::Alive {
                self.doubted = Some(claim.incarnation);
                heard.refuted = true;
                marked!(Refuted);
                out.push(Out::Refuted { incarnation: claim.incarnation + 1 });
            }
            heard.about_me = true;
        }
        if claim.health != Health::Alive {
            self.doubted_by(from, claim.incarnation);
        }
        heard.about_me |= claim.incarnation < mine || claim.standing < standing;
    }

    /// That this peer had to refute is a sign that it is slow; but where several could say so only if a second does, or
    /// one that lies would keep it at its slowest. Once between two probes, for one that is answered makes up for it: so
    /// what several say for ever does not keep it there either.
    fn doubted_by(&mut self, from: PeerId, incarnation: u64) {
        if self.doubted != Some(incarnation) || self.doubters.len() >= DOUBTERS {
            return;
        }
        let enough = if self.table.living() > FEW { DOUBTERS } else { 1 };
        if self.doubters.insert(from) && self.doubters.len() == enough {
            self.probes.unwell(1);
        }
    }

    fn accused(
        &mut self,
        now: Time,
        from: PeerId,
        accusation: Accusation,
        heard: &mut Heard,
        out: &mut Vec<Out>,
    ) {
        let Accusation { suspect, incarnation, by } = accusation;
        if suspect == self.me().id {
            let mine = self.me().incarnation;
            heard.about_me |= incarnation < mine;
            if incarnation < mine {
                self.doubted_by(from, incarnation);
            }
            // Above what this peer has signed in this life nobody can accuse it; of what it signed in an
            // earlier one that it has lost, it hears by that record.
            if incarnation == mine {
                let claim = Record { health: Health::Suspect, ..self.me().clone() };
                self.claimed_of_me(from, claim, heard, out);
            }
            return;
        }
        let is_current = |known: &Record| known.incarnation == incarnation && known.health != Health::Dead;
        let current = self.table.other(suspect).is_some_and(is_current);
        if current && by != suspect && self.table.other(by).is_some() {
            self.accuse(now, suspect, by, out);
            self.probe_soon(suspect);
        }
    }

    /// `by`, this peer or another, had no answer from the suspect, which is not dead yet.
    pub(super) fn accuse(&mut self, now: Time, suspect: PeerId, by: PeerId, out: &mut Vec<Out>) {
        let Some(known) = self.table.other(suspect).filter(|known| known.health != Health::Dead) else {
            return;
        };
        let claim = Record { health: Health::Suspect, ..known.clone() };
        let change = self.table.merge(now, claim);
        if change.life {
            self.life_changed(now, suspect, change.was);
            out.push(Out::Health { peer: suspect, health: Health::Suspect });
        }
        if self.suspicions.get_mut(&suspect).is_some_and(|suspicion| suspicion.accuse(by)) {
            self.rumors.add(Rumor::Accusation { suspect, by });
            if by == self.me().id {
                self.spread(suspect, out);
            }
        }
    }

    /// A few of those who hear of a suspicion probe the suspect next, so that it is soon confirmed, or
    /// soon heard and refuted.
    fn probe_soon(&mut self, suspect: PeerId) {
        // Where all have left, this peer too, nobody lives, and the last that speak still accuse one another.
        let chosen = self.rng.random_range(0..self.table.living().max(1)) < CONFIRMERS;
        let me = self.me().id;
        if chosen && self.suspicions.get(&suspect).is_some_and(|suspicion| suspicion.wants(me)) {
            self.round.retain(|peer| *peer != suspect);
            self.round.push(suspect);
        }
    }

    fn answer(&mut self, now: Time, from: PeerId, body: GossipBody, heard: &Heard, out: &mut Vec<Out>) {
        let mut first = Vec::new();
        if heard.about_me {
            first.push(self.me().clone());
        }
        if heard.about_them || self.health(from) == Health::Dead {
            first.extend(self.table.held(from));
        }
        match body {
            GossipBody::Ping { seq } => {
                self.send(from, GossipBody::Ack { seq }, std::mem::take(&mut first), out);
            }
            GossipBody::Ack { seq } => {
                let outcome = self.probes.ack(from, seq);
                self.probes_came_to(now, outcome, out);
            }
            GossipBody::PingReq { seq, target } => self.asked_to_ping(now, from, seq, target, out),
            GossipBody::Nack { seq } => {
                let outcome = self.probes.nack(from, seq);
                self.probes_came_to(now, outcome, out);
            }
            GossipBody::Exchange { reply } if reply => self.exchange(now, from, false, out),
            GossipBody::Compare { digest } if digest != self.table.digest() && self.may_exchange() => {
                self.exchange(now, from, true, out);
            }
            _ => {}
        }
        if !first.is_empty() && (heard.refuted || self.may_answer(from)) {
            self.send(from, GossipBody::Update, first, out);
        }
        // Whoever has heard of the suspicion holds to it until it hears this.
        if heard.refuted && !std::mem::replace(&mut self.has_refuted, true) {
            self.tell(self.me().clone(), out);
        }
        // One that was paused is heard by all who pinged it meanwhile; were a table exchanged with each, it would
        // read a million records in a network of a thousand.
        if heard.revived {
            marked!(Revived);
            if self.is_one_of_some() && self.may_exchange() {
                self.exchange(now, from, true, out);
            }
            self.burst(now, out);
        }
    }

    /// One that is not in the table, and gave no record by which it could be. If it was forgotten it
    /// hears so; else it is asked who it is. Its pings are answered: that there is no room for it here does
    /// not make this peer dead.
    fn answer_stranger(
        &mut self,
        now: Time,
        from: PeerId,
        body: &GossipBody,
        heard: &Heard,
        out: &mut Vec<Out>,
    ) {
        if let GossipBody::Ping { seq } = *body {
            self.send(from, GossipBody::Ack { seq }, Vec::new(), out);
        }
        if heard.misbehaved.is_some() || self.table.is_full() || !self.may_answer(from) {
            return;
        }
        if self.table.is_forgotten(from) {
            // `send` itself tells it what is held of it.
            self.send(from, GossipBody::Update, Vec::new(), out);
        } else {
            self.exchange(now, from, true, out);
        }
    }

    fn asked_to_ping(&mut self, now: Time, from: PeerId, seq: u64, target: PeerId, out: &mut Vec<Out>) {
        if self.table.other(target).is_none() {
            return;
        }
        if let Some(seq) = self.probes.relay(now, from, seq, target) {
            self.ping(target, seq, out);
        }
    }

    fn burst(&mut self, now: Time, out: &mut Vec<Out>) {
        if now >= self.burst_after {
            self.burst_after = now + self.config.probe_period;
            self.try_dead(BURST, out);
        }
    }
}

/// Whether these are all the records of one that has this view. What it says of its view is not enough: others may
/// have that one, and their answers would count here.
fn is_table_of(view: View, records: &[Record]) -> bool {
    let mut in_order: Vec<&Record> = records.iter().collect();
    in_order.sort_unstable_by_key(|record| record.id);
    view_hash(in_order.into_iter()) == view.hash
}
