//! `starling get k`: every data command as a command of its own.

use crate::commands;
use crate::console::{Call, Known, Reach, show, take};
use crate::error::{Error, USAGE};
use crate::stdio;
use crate::words::Word;
use starling_crdt::cell::VALUE_MAX;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

pub const FLAGS: Known = Known {
    valued: &["--r", "--w", "--connect", "--dir", "--token", "--password-file", "--tls-ca"],
    plain: &["--json", "--tls", "-x", "--help"],
};

const FLAGS_HELP: &str = "flags    --r N  --w N   copies to read, to write; --json   the reply as JSON\n         \
                          -x   before the arguments: the last one from standard input, to its last byte\n         \
                          --connect HOST:PORT   another peer; --dir DIR   the one of that directory\n         \
                          --token TOKEN, --password-file FILE   log in; --tls, --tls-ca FILE   encrypt\n         \
                          they go first or last; what comes after -- is data\n\
                          exit     0 done; 1 failed; 2 not understood; 3 there is no such key, and nothing is printed;\n         \
                          4 too few copies; 7 the outcome is unknown";

/// What a command has that asks for one thing.
#[derive(clap::Args)]
pub struct Args {
    /// The reply as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    pub fn run(self, words: &[&str]) -> Result<ExitCode, Error> {
        once(&self.reach, words, self.json)
    }
}

/// A command of the store, in words of this program's own.
pub fn once(reach: &Reach, words: &[&str], json: bool) -> Result<ExitCode, Error> {
    let flags = Vec::from_iter(json.then(|| ("--json", String::new())));
    let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    send(reach, &Call::of(words, &flags).map_err(Error::usage)?)
}

/// Typed replies for a person, raw ones into a pipe.
fn send(reach: &Reach, call: &Call) -> Result<ExitCode, Error> {
    show(&mut reach.link()?, call, std::io::stdout().is_terminal()).map(ExitCode::from)
}

pub fn run(words: &[OsString]) -> Result<ExitCode, Error> {
    let typed = words.iter().map(|word| Word { bytes: word.as_encoded_bytes().to_vec(), quoted: false });
    let typed: Vec<_> = typed.collect();
    if let Some(name) = typed.first().filter(|name| commands::find(&name.bytes).is_none()) {
        return Err(unknown(&name.bytes));
    }
    let name = words.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let (mut words, flags) = take(typed, &FLAGS)
        .map_err(|why| Error::usage(why).hint(format!("if it is data: starling {name} -- ..")))?;
    if let [first, topic @ ..] = words.as_slice()
        && first.eq_ignore_ascii_case(b"help")
    {
        if flags.iter().any(|(flag, _)| *flag == "--json") {
            return Err(Error::usage("help is for people, and not to be had as JSON")
                .hint("for programs there is COMMAND DOCS: starling command docs get --json"));
        }
        return help(topic);
    }
    refuse_lost(&words)?;
    let mut reach = Reach::of_environment()?;
    for (flag, value) in &flags {
        reach.set(flag, value);
    }
    let reads = flags.iter().any(|(flag, _)| *flag == "-x");
    refuse_wrong_number(&words, usize::from(reads))?;
    if reads {
        words.push(standard_input()?);
    }
    send(&reach, &Call::of(words, &flags).map_err(Error::usage)?)
}

/// Of a command of this program, or of the store.
fn help(topic: &[Vec<u8>]) -> Result<ExitCode, Error> {
    if let Some(text) = super::help(topic) {
        return stdio::text(text).map(|()| ExitCode::SUCCESS);
    }
    let word = topic.first().map(Vec::as_slice);
    let text = commands::help_text(word).map_err(|line| match word {
        Some(word) if !word.starts_with(b"@") => unknown(word),
        _ => Error::of_line(&line).with_code(USAGE),
    })?;
    stdio::text(format_args!("{text}\n\n{FLAGS_HELP}")).map(|()| ExitCode::SUCCESS)
}

/// As of `redis-cli -x`, but a newline at its end is part of it: what is kept is what was there.
fn standard_input() -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().take(VALUE_MAX as u64 + 1).read_to_end(&mut value);
    read.map_err(|error| Error::new("cannot read standard input").why(error))?;
    if value.len() > VALUE_MAX {
        return Err(Error::usage(format!("standard input has more than {VALUE_MAX} bytes"))
            .why("a value has no more")
            .hint("keep it in parts, each under a key of its own"));
    }
    Ok(value)
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

/// Neither a command of this program nor of the store.
fn unknown(name: &[u8]) -> Error {
    let own = super::names();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let line = commands::unknown_beside(name, &own);
    // Without the code that stands before it for programs.
    let error = Error::of_line(&line).with_code(USAGE);
    // What is refused says itself what to do instead.
    if line.starts_with("NOTSUPPORTED ") {
        return error;
    }
    error.hint("starling --help lists the commands of this program, starling help those of the store")
}

/// Before anything is read or anybody asked: a flag with one dash that is no flag here would else be data. `more` words
/// are still to come.
fn refuse_wrong_number(words: &[Vec<u8>], more: usize) -> Result<(), Error> {
    let spec = words.first().and_then(|name| commands::find(name));
    let Some(spec) = spec.filter(|spec| !spec.accepts(words.len() + more)) else { return Ok(()) };
    let flags: Vec<_> = FLAGS.valued.iter().chain(FLAGS.plain).copied().collect();
    Err(Error::usage(format!("wrong number of arguments for {}", spec.name))
        .why(format!("it is used so: {}", spec.synopsis()))
        .hint(format!("there are these flags: {}; starling help {} tells more", flags.join(" "), spec.name)))
}
