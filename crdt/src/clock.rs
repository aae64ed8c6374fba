//! A hybrid logical clock, fed from outside.
//!
//! Kulkarni et al., "Logical Physical Clocks" (2014), sections 3 and 5: a stamp is never behind the physical clock
//! it was fed with, and ahead of every stamp that its issuer had seen, unless one of those was further ahead of the
//! physical clock than any clock that is looked after: such a stamp is left alone, with what came together with it.
//! Else a single clock that was once days ahead, or one message of a liar, would push the stamps of all peers ahead
//! for as long, and who has the right time would take no write any more.
//!
//! So stamps order most events after those that they superseded (rule `newest-first`), and what does not may not
//! depend on it: `Partition::missing` looks for itself.

use serde::{Deserialize, Serialize};

/// 48 bits of milliseconds since the Unix epoch, then 16 bits that count within one millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub u64);

const LOGICAL_BITS: u32 = 16;

/// Stamps are followed up to so far ahead of the wall clock, in milliseconds: 12 hours. Two clocks that are looked after
/// differ by less, and others take what is up to twice as far ahead of their own.
pub const FOLLOWED_MS: u64 = 12 * 60 * 60 * 1000;

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
    /// The highest that has come from elsewhere since.
    seen: Stamp,
}

impl Clock {
    /// The stamp of the next event, given what the wall clock says now.
    pub fn tick(&mut self, wall_ms: u64) -> Stamp {
        let most = Stamp::at(wall_ms.saturating_add(FOLLOWED_MS));
        let seen = std::mem::take(&mut self.seen);
        let followed = |stamp: &Stamp| *stamp <= most || mutated!(FollowAnyClock);
        let known = [self.last, seen].into_iter().filter(followed).max().unwrap_or_default();
        self.last = Stamp(known.0.saturating_add(1)).max(Stamp::at(wall_ms));
        self.last
    }

    /// Takes note of a stamp that came from elsewhere.
    pub fn witness(&mut self, seen: Stamp) {
        self.seen = self.seen.max(seen);
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
    fn what_is_too_far_ahead_is_not_followed() {
        let mut clock = Clock::default();
        clock.witness(Stamp::at(1_000 + FOLLOWED_MS));
        assert!(clock.tick(1_000) > Stamp::at(1_000 + FOLLOWED_MS));
        for far in [Stamp::at(1_001 + FOLLOWED_MS), Stamp(u64::MAX)] {
            let mut clock = Clock::default();
            clock.witness(far);
            assert_eq!(clock.tick(1_000), Stamp::at(1_000));
        }
    }

    #[test]
    fn a_clock_that_was_days_ahead_and_is_set_right_stamps_rightly_again() {
        let mut clock = Clock::default();
        clock.tick(3 * FOLLOWED_MS);
        let right = clock.tick(1_000);
        assert_eq!(right, Stamp::at(1_000));
        assert!(clock.tick(1_000) > right);
    }

    #[test]
    fn the_end_of_time_saturates() {
        let mut clock = Clock::default();
        clock.witness(Stamp(u64::MAX));
        assert_eq!(clock.tick(u64::MAX), Stamp::at(u64::MAX));
    }
}
