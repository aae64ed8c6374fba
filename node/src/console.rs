//! The console: commands typed by hand or piped in, sent to a peer, and what comes back.

mod editor;
mod flags;
mod interactive;
mod line;
mod link;
mod output;
mod reach;
mod testnet;

pub use flags::{Known, take};
pub use line::{Call, Line, parse};
pub use link::{Link, ask_json};
pub use output::{error_json, error_value, exit_code};
pub use reach::{Place, Reach};

use crate::error::{Error, NOT_FOUND};
use crate::render::explain::millis;
use crate::resp::frame::Frame;
use crate::stdio;
use link::Reached;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use testnet::Testnet;

/// Longest line, in bytes: the longest value in escapes, and a little.
const LINE_MAX: usize = 40 * 1024 * 1024;

/// What the console is started with.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Run this command and end; may be given several times
    #[arg(short = 'c', value_name = "CMD")]
    commands: Vec<String>,
    /// Run the commands in this file, one a line; - is standard input
    #[arg(short = 'f', value_name = "FILE", conflicts_with = "commands")]
    file: Option<PathBuf>,
    /// The directory of the testnet that lines beginning with `:` are for
    #[arg(long, value_name = "DIR", hide = true)]
    testnet: Option<PathBuf>,
}

/// The console's own settings and where it is connected to.
pub struct Console {
    link: Link,
    testnet: Option<Testnet>,
    json: bool,
    time: bool,
}

/// What came of a line.
pub enum Done {
    /// Go on. The code is that of the first failure of this line, 0 if there was none.
    Code(u8),
    /// The user wants to go.
    Quit,
}

/// How replies are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a person at a terminal.
    Typed,
    /// For a program: bytes as they are.
    Raw,
}

/// Runs the console. The exit code is that of the first failure.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    let testnet = args.testnet.map(Testnet::in_directory);
    let link = Link::to(resolved(&args.reach.address()?, testnet.as_ref())?, &args.reach);
    let link = if testnet.is_some() { link.in_testnet() } else { link };
    let testnet = testnet.map(|testnet| testnet.with_patience(link.patience()));
    let mut console = Console { link, testnet, json: false, time: false };
    if !args.commands.is_empty() {
        let lines = args.commands.into_iter().map(|command| Ok(command.into_bytes()));
        return console.batch(lines);
    }
    match args.file {
        Some(path) if path.as_os_str() == "-" => console.batch(lines(io::stdin().lock())),
        Some(path) => {
            let file = File::open(&path).map_err(|error| {
                Error::new(format!("cannot read {}", path.display()))
                    .why(error)
                    .hint("name a file with a command a line")
            })?;
            console.batch(lines(BufReader::new(file)))
        }
        None if io::stdin().is_terminal() => interactive::run(console),
        None => console.batch(lines(io::stdin().lock())),
    }
}

/// Runs one command and shows its reply: typed for a person, raw for a program. Returns the exit code: that of one
/// whose key is not there is its own, and a program gets no line then, since an empty one is an empty value; nor does
/// it of a set or a hash that has nothing in it.
pub fn show(link: &mut Link, call: &Call, person: bool) -> Result<u8, Error> {
    let reached = link.run(&call.words)?;
    if reached.frame == Frame::Null {
        if person || call.json {
            output::show(&reached, call, Style::Typed, call.json)?;
        }
        return Ok(NOT_FOUND);
    }
    let has_nothing = match &reached.frame {
        Frame::Array(frames) | Frame::Set(frames) => frames.is_empty(),
        Frame::Map(entries) => entries.is_empty(),
        _ => false,
    };
    if person || call.json || !has_nothing {
        output::show(&reached, call, if person { Style::Typed } else { Style::Raw }, call.json)?;
    }
    Ok(exit_code(&reached.frame))
}

/// From the table in this program: also without a peer.
fn help(call: &Call) -> Result<u8, Error> {
    match crate::commands::help_text(call.typed.get(1).map(Vec::as_slice)) {
        Ok(text) => stdio::text(text).map(|()| 0),
        Err(line) => {
            output::say_error(&line);
            Ok(crate::error::USAGE)
        }
    }
}

/// An address, or the name of a peer of the testnet.
fn resolved(address: &str, testnet: Option<&Testnet>) -> Result<String, Error> {
    match (link::as_address(address), testnet) {
        (None, None) => link::as_place(address),
        (Some(address), _) => Ok(address),
        (None, Some(testnet)) => {
            testnet.address_of(address).map_err(|why| Error::new(why).hint(":status lists the peers"))
        }
    }
}

/// Lines without their ends. A line that is too long is an error, not read on.
fn lines(mut from: impl BufRead) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut from, LINE_MAX as u64);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(length) if length == LINE_MAX => {
                Some(Err(Error::usage(format!("a line is longer than {LINE_MAX} bytes"))))
            }
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(Error::new("cannot read the commands").why(error))),
        }
    })
}

