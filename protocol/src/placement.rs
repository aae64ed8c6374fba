//! Who owns a partition, and who stands in: a pure function of the member table.
//!
//! Weighted rendezvous hashing: each peer draws a uniform number u per partition from a hash of both, and
//! peers stand in the order of -log(u) / weight, nearest first. Thaler & Ravishankar 1998 for the hashing;
//! Schindelhauer & Schomaker 2005, section 4 ("the logarithmic method"), for the weights: a peer is first
//! with a probability in proportion to its weight, and a peer that comes or goes moves only what it owns.
//! No floats, so all peers compute the same order.

use crate::ids::{PartitionId, PeerId};
use crate::log2::{LOG2_POINT, log2};
use crate::member::{Health, Record, Step};
use starling_crdt::context::first_u64;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// How many peers beyond the owners, at most, are named in a preference list.
const STAND_INS_MAX: usize = 8;
/// Bits by which a distance is raised before it is divided by a weight: as many as a u64 has room for
/// (a distance takes 39), so that distances over large weights still differ.
const WEIGHT_POINT: u32 = 25;
/// Of so many changes at once every part is provided for. One at a time is the rule; halves of a network that do
/// not hear each other may begin more.
const CHANGES_MAX: usize = 4;

/// The order of peers for each partition, and the owners that follow from it; recomputed only when a
/// standing, a weight or a zone has changed.
#[derive(Clone, Debug)]
pub struct Placement {
    partitions: u16,
    n: usize,
    candidates: BTreeMap<PeerId, Candidate>,
    /// For each peer in `candidates` and each partition: -log2(u), with `LOG2_POINT` bits behind the point.
    distances: BTreeMap<PeerId, Vec<u64>>,
    lists: Vec<Lists>,
}

/// The peers of one partition, each list nearest first (rule `settling`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// The owners as if every change under way were undone. Writes need W of these.
    pub old: Vec<PeerId>,
    /// The owners as if every change under way were complete. Writes need W of these as well.
    pub new: Vec<PeerId>,
    /// Where several changes are under way: the owners as if some of them were complete and others undone. Writes
    /// need W of each of these as well, for reads may come to any of them. None is `old` or `new`.
    pub between: Vec<Vec<PeerId>>,
    /// The owners that reads ask: one of those above.
    pub read: Vec<PeerId>,
    /// All of `old`, `new` and `between`, then those who stand in for them, members each.
    pub preference: Vec<PeerId>,
    /// How many in `preference` are owners.
    owners: usize,
}

impl Lists {
    /// All of `old`, `new` and `between`.
    pub fn owners(&self) -> &[PeerId] {
        &self.preference[..self.owners]
    }

    /// Those who take writes in the place of owners that do not answer, first choice first.
    #[cfg(test)]
    fn stand_ins(&self) -> &[PeerId] {
        &self.preference[self.owners..]
    }

    /// True if writes reach this peer as an owner.
    pub fn owns(&self, peer: PeerId) -> bool {
        self.owners().contains(&peer)
    }
}

/// All of a record that decides who owns what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    step: Step,
    weight: u32,
    zone: String,
}

impl Placement {
    /// `partitions` (Q) and `n` (N) are those of the network's genesis record, at least 1 each.
    pub fn new(partitions: u16, n: u8) -> Self {
        let lists = vec![Lists::default(); partitions.into()];
        Self { partitions, n: n.into(), candidates: BTreeMap::new(), distances: BTreeMap::new(), lists }
    }

    /// The partition of a key: blake3 of its hash tag, if it has one, else of all of it; the hash's high
    /// bits scaled to Q.
    pub fn partition_of(&self, key: &[u8]) -> PartitionId {
        let hash = u128::from(first_u64(&blake3::hash(hash_tag(key))));
        ((hash * u128::from(self.partitions)) >> 64) as PartitionId
    }

    /// Takes in the member table, in any order. True if anything that matters here has changed.
    pub fn update<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> bool {
        let candidates: BTreeMap<PeerId, Candidate> = records.filter_map(candidate_of).collect();
        if candidates == self.candidates {
            return false;
        }
        self.candidates = candidates;
        self.distances.retain(|peer, _| self.candidates.contains_key(peer));
        for peer in self.candidates.keys() {
            self.distances.entry(*peer).or_insert_with(|| {
                (0..self.partitions).map(|partition| distance(partition, *peer)).collect()
            });
        }
        self.lists = (0..self.partitions).map(|partition| self.compute(partition)).collect();
        true
    }

    /// Q.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The peers of a partition; of one that this network does not have: empty lists.
    pub fn lists(&self, partition: PartitionId) -> &Lists {
        static NONE: Lists = Lists {
            old: Vec::new(),
            new: Vec::new(),
            between: Vec::new(),
            read: Vec::new(),
            preference: Vec::new(),
            owners: 0,
        };
        self.lists.get(usize::from(partition)).unwrap_or(&NONE)
    }

