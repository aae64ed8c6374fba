//! Views whose every step this peer knows.

use std::collections::VecDeque;

/// How many. A peer whose view was forgotten is asked for its table: one more round trip, no harm.
const PAST_MAX: usize = 256;

/// Hashes of the views that this peer has had in this life, and of those that it was told the whole table of.
/// Steps only come to be known: who has one of these views knows no step that this peer does not, unless it is
/// that somebody who came later has left. Who has left is not in the hash; it answers no reads, left only when each
/// owner that came instead had what it held, and hands over what it is given after that. Counting steps does not tell
/// that of two peers that were apart: each may have steps of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(VecDeque<u64>);

impl Past {
    /// The oldest goes where there are too many.
    pub fn note(&mut self, hash: u64) {
        if self.contains(hash) {
            return;
        }
        if self.0.len() >= PAST_MAX {
            self.0.pop_front();
        }
        self.0.push_back(hash);
    }

    pub fn contains(&self, hash: u64) -> bool {
        self.0.iter().rev().any(|known| *known == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut past = Past::default();
        (0..=PAST_MAX as u64).chain([7]).for_each(|hash| past.note(hash));
        assert_eq!((past.0.len(), past.contains(0)), (PAST_MAX, false));
        assert!((1..=PAST_MAX as u64).all(|hash| past.contains(hash)));
    }
}
