//! From words to a call: the command is looked up and its arguments are checked.

use super::{Arguments, Plan, Run, Spec, find, refused, shown};
use crate::resp::frame::{Frame, Version};
use serde_bytes::ByteBuf;
use starling_crdt::{Command, CommandError, Reply};

/// A command whose words have been checked.
pub enum Prepared {
    Data(DataCall),
    Other(&'static Spec, Arguments),
    /// Nothing is left to do: the words were wrong.
    Refused(Frame),
}

/// A command on keys, ready to run.
pub struct DataCall {
    pub spec: &'static Spec,
    pub plan: Plan,
    pub combine: Combine,
}

/// What makes one reply of one per key.
pub enum Combine {
    /// What the command is called is enough.
    Plain(fn(Vec<Reply>) -> Reply),
    /// With what else its arguments say.
    With(Box<dyn FnOnce(Vec<Reply>, Version) -> Reply + Send>),
}

impl Combine {
    /// `version`: that of the client, for the few replies whose elements depend on it.
    pub fn of(self, replies: Vec<Reply>, version: Version) -> Reply {
        match self {
            Combine::Plain(combine) => combine(replies),
            Combine::With(combine) => combine(replies, version),
        }
    }
}

/// Looks the first word up and checks the others.
pub fn prepare(mut words: Arguments) -> Prepared {
    if words.is_empty() {
        return Prepared::Refused(Frame::error("ERR a command is missing; HELP lists all"));
    }
    let args = words.split_off(1);
    let name = &words[0];
    let Some(spec) = find(name) else {
        return Prepared::Refused(Frame::error(refused::unknown(name)));
    };
    if !spec.accepts(args.len() + 1) {
        return Prepared::Refused(Frame::error(wrong_arity(spec)));
    }
    let planned = match spec.run {
        Run::Data { plan, combine } => plan(args).map(|plan| (plan, Combine::Plain(combine))),
        Run::Shaped(plan) => plan(args),
        Run::Here(_) | Run::Ask(_) => return Prepared::Other(spec, args),
    };
    match planned {
        Ok((plan, combine)) => Prepared::Data(DataCall { spec, plan, combine }),
        Err(line) => Prepared::Refused(Frame::error(line)),
    }
}

pub fn wrong_arity(spec: &Spec) -> String {
    format!("ERR wrong number of arguments for '{}' command; usage: {}", spec.name, spec.synopsis())
}

/// The wrong arity of a command that wants pairs, found by its plan.
pub fn wrong_arity_of(name: &str) -> String {
    find(name.as_bytes()).map(wrong_arity).unwrap_or_else(|| refused::unknown(name.as_bytes()))
}

/// A signed 64-bit number, as Redis reads one: only as it would itself be written, so not `007`, `+7` or `-0`.
pub fn integer(word: &[u8]) -> Result<i64, String> {
    let number = match word {
        [b'0'] => Some(0),
        [b'0' | b'+', ..] | [b'-', b'0', ..] => None,
        _ => std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()),
    };
    number.ok_or_else(|| "ERR value is not an integer or out of range".into())
}

/// A word that must be a number of that kind; `what` names it in the error line.
pub fn parsed<T: std::str::FromStr>(what: &str, word: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(word).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("ERR {what} cannot be '{}'", shown(word)))
}

/// The key, and the words after it as data.
pub fn key_and_rest(args: Arguments) -> (ByteBuf, Vec<ByteBuf>) {
    let mut words = args.into_iter().map(ByteBuf::from);
    (words.next().unwrap_or_default(), words.collect())
}

/// A command on one key; the words after it are its elements: members, or fields.
pub fn on_elements(args: Arguments, command: fn(Vec<ByteBuf>) -> Command) -> Result<Plan, String> {
    let (key, elements) = key_and_rest(args);
    Ok(vec![(key, command(elements))])
}

/// The same of one element.
pub fn on_element(args: Arguments, command: fn(ByteBuf) -> Command) -> Result<Plan, String> {
    let (key, mut elements) = key_and_rest(args);
    Ok(vec![(key, command(elements.pop().unwrap_or_default()))])
}

/// One command, on each key.
pub fn on_each(keys: Arguments, command: Command) -> Result<Plan, String> {
    Ok(keys.into_iter().map(|key| (key.into(), command.clone())).collect())
}

/// Words in pairs. `None`: one is left over.
pub fn pairs(words: Vec<ByteBuf>) -> Option<Vec<(ByteBuf, ByteBuf)>> {
    if !words.len().is_multiple_of(2) {
        return None;
    }
    let mut words = words.into_iter();
    Some(std::iter::from_fn(|| words.next().zip(words.next())).collect())
}

/// The reply of the only key.
pub fn only(mut replies: Vec<Reply>) -> Reply {
    replies.pop().unwrap_or(Reply::Nil)
}

/// `+OK`, unless a key could not be written.
pub fn all_ok(replies: Vec<Reply>) -> Reply {
    replies.into_iter().find(is_error).unwrap_or(Reply::Ok)
}

/// The sum of numbers.
pub fn sum(replies: Vec<Reply>) -> Reply {
    let mut total = 0i64;
    for reply in replies {
        match reply {
            Reply::Int(number) => total = total.saturating_add(number),
            error => return error,
        }
    }
    Reply::Int(total)
}

/// A reply per key; nothing where a key holds another type, as Redis' `MGET` does.
pub fn each(mut replies: Vec<Reply>) -> Reply {
    for reply in &mut replies {
        match reply {
            Reply::Error(CommandError::WrongType) => *reply = Reply::Nil,
            // Something is there: it must not look as if it were not.
            Reply::Error(error) => return Reply::Error(error.clone()),
            _ => {}
        }
    }
    Reply::Array(replies)
}

fn is_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_only_as_it_would_be_written() {
        for (word, number) in [("0", 0), ("-7", -7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(word.as_bytes()), Ok(number));
        }
        for word in ["007", "-0", "+7", " 7", "7 ", "", "-", "0x7", "9223372036854775808"] {
            assert!(integer(word.as_bytes()).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_told_as_one_that_is_not_there() {
        let one = || Reply::Bytes(ByteBuf::from("1"));
        let wrong = Reply::Error(CommandError::WrongType);
        assert_eq!(each(vec![one(), wrong.clone()]), Reply::Array(vec![one(), Reply::Nil]));
        let large = Reply::Error(CommandError::TooLarge { limit: 7 });
        assert_eq!(each(vec![one(), wrong, large.clone()]), large);
    }
}
