//! Removals that came before what they remove.

use super::{Needs, Wanted};
use crate::context::{RANGE_LEN_MAX, RANGES_MAX};
use crate::rows::{self, Kind};
use crate::{Cell, Context, Dot, Field, Key, PartitionId, Storage, StorageError, Target};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, ControlFlow, RangeBounds};

/// Of elements that only tell a key's type, as many removals that wait are told of at most.
const WAITS_MAX: usize = 64;

/// To find those, as many targets are looked at: many may wait for nothing any more until the next sweep.
const LOOKED_MAX: usize = 16 * WAITS_MAX;

/// What a target that waits takes in memory beside its name and the ranges it waits for, as measured, roughly.
const TARGET: usize = 512;

/// Targets, and all that each will wait for.
pub(super) type Waits<'a> = Vec<(&'a Target, Context)>;

/// Targets that are looked at for each event, on average, while some of them may wait for nothing any more.
const SWEEP_SHARE: usize = 16;

/// Of each target, the dots that have been dropped there and not been seen yet. Like the cells, a function of
/// the set of events applied. A dot of an ended life may never come: then its entry stays for ever.
///
/// A removal may name all that its issuer had seen, so thousands of targets may wait for each of thousands of dots.
/// What comes is therefore taken out of `waiting` alone.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// As in the rows: of these dots, a target waits for those that are in `waiting`, and maybe for none.
    targets: BTreeMap<Target, Context>,
    /// What they take in memory, as `weight` counts.
    bytes: usize,
    /// All dots of all targets that have not been seen.
    waiting: Context,
    /// Events since the first that came for a target after the last sweep, itself counted.
    unswept: usize,
}

