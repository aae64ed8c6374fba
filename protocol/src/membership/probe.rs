//! Who is being probed (SWIM, sections 3.1 and 4.3), and how far this peer trusts its own judgement
//! (Lifeguard, section IV-A).

use crate::config::Config;
use crate::ids::PeerId;
use crate::time::{Duration, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Highest local health score: Lifeguard's S, there 8. Periods and timeouts grow to 1 + S times.
const SCORE_MAX: u32 = 8;
/// Most probes carried out for others at once; one more is not carried out, and its asker hears nothing.
const RELAYS_MAX: usize = 256;
/// Most probes open at once. The periodic ones overlap by one at most; the others begin when a connection
/// breaks or a belief is contested, and are left to the periodic ones where there are too many.
const PROBES_MAX: usize = 64;

/// A probe under way.
#[derive(Clone, Debug)]
struct Probe {
    target: PeerId,
    /// When others are asked; none once they have been.
    direct_until: Option<Time>,
    /// When it has failed.
    until: Time,
    /// Who was asked to probe it too.
    helpers: BTreeSet<PeerId>,
    /// Those of them who tried and had no answer.
    nacks: BTreeSet<PeerId>,
    /// No connection to it could be had.
    unreachable: bool,
}

impl Probe {
    fn next_timeout(&self) -> Time {
        self.direct_until.unwrap_or(self.until)
    }

    /// Nobody expects an answer any more: neither this peer, which has waited or has no way to it, nor any of those
    /// who were asked. Where nobody could be asked, this peer waits for the rest of the period.
    fn is_hopeless(&self) -> bool {
        let asked_in_vain = self.nacks.len() == self.helpers.len();
        let asked = self.unreachable || !self.helpers.is_empty();
        self.direct_until.is_none() && asked && asked_in_vain
    }
}

/// A probe for another.
#[derive(Clone, Debug)]
struct Relay {
    origin: PeerId,
    /// The origin's name for it.
    seq: u64,
    target: PeerId,
    until: Time,
}

/// What a probe has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Time to ask others to probe it.
    AskOthers {
        seq: u64,
        target: PeerId,
    },
    Failed {
        target: PeerId,
    },
    /// A probe for another was answered.
    Forward {
        origin: PeerId,
        seq: u64,
    },
    /// A probe for another was not.
    Nack {
        origin: PeerId,
        seq: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Probes {
    period: Duration,
    timeout: Duration,
    next_seq: u64,
    open: BTreeMap<u64, Probe>,
    relays: BTreeMap<u64, Relay>,
    /// Lifeguard's local health multiplier, less one: 0 is well, and `SCORE_MAX` is so unwell that
    /// silence says more about this peer than about others.
    score: u32,
    score_max: u32,
}

impl Probes {
    /// `first_seq`: where sequence numbers begin, different in every life.
    pub fn new(config: &Config, first_seq: u64) -> Self {
        Self {
            period: config.probe_period,
            timeout: config.probe_timeout,
            next_seq: first_seq,
            open: BTreeMap::new(),
            relays: BTreeMap::new(),
            score: 0,
            score_max: if config.lifeguard { SCORE_MAX } else { 0 },
        }
    }

    /// The probe period, longer while this peer is unwell.
    pub fn period(&self) -> Duration {
        self.period * (self.score + 1)
    }

    /// This peer is well, and no probe waits for more than the first answer.
    pub fn are_calm(&self) -> bool {
        let is_direct = |probe: &Probe| probe.direct_until.is_some();
        self.score == 0 && self.open.values().all(is_direct)
    }

    /// The number that this peer is being pinged with, if it is.
    pub fn probing(&self, target: PeerId) -> Option<u64> {
        self.open.iter().find(|(_, probe)| probe.target == target).map(|(seq, _)| *seq)
    }

    /// The sequence number to ping with; none if too many are open.
    pub fn start(&mut self, now: Time, target: PeerId) -> Option<u64> {
        if self.open.len() >= PROBES_MAX {
            return None;
        }
        let seq = self.fresh_seq();
        let probe = Probe {
            target,
            direct_until: Some(now + self.timeout * (self.score + 1)),
            until: now + self.period(),
            helpers: BTreeSet::new(),
            nacks: BTreeSet::new(),
            unreachable: false,
        };
        self.open.insert(seq, probe);
        Some(seq)
    }

    /// A number for a ping whose answer proves nothing that is waited for.
    pub fn fresh_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// These were asked to probe it too.
    pub fn asked(&mut self, seq: u64, helpers: &[PeerId]) {
        if let Some(probe) = self.open.get_mut(&seq) {
            probe.helpers.extend(helpers);
        }
    }

    /// Another asks for a probe. The number to ping `target` with, unless too many are under way.
    pub fn relay(&mut self, now: Time, origin: PeerId, seq: u64, target: PeerId) -> Option<u64> {
        if self.relays.len() >= RELAYS_MAX {
            return None;
        }
        let mine = self.fresh_seq();
        // Four fifths of the timeout, as in memberlist: the nack arrives while its origin still waits.
        let until = now + self.timeout * 4 / 5;
        self.relays.insert(mine, Relay { origin, seq, target, until });
        Some(mine)
    }

    /// An answer came, from the target itself or from one that was asked to probe it too.
    pub fn ack(&mut self, from: PeerId, seq: u64) -> Option<Outcome> {
        if self.relays.get(&seq).is_some_and(|relay| relay.target == from) {
            let relay = self.relays.remove(&seq)?;
            return Some(Outcome::Forward { origin: relay.origin, seq: relay.seq });
        }
        let probe = self.open.get(&seq)?;
        if probe.target != from && !probe.helpers.contains(&from) {
            return None;
        }
        self.open.remove(&seq);
        self.score = self.score.saturating_sub(1);
        None
    }

    /// One that was asked had no answer either. Ends the probe if nothing is left to hope for.
    pub fn nack(&mut self, from: PeerId, seq: u64) -> Option<Outcome> {
        let probe = self.open.get_mut(&seq)?;
        if probe.helpers.contains(&from) {
            probe.nacks.insert(from);
        }
        probe.is_hopeless().then(|| self.fail(seq)).flatten()
    }

    /// No connection to this peer can be had: what was waited for from it will not come.
    pub fn unreachable(&mut self, peer: PeerId) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (seq, probe) in self.open.iter_mut().filter(|(_, probe)| probe.target == peer) {
            probe.unreachable = true;
            if probe.direct_until.take().is_some() {
                outcomes.push(Outcome::AskOthers { seq: *seq, target: peer });
            }
        }
        let relayed = |relay: &Relay| relay.target == peer;
        outcomes.extend(self.end_relays(relayed));
        outcomes
    }

    /// After others were asked: the outcome, if nobody could be.
    pub fn give_up(&mut self, seq: u64) -> Option<Outcome> {
        let hopeless = self.open.get(&seq).is_some_and(Probe::is_hopeless);
        hopeless.then(|| self.fail(seq)).flatten()
    }

    /// What has run out of time.
    pub fn expire(&mut self, now: Time) -> Vec<Outcome> {
        let mut outcomes = self.end_relays(|relay| relay.until <= now);
        let late: Vec<u64> =
            self.open.iter().filter(|(_, p)| p.next_timeout() <= now).map(|(seq, _)| *seq).collect();
        for seq in late {
            let Some(probe) = self.open.get_mut(&seq) else { continue };
            if probe.direct_until.take().is_some() {
                outcomes.push(Outcome::AskOthers { seq, target: probe.target });
            } else {
                outcomes.extend(self.fail(seq));
            }
        }
        outcomes
    }

    pub fn next_timeout(&self) -> Option<Time> {
        let probes = self.open.values().map(Probe::next_timeout);
        probes.chain(self.relays.values().map(|relay| relay.until)).min()
    }

    /// This peer was paused: nothing that is open says anything about others.
    pub fn paused(&mut self) {
        self.open.clear();
        self.relays.clear();
        self.unwell(1);
    }

    /// Something happened that speaks for this peer being slow: Lifeguard, table I.
    pub fn unwell(&mut self, by: u32) {
        self.score = (self.score + by).min(self.score_max);
    }

    #[cfg(test)]
    pub fn score(&self) -> u32 {
        self.score
    }

    fn end_relays(&mut self, which: impl Fn(&Relay) -> bool) -> Vec<Outcome> {
        let ended: Vec<u64> = self.relays.iter().filter(|(_, r)| which(r)).map(|(seq, _)| *seq).collect();
        let ended = ended.into_iter().filter_map(|seq| self.relays.remove(&seq));
        ended.map(|relay| Outcome::Nack { origin: relay.origin, seq: relay.seq }).collect()
    }

    /// A helper that neither found it nor says so is a sign that this peer itself is cut off or slow; so is
    /// silence when there was nobody to ask. A connection that was refused is no such sign.
    fn fail(&mut self, seq: u64) -> Option<Outcome> {
        let probe = self.open.remove(&seq)?;
        let silent = probe.helpers.len() - probe.nacks.len();
        if !probe.helpers.is_empty() {
            self.unwell(silent as u32);
        } else if !probe.unreachable {
            self.unwell(1);
        }
        Some(Outcome::Failed { target: probe.target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64) -> PeerId {
        PeerId::numbered(n)
    }

    fn probing() -> (Probes, u64) {
        let mut probes = Probes::new(&Config::default(), 0);
        let seq = probes.start(Time(0), peer(1)).expect("none is open");
        (probes, seq)
    }

    /// After the direct timeout, with `helpers` asked.
    fn asking(helpers: &[PeerId]) -> (Probes, u64) {
        let (mut probes, seq) = probing();
        assert_eq!(probes.expire(Time(200_000)), [Outcome::AskOthers { seq, target: peer(1) }]);
        probes.asked(seq, helpers);
        (probes, seq)
    }

    #[test]
    fn only_the_target_or_one_that_was_asked_can_answer() {
        let (mut probes, seq) = asking(&[peer(2)]);
        for (from, seq) in [(peer(3), seq), (peer(2), seq + 1)] {
            assert_eq!(probes.ack(from, seq), None);
            assert_eq!(probes.open.len(), 1);
        }
        assert_eq!(probes.ack(peer(2), seq), None);
        assert!(probes.open.is_empty());
    }

    #[test]
    fn a_probe_without_an_answer_fails_at_the_end_of_the_period() {
        let (mut probes, _) = asking(&[peer(2)]);
        assert_eq!(probes.expire(Time(499_999)), []);
        assert_eq!(probes.expire(Time(500_000)), [Outcome::Failed { target: peer(1) }]);
        assert_eq!(probes.next_timeout(), None);
    }

    #[test]
    fn missed_nacks_raise_the_local_health_score_and_answers_lower_it() {
        let (mut probes, seq) = asking(&[peer(2), peer(3), peer(4)]);
        assert_eq!(probes.nack(peer(2), seq), None);
        probes.expire(Time(500_000));
        assert_eq!(probes.score(), 2);
        assert_eq!(probes.period(), Duration::from_millis(1500));
        let seq = probes.start(Time(500_000), peer(1)).expect("none is open");
        assert_eq!(probes.next_timeout(), Some(Time(500_000 + 600_000)));
        probes.ack(peer(1), seq);
        assert_eq!(probes.score(), 1);
        probes.unwell(100);
        assert_eq!(probes.score(), SCORE_MAX);
    }

    #[test]
    fn a_refused_connection_asks_others_at_once_and_their_nacks_end_it() {
        let (mut probes, seq) = probing();
        assert_eq!(probes.unreachable(peer(1)), [Outcome::AskOthers { seq, target: peer(1) }]);
        probes.asked(seq, &[peer(2), peer(3)]);
        assert_eq!(probes.give_up(seq), None);
        assert_eq!(probes.nack(peer(4), seq), None, "nobody asked it");
        assert_eq!(probes.nack(peer(2), seq), None);
        assert_eq!(probes.nack(peer(3), seq), Some(Outcome::Failed { target: peer(1) }));
        assert_eq!(probes.score(), 0);
    }

    #[test]
    fn once_all_that_were_asked_have_tried_in_vain_the_period_is_not_waited_for() {
        let (mut probes, seq) = asking(&[peer(2), peer(3)]);
        assert_eq!(probes.nack(peer(2), seq), None);
        assert_eq!(probes.nack(peer(3), seq), Some(Outcome::Failed { target: peer(1) }));
        assert_eq!(probes.score(), 0);
        let (mut probes, seq) = asking(&[]);
        assert_eq!(probes.give_up(seq), None, "nobody could be asked");
    }

    #[test]
    fn a_helper_forwards_the_answer_or_says_that_there_was_none() {
        let mut probes = Probes::new(&Config::default(), 0);
        let first = probes.relay(Time(0), peer(1), 70, peer(2)).expect("none is open");
        let second = probes.relay(Time(0), peer(1), 71, peer(3)).expect("one is open");
        assert_eq!(probes.ack(peer(3), first), None, "not whom it was about");
        assert_eq!(probes.ack(peer(2), first), Some(Outcome::Forward { origin: peer(1), seq: 70 }));
        assert_eq!(probes.expire(Time(160_000)), [Outcome::Nack { origin: peer(1), seq: 71 }]);
        assert_eq!(probes.ack(peer(3), second), None);
    }

    #[test]
    fn open_probes_and_relays_are_bounded() {
        let mut probes = Probes::new(&Config::default(), 0);
        let relays = (0..1000).filter(|seq| probes.relay(Time(0), peer(1), *seq, peer(2)).is_some());
        assert_eq!(relays.count(), RELAYS_MAX);
        let started = (0..1000).filter(|n| probes.start(Time(0), peer(*n)).is_some());
        assert_eq!(started.count(), PROBES_MAX);
    }
}
