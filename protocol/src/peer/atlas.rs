//! Owners and members, as the rooms may ask for them.

use crate::ids::{PartitionId, PeerId};
use crate::member::{Health, Step, View};
use crate::membership::Membership;
use crate::placement::Placement;
use crate::seats::{Map, Seat, Seats};

pub(super) struct Atlas<'a> {
    me: PeerId,
    membership: &'a Membership,
    placement: &'a Placement,
}

impl<'a> Atlas<'a> {
    pub fn new(me: PeerId, membership: &'a Membership, placement: &'a Placement) -> Self {
        Self { me, membership, placement }
    }

    fn seated(&self, peers: &[PeerId]) -> Vec<Seat> {
        peers.iter().map(|peer| Seat { peer: *peer, health: self.health(*peer) }).collect()
    }
}

impl Map for Atlas<'_> {
    fn view(&self) -> View {
        self.membership.view()
    }

    fn view_of(&self, peer: PeerId) -> Option<View> {
        self.membership.view_of(peer)
    }

    fn health(&self, peer: PeerId) -> Health {
        self.membership.health(peer)
    }

    fn partitions(&self) -> u16 {
        self.placement.partitions()
    }

    fn seats(&self, partition: PartitionId) -> Seats {
        let lists = self.placement.lists(partition);
        Seats {
            partition,
            view: self.membership.view(),
            old: self.seated(&lists.old),
            new: self.seated(&lists.new),
            between: lists.between.iter().map(|list| self.seated(list)).collect(),
            read: self.seated(&lists.read),
            preference: self.seated(&lists.preference),
        }
    }

    fn owns(&self, peer: PeerId, partition: PartitionId) -> bool {
        self.placement.lists(partition).owns(peer)
    }

    fn owned_by(&self, peer: PeerId) -> Vec<PartitionId> {
        self.placement.partitions_of(peer).collect()
    }

    fn others(&self) -> Vec<PeerId> {
        let records = self.membership.records().filter(|r| r.id != self.me && r.standing.step != Step::Left);
        records.map(|record| record.id).collect()
    }
}
