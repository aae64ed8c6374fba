//! What time it is in this process.

use crate::network::wall_ms;
use starling_protocol::time::{Now, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Clocks of this process. Time begins at zero.
#[derive(Clone)]
pub struct Clock {
    started: Instant,
    correction_ms: Arc<AtomicI64>,
}

impl Clock {
    /// `correction_ms`: what is added to this machine's wall clock, now and whenever it changes.
    pub fn start(correction_ms: Arc<AtomicI64>) -> Self {
        Self { started: Instant::now(), correction_ms }
    }

    pub fn now(&self) -> Now {
        let wall_ms = wall_ms().saturating_add_signed(self.correction_ms.load(Ordering::Relaxed));
        Now { time: self.time(), wall_ms }
    }

    pub fn time(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When that is, or was.
    pub fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from_micros(time.0)
    }
}
