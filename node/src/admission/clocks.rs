//! How the clocks of others differ from this machine's, as they tell by themselves now and then.

use starling_protocol::ids::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most peers whose clocks are remembered; of more, none is.
const CLOCKS_MAX: usize = 4096;
/// What was heard longer ago does not count: clocks are set.
const COUNTS_FOR: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct Clocks(BTreeMap<PeerId, (i64, Instant)>);

/// How far this machine's clock is ahead of the others', in milliseconds; negative: behind. What a message
/// takes on its way is within it, as a little behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// Of how many others.
    pub peers: usize,
    /// The median: no few liars, or peers whose own clocks are wrong, move it.
    pub ahead_ms: i64,
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
        ahead.sort_unstable();
        let ahead_ms = *ahead.get(ahead.len() / 2)?;
        Some(ClockDifference { peers: ahead.len(), ahead_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
