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
    /// Where several changes are under way: owners as if some of them were complete and others undone.
    pub between: Vec<Vec<Seat>>,
    /// The owners that reads ask: the old or the new ones, or some between.
    pub read: Vec<Seat>,
    /// Everybody who may hold a copy, in order: the owners, then those who stand in.
    pub preference: Vec<Seat>,
}

impl Seats {
    /// All that may be the owners, by which of the changes under way come to their end; some may be the same.
    pub fn groups(&self) -> impl Iterator<Item = &Vec<Seat>> {
        [&self.old, &self.new].into_iter().chain(&self.between)
    }

    /// Those of them that do without a peer.
    pub fn groups_without(&self, peer: PeerId) -> impl Iterator<Item = &Vec<Seat>> {
        self.groups().filter(move |group| !group.iter().any(|seat| seat.peer == peer))
    }

    /// True while owners change.
    pub fn is_changing(&self) -> bool {
        self.old != self.new || !self.between.is_empty()
    }

    /// Everybody a write goes to: each owner of any group once, in order.
    pub fn owners(&self) -> Vec<Seat> {
        each_once(self.groups().flatten())
    }

    /// The owners of those groups that do without a peer, each once.
    pub fn owners_without(&self, peer: PeerId) -> Vec<Seat> {
        each_once(self.groups_without(peer).flatten())
    }

    pub fn owns(&self, peer: PeerId) -> bool {
        self.groups().flatten().any(|seat| seat.peer == peer)
    }

    /// Those who are no owners and not dead, in order.
    pub fn stand_ins(&self) -> impl Iterator<Item = Seat> + '_ {
        self.preference.iter().copied().filter(|seat| !seat.is_dead() && !self.owns(seat.peer))
    }
}

fn each_once<'a>(seats: impl Iterator<Item = &'a Seat>) -> Vec<Seat> {
    let mut once: Vec<Seat> = Vec::new();
    for seat in seats {
        if !once.iter().any(|known| known.peer == seat.peer) {
            once.push(*seat);
        }
    }
    once
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