impl Deferred {
    /// Reads the rows. They may still name dots that have come since; `context` tells. Rows that wait for nothing any
    /// more go with the next sweep.
    pub fn load(
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        context: &Context,
    ) -> Result<Self, StorageError> {
        let mut deferred = Self::default();
        rows::each(s, &rows::all(p, Kind::Deferred), |row, value| {
            let target = Target::at(rows::place_of(row)?);
            let dots: Context = rows::decode(row, value)?;
            let waiting = dots.difference(context);
            deferred.unswept = deferred.unswept.max(usize::from(waiting != dots));
            deferred.waiting.union(&waiting);
            deferred.insert(target, dots);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(deferred)
    }

    fn insert(&mut self, target: Target, dots: Context) {
        self.bytes += weight(&target, &dots);
        if let Some(before) = self.targets.get(&target) {
            self.bytes -= weight(&target, before);
        }
        self.targets.insert(target, dots);
    }

    /// Bytes that all of it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more that would be with these drops, where `context` has been seen; at most so many.
    pub fn bytes_of<'a>(drops: impl IntoIterator<Item = &'a (Target, Context)>, context: &Context) -> usize {
        let waits = drops.into_iter().filter(|(_, dots)| !context.contains_all(dots));
        waits.map(|(target, dots)| weight(target, dots)).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Target, Context)> {
        self.targets.iter().filter_map(|(target, dots)| Some((target, self.left_of(dots)?)))
    }

    /// What has not come yet of the dots of a target, if anything.
    fn left_of(&self, dots: &Context) -> Option<Context> {
        let left = dots.intersect(&self.waiting);
        (!left.is_empty()).then_some(left)
    }

    /// What a target waits for, if for anything.
    fn of(&self, target: &Target) -> Option<Context> {
        self.left_of(self.targets.get(target)?)
    }

    /// What waits for a key, as far as a command needs it. `None`: of what it names or needs as a whole, more than `most`
    /// bytes of names and ranges. Of elements that only tell the type the first are told that are no more than that.
    pub fn of_key(&self, key: &[u8], needs: &Needs, most: usize) -> Option<BTreeMap<Option<Field>, Context>> {
        let mut found = Found { removed: BTreeMap::new(), most, room: most };
        if self.waiting.is_empty() {
            return Some(found.removed);
        }
        if let Some(dots) = self.of(&Target::Key(Key::from(key))) {
            found.add(None, dots)?;
        }
        let counters = Field::Register..Field::Entry(ByteBuf::new());
        self.of_fields(key, counters, (usize::MAX, usize::MAX), &mut found)?;
        let entries = Field::Entry(ByteBuf::new())..Field::Member(ByteBuf::new());
        self.of_wanted(key, &needs.entries, entries, Field::Entry, &mut found)?;
        let members = Field::Member(ByteBuf::new())..;
        self.of_wanted(key, &needs.members, members, Field::Member, &mut found)?;
        Some(found.removed)
    }

    fn of_wanted(
        &self,
        key: &[u8],
        wanted: &Wanted,
        fields: impl RangeBounds<Field>,
        field: fn(ByteBuf) -> Field,
        found: &mut Found,
    ) -> Option<()> {
        match wanted {
            Wanted::All => self.of_fields(key, fields, (usize::MAX, usize::MAX), found)?,
            Wanted::Head | Wanted::Page(_) | Wanted::First => self.of_head(key, fields, found),
            Wanted::Named(names) => {
                for name in names {
                    let cell = Cell::new(key, field((*name).clone()));
                    if let Some(dots) = self.of(&Target::Cell(cell.clone())) {
                        found.add(Some(cell.field), dots)?;
                    }
                }
                self.of_head(key, fields, found);
            }
        }
        Some(())
    }

    fn of_head(&self, key: &[u8], fields: impl RangeBounds<Field>, found: &mut Found) {
        let mut head = Found { removed: BTreeMap::new(), most: found.most, room: found.most };
        let _ = self.of_fields(key, fields, (LOOKED_MAX, WAITS_MAX), &mut head);
        found.removed.extend(head.removed);
    }

    /// Of so many targets, at most so many that wait.
    fn of_fields(
        &self,
        key: &[u8],
        fields: impl RangeBounds<Field>,
        (looked, most): (usize, usize),
        found: &mut Found,
    ) -> Option<()> {
        let targets = self.targets_from(key, fields.start_bound()).take(looked);
        let targets = targets.take_while(|(field, _)| fields.contains(*field));
        let mut waiting = targets.filter_map(|(field, dots)| Some((field, self.left_of(dots)?))).take(most);
        waiting.try_for_each(|(field, dots)| found.add(Some(field.clone()), dots))
    }

    /// What waits for single fields of a key, in their order.
    pub fn of_fields_from(&self, key: &[u8], from: Bound<&Field>) -> impl Iterator<Item = (&Field, Context)> {
        self.targets_from(key, from).filter_map(|(field, dots)| Some((field, self.left_of(dots)?)))
    }

    /// All that may wait for single fields of a key.
    fn targets_from(&self, key: &[u8], from: Bound<&Field>) -> impl Iterator<Item = (&Field, &Context)> {
        let from = from.map(|field| Target::Cell(Cell::new(key, field.clone())));
        let targets = self.targets.range((from, Bound::Unbounded));
        targets.map_while(move |(target, dots)| Some((target.field().filter(|_| target.key() == key)?, dots)))
    }

    /// True where `dot`, put into `cell`, has been removed before it came.
    pub fn covers(&self, cell: &Cell, dot: Dot) -> bool {
        let waits = |target: Target| self.targets.get(&target).is_some_and(|d| d.contains(dot));
        self.waiting.contains(dot)
            && (waits(Target::Cell(cell.clone())) || waits(Target::Key(cell.key.clone())))
    }

    /// What each target of these drops will wait for, where `context` has been seen. `None`: a set would have
    /// too many ranges to be stored.
    pub fn plan<'a>(
        &self,
        drops: impl IntoIterator<Item = (&'a Target, &'a Context)>,
        context: &Context,
    ) -> Option<Waits<'a>> {
        let mut waits = Vec::new();
        for (target, dots) in drops {
            if context.contains_all(dots) {
                continue;
            }
            let mut all = dots.difference(context);
            if let Some(before) = self.of(target) {
                all.union(&before);
            }
            (all.range_count() <= RANGES_MAX).then_some(())?;
            waits.push((target, all));
        }
        Some(waits)
    }

    /// Lets targets wait as planned.
    pub fn add(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId, waits: Waits) {
        if mutated!(DropDeferred) {
            return;
        }
        for (target, dots) in waits {
            marked!(RemovalWaits);
            s.put(&rows::deferred_row(p, target), &rows::encode(&dots));
            self.waiting.union(&dots);
            self.insert(target.clone(), dots);
        }
    }

    /// Takes note that a dot has come.
    pub fn came(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId, dot: Dot) {
        if self.waiting.contains(dot) {
            self.waiting.remove(dot);
            self.unswept = self.unswept.max(1);
        }
        if self.unswept > 0 {
            let is_due = self.waiting.is_empty() || self.unswept >= self.targets.len() / SWEEP_SHARE;
            self.unswept += 1;
            if is_due {
                self.sweep(s, p);
            }
        }
    }

    /// Takes note that a whole state has come.
    pub fn settle(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId, seen: &Context) {
        if self.waiting.meets(seen) {
            self.waiting.subtract(seen);
            self.sweep(s, p);
        }
    }

    /// Forgets the targets that wait for nothing any more. Rows of those that still wait are left as they are: what
    /// comes out of order should not rewrite all of them.
    fn sweep(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId) {
        self.targets.retain(|target, dots| {
            let waits = dots.meets(&self.waiting);
            if !waits {
                self.bytes -= weight(target, dots);
                s.delete(&rows::deferred_row(p, target));
            }
            waits
        });
        self.unswept = 0;
    }
}

