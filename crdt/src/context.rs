//! Contexts: sets of dots.
//!
//! Almost all of what a replica has seen is 'the first n of that actor': a version vector (Parker et al.,
//! "Detection of Mutual Inconsistency in Distributed Systems", 1983). Dots that came before their
//! predecessors lie beyond it, as intervals (Malkhi and Terry, "Concise Version Vectors in WinFS", 2005).
//! Every operation works on ranges, never dot by dot: an honest context can hold billions of dots.

mod beyond;
mod ranges;
mod wire;

#[cfg(test)]
mod tests;

use crate::{Actor, Dot};
use beyond::Beyond;
use crdts::VClock;
use ranges::Range;
pub(crate) use wire::RANGE_LEN_MAX;

/// The last counter a dot may have. Far more than any actor can issue, and far from overflow.
pub const COUNTER_MAX: u64 = 1 << 48;

/// Most ranges a context may have that is stored or sent.
pub const RANGES_MAX: usize = 65_536;

/// A set of dots: a vector clock, plus the dots beyond it, as intervals.
///
/// Canonical: intervals touch neither the clock's end nor each other, and nothing is empty. So equal
/// sets are equal values and equal bytes. Counters are 1 to [`COUNTER_MAX`]; others are in no set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    clock: VClock<Actor>,
    beyond: Beyond,
}

