//! Memory that all clients share for commands that have not come whole.
//!
//! Each client alone is bounded; ten thousand of them at their bound would not fit into any machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a client may hold without asking: an idle or ordinary one never does.
const FREE: usize = 64 * 1024;

#[derive(Debug)]
pub struct Budget {
    max: usize,
    used: AtomicUsize,
}

/// The part of one client. It is given back when the client goes.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn of(max: usize) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0) })
    }

    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes note that the client holds `held` bytes now. False: there is no room for it.
    pub fn hold(&mut self, held: usize) -> bool {
        let wanted = held.saturating_sub(FREE);
        let used = &self.budget.used;
        if wanted > self.bytes {
            let more = wanted - self.bytes;
            let before = used.fetch_add(more, Ordering::Relaxed);
            if before.saturating_add(more) > self.budget.max {
                used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else {
            used.fetch_sub(self.bytes - wanted, Ordering::Relaxed);
        }
        self.bytes = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_client_holds_another_cannot() {
        let budget = Budget::of(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.hold(FREE + 60) && b.hold(FREE + 40) && !b.hold(FREE + 41));
        assert!(b.hold(FREE), "what is free is not counted");
        assert!(a.hold(FREE + 100) && !b.hold(FREE + 1));
        drop(a);
        assert!(b.hold(FREE + 100));
        drop(b);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
