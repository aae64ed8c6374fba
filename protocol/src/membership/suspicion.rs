//! How long a suspicion lasts (Lifeguard, section IV-B).

use super::TELL_ALL_MAX;
use crate::config::Config;
use crate::ids::PeerId;
use crate::log2::{LOG2_POINT, log2};
use crate::time::{Duration, Time};
use std::collections::BTreeSet;

/// How long a suspicion lasts that others confirm and the suspect's machine as well: a peer that was only
/// started again, or has moved, dials the others meanwhile and refutes.
const REFUSED_PERIODS: u32 = 1;

/// A suspect has until a deadline to refute. The deadline begins far off, and comes nearer with each
/// independent accusation: one accuser may be the one that is slow.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    /// The suspect's incarnation; a higher one ends this suspicion.
    pub incarnation: u64,
    since: Time,
    accusers: BTreeSet<PeerId>,
    /// K: how many accusations after the first bring the timeout to its least.
    confirmations_max: usize,
    least: Duration,
    most: Duration,
    /// How long it lasts at least where the suspect's machine says that it does not run.
    least_refused: Duration,
    refused: bool,
    /// Worked out when anything else here changes: it is asked for with every input.
    deadline: Time,
}

impl Suspicion {
    /// `members`: how many could be asked, this peer and the suspect among them.
    pub fn new(now: Time, incarnation: u64, members: usize, config: &Config) -> Self {
        // K is two less than the factor, as in memberlist: with 4, three peers agree. Where there are not
        // as many others, nobody waits for them.
        let wanted = (config.suspicion_factor as usize).saturating_sub(2);
        let waits = config.lifeguard && members.saturating_sub(2) >= wanted;
        let confirmations_max = if waits { wanted } else { 0 };
        let least = least(members, config);
        let most = least * config.suspicion_max_factor;
        let mut new = Self {
            incarnation,
            since: now,
            accusers: BTreeSet::new(),
            confirmations_max,
            least,
            most,
            least_refused: if config.lifeguard { config.probe_period * REFUSED_PERIODS } else { least },
            refused: false,
            deadline: Time::default(),
        };
        new.deadline = new.worked_out();
        new
    }

    /// Whether this peer itself has heard from the suspect's machine that it does not run. That takes the
    /// place of time, not of other accusers: the machine may be another that has the address now.
    pub fn refused(&mut self, refused: bool) {
        self.refused = refused;
        self.deadline = self.worked_out();
    }

    /// True if this accuser is new and counts. Accusers beyond K + 1 change nothing and are not kept, so
    /// that thousands of peers that all suspect one do not flood each other.
    pub fn accuse(&mut self, by: PeerId) -> bool {
        let counts = self.wants(by) && self.accusers.insert(by);
        self.deadline = self.worked_out();
        counts
    }

    /// True if an accusation by this peer would bring the deadline nearer.
    pub fn wants(&self, by: PeerId) -> bool {
        self.accusers.len() <= self.confirmations_max && !self.accusers.contains(&by)
    }

    /// Nobody else is waited for.
    pub fn hurry(&mut self) {
        self.confirmations_max = 0;
        self.deadline = self.worked_out();
    }

    /// The suspicion begins anew: this peer was paused, and may have missed the refutation.
    pub fn restart(&mut self, now: Time) {
        (self.since, self.refused) = (now, false);
        self.deadline = self.worked_out();
    }

    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// most - (most - least) * log(C + 1) / log(K + 1), where C accusations came after the first.
    fn worked_out(&self) -> Time {
        let confirmations = self.accusers.len().saturating_sub(1);
        if confirmations >= self.confirmations_max {
            return self.since + if self.refused { self.least_refused } else { self.least };
        }
        let share = |part: usize| log2(part as u64 + 1) >> (LOG2_POINT - 16);
        let range = (self.most - self.least).as_micros() as u64;
        let less = range.saturating_mul(share(confirmations)) / share(self.confirmations_max);
        self.since + (self.most - Duration::from_micros(less))
    }
}

/// The factor times the period. Where suspicions and what refutes them are not told to all at once, longer by the
/// periods that a rumor takes to all beyond ten: one more each time that the members are three times as many, since
/// each that has heard it tells two others a period, the one that it pings and the one that pings it.
fn least(members: usize, config: &Config) -> Duration {
    if members <= TELL_ALL_MAX {
        return config.probe_period * config.suspicion_factor;
    }
    let log3_thousandths = log2(members as u64) * 1000 / log2(3);
    let more = log3_thousandths.saturating_sub(log2(10) * 1000 / log2(3));
    config.probe_period * config.suspicion_factor + config.probe_period * (more as u32) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspicion(members: usize) -> Suspicion {
        Suspicion::new(Time(0), 1, members, &Config::default())
    }

    #[test]
    fn the_timeout_falls_from_the_most_to_the_least_as_confirmations_come() {
        let mut suspicion = suspicion(10);
        let mut deadlines = vec![suspicion.deadline()];
        for accuser in 0..3 {
            assert!(suspicion.accuse(PeerId::numbered(accuser)));
            deadlines.push(suspicion.deadline());
        }
        // 6 s, still so with the first accuser; 6 - 4 * log 2 / log 3 = 3.476 s; 2 s.
        assert_eq!(deadlines[0], Time(6_000_000));
        assert_eq!(deadlines[1], Time(6_000_000));
        assert!((3_470_000..3_480_000).contains(&deadlines[2].0), "{:?}", deadlines[2]);
        assert_eq!(deadlines[3], Time(2_000_000));
    }

    #[test]
    fn a_refusal_brings_it_nearer_once_others_agree() {
        let mut suspicion = suspicion(10);
        suspicion.refused(true);
        suspicion.accuse(PeerId::numbered(1));
        assert_eq!(suspicion.deadline(), Time(6_000_000), "one alone may be deceived");
        suspicion.accuse(PeerId::numbered(2));
        suspicion.accuse(PeerId::numbered(3));
        assert_eq!(suspicion.deadline(), Time(500_000));
        suspicion.refused(false);
        assert_eq!(suspicion.deadline(), Time(2_000_000), "it is connected again, and may refute");
        suspicion.refused(true);
        suspicion.restart(Time(1));
        assert_eq!(suspicion.deadline(), Time(2_000_001), "a pause makes it old");
    }

    #[test]
    fn the_same_accuser_counts_once_and_those_beyond_k_not_at_all() {
        let mut suspicion = suspicion(10);
        assert!(suspicion.accuse(PeerId::numbered(1)));
        assert!(!suspicion.accuse(PeerId::numbered(1)));
        assert!(suspicion.accuse(PeerId::numbered(2)));
        assert!(suspicion.accuse(PeerId::numbered(3)));
        assert!(!suspicion.accuse(PeerId::numbered(4)));
        assert_eq!(suspicion.deadline(), Time(2_000_000));
    }

    #[test]
    fn the_least_timeout_grows_with_the_logarithm_of_the_members() {
        assert_eq!(suspicion(3).deadline(), Time(2_000_000), "too few others to wait for");
        assert_eq!(suspicion(TELL_ALL_MAX).deadline(), Time(6_000_000), "all are told at once");
        let longer = suspicion(1000).deadline();
        // 4 periods and log3(1000 / 10) = 4.192, three times.
        assert!((12_270_000..12_295_000).contains(&longer.0), "{longer:?}");
    }
}
