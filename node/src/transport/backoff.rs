//! How long to wait before a peer is dialled again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// Low, because whoever waits is usually a person who has just started the other machine again.
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles with each failure, from 100 ms to 5 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// After one more failure: between 75 % and 125 % of the doubled wait, so that peers which lost one
    /// another at the same moment do not keep dialling at the same moment.
    pub fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut chance = [128];
        // Without chance the wait is the middle of the range, which is good enough.
        let _ = getrandom::fill(&mut chance);
        wait.mul_f64(0.75 + f64::from(chance[0]) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let wait = backoff.failed();
            let expected = Duration::from_millis(expected);
            assert!(wait >= expected * 3 / 4 && wait <= expected * 5 / 4, "{wait:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_millis(125));
    }
}
