//! What is still to be told to others (SWIM, section 4.1).

use crate::ids::PeerId;
use std::collections::{BTreeMap, BTreeSet};

/// Something that others may not know yet. It names what to tell; the words are those of the moment when
/// it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rumor {
    About(PeerId),
    Accusation { suspect: PeerId, by: PeerId },
}

impl Rumor {
    pub fn subject(&self) -> PeerId {
        match self {
            Rumor::About(peer) => *peer,
            Rumor::Accusation { suspect, .. } => *suspect,
        }
    }
}

/// Rumors ride on other messages, the least told first, and each is dropped once it has been told often
/// enough. At most one per member, and K + 1 accusations per suspect.
#[derive(Clone, Debug, Default)]
pub(super) struct Dissemination {
    told: BTreeMap<Rumor, u32>,
    queue: BTreeSet<(u32, Rumor)>,
}

impl Dissemination {
    /// To be told from now on, as if never told before.
    pub fn add(&mut self, rumor: Rumor) {
        if let Some(told) = self.told.insert(rumor, 0) {
            self.queue.remove(&(told, rumor));
        }
        self.queue.insert((0, rumor));
    }

    /// Up to `count` rumors, none about `to`: it knows better. Each counts as told once more, and goes
    /// when it has been told `limit` times.
    pub fn take(&mut self, count: usize, limit: u32, to: PeerId) -> Vec<Rumor> {
        let taken: Vec<(u32, Rumor)> =
            self.queue.iter().filter(|(_, rumor)| rumor.subject() != to).take(count).copied().collect();
        for (told, rumor) in &taken {
            self.queue.remove(&(*told, *rumor));
            if told + 1 >= limit {
                self.told.remove(rumor);
            } else {
                self.told.insert(*rumor, told + 1);
                self.queue.insert((told + 1, *rumor));
            }
        }
        taken.into_iter().map(|(_, rumor)| rumor).collect()
    }

    /// True if none is about anyone else, or there is none.
    pub fn are_about(&self, subject: PeerId) -> bool {
        self.told.keys().all(|rumor| rumor.subject() == subject)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// No longer true.
    pub fn remove_about(&mut self, subject: PeerId) {
        let accusation = |by| Rumor::Accusation { suspect: subject, by };
        let accusations = accusation(PeerId([0; 32]))..=accusation(PeerId([0xff; 32]));
        let about = self.told.range(accusations).map(|(rumor, _)| *rumor).chain([Rumor::About(subject)]);
        for rumor in about.collect::<Vec<_>>() {
            if let Some(told) = self.told.remove(&rumor) {
                self.queue.remove(&(told, rumor));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(n: u64) -> Rumor {
        Rumor::About(PeerId::numbered(n))
    }

    #[test]
    fn members_prefer_elements_that_have_been_gossiped_fewer_times() {
        let mut rumors = Dissemination::default();
        rumors.add(about(1));
        assert_eq!(rumors.take(1, 9, PeerId::numbered(0)), [about(1)]);
        rumors.add(about(2));
        assert_eq!(rumors.take(1, 9, PeerId::numbered(0)), [about(2)]);
        assert_eq!(rumors.take(2, 9, PeerId::numbered(0)), [about(1), about(2)]);
    }

    #[test]
    fn an_element_is_gossiped_at_most_the_limit() {
        let mut rumors = Dissemination::default();
        rumors.add(about(1));
        let times = (0..10).filter(|_| !rumors.take(8, 3, PeerId::numbered(0)).is_empty()).count();
        assert_eq!(times, 3);
        rumors.add(about(1));
        assert_eq!(rumors.take(8, 3, PeerId::numbered(0)), [about(1)], "news about it begins again");
    }

    #[test]
    fn nobody_is_told_about_itself() {
        let mut rumors = Dissemination::default();
        rumors.add(about(1));
        assert_eq!(rumors.take(8, 3, PeerId::numbered(1)), []);
        rumors.remove_about(PeerId::numbered(1));
        assert_eq!(rumors.take(8, 3, PeerId::numbered(2)), []);
    }
}
