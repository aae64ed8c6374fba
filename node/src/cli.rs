//! The command line: one module per command.

mod config;
mod data;
mod doctor;
mod entering;
mod invite;
mod join;
mod lan;
mod ready;
mod stop;
mod token;
mod up;

use crate::console::{self, error_json};
use crate::error::{Error, USAGE};
use crate::stdio;
use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "starling", version, about = "A peer-to-peer store in which every peer is equal")]
// `help` is a command of the store: `starling help set`.
#[command(disable_help_subcommand = true, propagate_version = true, after_help = DATA_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const DATA_HELP: &str = "Any command of the store is a command here too: starling set greeting hello\n\
                         starling help lists them, starling help set tells about one\n\
                         starling leave takes a peer out, starling revoke PEER puts another out,\n\
                         starling forget PEER gives up one that will not come back";

#[derive(Subcommand)]
enum Command {
    /// Start a peer; the first time it makes a new network, unless --join says where one is
    Up(up::Args),
    /// Start a peer that enters an existing network, by a ticket
    Join(join::Args),
    /// Make a ticket that lets another machine in
    Invite(invite::Args),
    /// List the tickets and who came in by them
    Invites(data::Args),
    /// Give a client a token for some keys, or take one back
    Token(token::Args),
    /// List the tokens that were given
    Tokens(data::Args),
    /// Look for what stands in the way of a peer here, and say what to do
    Doctor(doctor::Args),
    /// Show the settings and where each comes from
    Config(config::Args),
    /// Talk to a peer, line by line
    Console(console::Args),
    /// Show what a peer knows of its network
    Status(data::Args),
    /// Any data command, once: `starling get greeting`
    #[command(external_subcommand)]
    Data(Vec<OsString>),
}

/// Runs the command that the arguments name. The exit code is 0, or that of the error shown on stderr.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let (json, starts_json) = (cli.command.wants_json(), cli.command.starts_json());
    let result = match cli.command {
        Command::Up(args) => up::run(args, None),
        Command::Join(args) => join::run(args),
        Command::Invite(args) => invite::run(args),
        Command::Invites(args) => args.run(&["invites"]),
        Command::Token(args) => token::run(args),
        Command::Tokens(args) => args.run(&["tokens"]),
        Command::Doctor(args) => doctor::run(args),
        Command::Config(args) => config::run(args),
        Command::Console(args) => console::run(args),
        Command::Status(args) => args.run(&["status"]),
        Command::Data(words) => data::run(&words),
    };
    match result {
        Ok(code) => code,
        Err(error) if json => show_json(&error),
        // Where its log goes, words do too.
        Err(error) if starts_json => {
            show(&error);
            show_json(&error)
        }
        Err(error) => show(&error),
    }
}

impl Command {
    /// Whether one JSON value is wanted, and no words, whatever it is.
    fn wants_json(&self) -> bool {
        match self {
            Self::Invite(args) => args.wants_json(),
            Self::Invites(args) | Self::Tokens(args) | Self::Status(args) => args.json,
            Self::Token(args) => args.wants_json(),
            Self::Doctor(args) => args.json,
            Self::Config(args) => args.wants_json(),
            Self::Data(words) => data::wants_json(words),
            Self::Up(_) | Self::Join(_) | Self::Console(_) => false,
        }
    }

    /// Whether one line of JSON is wanted of a peer that starts: that it is ready, or why it is not. Once that has
    /// been said, no other follows.
    fn starts_json(&self) -> bool {
        match self {
            Self::Up(args) => args.json,
            Self::Join(args) => args.wants_json(),
            _ => false,
        }
    }
}

/// What clap says, be it help, and for a flag of a command that stands before it, where it belongs.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.exit_code() != 0 && data::wants_json(&std::env::args_os().collect::<Vec<_>>()) {
        return show_json(&Error::usage(in_one_line(error)));
    }
    if let Err(error) = stdio::taken(error.print()) {
        return show(&error);
    }
    let found = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let stands_first = std::env::args().nth(1).is_some_and(|first| first.starts_with('-'));
    if error.kind() == ErrorKind::UnknownArgument && stands_first && data::FLAGS.find(&found).is_some() {
        stdio::say(format_args!("\n  tip: flags follow the command: starling get {found} .."));
    }
    ExitCode::from(if error.exit_code() == 0 { 0 } else { USAGE })
}

/// What is wrong, without the usage that follows it.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    let said = said.join(" ");
    said.strip_prefix("error: ").unwrap_or(&said).to_owned()
}

/// The commands of this program, beside those of the store.
fn names() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// What `--help` says of one of them, or of a part of it: `token create`.
fn help(topic: &[Vec<u8>]) -> Option<String> {
    let mut cli = Cli::command();
    cli.build();
    let (mut command, mut found) = (&mut cli, false);
    for word in topic {
        let name = String::from_utf8_lossy(word).to_ascii_lowercase();
        if command.find_subcommand(&name).is_none() {
            break;
        }
        (command, found) = (command.find_subcommand_mut(&name)?, true);
    }
    found.then(|| command.render_long_help().ansi().to_string())
}

/// As errors of peers are shown to who asked for JSON.
fn show_json(error: &Error) -> ExitCode {
    match stdio::text(error_json(&error.as_line())) {
        Ok(()) => ExitCode::from(error.code()),
        Err(lost) => show(&lost),
    }
}

pub(crate) fn show(error: &Error) -> ExitCode {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    stdio::say(format_args!("{red}error{red:#}: {error}"));
    ExitCode::from(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_is_told_behind_each_command_too() {
        for words in
            [&["starling", "--version"][..], &["starling", "up", "-V"], &["starling", "invite", "--version"]]
        {
            let said = Cli::try_parse_from(words).err().map(|error| error.kind());
            assert_eq!(said, Some(ErrorKind::DisplayVersion), "{words:?}");
        }
    }
}
