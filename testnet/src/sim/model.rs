//! A naive model of what commands mean: every event for ever, what it added, and all that its issuer had seen.
//! No cells, no contexts that are cut short, no totals: what a replica should hold is worked out anew each time.

use starling_crdt::{Cell, Command, Context, Dot, Event, Field, Key, Target};
use starling_protocol::ids::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

/// Increments of one actor that run on from each other.
type Chain = (u64, u64);
/// What a key holds: of each field the dots that are live.
pub type Cells = BTreeMap<Field, BTreeSet<Dot>>;

/// What one event means.
#[derive(Debug)]
pub struct Meaning {
    dot: Dot,
    adds: Vec<Field>,
    removes: Vec<(Target, Context)>,
    count: Option<(Chain, i64)>,
    /// Chains of its own actor that were wholly deleted, and go on no more.
    ends: Vec<Chain>,
    /// A deletion: how far in each chain its issuer had seen increments, or another deletion of them.
    gone: BTreeMap<Chain, u64>,
}

#[derive(Default)]
pub struct Model {
    events: BTreeMap<PartitionId, BTreeMap<Vec<u8>, Vec<Meaning>>>,
}

impl Model {
    /// A command was carried out by one that had seen `seen`, and became `event`.
    pub fn issued(&mut self, p: PartitionId, key: &[u8], command: &Command, event: &Event, seen: Context) {
        let put = event.puts.iter().map(|(cell, _)| cell.field.clone());
        let plain = put.filter(|field| !matches!(field, Field::Total { .. } | Field::Base { .. }));
        let total = event.puts.iter().find_map(|(cell, _)| chain_of(&cell.field));
        let ends = event.drops.iter().filter_map(|(target, _)| chain_of(target.field()?));
        let ends = ends.filter(|chain| Some(*chain) != total).collect();
        let count = match command {
            Command::IncrBy { by } => total.map(|chain| (chain, *by)),
            _ => None,
        };
        let gone = if *command == Command::Del { self.gone(p, key, event, &seen) } else { BTreeMap::new() };
        let adds: Vec<_> = plain.collect();
        let at = |field: &Field| Target::Cell(Cell { key: Key::from(key), field: field.clone() });
        let removes = match command {
            Command::Del => vec![(Target::Key(Key::from(key)), seen)],
            Command::SRem { members } => {
                members.iter().map(|name| (at(&Field::Member(name.clone())), seen.clone())).collect()
            }
            Command::HDel { fields } => {
                fields.iter().map(|name| (at(&Field::Entry(name.clone())), seen.clone())).collect()
            }
            _ if adds.is_empty() => Vec::new(),
            _ => {
                let live = self.some_cells(p, key, &seen, |field| adds.contains(field));
                let replaced = live.iter().map(|(field, dots)| (at(field), dots.iter().copied().collect()));
                replaced.collect()
            }
        };
        let meaning = Meaning { dot: event.dot, adds, removes, count, ends, gone };
        self.events.entry(p).or_default().entry(key.to_vec()).or_default().push(meaning);
    }

    /// What was ever written to a key.
    pub fn of(&self, p: PartitionId, key: &[u8]) -> &[Meaning] {
        self.events.get(&p).and_then(|keys| keys.get(key)).map_or(&[], |events| events)
    }

