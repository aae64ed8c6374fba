//! What time it is in this process.

use crate::network::wall_ms;
use starling_protocol::time::{Now, Time};
use std::time::Duration;
use tokio::time::Instant;

/// Clocks of this process. Time begins at zero.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Now {
        let time = Time(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX));
        Now { time, wall_ms: wall_ms() }
    }

    /// When that is, or was.
    pub fn instant(&self, time: Time) -> Instant {
        self.0 + Duration::from_micros(time.0)
    }
}
