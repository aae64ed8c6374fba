//! `starling get k`: every data command as a command of its own.

use crate::commands;
use crate::console::{Call, Reach, call, show};
use crate::error::{Error, USAGE};
use crate::stdio;
use crate::words::Word;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

const FLAGS: &str = "flags    --r N  --w N   copies to read, to write; --json   the reply as JSON; \
                     --connect HOST:PORT   another peer; --dir DIR   the one of that directory\n         \
                     --token TOKEN, --password-file FILE   log in; --tls, --tls-ca FILE   encrypt\n         \
                     they go last; what comes after -- is data\n\
                     exit     0 done; 1 failed; 2 not understood; 3 there is no such key, and nothing is printed;\n         \
                     4 too few copies; 7 the outcome is unknown";

/// Those with a value that go with the command.
const COMMAND_FLAGS: [&str; 2] = ["--r", "--w"];

pub fn run(words: &[OsString]) -> Result<ExitCode, Error> {
    let (reach, words) = reach_flags(words.iter().map(|word| word.as_encoded_bytes().to_vec()).collect())?;
    let help = match words.as_slice() {
        [name, flag] if matches!(flag.as_slice(), b"--help" | b"-h") => Some(Some(name.as_slice())),
        [name, rest @ ..] if name.eq_ignore_ascii_case(b"help") => Some(rest.first().map(Vec::as_slice)),
        _ => None,
    };
    if let Some(word) = help {
        let text = commands::help_text(word).map_err(|line| unknown(&line))?;
        return stdio::text(format_args!("{text}\n\n{FLAGS}")).map(|()| ExitCode::SUCCESS);
    }
    if let Some(name) = words.first().filter(|name| commands::find(name).is_none()) {
        let own = super::names();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        return Err(unknown(&commands::unknown_beside(name, &own)));
    }
    refuse_lost(&words)?;
    once(&reach, words)
}

/// What counts for one connection would end with it, and look as if it had done something.
fn refuse_lost(words: &[Vec<u8>]) -> Result<(), Error> {
    let [name, rest @ ..] = words else { return Ok(()) };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let hint = match name.as_str() {
        "quorum" if !rest.is_empty() => "give the command itself --r N or --w N; in the console QUORUM stays",
        "auth" => "log in with --password-file FILE or --token TOKEN",
        "select" | "reset" => "in the console it stays",
        _ => return Ok(()),
    };
    Err(Error::usage(format!("{name} would do nothing here"))
        .why("it counts for one connection, which ends with this command")
        .hint(hint))
}

/// Whether the answer is wanted as JSON, whatever it is.
pub fn wants_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// An error line of the table, without the code that stands before it for programs.
fn unknown(line: &str) -> Error {
    Error::of_line(line)
        .with_code(USAGE)
        .hint("starling --help lists the commands of this program, starling help those of the store")
}

/// Takes the flags of `Reach` off the end, where they may stand among those of the command, and from right behind its
/// name, where people type them by habit. Elsewhere one is an error and never followed: it may be data that somebody
/// else has written, and would tell where the token goes.
fn reach_flags(mut words: Vec<Vec<u8>>) -> Result<(Reach, Vec<Vec<u8>>), Error> {
    let literal = words.iter().position(|word| word == b"--").map(|at| words.split_off(at));
    let first: Vec<_> = std::iter::from_fn(|| first_flag(&mut words)).collect();
    let (mut given, mut kept) = (Vec::new(), Vec::new());
    while words.len() > 1
        && let Some(taken) = last_flag(&mut words)
    {
        match taken {
            Flag::Reach(flag, value) => given.push((flag, value)),
            Flag::Command(flag) => kept.extend(flag.into_iter().rev()),
        }
    }
    refuse_flag_among_data(&words)?;
    let mut reach = Reach::of_environment()?;
    // As they were typed: of two the later counts.
    for (flag, value) in first.into_iter().chain(given.into_iter().rev()) {
        reach.set(&flag, value);
    }
    words.extend(kept.into_iter().rev().chain(literal.into_iter().flatten()));
    Ok((reach, words))
}

enum Flag {
    /// With its value, which is empty for --tls.
    Reach(String, String),
    /// One that goes with the command, in one word or two.
    Command(Vec<Vec<u8>>),
}

