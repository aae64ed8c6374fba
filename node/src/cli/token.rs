//! `starling token`.

use super::data;
use crate::commands::tokens::TokenPage;
use crate::console::{Reach, ask_json};
use crate::error::Error;
use crate::stdio;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// As `starling tokens`
    #[command(hide = true)]
    List(data::Args),
    /// Give a token for some keys; its holder may use it at every peer
    Create(Create),
    /// Let a token count no more, at any peer
    Revoke {
        /// As `starling tokens` shows it at the peer that gave it, or the token itself
        id: String,
        #[command(flatten)]
        asked: data::Args,
    },
}

#[derive(clap::Args)]
struct Create {
    /// The keys that it is for: those that begin so; '' means all
    #[arg(long, value_name = "PREFIX")]
    prefix: String,
    /// read, write or read,write
    #[arg(long, value_name = "VERBS", default_value = "read")]
    allow: String,
    /// How long it counts: 90s, 10m, 1h, 7d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    ttl: String,
    /// Print nothing but the token
    #[arg(short, long)]
    quiet: bool,
    /// One JSON object
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    pub fn wants_json(&self) -> bool {
        match &self.command {
            Command::Create(create) => create.json,
            Command::List(asked) | Command::Revoke { asked, .. } => asked.json,
        }
    }
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    match args.command {
        Command::Create(create) => give(create),
        Command::List(asked) => asked.run(&["tokens"]),
        Command::Revoke { id, asked } => asked.run(&["token", "revoke", &id]),
    }
}

/// The token goes to stdout, the words about it to stderr.
fn give(args: Create) -> Result<ExitCode, Error> {
    let Create { prefix, allow, ttl, quiet, json, reach } = args;
    let words = ["token", "create", "prefix", &prefix, "allow", &allow, "ttl", &ttl, "json"];
    let (text, page): (String, TokenPage) = ask_json(&mut reach.link()?, &words)?;
    if json {
        return stdio::text(text).map(|()| ExitCode::SUCCESS);
    }
    stdio::text(&page.token)?;
    if !quiet {
        stdio::say(format_args!("{}{}", page.words(), reach.flags()));
    }
    Ok(ExitCode::SUCCESS)
}
