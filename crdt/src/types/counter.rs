//! Counters: a cell for each actor's running total, and one for what deletes have seen of it (rule
//! `counter-base`).
//!
//! The sum of the totals is the PN-counter of Shapiro et al., "A comprehensive study of Convergent and
//! Commutative Replicated Data Types" (2011), section 3.1.3. A deletion does not touch what others write: it
//! puts a *base* beside each total, and only what came after counts. A total is written by its actor
//! alone, in a *chain* of totals that each replace the last; once all of a chain is deleted, the actor
//! drops it when it counts there again, and begins the next. Where its totals would not fit into 64 bits any more, the
//! next begins beside it. A chain is named by the counter of the dot that
//! begins it, so no name comes twice.
//!
//! A peer takes a new actor at each start, and nobody else may drop what the old one counted: a chain that it had
//! left, and what deletions have put beside it, stay for ever, two small cells for each actor and counter.

use super::register::{integer, winner};
use super::{Change, Issuer, live};
use crate::{Actor, CommandError, Context, Field, Reply, Slice, Version};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// Increments and decrements, both counted upwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    up: u64,
    down: u64,
}

/// One chain: its total, and how much of it has been deleted.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    total: Option<Pair>,
    base: Option<Pair>,
}

type Chain = (Actor, u64);

/// The counter's value: what has been counted and not been deleted.
pub(super) fn sum(slice: &Slice) -> i128 {
    tallies(slice).values().map(Tally::value).sum()
}

/// True where something has been counted that no deletion has seen.
pub(super) fn is_live(slice: &Slice) -> bool {
    tallies(slice).values().any(Tally::is_live)
}

/// What a deletion puts beside the chains of others, and the totals that it must leave.
pub(super) fn bases(slice: &Slice, issuer: &Issuer) -> (Vec<(Field, ByteBuf)>, Vec<Field>) {
    let (mut puts, mut kept) = (Vec::new(), Vec::new());
    for ((actor, chain), tally) in tallies(slice) {
        if issuer.owns((actor, chain)) || mutated!(DropTotals) {
            continue;
        }
        marked!(CounterBase);
        let seen = tally.total.unwrap_or_default().max(tally.base.unwrap_or_default());
        puts.push((Field::Base { actor, chain }, seen.to_bytes()));
        kept.push(Field::Total { actor, chain });
    }
    (puts, kept)
}

/// Most chains of one actor that count in one counter: each is read whenever the counter is, and named by whoever
/// deletes it. All of them together count to 2^68.
const CHAINS_MAX: usize = 16;

/// Adds to the issuer's own total.
pub(super) fn increment(slice: &Slice, issuer: &Issuer, by: i64) -> Change {
    let string = winner(slice.versions(&Field::Register)).map(|version| &version.value);
    let Some(start) = integer(string) else {
        return CommandError::NotAnInteger.into();
    };
    let own: Vec<_> = tallies(slice).into_iter().filter(|(chain, _)| issuer.owns(*chain)).collect();
    let value = i64::try_from(i128::from(start) + sum(slice) + i128::from(by));
    let Ok(value) = value else {
        return CommandError::Overflow.into();
    };
    // A chain that has counted too far goes on counting, with another beside it.
    let more = |tally: &Tally| tally.total.and_then(|total| total.plus(by)).filter(|_| tally.is_live());
    let running = own.iter().rev().find_map(|(chain, tally)| more(tally).map(|total| (*chain, total)));
    if running.is_none() && own.iter().filter(|(_, tally)| tally.is_live()).count() >= CHAINS_MAX {
        return CommandError::Overflow.into();
    }
    let mut change = Change::from(Reply::Int(value));
    for (chain, tally) in &own {
        if !tally.is_live() {
            marked!(ChainDropped);
            change.drops.extend(end_of(*chain, issuer.context));
        }
    }
    let ((_, chain), total) = running.unwrap_or(((issuer.actor, issuer.next), Pair::of(by)));
    let field = Field::Total { actor: issuer.actor, chain };
    if running.is_some() {
        change.drops.push((Some(field.clone()), live(slice, &field)));
    }
    change.puts.push((field, total.to_bytes()));
    change
}

/// Drops a chain of which nothing counts any more. Only its own actor may: it alone knows that no total
/// of the chain is still to come.
fn end_of((actor, chain): Chain, seen: &Context) -> [(Option<Field>, Context); 2] {
    let (total, base) = (Field::Total { actor, chain }, Field::Base { actor, chain });
    [(Some(total), seen.clone()), (Some(base), seen.clone())]
}

fn tallies(slice: &Slice) -> BTreeMap<Chain, Tally> {
    let mut tallies: BTreeMap<Chain, Tally> = BTreeMap::new();
    let counters = Field::Register..Field::Entry(ByteBuf::new());
    for (field, versions) in slice.cells.range(counters) {
        match *field {
            Field::Total { actor, chain } => {
                tallies.entry((actor, chain)).or_default().total = Some(highest(versions));
            }
            Field::Base { actor, chain } => {
                tallies.entry((actor, chain)).or_default().base = Some(highest(versions));
            }
            _ => {}
        }
    }
    tallies
}

fn highest(versions: &[Version]) -> Pair {
    let pairs = versions.iter().map(|version| Pair::from_bytes(&version.value));
    pairs.fold(Pair::default(), Pair::max)
}

impl Issuer<'_> {
    /// True for a chain of which the issuer knows every total there is. One from before the partition was
    /// let go may have later totals elsewhere: it is treated as another actor's.
    fn owns(&self, (actor, chain): Chain) -> bool {
        actor == self.actor && chain > self.floor
    }
}

impl Tally {
    fn value(&self) -> i128 {
        let (total, base) = (self.total.unwrap_or_default(), self.base.unwrap_or_default());
        let up = total.up.saturating_sub(base.up);
        i128::from(up) - i128::from(total.down.saturating_sub(base.down))
    }

    /// A total that no deletion has seen is live even where it is nothing: `INCRBY 0` creates a key.
    fn is_live(&self) -> bool {
        self.total
            .is_some_and(|total| self.base.is_none_or(|base| total.up > base.up || total.down > base.down))
    }
}

impl Pair {
    fn max(self, other: Pair) -> Pair {
        Pair { up: self.up.max(other.up), down: self.down.max(other.down) }
    }

    fn of(by: i64) -> Pair {
        let by_abs = by.unsigned_abs();
        if by < 0 { Pair { up: 0, down: by_abs } } else { Pair { up: by_abs, down: 0 } }
    }

    /// None where either would be more than there is room for, however small their difference.
    fn plus(self, by: i64) -> Option<Pair> {
        let Pair { up, down } = Pair::of(by);
        Some(Pair { up: self.up.checked_add(up)?, down: self.down.checked_add(down)? })
    }

    fn to_bytes(self) -> ByteBuf {
        ByteBuf::from([self.up.to_be_bytes(), self.down.to_be_bytes()].concat())
    }

    /// Nothing is counted where a peer sent something else.
    fn from_bytes(bytes: &[u8]) -> Pair {
        match bytes.as_chunks::<8>() {
            ([up, down], []) => Pair { up: u64::from_be_bytes(*up), down: u64::from_be_bytes(*down) },
            _ => Pair::default(),
        }
    }
}
