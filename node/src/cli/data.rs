//! `starling get k`: every data command as a command of its own.

use crate::commands;
use crate::console::{Link, as_address, call, default_address, show};
use crate::error::Error;
use crate::words::Word;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

const FLAGS: &str = "flags    --r N  --w N   copies to read, to write; --json   the reply as JSON; \
                     --connect HOST:PORT   another peer";

pub fn run(words: &[OsString]) -> Result<ExitCode, Error> {
    let (connect, words) = connect_flag(words.iter().map(|word| word.as_encoded_bytes().to_vec()).collect())?;
    let help = match words.as_slice() {
        [name, flag] if matches!(flag.as_slice(), b"--help" | b"-h") => Some(Some(name.as_slice())),
        [name, rest @ ..] if name.eq_ignore_ascii_case(b"help") => Some(rest.first().map(Vec::as_slice)),
        _ => None,
    };
    if let Some(word) = help {
        println!("{}\n\n{FLAGS}", commands::help_text(word).map_err(|line| unknown(&line))?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = words.first().filter(|name| commands::find(name).is_none()) {
        return Err(unknown(&commands::unknown(name)));
    }
    once(connect.or_else(|| std::env::var("STARLING_CONNECT").ok()), words)
}

/// An error line of the table, without the code that stands before it for programs.
fn unknown(line: &str) -> Error {
    let said = line.strip_prefix("ERR ").unwrap_or(line);
    Error::usage(said)
        .hint("starling --help lists the commands of this program, starling help those of the store")
}

/// Takes `--connect ADDR` out, wherever it stands before `--`.
fn connect_flag(words: Vec<Vec<u8>>) -> Result<(Option<String>, Vec<Vec<u8>>), Error> {
    let (mut connect, mut rest, mut words) = (None, Vec::new(), words.into_iter());
    while let Some(word) = words.next() {
        let address = match word.strip_prefix(b"--connect") {
            Some(b"") => words.next().ok_or_else(|| Error::usage("--connect lacks the address"))?,
            Some([b'=', address @ ..]) => address.to_vec(),
            _ => {
                let literal = word == b"--";
                rest.push(word);
                if literal {
                    rest.extend(words.by_ref());
                }
                continue;
            }
        };
        connect = Some(String::from_utf8_lossy(&address).into_owned());
    }
    Ok((connect, rest))
}

/// Runs one command; typed replies for a person, raw ones into a pipe.
pub fn once(connect: Option<String>, words: Vec<Vec<u8>>) -> Result<ExitCode, Error> {
    let words = words.into_iter().map(|bytes| Word { bytes, quoted: false }).collect();
    let call = call(words).map_err(Error::usage)?;
    let address = connect.unwrap_or_else(default_address);
    let address = as_address(&address).ok_or_else(|| {
        Error::usage(format!("{address:?} is not an address"))
            .hint("write host:port or a port, such as 127.0.0.1:7379")
    })?;
    show(&mut Link::to(address), &call, std::io::stdout().is_terminal()).map(ExitCode::from)
}
