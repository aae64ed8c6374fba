//! Dots that the clock does not reach, as intervals: they touch neither each other nor the clock's end.

use super::ranges::Range;
use crate::Actor;
use std::collections::BTreeMap;

/// The end of each interval, by its actor and start.
type Intervals = BTreeMap<(Actor, u64), u64>;

/// Intervals by actors, both ends inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Beyond {
    #[default]
    Nothing,
    /// As in almost every event: the one dot that it drops. It takes no memory of its own.
    One(Actor, Range),
    /// Two or more.
    Many(Intervals),
}

use Beyond::{Many, Nothing, One};

impl Beyond {
    /// Adds an interval that is not there and touches no other.
    pub fn insert(&mut self, actor: Actor, (start, end): Range) {
        match self {
            Nothing => *self = One(actor, (start, end)),
            One(other, (first, last)) => {
                *self = Many(BTreeMap::from([((*other, *first), *last), ((actor, start), end)]));
            }
            Many(all) => {
                all.insert((actor, start), end);
            }
        }
    }

    /// Takes out the interval of `actor` that begins at `start`.
    pub fn remove(&mut self, actor: Actor, start: u64) {
        match self {
            One(other, (first, _)) if (*other, *first) == (actor, start) => *self = Nothing,
            Many(all) => {
                all.remove(&(actor, start));
                let mut rest = all.iter();
                if let (Some((&(actor, start), &end)), None) = (rest.next(), rest.next()) {
                    *self = One(actor, (start, end));
                }
            }
            Nothing | One(..) => {}
        }
    }

    /// The last interval of `actor` that begins at `counter` or before it.
    pub fn before(&self, actor: Actor, counter: u64) -> Option<Range> {
        match self {
            Nothing => None,
            One(other, range) => (*other == actor && range.0 <= counter).then_some(*range),
            Many(all) => {
                let last = all.range((actor, 0)..=(actor, counter)).next_back();
                last.map(|(&(_, start), &end)| (start, end))
            }
        }
    }

    /// The intervals of `actor` that have a dot of this range, in order.
    pub fn around(&self, actor: Actor, (start, end): Range) -> impl Iterator<Item = Range> + '_ {
        let (one, many) = self.parts();
        let one = one.filter(|(other, (first, _))| *other == actor && *first <= end).map(|(_, range)| range);
        // The last that begins before the range may reach into it.
        let from = self.before(actor, start).map_or(start, |(first, _)| first);
        let many = many.into_iter().flat_map(move |all| all.range((actor, from)..=(actor, end)));
        let all = one.into_iter().chain(many.map(|(&(_, start), &end)| (start, end)));
        all.filter(move |(_, last)| start <= *last)
    }

    /// All intervals of `actor`, in order.
    pub fn of(&self, actor: Actor) -> impl Iterator<Item = Range> + '_ {
        let (one, many) = self.parts();
        let one = one.filter(|(other, _)| *other == actor).map(|(_, range)| range);
        let many = many.into_iter().flat_map(move |all| all.range((actor, 0)..=(actor, u64::MAX)));
        one.into_iter().chain(many.map(|(&(_, start), &end)| (start, end)))
    }

    /// The actors that have any, each once, in order.
    pub fn actors(&self) -> impl Iterator<Item = Actor> + '_ {
        let (one, many) = self.parts();
        let mut last = None;
        let many = many.into_iter().flat_map(Intervals::keys).map(|(actor, _)| *actor);
        let many = many.filter(move |actor| last.replace(*actor) != Some(*actor));
        one.map(|(actor, _)| actor).into_iter().chain(many)
    }

    pub fn has(&self, actor: Actor) -> bool {
        self.before(actor, u64::MAX).is_some()
    }

    pub fn len(&self) -> usize {
        match self {
            Nothing => 0,
            One(..) => 1,
            Many(all) => all.len(),
        }
    }

    fn parts(&self) -> (Option<(Actor, Range)>, Option<&Intervals>) {
        match self {
            Nothing => (None, None),
            One(actor, range) => (Some((*actor, *range)), None),
            Many(all) => (None, Some(all)),
        }
    }
}