/// Takes a flag of `Reach`, with its value, from right behind the name of the command. `None`: there is none.
fn first_flag(words: &mut Vec<Vec<u8>>) -> Option<(String, String)> {
    let word = text(words.get(1)?);
    let (flag, value) = parts(&word);
    let is_of_reach = Reach::FLAGS.contains(&flag);
    let (length, value) = match (is_of_reach, value, words.get(2)) {
        (true, Some(value), _) => (1, value.to_owned()),
        (true, None, Some(value)) => (2, text(value)),
        _ if word == "--tls" => (1, String::new()),
        _ => return None,
    };
    let flag = flag.to_owned();
    words.drain(1..=length);
    Some((flag, value))
}

/// Takes a flag off the end. `None`: there is none.
fn last_flag(words: &mut Vec<Vec<u8>>) -> Option<Flag> {
    let last = text(words.last()?);
    let (flag, value) = parts(&last);
    if let Some(value) = value.filter(|_| Reach::FLAGS.contains(&flag)) {
        words.pop();
        return Some(Flag::Reach(flag.to_owned(), value.to_owned()));
    }
    if last == "--tls" {
        words.pop();
        return Some(Flag::Reach(last, String::new()));
    }
    if last == "--json" || value.is_some() && COMMAND_FLAGS.contains(&flag) {
        return words.pop().map(|word| Flag::Command(vec![word]));
    }
    // The first word is the command.
    let at = words.len().checked_sub(2).filter(|at| *at > 0)?;
    let before = text(&words[at]);
    let is_of_reach = Reach::FLAGS.contains(&&*before);
    if !is_of_reach && !COMMAND_FLAGS.contains(&&*before) {
        return None;
    }
    let taken = words.split_off(at);
    Some(if is_of_reach { Flag::Reach(before, last) } else { Flag::Command(taken) })
}

fn refuse_flag_among_data(words: &[Vec<u8>]) -> Result<(), Error> {
    let is_ours = |word: &&Vec<u8>| {
        let word = text(word);
        word == "--tls" || Reach::FLAGS.contains(&parts(&word).0)
    };
    let Some(at) = words.iter().skip(1).position(|word| is_ours(&word)) else { return Ok(()) };
    let (name, flag) = (text(&words[0]), text(&words[at + 1]));
    if at + 2 == words.len() {
        return Err(Error::usage(format!("{flag} lacks its value")));
    }
    Err(Error::usage(format!("{flag} stands among what {name} is about"))
        .why("flags go last, or first; among data one may be data itself, and would say where to connect")
        .hint(format!("move it to the end; if it is data: starling {name} -- ..")))
}

/// A flag, and its value where that is in the same word.
fn parts(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)))
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// A flag where the key belongs would else be the key, and what was to follow it the data.
fn refuse_early_flag(call: &Call, given: Option<&[u8]>) -> Result<(), Error> {
    // Else it was taken as the flag that it is, or follows `--`.
    let [name, first, ..] = call.typed.as_slice() else { return Ok(()) };
    if given != Some(first) {
        return Ok(());
    }
    let (name, first) = (String::from_utf8_lossy(name), String::from_utf8_lossy(first));
    if !["--r", "--w", "--json"].contains(&parts(&first).0) {
        return Ok(());
    }
    Err(Error::usage(format!("{first} stands before what {name} is about"))
        .why("flags go last; there it would be taken for data")
        .hint(format!("move it to the end; if it is data: starling {name} -- {first} ..")))
}

/// A flag that is misspelt would else be sent as data, to whichever peer is found.
fn refuse_wrong_number(call: &Call) -> Result<(), Error> {
    let name = call.typed.first().map(Vec::as_slice).unwrap_or_default();
    let Some(spec) = commands::find(name).filter(|spec| !spec.accepts(call.typed.len())) else {
        return Ok(());
    };
    Err(Error::usage(format!("wrong number of arguments for {}", spec.name))
        .why(format!("it is used so: {}", spec.synopsis()))
        .hint("flags go last, and there are these: --connect HOST:PORT, --dir DIR, --token TOKEN, --password-file FILE, --tls, --tls-ca FILE, --r N, --w N, --json; what comes after -- is data"))
}

pub fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Runs one command; typed replies for a person, raw ones into a pipe.
pub fn once(reach: &Reach, words: Vec<Vec<u8>>) -> Result<ExitCode, Error> {
    let first = words.get(1).cloned();
    let words = words.into_iter().map(|bytes| Word { bytes, quoted: false }).collect();
    let call = call(words).map_err(Error::usage)?;
    refuse_early_flag(&call, first.as_deref())?;
    refuse_wrong_number(&call)?;
    show(&mut reach.link()?, &call, std::io::stdout().is_terminal()).map(ExitCode::from)
}
