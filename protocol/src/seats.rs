//! Who is concerned with one partition, as its coordinator sees it at one moment.

use crate::ids::{PartitionId, PeerId};
use crate::member::{Health, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub peer: PeerId,
    pub health: Health,
}

impl Seat {
    pub fn is_dead(&self) -> bool {
        self.health == Health::Dead
    }
}

/// Owners as they were and as they will be; the same while no owner changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    pub partition: PartitionId,
    pub view: View,
    pub old: Vec<Seat>,
    pub new: Vec<Seat>,
    /// The owners that reads ask: the old or the new ones.
    pub read: Vec<Seat>,
    /// Everybody who may hold a copy, in order: the owners, then those who stand in.
    pub preference: Vec<Seat>,
}

impl Seats {
    /// Everybody a write goes to: old and new owners, each once, in order.
    pub fn owners(&self) -> Vec<Seat> {
        let mut owners = self.old.clone();
        owners.extend(self.new.iter().filter(|seat| !self.old.iter().any(|old| old.peer == seat.peer)));
        owners
    }

    pub fn owns(&self, peer: PeerId) -> bool {
        self.old.iter().chain(&self.new).any(|seat| seat.peer == peer)
    }

    /// Those who are no owners and not dead, in order.
    pub fn stand_ins(&self) -> impl Iterator<Item = Seat> + '_ {
        self.preference.iter().copied().filter(|seat| !seat.is_dead() && !self.owns(seat.peer))
    }
}

/// What rooms may ask about owners and members, without knowing how it is decided.
pub trait Map {
    fn view(&self) -> View;
    /// What another peer was last heard to know.
    fn view_of(&self, peer: PeerId) -> Option<View>;
    fn health(&self, peer: PeerId) -> Health;
    fn partitions(&self) -> u16;
    fn seats(&self, partition: PartitionId) -> Seats;
    /// Whether a peer owns a partition, or did or will while owners change.
    fn owns(&self, peer: PeerId, partition: PartitionId) -> bool;
    /// Partitions that a peer owns, or did or will own while owners change; in order.
    fn owned_by(&self, peer: PeerId) -> Vec<PartitionId>;
    /// Everybody but this peer itself who is a member of any step, in order.
    fn others(&self) -> Vec<PeerId>;
}
