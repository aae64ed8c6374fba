//! How the clocks of others differ from this machine's, as they tell by themselves now and then.

use starling_protocol::ids::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most peers whose clocks are remembered; of more, none is.
const CLOCKS_MAX: usize = 4096;
/// What was heard longer ago does not count: clocks are set.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// A clock that is no further off is left alone. A quarter of `Config::clock_ahead_ms`, beyond which others refuse a
/// stamp: two that are each this far off still understand one another.
const LEFT_ALONE_MS: i64 = 6 * 60 * 60 * 1000;

#[derive(Default)]
pub(super) struct Clocks(BTreeMap<PeerId, (i64, Instant)>);

/// How far this machine's clock is ahead of the others', in milliseconds; negative: behind. What a message
/// takes on its way is within it, as a little behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// Of how many others.
    pub peers: usize,
    /// The median of theirs, and of this machine's own where there are more than one: no few liars, or peers whose own
    /// clocks are wrong, move it. Without its own, of two that differ the wrong one might count.
    pub ahead_ms: i64,
}

impl ClockDifference {
    /// What to add to this machine's clock for the stamps of its writes, so that others take these and it takes
    /// theirs. One other alone is no reason to go ahead: of two clocks the earlier counts, for both.
    pub fn correction_ms(&self) -> i64 {
        let leads_alone = self.peers == 1 && self.ahead_ms < 0;
        if self.ahead_ms.saturating_abs() <= LEFT_ALONE_MS || leads_alone { 0 } else { -self.ahead_ms }
    }
}

impl Clocks {
    pub fn hear(&mut self, peer: PeerId, theirs_ms: u64, mine_ms: u64, now: Instant) {
        if self.0.len() < CLOCKS_MAX || self.0.contains_key(&peer) {
            let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
            self.0.insert(peer, (signed(mine_ms).saturating_sub(signed(theirs_ms)), now));
        }
    }

    /// `None`: nobody has told lately.
    pub fn difference(&self, now: Instant) -> Option<ClockDifference> {
        let lately = self.0.values().filter(|(_, at)| now.saturating_duration_since(*at) < COUNTS_FOR);
        let mut ahead: Vec<i64> = lately.map(|(ahead, _)| *ahead).collect();
        let peers = ahead.len();
        ahead.extend((peers > 1).then_some(0));
        ahead.sort_unstable();
        let ahead_ms = *ahead.get(ahead.len() / 2)?;
        Some(ClockDifference { peers, ahead_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_days_off_is_corrected_and_of_two_the_one_ahead() {
        let day = 24 * 60 * 60 * 1000;
        let correction = |peers, ahead_ms| ClockDifference { peers, ahead_ms }.correction_ms();
        assert_eq!(correction(5, LEFT_ALONE_MS), 0);
        assert_eq!(correction(5, -LEFT_ALONE_MS), 0);
        assert_eq!((correction(1, 3 * day), correction(1, -3 * day)), (-3 * day, 0));
        assert_eq!((correction(2, 3 * day), correction(2, -3 * day)), (-3 * day, 3 * day));
    }

    #[test]
    fn one_wrong_clock_of_three_moves_itself_alone() {
        let (day, now) = (24 * 60 * 60 * 1000, Instant::now());
        let right = 100 * day;
        let ahead = |mine: u64, theirs: [u64; 2]| {
            let mut clocks = Clocks::default();
            for (peer, theirs) in (1..).zip(theirs) {
                clocks.hear(PeerId::numbered(peer), theirs, mine, now);
            }
            clocks.difference(now).expect("two have told").correction_ms()
        };
        for wrong in [right - 3 * day, right + 3 * day, 0, u64::MAX] {
            assert_eq!(ahead(right, [wrong, right]), 0, "{wrong}");
        }
        assert_eq!(ahead(right - 3 * day, [right, right]), 3 * day as i64);
        assert_eq!(ahead(right + 3 * day, [right, right]), -3 * day as i64);
    }

    #[test]
    fn the_median_of_those_that_were_heard_lately_counts() {
        let (mut clocks, now) = (Clocks::default(), Instant::now());
        assert_eq!(clocks.difference(now), None);
        for (n, theirs) in [(1, 1_000), (2, 900), (3, u64::MAX)] {
            clocks.hear(PeerId::numbered(n), theirs, 5_000, now);
        }
        assert_eq!(clocks.difference(now), Some(ClockDifference { peers: 3, ahead_ms: 4_000 }));
        clocks.hear(PeerId::numbered(1), 6_000, 5_000, now + COUNTS_FOR);
        let later = clocks.difference(now + COUNTS_FOR);
        assert_eq!(later, Some(ClockDifference { peers: 1, ahead_ms: -1_000 }));
    }
}
