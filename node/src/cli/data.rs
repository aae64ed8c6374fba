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
        return Err(unknown(&commands::unknown(name)));
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

/// Takes the flags of `Reach` out, wherever they stand before `--`.
fn reach_flags(words: Vec<Vec<u8>>) -> Result<(Reach, Vec<Vec<u8>>), Error> {
    let (mut reach, mut rest, mut words) = (Reach::of_environment(), Vec::new(), words.into_iter());
    while let Some(word) = words.next() {
        if word == b"--" {
            rest.push(word);
            rest.extend(words.by_ref());
            break;
        }
        if word == b"--tls" {
            reach.place.tls = true;
            continue;
        }
        let text = String::from_utf8_lossy(&word);
        let (flag, value) = text.split_once('=').map_or((&*text, None), |(flag, value)| (flag, Some(value)));
        if !Reach::FLAGS.contains(&flag) {
            rest.push(word);
            continue;
        }
        let value = match value {
            Some(value) => value.to_owned(),
            None => {
                let next = words.next().ok_or_else(|| Error::usage(format!("{flag} lacks its value")))?;
                String::from_utf8_lossy(&next).into_owned()
            }
        };
        reach.set(flag, value);
    }
    Ok((reach, rest))
}

/// A flag where the key belongs would else be the key, and what was to follow it the data.
fn refuse_early_flag(call: &Call, given: Option<&[u8]>) -> Result<(), Error> {
    // Else it was taken as the flag that it is, or follows `--`.
    let [name, first, ..] = call.typed.as_slice() else { return Ok(()) };
    if given != Some(first) {
        return Ok(());
    }
    let (name, first) = (String::from_utf8_lossy(name), String::from_utf8_lossy(first));
    let flag = first.split_once('=').map_or(&*first, |(flag, _)| flag);
    if !["--r", "--w", "--json"].contains(&flag) {
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