    /// The partitions that this peer is an owner of, in order.
    pub fn partitions_of(&self, peer: PeerId) -> impl Iterator<Item = PartitionId> + '_ {
        (0..self.partitions).filter(move |partition| self.lists(*partition).owns(peer))
    }

    fn compute(&self, partition: PartitionId) -> Lists {
        let ranked = self.ranked(partition);
        let all = |steps: &[Step]| self.choose(&ranked, |_, step| steps.contains(&step));
        let old = all(&[Step::Member, Step::Leaving, Step::Departing]);
        let new = all(&[Step::Member, Step::Joining, Step::Arriving]);
        let read = all(&[Step::Member, Step::Arriving, Step::Leaving]);
        let read = if read.is_empty() { new.clone() } else { read };
        let between = self.between(&ranked, &old, &new);

        let is_owner =
            |peer: &PeerId| [&old, &new].into_iter().chain(&between).any(|list| list.contains(peer));
        let (mut preference, others): (Vec<PeerId>, Vec<PeerId>) =
            ranked.iter().map(|(peer, _)| **peer).partition(is_owner);
        let owners = preference.len();
        let room = (self.n + STAND_INS_MAX).saturating_sub(owners);
        preference.extend(others.into_iter().filter(|p| self.candidates[p].step == Step::Member).take(room));
        Lists { old, new, between, read, preference, owners }
    }

    /// See `Lists::between`.
    fn between(&self, ranked: &[(&PeerId, &Candidate)], old: &[PeerId], new: &[PeerId]) -> Vec<Vec<PeerId>> {
        let changing = ranked.iter().filter(|(_, candidate)| candidate.step != Step::Member);
        let changing: Vec<PeerId> = changing.map(|(peer, _)| **peer).take(CHANGES_MAX).collect();
        let mut between = BTreeSet::new();
        // Each number says by its bits which of them count as members.
        for members in (0..1_u32 << changing.len()).filter(|_| changing.len() > 1) {
            between.insert(self.choose(ranked, |peer, step| {
                match changing.iter().position(|changes| changes == peer) {
                    Some(at) => members >> at & 1 == 1,
                    None => matches!(step, Step::Member | Step::Arriving | Step::Leaving),
                }
            }));
        }
        between.into_iter().filter(|list| !list.is_empty() && list != old && list != new).collect()
    }

    /// All candidates, nearest first.
    fn ranked(&self, partition: PartitionId) -> Vec<(&PeerId, &Candidate)> {
        let mut ranked: Vec<(u64, &PeerId, &Candidate)> = Vec::with_capacity(self.candidates.len());
        for (peer, candidate) in &self.candidates {
            let distance = self.distances[peer][usize::from(partition)];
            ranked.push(((distance << WEIGHT_POINT) / u64::from(candidate.weight), peer, candidate));
        }
        ranked.sort_unstable_by_key(|(score, peer, _)| (*score, **peer));
        ranked.into_iter().map(|(_, peer, candidate)| (peer, candidate)).collect()
    }

    /// The first N of those that count, nearest first; a second of one zone only when every zone has one, and
    /// so on. Peers without a zone never crowd one another.
    fn choose(
        &self,
        ranked: &[(&PeerId, &Candidate)],
        counts: impl Fn(&PeerId, Step) -> bool,
    ) -> Vec<PeerId> {
        let mut waiting: Vec<usize> =
            (0..ranked.len()).filter(|i| counts(ranked[*i].0, ranked[*i].1.step)).collect();
        let mut chosen = Vec::with_capacity(self.n);
        while chosen.len() < self.n && !waiting.is_empty() {
            let mut zones = BTreeSet::new();
            waiting.retain(|i| {
                let zone = &ranked[*i].1.zone;
                let take = chosen.len() < self.n && (zone.is_empty() || zones.insert(zone));
                if take {
                    chosen.push(*i);
                }
                !take
            });
        }
        chosen.sort_unstable();
        chosen.into_iter().map(|i| *ranked[i].0).collect()
    }
}

fn candidate_of(record: &Record) -> Option<(PeerId, Candidate)> {
    let step = record.standing.step;
    let owns = record.weight > 0 && !matches!(step, Step::Waiting | Step::Left);
    owns.then(|| (record.id, Candidate { step, weight: record.weight, zone: record.zone.clone() }))
}

/// -log2(u) of the number that a peer draws for a partition, with `LOG2_POINT` bits behind the point.
fn distance(partition: PartitionId, peer: PeerId) -> u64 {
    let mut drawn = blake3::Hasher::new();
    drawn.update(&partition.to_be_bytes()).update(&peer.0);
    (64 << LOG2_POINT) - log2(first_u64(&drawn.finalize()))
}

/// What of a key decides its partition. As in Redis Cluster: what stands between the first `{` and the
/// first `}` after it, unless that is nothing; else the whole key.
fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// The one peer that may change its standing now: changes are taken one at a time in the whole network.
///
/// A change under way goes on before another begins; of several (two began before they heard of each
/// other) the one with the lowest id. A peer that died while joining holds up nobody: it has nothing that
/// others need. When no change is under way, the lowest waiting peer that lives may begin; and when this
/// is `None`, or a peer that has not begun, a member may begin to leave. Whoever keeps no copies changes no owners, is
/// not counted, and waits for no turn.
pub fn turn<'a>(records: impl Iterator<Item = &'a Record>) -> Option<PeerId> {
    let ranks = records.filter(|record| record.weight > 0).filter_map(|record| {
        let dead = record.health == Health::Dead;
        match record.standing.step {
            Step::Joining if !dead => Some((0, record.id)),
            Step::Arriving | Step::Leaving | Step::Departing => Some((0, record.id)),
            Step::Waiting if !dead => Some((1, record.id)),
            _ => None,
        }
    });
    ranks.min().map(|(_, id)| id)
}
