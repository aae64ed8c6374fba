//! The partitions of a replica.

use crate::PartitionId;
use crate::partition::Partition;

/// Each has its place by its number, which is at most 16 bits long: it is looked up several times for each event, and to
/// find it in an ordered map takes as long as a good part of the work on it.
#[derive(Debug, Default)]
pub(crate) struct Partitions(Vec<Option<Box<Partition>>>);

impl Partitions {
    pub fn get(&self, p: PartitionId) -> Option<&Partition> {
        self.0.get(usize::from(p))?.as_deref()
    }

    pub fn get_mut(&mut self, p: PartitionId) -> Option<&mut Partition> {
        self.0.get_mut(usize::from(p))?.as_deref_mut()
    }

    /// The partition, an empty one if it was not there.
    pub fn get_or_new(&mut self, p: PartitionId) -> &mut Partition {
        let place = usize::from(p);
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place].get_or_insert_with(|| Box::new(Partition::new(p)))
    }

    pub fn remove(&mut self, p: PartitionId) {
        if let Some(place) = self.0.get_mut(usize::from(p)) {
            *place = None;
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.0.iter().filter_map(Option::as_deref)
    }
}