    /// The keys of a partition that anything was ever written to.
    pub fn keys(&self, p: PartitionId) -> BTreeSet<Vec<u8>> {
        self.events.get(&p).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The cells of a key where these events have been seen; of a counter, those of no field.
    pub fn cells(&self, p: PartitionId, key: &[u8], context: &Context) -> Cells {
        self.some_cells(p, key, context, |_| true)
    }

    fn some_cells(
        &self,
        p: PartitionId,
        key: &[u8],
        context: &Context,
        wanted: impl Fn(&Field) -> bool,
    ) -> Cells {
        let seen: Vec<_> = self.of(p, key).iter().filter(|event| context.contains(event.dot)).collect();
        let mut cells = Cells::new();
        for event in &seen {
            for field in event.adds.iter().filter(|field| wanted(field)) {
                cells.entry(field.clone()).or_default().insert(event.dot);
            }
        }
        for (target, dots) in seen.iter().flat_map(|event| &event.removes) {
            let stays = |dot: &Dot| !dots.contains(*dot);
            match target.field() {
                Some(field) => cells.get_mut(field).into_iter().for_each(|live| live.retain(stays)),
                None => cells.values_mut().for_each(|live| live.retain(stays)),
            }
        }
        cells.retain(|_, live| !live.is_empty());
        cells
    }

    /// How far in each chain a deletion reaches: as far as its issuer has seen; and where it repeats the base that
    /// another deletion has put, as far as that one.
    fn gone(&self, p: PartitionId, key: &[u8], event: &Event, seen: &Context) -> BTreeMap<Chain, u64> {
        let based = |chain: &Chain| event.puts.iter().any(|(cell, _)| base_of(&cell.field) == Some(*chain));
        let mut gone = reach(self.of(p, key), seen);
        for (chain, last) in self.deleted(p, key, seen).into_iter().filter(|(chain, _)| based(chain)) {
            let known = gone.entry(chain).or_default();
            *known = last.max(*known);
        }
        gone
    }

    /// How far in each chain the deletions within a context reach.
    fn deleted(&self, p: PartitionId, key: &[u8], context: &Context) -> BTreeMap<Chain, u64> {
        let mut gone = BTreeMap::new();
        let seen = self.of(p, key).iter().filter(|event| context.contains(event.dot));
        for (chain, last) in seen.flat_map(|event| &event.gone) {
            let known: &mut u64 = gone.entry(*chain).or_default();
            *known = (*known).max(*last);
        }
        gone
    }

    /// Whether all that a deletion of the key had seen is within this context: until then a counter may show
    /// what was deleted, as the deletion put no base beside a chain that had ended.
    pub fn is_whole(&self, p: PartitionId, key: &[u8], context: &Context) -> bool {
        let events = self.of(p, key);
        let seen = events.iter().filter(|event| context.contains(event.dot));
        let mut deletions = seen.flat_map(|event| &event.removes);
        let has_all = |dots: &Context| {
            events.iter().filter(|event| dots.contains(event.dot)).all(|event| context.contains(event.dot))
        };
        deletions.all(|(_, dots)| has_all(dots))
    }

    /// What a counter has counted. A total tells of all that its actor counted before it in the chain.
    pub fn count(&self, p: PartitionId, key: &[u8], context: &Context) -> i64 {
        let events = self.of(p, key);
        let has = reach(events, context);
        let seen = events.iter().filter(|event| context.contains(event.dot));
        let ended: BTreeSet<&Chain> = seen.flat_map(|event| &event.ends).collect();
        let gone = self.deleted(p, key, context);
        let counts = events.iter().filter_map(|event| Some((event.dot.counter, event.count?)));
        let live = counts.filter(|(counter, (chain, _))| {
            !ended.contains(chain)
                && has.get(chain).is_some_and(|last| counter <= last)
                && gone.get(chain).is_none_or(|last| counter > last)
        });
        live.map(|(_, (_, by))| by).sum()
    }
}

fn chain_of(field: &Field) -> Option<Chain> {
    match field {
        Field::Total { actor, chain } => Some((actor.0, *chain)),
        _ => None,
    }
}

fn base_of(field: &Field) -> Option<Chain> {
    match field {
        Field::Base { actor, chain } => Some((actor.0, *chain)),
        _ => None,
    }
}

/// The last increment of each chain within a context.
fn reach(events: &[Meaning], context: &Context) -> BTreeMap<Chain, u64> {
    let mut last = BTreeMap::new();
    for event in events.iter().filter(|event| context.contains(event.dot)) {
        if let Some((chain, _)) = event.count {
            let known: &mut u64 = last.entry(chain).or_default();
            *known = event.dot.counter.max(*known);
        }
    }
    last
}
