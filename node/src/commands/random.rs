//! Elements drawn by chance: `SRANDMEMBER` and `HRANDFIELD`.

use super::call::{Combine, integer, key_and_rest, only};
use super::{Arguments, Plan, upper};
use crate::resp::frame::Version;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, CommandError, Reply};

/// Most that are drawn with repetition, and most bytes of them.
const REPEATED_MAX: u64 = 10_000;
const REPEATED_BYTES: usize = 1024 * 1024;

pub const DRAW_CAVEAT: &str = "reads the whole key, up to 16 MiB, and changes nothing; of a negative count one may \
                               be drawn more than once";

/// How many are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    One,
    /// So many different ones, or all.
    Distinct(usize),
    Repeated(usize),
}

/// A member, or a field; or a field and its value.
type Element = Vec<ByteBuf>;

pub fn member(args: Arguments) -> Result<(Plan, Combine), String> {
    let (key, words) = key_and_rest(args);
    let draw = match words.as_slice() {
        [] => Draw::One,
        [count] => draw(count)?,
        _ => return Err("ERR syntax error".into()),
    };
    Ok((vec![(key, Command::SMembers)], drawn(draw)))
}

pub fn field(args: Arguments) -> Result<(Plan, Combine), String> {
    let (key, words) = key_and_rest(args);
    let (draw, command) = match words.as_slice() {
        [] => (Draw::One, Command::HKeys),
        [count] => (draw(count)?, Command::HKeys),
        [count, word] if upper(word) == "WITHVALUES" => (draw(count)?, Command::HGetAll),
        _ => return Err("ERR syntax error".into()),
    };
    Ok((vec![(key, command)], drawn(draw)))
}

fn draw(word: &[u8]) -> Result<Draw, String> {
    let count = integer(word)?;
    let many = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match count {
        0.. => Ok(Draw::Distinct(many)),
        _ if count.unsigned_abs() > REPEATED_MAX => {
            Err(format!("ERR value is out of range; with repetition at most {REPEATED_MAX} are drawn"))
        }
        _ => Ok(Draw::Repeated(many)),
    }
}

fn drawn(draw: Draw) -> Combine {
    Combine::With(Box::new(move |replies, version| match elements(only(replies)) {
        Ok(all) => {
            // Without chance it is always the same choice, which does no harm.
            let mut chance = SmallRng::seed_from_u64(getrandom::u64().unwrap_or_default());
            chosen(all, draw, &mut chance).map_or_else(too_large, |some| told(some, draw, version))
        }
        Err(other) => other,
    }))
}

/// Errors: the reply, where it is none of elements.
fn elements(reply: Reply) -> Result<Vec<Element>, Reply> {
    let name = |reply| if let Reply::Bytes(name) = reply { Some(vec![name]) } else { None };
    match reply {
        Reply::Set(members) => Ok(members.into_iter().map(|member| vec![member]).collect()),
        Reply::Array(fields) => Ok(fields.into_iter().filter_map(name).collect()),
        Reply::Map(entries) => Ok(entries.into_iter().map(|(field, value)| vec![field, value]).collect()),
        other => Err(other),
    }
}

/// `None`: repeated so often, they are too large.
fn chosen(mut all: Vec<Element>, draw: Draw, chance: &mut SmallRng) -> Option<Vec<Element>> {
    let count = match draw {
        Draw::One => 1,
        Draw::Distinct(count) => count.min(all.len()),
        Draw::Repeated(count) => return repeated(&all, count, chance),
    };
    // The first steps of Fisher and Yates' shuffle.
    for at in 0..count.min(all.len()) {
        let from = chance.random_range(at..all.len());
        all.swap(at, from);
    }
    all.truncate(count);
    Some(all)
}

