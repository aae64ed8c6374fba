//! A context as one flat array of numbers: per actor, its id, how many ranges, and of each range the
//! gap before it and its length. A context of one dot is 13 bytes of CBOR.

use super::{COUNTER_MAX, Context, RANGES_MAX};
use crate::Actor;
use crdts::VClock;
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes that a range takes on the wire, at most: four numbers, where it is the only one of its actor.
pub(crate) const RANGE_LEN_MAX: usize = 36;

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some((actor, (start, end))) = self.only() {
            return [actor.0, 1, start - 1, end - start + 1].serialize(serializer);
        }
        if self.beyond.len() == 0 {
            return serialize_clock(&self.clock, serializer);
        }
        let numbers = self.actors().map(|a| 2 + 2 * self.of(a).count()).sum::<usize>();
        let mut seq = serializer.serialize_seq(Some(numbers))?;
        self.each_number(|number| seq.serialize_element(&number))?;
        seq.end()
    }
}

impl Context {
    /// How many bytes of CBOR it is.
    pub(crate) fn wire_len(&self) -> usize {
        let (mut count, mut bytes) = (0, 0);
        let Ok(()) = self.each_number(|number| {
            (count, bytes) = (count + 1, bytes + number_len(number));
            Ok::<_, std::convert::Infallible>(())
        });
        number_len(count) + bytes
    }

    /// Shows them as they are on the wire.
    fn each_number<E>(&self, mut take: impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
        for actor in self.actors() {
            take(actor.0)?;
            take(self.of(actor).count() as u64)?;
            let mut before = 0;
            for (start, end) in self.of(actor) {
                take(start - before - 1)?;
                take(end - start + 1)?;
                before = end;
            }
        }
        Ok(())
    }
}

/// Bytes of a number, or of the head of an array so long (RFC 8949, section 3).
fn number_len(number: u64) -> usize {
    match number {
        0..24 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// What `serialize` writes of a context as it almost always is for a whole partition, and is written with every event:
/// of each actor the one range from its first dot on.
fn serialize_clock<S: Serializer>(clock: &VClock<Actor>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(4 * clock.dots.len()))?;
    for (actor, end) in &clock.dots {
        for number in [actor.0, 1, 0, *end] {
            seq.serialize_element(&number)?;
        }
    }
    seq.end()
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Numbers)
    }
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = Context;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a context")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Context, A::Error> {
        let mut context = Context::new();
        let (mut last, mut ranges) = (None, 0_usize);
        while let Some(id) = seq.next_element::<u64>()? {
            let actor = Actor(id);
            if last >= Some(actor) {
                return Err(A::Error::custom("actors out of order"));
            }
            last = Some(actor);
            let count = number(&mut seq)?;
            ranges = ranges.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
            if count == 0 || ranges > RANGES_MAX {
                return Err(A::Error::custom("no ranges, or too many"));
            }
            read_ranges(&mut seq, &mut context, actor, count)?;
        }
        Ok(context)
    }
}

fn read_ranges<'de, A: SeqAccess<'de>>(
    seq: &mut A,
    context: &mut Context,
    actor: Actor,
    count: u64,
) -> Result<(), A::Error> {
    let mut before = 0_u64;
    for i in 0..count {
        let (gap, length) = (number(seq)?, number(seq)?);
        let end = before
            .checked_add(gap)
            .and_then(|sum| sum.checked_add(length))
            .filter(|&end| end <= COUNTER_MAX)
            .ok_or_else(|| A::Error::custom("counter too high"))?;
        if length == 0 || (gap == 0 && i > 0) {
            return Err(A::Error::custom("ranges empty or touching"));
        }
        context.insert_range(actor, end - length + 1, end);
        before = end;
    }
    Ok(())
}

fn number<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<u64, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("a context ends too early"))
}