impl Console {
    /// A reply a line, nothing else on stdout. Goes on after failures of commands; ends when the peer
    /// cannot be reached, since then nobody knows what the rest would do.
    fn batch(&mut self, lines: impl Iterator<Item = Result<Vec<u8>, Error>>) -> Result<ExitCode, Error> {
        let mut first = 0;
        for line in lines {
            let line = line?;
            if line.trim_ascii_start().starts_with(b"#") {
                continue;
            }
            match self.line(&line, Style::Raw)? {
                Done::Quit => break,
                Done::Code(code) if first == 0 => first = code,
                Done::Code(_) => {}
            }
        }
        Ok(ExitCode::from(first))
    }

    /// Runs one line. Errors: the peer cannot be reached, or nobody takes the reply.
    fn line(&mut self, line: &[u8], style: Style) -> Result<Done, Error> {
        match parse(line) {
            Ok(Line::Empty) => Ok(Done::Code(0)),
            Ok(Line::Own(words)) => self.own(&words),
            Ok(Line::Command(call)) if call.is("quit") || call.is("exit") => Ok(Done::Quit),
            Ok(Line::Command(call)) if call.is("help") => help(&call).map(Done::Code),
            Ok(Line::Command(call)) => {
                let call = if self.json { call.in_json() } else { call };
                self.command(&call, style).map(Done::Code)
            }
            Err(why) => {
                output::say_error(&why);
                Ok(Done::Code(crate::error::USAGE))
            }
        }
    }

    fn command(&mut self, call: &Call, style: Style) -> Result<u8, Error> {
        let mut there = match call.at.as_deref().map(|peer| self.place(peer)).transpose() {
            Ok(address) => address.map(|address| self.link.beside(address)),
            Err(why) => {
                output::say_error(&why);
                return Ok(crate::error::USAGE);
            }
        };
        let mut first = 0;
        for _ in 0..call.times {
            let began = Instant::now();
            let reached = there.as_mut().unwrap_or(&mut self.link).run(&call.words)?;
            let took = began.elapsed();
            output::show(&reached, call, style, call.json)?;
            if self.time {
                stdio::say(format_args!("({})", millis(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))));
            }
            let code = exit_code(&reached.frame);
            first = if first == 0 { code } else { first };
        }
        Ok(first)
    }

    /// Where the peer of that name takes commands.
    fn place(&self, peer: &str) -> Result<String, String> {
        match (link::as_address(peer), &self.testnet) {
            (Some(address), _) => Ok(address),
            (None, Some(testnet)) => testnet.address_of(peer),
            (None, None) => {
                Err(format!("where {peer} takes commands is not known; write its address: @host:port get k"))
            }
        }
    }

    /// A line for the console itself, or for the testnet around it.
    fn own(&mut self, words: &[String]) -> Result<Done, Error> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["quit" | "q" | "exit"] => return Ok(Done::Quit),
            ["help" | "h" | "?"] => stdio::text(self.own_help())?,
            ["json", "on"] => self.json = true,
            ["json", "off"] => self.json = false,
            ["time", "on"] => self.time = true,
            ["time", "off"] => self.time = false,
            [] | ["json" | "time" | "quit" | "q" | "exit" | "help" | "h" | "?", ..] => {
                output::say_error(&self.own_help());
                return Ok(Done::Code(crate::error::USAGE));
            }
            words => return self.tell_testnet(words).map(Done::Code),
        }
        Ok(Done::Code(0))
    }

    fn tell_testnet(&self, words: &[&str]) -> Result<u8, Error> {
        let Some(testnet) = &self.testnet else {
            output::say_error(&format!("the console knows no :{}; :help lists what it knows", words[0]));
            return Ok(crate::error::USAGE);
        };
        match testnet.send(words) {
            Ok(answer) if answer.ok => return stdio::text(answer.text.trim_end()).map(|()| 0),
            Ok(answer) => output::say_error(answer.text.trim_end()),
            Err(why) => output::say_error(&why),
        }
        Ok(crate::error::FAILURE)
    }

    fn own_help(&self) -> String {
        let mut text = String::from(
            ":quit             end the console; Ctrl-D does the same\n\
             :json on|off      replies as JSON\n\
             :time on|off      how long each command took\n\
             5 incr k          run a command five times\n\
             @host:port get k  run one command at another peer\n\
             get k --r 1       how many copies to read, --w 3: to write; --json: the reply as JSON\n\
             set k -- --json   what comes after -- is data, and what is quoted: \"--json\"\n\
             help              the commands of the store",
        );
        if self.testnet.is_some() {
            text.push_str(
                "\n\nThe testnet around this console, where @p3 get k works too:\n\
                 :status  :kill p2  :restart p2  :pause p2  :resume p2  :wipe p2  :add\n\
                 :partition p1 p2 | p3 p4 p5  :heal",
            );
        }
        text
    }
}