fn repeated(all: &[Element], count: usize, chance: &mut SmallRng) -> Option<Vec<Element>> {
    let count = if all.is_empty() { 0 } else { count };
    let places: Vec<_> = (0..count).map(|_| chance.random_range(0..all.len())).collect();
    let size = |place: &usize| all[*place].iter().map(|word| word.len()).sum::<usize>();
    let bytes: usize = places.iter().map(size).sum();
    (bytes <= REPEATED_BYTES).then(|| places.iter().map(|place| all[*place].clone()).collect())
}

fn too_large() -> Reply {
    Reply::Error(CommandError::TooLarge { limit: REPEATED_BYTES as u64 })
}

/// As Redis: without a count only the name. Values come behind their fields, or for those who speak RESP3 in pairs.
fn told(chosen: Vec<Element>, draw: Draw, version: Version) -> Reply {
    let replies = |words: Element| words.into_iter().map(Reply::Bytes);
    if draw == Draw::One {
        return chosen.into_iter().flat_map(replies).next().unwrap_or(Reply::Nil);
    }
    let in_pairs = version == Version::Resp3 && chosen.first().is_some_and(|words| words.len() > 1);
    Reply::Array(if in_pairs {
        chosen.into_iter().map(|words| Reply::Array(replies(words).collect())).collect()
    } else {
        chosen.into_iter().flat_map(replies).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn names(count: usize) -> Vec<Element> {
        (0..count).map(|n| vec![ByteBuf::from(format!("{n}"))]).collect()
    }

    #[test]
    fn different_ones_are_drawn_each_as_often_as_the_others() {
        let (mut chance, mut times) = (SmallRng::seed_from_u64(1), BTreeMap::new());
        for _ in 0..10_000 {
            let mut some = chosen(names(10), Draw::Distinct(3), &mut chance).unwrap();
            some.sort();
            some.dedup();
            assert_eq!(some.len(), 3);
            some.into_iter().for_each(|name| *times.entry(name).or_insert(0) += 1);
        }
        assert_eq!(times.len(), 10);
        assert!(times.values().all(|times| (2_800..3_200).contains(times)), "{times:?}");
        assert_eq!(chosen(names(3), Draw::Distinct(usize::MAX), &mut chance).unwrap().len(), 3);
    }

    #[test]
    fn repetitions_are_bounded_in_number_and_in_bytes() {
        let draws = |draw, all| chosen(all, draw, &mut SmallRng::seed_from_u64(1)).map(|some| some.len());
        assert_eq!(draws(Draw::Repeated(10_000), names(3)), Some(10_000));
        assert_eq!(draws(Draw::Repeated(5), names(0)), Some(0));
        let long = || vec![vec![ByteBuf::from(vec![b'x'; 1024])]];
        assert_eq!(draws(Draw::Repeated(1_024), long()), Some(1_024));
        assert_eq!(draws(Draw::Repeated(1_025), long()), None);
        assert_eq!(draw(b"-10000"), Ok(Draw::Repeated(10_000)));
        assert!(draw(b"-10001").unwrap_err().starts_with("ERR value is out of range"));
        assert!(draw(b"-9223372036854775808").is_err());
    }

    #[test]
    fn values_come_in_pairs_for_those_who_speak_resp3() {
        let word = |text: &str| Reply::Bytes(ByteBuf::from(text));
        let entries = || vec![vec![ByteBuf::from("f"), ByteBuf::from("v")]];
        let two = || vec![word("f"), word("v")];
        assert_eq!(told(entries(), Draw::Distinct(1), Version::Resp2), Reply::Array(two()));
        let pairs = Reply::Array(vec![Reply::Array(two())]);
        assert_eq!(told(entries(), Draw::Distinct(1), Version::Resp3), pairs);
        assert_eq!(told(names(1), Draw::One, Version::Resp3), word("0"));
        assert_eq!(told(names(0), Draw::One, Version::Resp3), Reply::Nil);
        assert_eq!(told(names(0), Draw::Repeated(5), Version::Resp3), Reply::Array(Vec::new()));
    }
}
