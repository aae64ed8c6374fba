//! Counting answers: knows no messages and no time.

use crate::ids::PeerId;
use crate::seats::{Seat, Seats};

/// How many copies a write needs, of each group of owners. While owners change there are two groups,
/// the old and the new ones, or more where several changes are under way, and each must be met (rule `settling`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    owners: Vec<PeerId>,
    need: usize,
}

impl Quorum {
    /// `w` copies of each group, or all of it where it is smaller.
    pub fn new(seats: &Seats, w: usize) -> Self {
        let mut groups: Vec<_> = seats.groups().map(|group| Group::new(group, w)).collect();
        if mutated!(OneGroup) {
            groups.truncate(1);
        }
        groups.dedup();
        groups.retain(|group| !group.owners.is_empty());
        Self { groups }
    }

    /// A copy at a stand-in counts in every group: it is in the place of an owner.
    pub fn is_met(&self, acked: &[PeerId]) -> bool {
        self.groups.iter().all(|group| self.count(group, acked) >= group.need)
    }

    /// Copies that the group furthest from its need has, and that need.
    pub fn tally(&self, acked: &[PeerId]) -> (usize, usize) {
        let tallies = self.groups.iter().map(|group| (self.count(group, acked), group.need));
        tallies.min_by_key(|(have, need)| *have as i64 - *need as i64).unwrap_or((acked.len(), 0))
    }

    fn count(&self, group: &Group, acked: &[PeerId]) -> usize {
        acked.iter().filter(|peer| group.owners.contains(peer) || self.is_stand_in(**peer)).count()
    }

    fn is_stand_in(&self, peer: PeerId) -> bool {
        !self.groups.iter().any(|group| group.owners.contains(&peer))
    }
}

impl Group {
    fn new(seats: &[Seat], w: usize) -> Self {
        let owners: Vec<_> = seats.iter().map(|seat| seat.peer).collect();
        Self { need: w.min(owners.len()), owners }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Health;

    fn seats(old: &[u64], new: &[u64]) -> Seats {
        let seats = |peers: &[u64]| {
            peers.iter().map(|n| Seat { peer: PeerId::numbered(*n), health: Health::Alive }).collect()
        };
        Seats { old: seats(old), new: seats(new), ..Seats::default() }
    }

    fn met(quorum: &Quorum, acked: &[u64]) -> bool {
        quorum.is_met(&acked.iter().map(|n| PeerId::numbered(*n)).collect::<Vec<_>>())
    }

    #[test]
    fn w_owners_or_their_stand_ins_meet_it() {
        let quorum = Quorum::new(&seats(&[1, 2, 3], &[1, 2, 3]), 2);
        assert!(!met(&quorum, &[1]));
        assert!(met(&quorum, &[1, 3]));
        assert!(met(&quorum, &[1, 9]));
        assert!(met(&quorum, &[8, 9]));
    }

    #[test]
    fn while_owners_change_both_groups_must_be_met() {
        let quorum = Quorum::new(&seats(&[1, 2, 3], &[1, 2, 4]), 2);
        assert!(met(&quorum, &[1, 2]));
        assert!(!met(&quorum, &[1, 3]), "only one of 1 2 4");
        assert!(met(&quorum, &[1, 3, 4]));
        assert_eq!(quorum.tally(&[PeerId::numbered(1), PeerId::numbered(3)]), (1, 2));
    }

    #[test]
    fn a_network_smaller_than_w_needs_all_it_has() {
        assert!(met(&Quorum::new(&seats(&[1], &[1]), 2), &[1]));
        assert!(!met(&Quorum::new(&seats(&[1, 2], &[1, 2]), 3), &[1]));
    }
}