/// What was found to wait for a key.
struct Found {
    removed: BTreeMap<Option<Field>, Context>,
    /// Most bytes of it, and how many more may come.
    most: usize,
    room: usize,
}

impl Found {
    /// `None`: that is too much. A name may come any number of times.
    fn add(&mut self, field: Option<Field>, dots: Context) -> Option<()> {
        if let Entry::Vacant(place) = self.removed.entry(field) {
            let name = place.key().as_ref().map_or(0, |field| field.name().len());
            self.room = self.room.checked_sub(name + RANGE_LEN_MAX * dots.range_count())?;
            place.insert(dots);
        }
        Some(())
    }
}

/// What a target counts towards `Deferred::bytes`.
fn weight(target: &Target, dots: &Context) -> usize {
    let name = target.key().len() + target.field().map_or(0, |field| field.name().len());
    TARGET + name + RANGE_LEN_MAX * dots.range_count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Memory};
    use proptest::prelude::*;

    const P: PartitionId = 7;

    #[derive(Clone, Debug)]
    enum Step {
        Drop(Target, Context),
        Come(Dot),
        /// A whole state.
        Fill(Context),
        Restart,
    }

    fn targets() -> [Target; 5] {
        let cell = |key: &[u8], field| Target::Cell(Cell::new(key, field));
        let (entry, member) = (Field::Entry(ByteBuf::from("e")), Field::Member(ByteBuf::from("m")));
        let whole = Target::Key(Key::from("k"));
        [
            whole,
            cell(b"k", Field::Register),
            cell(b"k", entry),
            cell(b"k", member.clone()),
            cell(b"l", member),
        ]
    }

    fn dot() -> impl Strategy<Value = Dot> {
        (0_u64..2, 1_u64..12).prop_map(|(actor, counter)| Dot::new(Actor(actor), counter))
    }

    fn dots() -> impl Strategy<Value = Context> {
        proptest::collection::vec(dot(), 1..10).prop_map(Context::from_iter)
    }

    fn step() -> impl Strategy<Value = Step> {
        let target = (0..targets().len()).prop_map(|i| targets()[i].clone());
        prop_oneof![
            4 => (target, dots()).prop_map(|(target, dots)| Step::Drop(target, dots)),
            6 => dot().prop_map(Step::Come),
            1 => dots().prop_map(Step::Fill),
            1 => Just(Step::Restart),
        ]
    }

    /// By its meaning: of each target, what was dropped there and has not been seen.
    #[derive(Default)]
    struct Oracle {
        dropped: BTreeMap<Target, Context>,
        seen: Context,
    }

    impl Oracle {
        fn left(&self) -> BTreeMap<&Target, Context> {
            let left = self.dropped.iter().map(|(target, dots)| (target, dots.difference(&self.seen)));
            left.filter(|(_, dots)| !dots.is_empty()).collect()
        }

        fn play(&mut self, deferred: &mut Deferred, disk: &mut Memory, step: &Step) {
            match step {
                Step::Drop(target, dots) => {
                    let waits = deferred.plan([(target, dots)], &self.seen).unwrap();
                    deferred.add(disk, P, waits);
                    self.dropped.entry(target.clone()).or_default().union(&dots.difference(&self.seen));
                }
                Step::Come(dot) => {
                    self.seen.insert(*dot);
                    deferred.came(disk, P, *dot);
                }
                Step::Fill(dots) => {
                    self.seen.union(dots);
                    deferred.settle(disk, P, dots);
                }
                Step::Restart => *deferred = Deferred::load(disk, P, &self.seen).unwrap(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_waits_is_what_was_dropped_and_not_seen(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut deferred, mut disk, mut oracle) = (Deferred::default(), Memory::default(), Oracle::default());
            let needs = Needs { entries: Wanted::All, members: Wanted::All, most: 0, most_named: 0 };
            for step in &steps {
                oracle.play(&mut deferred, &mut disk, step);
                let left = oracle.left();
                let bytes: usize = deferred.targets.iter().map(|(target, dots)| weight(target, dots)).sum();
                prop_assert_eq!(deferred.bytes(), bytes);
                prop_assert_eq!(&deferred.iter().collect::<BTreeMap<_, _>>(), &left);
                let of_key = left.iter().filter(|(target, _)| ***target.key() == *b"k");
                let of_key: BTreeMap<_, _> = of_key.map(|(t, dots)| (t.field().cloned(), dots.clone())).collect();
                prop_assert_eq!(deferred.of_key(b"k", &needs, usize::MAX), Some(of_key));
                let fields = deferred.of_fields_from(b"l", Bound::Included(&Field::Register)).count();
                prop_assert_eq!(fields, usize::from(left.contains_key(&targets()[4])));
            }
            oracle.play(&mut deferred, &mut disk, &Step::Restart);
            for dot in (0..2).flat_map(|a| (1..13).map(move |counter| Dot::new(Actor(a), counter))) {
                let Target::Cell(cell) = &targets()[2] else { unreachable!() };
                let waits = [&targets()[0], &targets()[2]].map(|at| deferred.of(at));
                let waits = waits.iter().flatten().any(|dots| dots.contains(dot));
                prop_assert_eq!(deferred.covers(cell, dot), waits);
                oracle.play(&mut deferred, &mut disk, &Step::Come(dot));
            }
            prop_assert!(deferred.targets.is_empty() && disk.rows().next().is_none(), "nothing is left");
        }
    }

    #[test]
    fn more_than_so_much_is_not_told_where_all_is_needed() {
        let (mut deferred, mut disk) = (Deferred::default(), Memory::default());
        let dots = Context::from(Dot::new(Actor(1), 1));
        let targets: Vec<_> = (0..100_u8)
            .map(|i| Target::Cell(Cell::new(b"k", Field::Member(ByteBuf::from(vec![i; 64])))))
            .collect();
        let waits = deferred.plan(targets.iter().map(|target| (target, &dots)), &Context::new()).unwrap();
        deferred.add(&mut disk, P, waits);
        let told = |members, most| {
            let needs = Needs { entries: Wanted::Head, members, most: 0, most_named: 0 };
            deferred.of_key(b"k", &needs, most).map(|removed| removed.len())
        };
        assert_eq!([9_999, 10_000].map(|most| told(Wanted::All, most)), [None, Some(100)]);
        assert_eq!([50, 1_000].map(|most| told(Wanted::Head, most)), [Some(0), Some(10)]);
        let name = ByteBuf::from(vec![99; 64]);
        assert_eq!([99, 100].map(|most| told(Wanted::Named(vec![&name]), most)), [None, Some(2)]);
    }

    /// Thousands may wait for each of thousands of dots.
    #[test]
    fn a_dot_that_comes_leaves_the_targets_as_they_are_until_many_have_come() {
        let (mut deferred, mut disk) = (Deferred::default(), Memory::default());
        let mut all = Context::new();
        all.insert_range(Actor(1), 1, 1_000);
        let targets: Vec<_> = (0..640).map(|i: u64| Target::Key(Key::from(i.to_be_bytes()))).collect();
        for target in &targets {
            let waits = deferred.plan([(target, &all)], &Context::new()).unwrap();
            deferred.add(&mut disk, P, waits);
        }
        let own = Context::from(Dot::new(Actor(2), 1));
        let other = Target::Key(Key::from("other"));
        deferred.add(&mut disk, P, vec![(&other, own)]);
        deferred.came(&mut disk, P, Dot::new(Actor(2), 1));
        for counter in 1..40 {
            assert!(deferred.targets.contains_key(&other));
            deferred.came(&mut disk, P, Dot::new(Actor(1), counter));
        }
        assert!(!deferred.targets.contains_key(&other), "swept meanwhile");
        assert!(deferred.targets.values().all(|dots| *dots == all));
        assert!(deferred.iter().all(|(_, dots)| dots.len() == 961));
    }

    /// What waits for nothing any more is not swept at once, and may be most of what is there.
    #[test]
    fn to_tell_a_type_no_more_is_looked_at_than_so_much() {
        let (mut deferred, mut disk) = (Deferred::default(), Memory::default());
        let field = |i: usize| Field::Member(ByteBuf::from((i as u32).to_be_bytes()));
        let mut wait = |deferred: &mut Deferred, i, actor| {
            let (target, dots) =
                (Target::Cell(Cell::new(b"k", field(i))), Context::from(Dot::new(Actor(actor), 1)));
            let waits = deferred.plan([(&target, &dots)], &Context::new()).unwrap();
            deferred.add(&mut disk, P, waits);
        };
        (1..2 * LOOKED_MAX).for_each(|i| wait(&mut deferred, i, 1));
        [0, LOOKED_MAX - 1, LOOKED_MAX, 2 * LOOKED_MAX].iter().for_each(|i| wait(&mut deferred, *i, 2));
        deferred.came(&mut disk, P, Dot::new(Actor(1), 1));
        assert!(deferred.targets.len() > LOOKED_MAX, "not swept yet");
        let told = |members| {
            let needs = Needs { entries: Wanted::Head, members, most: 0, most_named: 0 };
            deferred.of_key(b"k", &needs, usize::MAX).unwrap().into_keys().flatten().collect::<Vec<_>>()
        };
        assert_eq!(told(Wanted::Head), [0, LOOKED_MAX - 1].map(field));
        let name = ByteBuf::from((2 * LOOKED_MAX as u32).to_be_bytes());
        assert_eq!(told(Wanted::Named(vec![&name])), [0, LOOKED_MAX - 1, 2 * LOOKED_MAX].map(field));
        assert_eq!(told(Wanted::All), [0, LOOKED_MAX - 1, LOOKED_MAX, 2 * LOOKED_MAX].map(field));
    }
}
