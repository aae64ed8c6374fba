//! The elements of one key, a page at a time: `SSCAN` and `HSCAN`, and what `SCARD` and `HLEN` do with a key that is
//! too large to be read at once. And what `DEL` and `SET` do with one that has more elements than are removed at once.

use super::call::{integer, key_and_rest};
use super::cursors::Place;
use super::failure::{failure_frame, mismatch};
use super::session::{Session, frame_of};
use super::{Arguments, Plan, upper};
use crate::glob::Pattern;
use crate::resp::frame::Frame;
use serde_bytes::ByteBuf;
use starling_crdt::command::PAGE_MAX;
use starling_crdt::{Command, CommandError, Reply};
use starling_protocol::request::{Failure, FailureKind, Outcome};
use std::time::{Duration, Instant};

/// How long a count goes from page to page.
const COUNT_TIME: Duration = Duration::from_secs(10);

/// How long elements are removed, part by part: many millions.
const REMOVAL_TIME: Duration = Duration::from_secs(120);

pub const SCAN_CAVEAT: &str = "begin at 0 and pass on the cursor of each answer, at the same peer, until it is 0; \
                               what is there all the while is told, in the order of its bytes";

/// Of which type the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Set,
    Hash,
}

impl Of {
    fn page(self, after: Option<ByteBuf>, limit: u32, values: bool) -> Command {
        match self {
            Of::Set => Command::SScan { after, limit },
            Of::Hash => Command::HScan { after, limit, values },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    pattern: Option<Pattern>,
    count: u32,
    values: bool,
}

/// A page as a client asks for it.
struct Asked {
    key: ByteBuf,
    number: u64,
    options: Options,
    /// The last name of the page before.
    after: Option<ByteBuf>,
    command: Command,
}

fn options(of: Of, words: &[ByteBuf]) -> Result<Options, String> {
    let mut options = Options { pattern: None, count: 10, values: of == Of::Hash };
    let mut words = words.iter();
    while let Some(name) = words.next() {
        let mut value = || words.next().ok_or("ERR syntax error");
        match upper(name).as_str() {
            "MATCH" => options.pattern = Some(Pattern::new(value()?)?),
            "COUNT" => options.count = count(value()?)?,
            "NOVALUES" if of == Of::Hash => options.values = false,
            "NOVALUES" => return Err("ERR NOVALUES option can only be used in HSCAN".into()),
            _ => return Err("ERR syntax error".into()),
        }
    }
    Ok(options)
}

/// How many a scan is to look at, up to what is told in one answer.
pub fn count(word: &[u8]) -> Result<u32, String> {
    match integer(word)? {
        ..1 => Err("ERR syntax error".into()),
        count => Ok(u32::try_from(count).unwrap_or(PAGE_MAX).min(PAGE_MAX)),
    }
}

/// The number by which a scan goes on.
pub fn cursor(word: &[u8]) -> Result<u64, String> {
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| "ERR invalid cursor".into())
}

fn asked(session: &Session, of: Of, args: Arguments) -> Result<Asked, String> {
    let (key, words) = key_and_rest(args);
    let number = cursor(&words[0])?;
    let options = options(of, &words[1..])?;
    let after = session.server.cursors().elements(number, of, &key).ok_or(
        "ERR this peer does not know that cursor of this key, or has forgotten it; begin again at 0, and go on \
         at the same peer",
    )?;
    let command = of.page(after.clone(), options.count, options.values);
    Ok(Asked { key, number, options, after, command })
}

/// No page of an honest peer ends before it begins, and a scan would go on for ever.
fn goes_back(after: &Option<ByteBuf>, next: &Option<ByteBuf>) -> bool {
    next.is_some() && next <= after
}

/// What the scan of that name asks for; `None`: it is none.
pub fn plan(session: &Session, name: &str, args: Arguments) -> Option<Result<Plan, String>> {
    let of = match name {
        "sscan" => Of::Set,
        "hscan" => Of::Hash,
        _ => return None,
    };
    Some(asked(session, of, args).map(|asked| vec![(asked.key, asked.command)]))
}

/// One page, whether much of it matches or nothing, so that each answer is quick.
pub async fn scan(session: &mut Session, of: Of, args: Arguments) -> Frame {
    let Asked { key, number, options, after, command } = match asked(session, of, args) {
        Ok(asked) => asked,
        Err(line) => return Frame::error(line),
    };
    let (elements, next) = match session.ask(key.clone(), command, false).await {
        Ok(Outcome { reply: Reply::Page { next, .. }, .. }) if goes_back(&after, &next) => {
            return failure_frame(&mismatch());
        }
        Ok(Outcome { reply: Reply::Page { elements, next }, .. }) => (elements, next),
        Ok(outcome) => return frame_of(outcome.reply),
        Err(failure) => return failure_frame(&failure),
    };
    let keep = |after| session.server.cursors().keep(Place::Elements { of, key, after }, number);
    let next = next.map_or(0, keep);
    Frame::Array(vec![Frame::bulk(next.to_string()), Frame::Array(matching(elements, &options))])
}

fn matching(elements: Vec<ByteBuf>, options: &Options) -> Vec<Frame> {
    let (mut elements, mut found) = (elements.into_iter(), Vec::new());
    while let Some(name) = elements.next() {
        let value = if options.values { elements.next() } else { None };
        if options.pattern.as_ref().is_none_or(|pattern| pattern.matches(&name)) {
            found.extend([Some(name), value].into_iter().flatten().map(|word| Frame::Bulk(word.into_vec())));
        }
    }
    found
}

/// Of which type it counts the elements.
pub fn counts(command: &Command) -> Option<Of> {
    match command {
        Command::SCard => Some(Of::Set),
        Command::HLen => Some(Of::Hash),
        _ => None,
    }
}

/// Counts page by page. What comes or goes meanwhile may be counted or not. With `explain`, how the last page was
/// read is told.
pub async fn counted(session: &Session, of: Of, key: ByteBuf, explain: bool) -> Result<Outcome, Failure> {
    let (began, mut after, mut count) = (Instant::now(), None, 0_usize);
    loop {
        let outcome = session.ask_once(key.clone(), of.page(after.clone(), PAGE_MAX, false), explain).await?;
        let Reply::Page { elements, next } = outcome.reply else { return Ok(outcome) };
        if goes_back(&after, &next) {
            return Err(mismatch());
        }
        count += elements.len();
        if next.is_none() {
            let reply = Reply::Int(i64::try_from(count).unwrap_or(i64::MAX));
            return Ok(Outcome { reply, ..outcome });
        }
        if began.elapsed() > COUNT_TIME {
            return Err(takes_long(count));
        }
        after = next;
    }
}

/// Goes on with what has removed the first elements of its key, until nothing is left to do. With `explain`, how the
/// last part was written is told.
pub async fn removed(
    session: &Session,
    key: ByteBuf,
    command: Command,
    explain: bool,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    while began.elapsed() <= REMOVAL_TIME {
        let outcome = session.ask_once(key.clone(), command.clone(), explain).await;
        let outcome = outcome.map_err(removed_in_part)?;
        if outcome.reply != Reply::Partly {
            return after_parts(outcome);
        }
    }
    Err(removed_in_part(too_slow()))
}

/// What is told at the end of a removal of which parts were done before.
fn after_parts(outcome: Outcome) -> Result<Outcome, Failure> {
    match outcome.reply {
        // Others have removed the rest.
        Reply::Int(0) => Ok(Outcome { reply: Reply::Int(1), ..outcome }),
        Reply::Error(error) => Err(removed_in_part(refused(&error))),
        _ => Ok(outcome),
    }
}

fn refused(error: &CommandError) -> Failure {
    let error = error.to_string();
    Failure {
        kind: FailureKind::Invalid,
        why: error.strip_prefix("ERR ").unwrap_or(&error).into(),
        state: "nothing was done".into(),
        hint: String::new(),
        trace: None,
    }
}

fn too_slow() -> Failure {
    Failure {
        kind: FailureKind::Timeout,
        why: format!(
            "the key has so many elements that removing them takes longer than {} s",
            REMOVAL_TIME.as_secs()
        ),
        state: "the others are still there".into(),
        hint: "the same command goes on where this one ended".into(),
        trace: None,
    }
}

fn removed_in_part(failure: Failure) -> Failure {
    Failure {
        state: format!("a part of its elements is removed already; of the rest: {}", failure.state),
        ..failure
    }
}

fn takes_long(count: usize) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        why: format!("counting takes longer than {} s, at {count} elements so far", COUNT_TIME.as_secs()),
        state: String::new(),
        hint: "SSCAN or HSCAN with a large COUNT goes through all of them".into(),
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::failure_line;
    use super::*;

