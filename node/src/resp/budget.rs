//! Memory that all clients share: for commands that have not come whole, and for replies that are not written yet.
//!
//! Each client alone is bounded; ten thousand of them at their bound would not fit into any machine.

use starling_crdt::Reply;
use starling_protocol::request::{Failure, FailureKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a client may hold without asking: an idle or ordinary one never does.
const FREE: usize = 64 * 1024;
/// What an element takes beside its bytes, roughly. It also bounds how many are gone through without a pause.
pub const ELEMENT: usize = 64;

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

/// What a client's commands hold of replies until these are written. Those of a pipeline run at once, and what they
/// are answered is counted by the peer, so it is shared; while it is as little as it almost always is, nothing is locked.
#[derive(Debug)]
pub struct Answers {
    held: AtomicUsize,
    /// Follows `held`, once that is more than is free; changed only while it is locked.
    share: Mutex<Share>,
}

impl Answers {
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self { held: AtomicUsize::new(0), share: Mutex::new(budget.share()) }
    }

    /// Takes note of a reply. False: there is no room for it.
    pub fn take(&self, bytes: usize) -> bool {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = held <= FREE || self.follow();
        if !has_room {
            self.lessen(bytes);
        }
        has_room
    }

    /// So many bytes of replies are written.
    pub fn give_back(&self, bytes: usize) {
        if self.lessen(bytes) > FREE {
            self.follow();
        }
    }

    /// So many bytes of replies are left, as they will be written.
    pub fn leave(&self, bytes: usize) {
        let before = self.held.swap(bytes, Ordering::Relaxed);
        if before > FREE || bytes > FREE {
            // What is more than was asked for is errors and the like.
            self.follow();
        }
    }

    /// What was held before.
    fn lessen(&self, bytes: usize) -> usize {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default()
    }

    /// False: there is no room for what is held.
    fn follow(&self) -> bool {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.hold(self.held.load(Ordering::Relaxed))
    }
}

/// To one for whose answer there is no room.
pub fn no_room() -> Failure {
    Failure {
        kind: FailureKind::Busy,
        why: "this peer holds as much as it may of replies that clients have not taken yet".into(),
        state: String::new(),
        hint: "take the replies that come, and ask again, for fewer large values at once".into(),
        trace: None,
    }
}

/// Roughly what it takes in memory.
pub fn size_of_reply(reply: &Reply) -> usize {
    match reply {
        Reply::Bytes(bytes) => bytes.len(),
        Reply::Array(replies) => replies.iter().map(size_of_reply).sum(),
        Reply::Set(members) => members.iter().map(|member| ELEMENT + member.len()).sum(),
        Reply::Map(entries) => entries.iter().map(|(field, value)| ELEMENT + field.len() + value.len()).sum(),
        Reply::Page { elements, .. } => elements.iter().map(|element| ELEMENT + element.len()).sum(),
        Reply::Siblings(siblings) => siblings.iter().map(|sibling| ELEMENT + sibling.value.len()).sum(),
        Reply::Nil | Reply::Ok | Reply::Int(_) | Reply::Word(_) | Reply::Error(_) | Reply::Partly => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_until_they_are_written() {
        let budget = Budget::of(100);
        let (a, b) = (Answers::of(&budget), Answers::of(&budget));
        assert!(a.take(FREE) && a.take(60) && !a.take(41) && a.take(40));
        assert!(b.take(FREE) && !b.take(1), "what is free is not counted");
        a.give_back(30);
        assert!(b.take(30) && !b.take(1));
        a.leave(FREE + 5);
        assert!(!b.take(70 - 5 + 1), "some is left");
        a.leave(0);
        assert!(b.take(70) && !a.take(FREE + 1) && a.take(FREE));
        drop((a, b));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

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
