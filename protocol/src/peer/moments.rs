//! What time it is at the others: the latest that each was heard to say, and how long ago that was.
//!
//! The way here took some time as well, so what is told is never later than the truth: a bound made from it
//! passes at its peer no later than here.

use crate::ids::PeerId;
use crate::time::{Moment, Time};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Moments {
    heard: BTreeMap<PeerId, (Moment, Time)>,
}

impl Moments {
    /// `is_known`: as many as are known are kept, and no more.
    pub fn hear(&mut self, now: Time, from: PeerId, sent: Moment, is_known: impl Fn(PeerId) -> bool) {
        if !is_known(from) {
            return;
        }
        if self.heard.insert(from, (sent, now)).is_none() {
            self.heard.retain(|peer, _| is_known(*peer));
        }
    }

    /// `None`: it has told nothing yet.
    pub fn of(&self, now: Time, peer: PeerId) -> Option<Moment> {
        let (sent, heard) = self.heard.get(&peer)?;
        Some(sent.after(now.since(*heard)))
    }
}
