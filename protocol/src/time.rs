//! Time, as a plain number that is passed in.

use serde::{Deserialize, Serialize};
use starling_crdt::wire::{Malformed, array_shaped};
use std::fmt;
use std::ops::Add;
pub use std::time::Duration;

/// Microseconds on a clock that never goes back; where it begins means nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The time passed since `earlier`; nothing if that is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A point in the time of one life of one peer, by its own clock. Whoever names one to that peer sets it a
/// bound that holds whatever the clocks of others say, and however long a frame was on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub life: u64,
    pub time: Time,
}

array_shaped!(Moment: life, time);

impl Moment {
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    pub fn after(self, span: Duration) -> Self {
        Self { time: self.time + span, ..self }
    }

    /// Whether it lies before `here`, or in another life.
    pub fn is_past(&self, here: Moment) -> bool {
        self.life != here.life || self.time < here.time
    }
}

/// Both clocks at the moment of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub time: Time,
    /// Milliseconds since the Unix epoch, as this machine believes.
    pub wall_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_past_later_and_in_another_life() {
        let at = |life, time| Moment { life, time: Time(time) };
        assert!(!at(1, 5).is_past(at(1, 5)));
        assert!(at(1, 5).is_past(at(1, 6)));
        assert!(at(1, 5).is_past(at(2, 0)));
        assert_eq!(at(1, 5).after(Duration::from_micros(3)), at(1, 8));
    }
}
