//! What one stretch of the load brought.

use super::work::Op;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Longest latency that is told apart, in microseconds; what takes longer counts as this.
const LATENCY_MAX_US: u64 = 60_000_000;
/// Three significant digits: a latency is right to a thousandth.
const DIGITS: u8 = 3;
/// Seconds that are kept one by one; of a longer run, the first ones.
const SECONDS_MAX: usize = 24 * 60 * 60;

pub type Latencies = Histogram<u64>;

/// An empty histogram of microseconds.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("the bounds are in order")
}

/// One second of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Second {
    pub operations: u64,
    pub p99_us: u64,
}

pub struct Tally {
    began: Instant,
    pub took: Duration,
    /// Latencies of what succeeded, by operation.
    pub by_op: Vec<(Op, Latencies)>,
    /// How long those have waited that did not get what they asked for: under way or due at the end, cut off,
    /// or refused with an error. Each would have taken longer than that.
    unanswered: Latencies,
    /// Error replies.
    pub errors: u64,
    /// Requests under way on a connection that broke or stayed silent too long.
    pub cut: u64,
    /// Reads and deletions of a key that was not there.
    pub misses: u64,
    /// In the open loop: requests that were due and had not been sent at the end.
    pub behind: u64,
    pub first_error: Option<String>,
    /// Bytes of requests and answers.
    pub payload: u64,
    pub seconds: Vec<Second>,
    /// The processor time of the client itself.
    pub client_cpu: Duration,
    second: Latencies,
    second_began: Instant,
}

impl Tally {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            took: Duration::ZERO,
            by_op: Vec::new(),
            unanswered: latencies(),
            errors: 0,
            cut: 0,
            misses: 0,
            behind: 0,
            first_error: None,
            payload: 0,
            seconds: Vec::new(),
            client_cpu: Duration::ZERO,
            second: latencies(),
            second_began: now,
        }
    }

    pub fn record(&mut self, op: Op, latency: Duration) {
        let us = micros(latency);
        let known = self.by_op.iter().position(|(other, _)| *other == op);
        let at = known.unwrap_or_else(|| {
            self.by_op.push((op, latencies()));
            self.by_op.len() - 1
        });
        self.by_op[at].1.saturating_record(us);
        self.second.saturating_record(us);
    }

    /// So many have waited so long, and do not have what they asked for.
    pub fn wait(&mut self, waited: Duration, count: u64) {
        self.unanswered.saturating_record_n(micros(waited), count);
    }

    pub fn fail(&mut self, count: u64, cut: bool, why: impl FnOnce() -> String) {
        if cut {
            self.cut += count;
        } else {
            self.errors += count;
        }
        if count > 0 && self.first_error.is_none() {
            self.first_error = Some(why());
        }
    }

    /// Closes the seconds that are over.
    pub fn tick(&mut self, now: Instant) {
        while now.duration_since(self.second_began) >= Duration::from_secs(1) {
            self.second_began += Duration::from_secs(1);
            let p99_us = self.second.value_at_quantile(0.99);
            if self.seconds.len() < SECONDS_MAX {
                self.seconds.push(Second { operations: self.second.len(), p99_us });
            }
            self.second.reset();
        }
    }

    pub fn end(&mut self, now: Instant) {
        self.tick(now);
        self.took = now.duration_since(self.began);
    }

    /// What succeeded.
    pub fn operations(&self) -> u64 {
        self.by_op.iter().map(|(_, latencies)| latencies.len()).sum()
    }

    /// Of all that was asked for, answered or not.
    pub fn all(&self) -> Latencies {
        let mut all = self.unanswered.clone();
        for (_, some) in &self.by_op {
            all.add(some).expect("all histograms here have the same bounds");
        }
        all
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::new(Instant::now());
        for us in 1..=1000 {
            tally.record(if us % 2 == 0 { Op::Get } else { Op::Set }, Duration::from_micros(us));
        }
        tally.record(Op::Get, Duration::from_secs(3600));
        let all = tally.all();
        assert_eq!((tally.operations(), all.len()), (1001, 1001));
        assert!(all.value_at_quantile(0.5).abs_diff(500) <= 1);
        assert!(all.value_at_quantile(0.99).abs_diff(990) <= 1);
        assert!(all.max().abs_diff(LATENCY_MAX_US) <= LATENCY_MAX_US / 1000);
    }

    #[test]
    fn seconds_without_an_operation_count_too() {
        let now = Instant::now();
        let mut tally = Tally::new(now);
        tally.record(Op::Set, Duration::from_micros(70));
        tally.end(now + Duration::from_millis(3500));
        let counts: Vec<_> = tally.seconds.iter().map(|second| second.operations).collect();
        assert_eq!(counts, [1, 0, 0]);
        assert_eq!(tally.took, Duration::from_millis(3500));
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut tally = Tally::new(Instant::now());
        tally.fail(0, true, || "nothing was under way".into());
        tally.fail(2, true, || "closed".into());
        tally.fail(1, false, || "ERR".into());
        assert_eq!((tally.errors, tally.cut, tally.first_error.as_deref()), (1, 2, Some("closed")));
    }
}
