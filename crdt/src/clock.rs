//! A hybrid logical clock, fed from outside.
//!
//! Kulkarni et al., "Logical Physical Clocks" (2014), section 3: a stamp is never behind the
//! physical clock it was fed with, and always ahead of every stamp that its issuer had seen. The
//! second half is what orders an event after those it superseded (rule `newest-first`).

use serde::{Deserialize, Serialize};

/// 48 bits of milliseconds since the Unix epoch, then 16 bits that count within one millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub u64);

const LOGICAL_BITS: u32 = 16;

impl Stamp {
    /// The first stamp of a millisecond since the Unix epoch; later than year 10889 saturates.
    pub fn at(wall_ms: u64) -> Self {
        Self(wall_ms.min(u64::MAX >> LOGICAL_BITS) << LOGICAL_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub fn wall_ms(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }
}

/// The clock of one peer.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// The stamp of the next event, given what the wall clock says now.
    pub fn tick(&mut self, wall_ms: u64) -> Stamp {
        self.last = Stamp(self.last.0.saturating_add(1)).max(Stamp::at(wall_ms));
        self.last
    }

    /// Takes note of a stamp that came with an event from elsewhere.
    pub fn witness(&mut self, seen: Stamp) {
        self.last = self.last.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_after_all_that_was_seen_even_when_the_wall_clock_stands_still_or_goes_back() {
        let mut clock = Clock::default();
        let first = clock.tick(1_000);
        assert_eq!(first.wall_ms(), 1_000);
        let second = clock.tick(900);
        assert!(second > first);
        clock.witness(Stamp::at(5_000));
        let third = clock.tick(1_001);
        assert!(third > Stamp::at(5_000));
        assert_eq!(third.wall_ms(), 5_000);
    }

    #[test]
    fn the_end_of_time_saturates() {
        let mut clock = Clock::default();
        clock.witness(Stamp(u64::MAX));
        assert_eq!(clock.tick(1), Stamp(u64::MAX));
    }
}