    #[test]
    fn a_page_that_ends_where_it_began_or_before_goes_back() {
        let name = |text: &str| Some(ByteBuf::from(text));
        assert!(goes_back(&name("b"), &name("b")) && goes_back(&name("b"), &name("a")));
        assert!(
            !goes_back(&name("b"), &name("ba"))
                && !goes_back(&name("b"), &None)
                && !goes_back(&None, &name(""))
        );
    }

    #[test]
    fn a_removal_in_parts_has_removed_something_however_its_last_part_ends() {
        let ended =
            |reply| after_parts(Outcome { reply, hidden: 0, trace: None }).map(|outcome| outcome.reply);
        let replies = [Reply::Int(0), Reply::Int(1), Reply::Ok].map(ended);
        assert_eq!(replies, [Ok(Reply::Int(1)), Ok(Reply::Int(1)), Ok(Reply::Ok)]);
        let error = Reply::Error(CommandError::TooLarge { limit: 7 });
        let line = failure_line(&ended(error).unwrap_err());
        assert!(line.starts_with("ERR the answer is larger than 7 bytes; "), "{line}");
        assert!(line.contains("a part of its elements is removed already"), "{line}");
    }

    fn parsed(of: Of, line: &str) -> Result<Options, String> {
        options(of, &line.split_whitespace().map(ByteBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_refused_as_by_redis() {
        let plain = Options { pattern: None, count: 10, values: true };
        assert_eq!(parsed(Of::Hash, ""), Ok(plain));
        let all = Options { pattern: Pattern::new(b"a*").ok(), count: 7, values: false };
        assert_eq!(parsed(Of::Hash, "count 7 novalues Match a*"), Ok(all));
        assert_eq!(parsed(Of::Set, "count 99999999999").map(|options| options.count), Ok(PAGE_MAX));
        for line in ["match", "count", "count 0", "count -3", "type set"] {
            assert_eq!(parsed(Of::Set, line), Err("ERR syntax error".into()), "{line}");
        }
        let not_a_number = "ERR value is not an integer or out of range";
        assert_eq!(parsed(Of::Set, "count x"), Err(not_a_number.into()));
        assert!(parsed(Of::Set, "novalues").unwrap_err().contains("only be used in HSCAN"));
    }

    #[test]
    fn of_a_hash_what_matches_comes_with_its_value() {
        let elements = || ["a", "b", "b", "c"].map(ByteBuf::from).to_vec();
        let bulks = |words: &[&str]| words.iter().map(|word| Frame::bulk(*word)).collect::<Vec<_>>();
        let options = |values| Options { pattern: Pattern::new(b"b").ok(), count: 10, values };
        assert_eq!(matching(elements(), &options(true)), bulks(&["b", "c"]));
        assert_eq!(matching(elements(), &options(false)), bulks(&["b", "b"]));
    }
}
