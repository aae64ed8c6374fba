//! Answers that the event loop has not taken yet. The thread may be faster, and each may carry megabytes: it waits.

use crate::lock;
use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes of answers may wait before the thread does; the last of them may go beyond that.
const UNHEARD_MAX: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Unheard {
    state: Mutex<State>,
    heard: Condvar,
}

#[derive(Default)]
struct State {
    bytes: usize,
    /// Nobody takes any more.
    closed: bool,
}

impl Unheard {
    /// Counts what is told next, once there is room for it.
    pub fn tell(&self, bytes: usize) {
        let is_full = |state: &mut State| !state.closed && state.bytes >= UNHEARD_MAX;
        let waited = self.heard.wait_while(lock(&self.state), is_full);
        waited.unwrap_or_else(PoisonError::into_inner).bytes += bytes;
    }

    /// What was told was taken.
    pub fn hear(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.heard.notify_one();
    }

    /// From now on the thread waits for nobody.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.heard.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    #[test]
    fn the_thread_waits_while_much_is_unheard_and_not_for_ever() {
        let unheard = Arc::new(Unheard::default());
        let (told, tells) = channel();
        let there = Arc::clone(&unheard);
        let thread = std::thread::spawn(move || {
            for n in 0..4 {
                there.tell(UNHEARD_MAX);
                told.send(n).unwrap();
            }
        });
        assert_eq!(tells.recv(), Ok(0));
        assert_eq!(tells.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        unheard.hear(UNHEARD_MAX);
        assert_eq!(tells.recv(), Ok(1));
        assert_eq!(tells.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        unheard.close();
        assert_eq!((tells.recv(), tells.recv()), (Ok(2), Ok(3)));
        thread.join().unwrap();
    }
}