impl Context {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one dot.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_range(dot.actor, dot.counter, dot.counter);
    }

    /// Adds the dots of `actor` from `start` to `end`, both inclusive. An empty range adds nothing.
    pub fn insert_range(&mut self, actor: Actor, start: u64, end: u64) {
        let (mut start, mut end) = (start.max(1), end.min(COUNTER_MAX));
        if start > end {
            return;
        }
        let clock = self.clock.get(&actor);
        if end <= clock {
            return;
        }
        // As almost always: the next dot, and nothing beyond it.
        if start <= clock + 1 && !self.beyond.has(actor) {
            self.clock.dots.insert(actor, end);
            return;
        }
        // Swallow every interval that touches the new one, last first.
        while let Some((first, last)) = self.beyond.before(actor, end + 1) {
            if last + 1 < start {
                break;
            }
            self.beyond.remove(actor, first);
            start = start.min(first);
            end = end.max(last);
        }
        if start <= clock + 1 {
            self.clock.dots.insert(actor, end);
        } else {
            self.beyond.insert(actor, (start, end));
        }
    }

    pub fn contains(&self, dot: Dot) -> bool {
        if dot.counter == 0 || dot.counter <= self.clock.get(&dot.actor) {
            return dot.counter != 0;
        }
        self.beyond.before(dot.actor, dot.counter).is_some_and(|(_, end)| dot.counter <= end)
    }

    /// True where `other` is a part of this.
    pub fn contains_all(&self, other: &Context) -> bool {
        if let Some((actor, range)) = other.only() {
            return self.contains_range(actor, range);
        }
        other.ranges().all(|(actor, start, end)| self.contains_range(actor, (start, end)))
    }

    fn contains_range(&self, actor: Actor, (start, end): Range) -> bool {
        let within = |(_, last)| end <= last;
        end <= self.clock.get(&actor) || self.beyond.before(actor, start).is_some_and(within)
    }

    /// True where both have a dot.
    pub(crate) fn meets(&self, other: &Context) -> bool {
        let (few, many) = self.by_ranges(other);
        few.ranges().any(|(actor, start, end)| many.around(actor, (start, end)).next().is_some())
    }

    /// Its range, where it has no other: as in almost every event, on the path of every write.
    fn only(&self) -> Option<(Actor, Range)> {
        match (&self.beyond, self.clock.dots.len()) {
            (Beyond::One(actor, range), 0) => Some((*actor, *range)),
            (Beyond::Nothing, 1) => self.clock.dots.first_key_value().map(|(actor, &end)| (*actor, (1, end))),
            _ => None,
        }
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Context) {
        for (actor, start, end) in other.ranges() {
            self.insert_range(actor, start, end);
        }
    }

    /// Takes one dot away.
    pub(crate) fn remove(&mut self, Dot { actor, counter }: Dot) {
        let range = self.around(actor, (counter, counter)).next();
        let Some((start, end)) = range.filter(|_| counter > 0) else { return };
        if start == 1 {
            self.clock.dots.remove(&actor);
        } else {
            self.beyond.remove(actor, start);
        }
        self.insert_range(actor, start, counter - 1);
        self.insert_range(actor, counter + 1, end);
    }

    /// Takes all of `other` away.
    pub fn subtract(&mut self, other: &Context) {
        let shared: Vec<Actor> = other.actors().filter(|&a| self.has(a)).collect();
        for actor in shared {
            let rest = ranges::minus(self.of(actor), other.of(actor)).collect();
            self.replace(actor, rest);
        }
    }

    /// The dots of this that `other` lacks.
    pub fn difference(&self, other: &Context) -> Context {
        let mut out = Context::new();
        for actor in self.actors() {
            let start = self.of(actor).next().map_or(0, |(start, _)| start);
            let cuts = other.around(actor, (start, self.max(actor)));
            out.replace(actor, ranges::minus(self.of(actor), cuts).collect());
        }
        out
    }

    /// The dots that both have. Of the one that has more ranges, only those are visited that the other meets.
    pub fn intersect(&self, other: &Context) -> Context {
        let (few, many) = self.by_ranges(other);
        let mut out = Context::new();
        for (actor, start, end) in few.ranges() {
            for (first, last) in many.around(actor, (start, end)) {
                out.insert_range(actor, first.max(start), last.min(end));
            }
        }
        out
    }

    /// The ranges of one actor that have a dot of this one, in order.
    fn around(&self, actor: Actor, (start, end): Range) -> impl Iterator<Item = Range> + '_ {
        let clock = self.clock.dots.get(&actor).map(|&last| (1, last)).filter(|(_, last)| start <= *last);
        clock.into_iter().chain(self.beyond.around(actor, (start, end)))
    }

    /// First the one with fewer ranges.
    fn by_ranges<'a>(&'a self, other: &'a Context) -> (&'a Context, &'a Context) {
        if self.range_count() <= other.range_count() { (self, other) } else { (other, self) }
    }

    pub fn is_empty(&self) -> bool {
        self.clock.dots.is_empty() && self.beyond.len() == 0
    }

    /// How many dots; more than `u64::MAX` saturates.
    pub fn len(&self) -> u64 {
        self.ranges().fold(0, |sum: u64, (_, start, end)| sum.saturating_add(end - start + 1))
    }

    /// The set as (actor, first, last), in order of actors, then of counters.
    pub fn ranges(&self) -> impl Iterator<Item = (Actor, u64, u64)> + '_ {
        self.actors().flat_map(|actor| self.of(actor).map(move |(start, end)| (actor, start, end)))
    }

    /// The highest counter of `actor`; 0 where there is none.
    pub fn max(&self, actor: Actor) -> u64 {
        self.beyond.before(actor, u64::MAX).map_or_else(|| self.clock.get(&actor), |(_, end)| end)
    }

    /// The first 64 bits of blake3 over the set: equal sets, equal hashes.
    pub fn hash(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for (actor, start, end) in self.ranges() {
            for number in [actor.0, start, end] {
                hasher.update(&number.to_be_bytes());
            }
        }
        first_u64(&hasher.finalize())
    }

    /// How many ranges: what the set costs.
    pub fn range_count(&self) -> usize {
        self.clock.dots.len() + self.beyond.len()
    }

    /// True where `dot` can be added without going beyond [`RANGES_MAX`].
    pub(crate) fn has_room(&self, dot: Dot) -> bool {
        let neighbour = |counter| self.contains(Dot::new(dot.actor, counter));
        self.range_count() < RANGES_MAX || neighbour(dot.counter - 1) || neighbour(dot.counter + 1)
    }

    /// Every actor with a dot in the set, in order.
    pub fn actors(&self) -> impl Iterator<Item = Actor> + '_ {
        ranges::merged(self.clock.dots.keys().copied(), self.beyond.actors())
    }

    fn has(&self, actor: Actor) -> bool {
        self.clock.dots.contains_key(&actor) || self.beyond.has(actor)
    }

    /// The ranges of one actor, in order.
    fn of(&self, actor: Actor) -> impl Iterator<Item = Range> + '_ {
        let clock = self.clock.dots.get(&actor).map(|&end| (1, end));
        clock.into_iter().chain(self.beyond.of(actor))
    }

    /// Sets what is held of one actor: canonical ranges, in order.
    fn replace(&mut self, actor: Actor, ranges: Vec<Range>) {
        self.clock.dots.remove(&actor);
        while let Some((start, _)) = self.beyond.before(actor, u64::MAX) {
            self.beyond.remove(actor, start);
        }
        for (start, end) in ranges {
            self.insert_range(actor, start, end);
        }
    }
}

/// The first 64 bits of a hash.
pub fn first_u64(hash: &blake3::Hash) -> u64 {
    let bytes = hash.as_bytes();
    u64::from_be_bytes(std::array::from_fn(|i| bytes[i]))
}

impl From<Dot> for Context {
    fn from(dot: Dot) -> Self {
        Self::from_iter([dot])
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<T: IntoIterator<Item = Dot>>(dots: T) -> Self {
        let mut context = Context::new();
        for dot in dots {
            context.insert(dot);
        }
        context
    }
}
