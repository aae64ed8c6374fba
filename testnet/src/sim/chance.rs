//! Randomness: one stream of ChaCha8 per concern, all from the seed, so that a draw more in one of them
//! changes nothing in the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use starling_protocol::time::Duration;

#[derive(Clone, Copy)]
pub enum Concern {
    Plan = 1,
    Network,
    Disk,
    Lives,
    Clients,
    Faults,
    Checks,
    Clocks,
}

pub struct Chance(ChaCha8Rng);

impl Chance {
    pub fn new(seed: u64, concern: Concern) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(concern as u64);
        Self(rng)
    }

    /// A stream of its own for what has this name, so that a name more changes nothing of the others.
    pub fn named(seed: u64, name: &str) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a: far above the numbers of all concerns.
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        rng.set_stream(stream);
        Self(rng)
    }

    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 if that is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.any() % n.max(1)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// True `n` times in ten thousand.
    pub fn per_myriad(&mut self, n: u64) -> bool {
        n > 0 && self.below(10_000) < n
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(index)
    }

    pub fn letter(&mut self, from: &str) -> char {
        self.pick(&from.chars().collect::<Vec<_>>()).copied().unwrap_or_default()
    }

    /// A span from `least` to `most` milliseconds, in microseconds.
    pub fn span_ms(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_micros(self.between((least * 1000, most * 1000)))
    }
}
