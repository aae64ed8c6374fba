//! What a peer does while all is quiet: nothing is new, and nobody is doubted.
//!
//! Probes are all that an idle network says, so there they are fewer: one in so many periods. As soon as there is
//! news or doubt, everyone who hears of it probes at its full pace again, so that suspicions are confirmed and rumors
//! told as fast as ever, but for those who have not heard of it yet. What takes longer is that somebody notices first.
//! That would take e/(e-1) of the longer periods on average (SWIM, section 3.1), since several may happen to probe one
//! peer and nobody another. So each probes its neighbour, the next in the order of ids: half a period is the mean, and
//! one the most. It does so at its full pace as well, beside the others, or whoever has its own reasons to be busy
//! would leave its neighbour to chance. Of two neighbours that fall silent at once the second is noticed when doubt of
//! the first has ended the quiet.
//!
//! What lies between two other peers is looked at more seldom: one at random is probed with each comparison of tables,
//! and these are as many times fewer.

use super::Membership;
use crate::ids::PeerId;
use crate::member::{Health, Record};
use crate::time::Time;

impl Membership {
    /// No rumor is to be told, no suspicion runs, no view differs, nobody is a stranger or was looked into, no probe is
    /// in doubt, and this peer is well.
    pub(super) fn is_quiet(&self) -> bool {
        self.config.quiet_periods > 1
            && !self.has_news()
            && self.suspicions.is_empty()
            && self.differing.is_empty()
            && self.strangers.is_empty()
            && self.looked_into.is_empty()
            && self.probes.are_calm()
    }

    /// A rumor is not told to whom it is about: of a single other that is no news.
    fn has_news(&self) -> bool {
        let mut others = self.table.others_not_dead();
        match (others.next(), others.next()) {
            (Some(only), None) => !self.rumors.are_about(only.id),
            _ => !self.rumors.is_empty(),
        }
    }

    /// The next probe is due after this period, or some periods later while it is quiet.
    pub(super) fn schedule_probe(&mut self, now: Time) {
        self.hurried_at = now + self.probes.period();
        self.doubters.clear();
        let watch_at = self.watched_at + self.config.probe_period * self.pace();
        self.probe_at = self.hurried_at.max(watch_at);
    }

    /// Whether the neighbour is to be probed now.
    pub(super) fn watches(&self, now: Time) -> bool {
        let periods = self.config.quiet_periods;
        periods > 1 && now.since(self.watched_at) >= self.config.probe_period * periods
    }

    /// What is done once in a period is done once in so many now.
    pub(super) fn pace(&self) -> u32 {
        if self.is_quiet() { self.config.quiet_periods } else { 1 }
    }

    /// Once it is no longer quiet, what was put off is due when it would have been, or at once.
    pub(super) fn hurry_unless_quiet(&mut self, now: Time) {
        if !self.is_quiet() {
            self.probe_at = self.probe_at.min(self.hurried_at.max(now));
            self.retry_at = self.retry_at.min(self.probe_at);
            self.exchange_at = self.exchange_at.min(now + self.config.exchange_period);
        }
    }

    /// The next in the order of ids that may answer.
    pub(super) fn neighbour(&self) -> Option<PeerId> {
        let may_answer = |record: &&Record| record.health != Health::Dead;
        Some(self.table.others_after(Some(self.me().id)).find(may_answer)?.id)
    }
}
