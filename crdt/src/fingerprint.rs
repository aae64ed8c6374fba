//! Fingerprints: sums that prove two replicas equal without trusting their contexts.

use crate::{Cell, Version, rows};
use serde::{Deserialize, Serialize};

/// A sum over all live versions of a partition, in any order: four 64-bit lanes, each the wrapping
/// sum of a quarter of the versions' blake3 hashes. Equal data, equal sum; a damaged cell changes it.
///
/// The idea is the incremental multiset hash of Clarke et al., "Incremental Multiset Hash Functions"
/// (2003). It finds accidents, not forgeries: who may choose cells freely can search for collisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u64; 4]);

/// Bytes of the length that stands in front.
const LENGTH: usize = 8;

impl Fingerprint {
    pub fn add(&mut self, cell: &Cell, version: &Version) {
        self.combine(cell, version, u64::wrapping_add);
    }

    pub fn remove(&mut self, cell: &Cell, version: &Version) {
        self.combine(cell, version, u64::wrapping_sub);
    }

    fn combine(&mut self, cell: &Cell, version: &Version, with: fn(u64, u64) -> u64) {
        let place = rows::place_len(&cell.key, Some(&cell.field));
        let mut bytes = Vec::with_capacity(LENGTH + place + rows::version_len(version));
        bytes.extend_from_slice(&[0; LENGTH]);
        rows::push_place(&mut bytes, &cell.key, Some(&cell.field));
        // The length keeps the end of a field and the start of a version apart.
        let length = (bytes.len() - LENGTH) as u64;
        bytes[..LENGTH].copy_from_slice(&length.to_be_bytes());
        rows::push_version(&mut bytes, version);
        let hash = blake3::hash(&bytes);
        let (quarters, _) = hash.as_bytes().as_chunks::<8>();
        for (lane, quarter) in self.0.iter_mut().zip(quarters) {
            *lane = with(*lane, u64::from_be_bytes(*quarter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Dot, Field, Key, Stamp};
    use serde_bytes::ByteBuf;

    fn sample(field: &[u8], value: &[u8]) -> (Cell, Version) {
        let cell = Cell { key: Key::from(b"k"), field: Field::Entry(ByteBuf::from(field)) };
        let dot = Dot::new(Actor(1), 1);
        (cell, Version { dot, stamp: Stamp(1), value: ByteBuf::from(value) })
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes_insertion() {
        let ((a, v), (b, w)) = (sample(b"a", b"1"), sample(b"b", b"2"));
        let (mut one, mut two) = (Fingerprint::default(), Fingerprint::default());
        one.add(&a, &v);
        one.add(&b, &w);
        two.add(&b, &w);
        two.add(&a, &v);
        assert_eq!(one, two);
        one.remove(&a, &v);
        one.remove(&b, &w);
        assert_eq!(one, Fingerprint::default());
    }

    #[test]
    fn a_changed_byte_changes_the_sum() {
        let ((a, v), (_, w)) = (sample(b"a", b"1"), sample(b"a", b"2"));
        let (mut one, mut two) = (Fingerprint::default(), Fingerprint::default());
        one.add(&a, &v);
        two.add(&a, &w);
        assert_ne!(one, two);
    }
}
