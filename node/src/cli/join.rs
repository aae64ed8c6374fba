//! `starling join`: `up`, with a ticket to enter a network by.

use super::{lan, up};
use crate::directory::in_shell;
use crate::error::Error;
use crate::network;
use starling_protocol::admission::ticket::{TICKET_LEN_MAX, Ticket};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const VARIABLE: &str = "STARLING_TICKET";

#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// The ticket that `starling invite` has printed in the network; - reads it from standard input.
    /// Also addresses of peers: host:port or a multiaddr
    #[arg(value_name = "TICKET")]
    words: Vec<String>,
    /// Read the ticket from this file
    #[arg(long, value_name = "FILE")]
    ticket_file: Option<PathBuf>,
    #[command(flatten)]
    up: up::Args,
}

impl Args {
    pub fn wants_json(&self) -> bool {
        self.up.json
    }
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    let Args { words, ticket_file, mut up } = args;
    let (tickets, addresses): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| is_ticket(word));
    let mut tickets: Vec<String> = tickets
        .into_iter()
        .map(|word| if word == "-" { from_stdin() } else { Ok(word) })
        .collect::<Result<_, _>>()?;
    if let Some(path) = ticket_file {
        tickets.push(from_file(&path)?);
    }
    if tickets.is_empty() {
        tickets.extend(std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()));
    }
    let ticket = match tickets.as_slice() {
        [] if addresses.is_empty() => {
            refuse_member(&up)?;
            if up.looks_around()? {
                lan::list(up.json)?;
            }
            return Err(no_ticket());
        }
        [] => None,
        [ticket] => Some(parse(ticket)?),
        _ => return Err(Error::usage("there is more than one ticket").hint("one is enough")),
    };
    if let Some(word) = addresses.iter().find(|word| !is_address(word)) {
        return Err(neither(word));
    }
    up.settings.add("join", addresses);
    up::run(up, ticket)
}

/// Anything else is an address.
fn is_ticket(word: &str) -> bool {
    word == "-"
        || (word.len() > 3
            && word[..].to_ascii_lowercase().starts_with("st1")
            && !word.contains([':', '.', '/']))
}

fn is_address(word: &str) -> bool {
    word.contains([':', '/'])
}

fn neither(word: &str) -> Error {
    Error::usage(format!("{word:?} is neither a ticket nor an address"))
        .why("a ticket begins with st1; an address is host:port, or begins with /")
        .hint("copy the whole line that `starling invite` has printed on a machine that is in")
}

fn parse(text: &str) -> Result<Ticket, Error> {
    Ticket::parse(text).map_err(|error| {
        Error::usage("this ticket cannot be read")
            .why(error)
            .hint("copy the whole line that `starling invite` has printed")
    })
}

/// The first line, so that a terminal needs no end of input.
fn from_stdin() -> Result<String, Error> {
    let mut line = String::new();
    let read = io::stdin().lock().take(TICKET_LEN_MAX as u64 + 2);
    io::BufRead::read_line(&mut io::BufReader::new(read), &mut line)
        .map_err(|error| Error::new("no ticket could be read from standard input").why(error))?;
    Ok(line)
}

fn from_file(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TICKET_LEN_MAX as u64 + 2).read_to_string(&mut text))
        .map_err(|error| {
            Error::new(format!("cannot read the ticket in {}", path.display()))
                .why(error)
                .hint("name the file into which `starling invite -q` was written")
        })?;
    Ok(text)
}

/// Whoever has been in needs no ticket: to be told to fetch one would lead astray.
fn refuse_member(up: &up::Args) -> Result<(), Error> {
    let dir = up.directory()?;
    let Ok(Some(genesis)) = network::read_from(&dir) else { return Ok(()) };
    let name = &genesis.genesis().name;
    Err(Error::usage(format!("the peer in {} is in the network {name:?} already", dir.display()))
        .why("join takes a ticket, which only one needs that is not in, or was put out")
        .hint(format!("start it: starling up --dir {}", in_shell(&dir))))
}

fn no_ticket() -> Error {
    Error::usage("a ticket is missing")
        .why("a network lets in only those who have one")
        .hint("run `starling invite` on a machine that is in, and the line that it prints here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_told_from_addresses() {
        for ticket in ["st1abcdef", "ST1ABCDEF", "-"] {
            assert!(is_ticket(ticket), "{ticket}");
        }
        for address in ["192.168.1.10:4001", "/ip4/10.0.0.1/tcp/1", "st1.lan:4001", "box:1", "st1", ""] {
            assert!(!is_ticket(address), "{address}");
        }
        for word in ["t1qvid", "hello", ""] {
            assert!(!is_ticket(word) && !is_address(word), "{word}");
        }
    }
}
