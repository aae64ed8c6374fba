//! `starling invite` and `starling invites`.

use super::data;
use crate::commands::admission::InvitePage;
use crate::console::{Reach, ask_json};
use crate::error::Error;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many machines it lets in
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u16,
    /// How long it counts: 90s, 10m, 1h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: String,
    /// storage: owns a share of the data; client: takes requests and owns nothing
    #[arg(long, value_name = "ROLE", default_value = "storage")]
    role: String,
    /// Leave out where this peer is; the other machine then finds it on the LAN, or by --join
    #[arg(long)]
    no_addresses: bool,
    /// Print the ticket alone
    #[arg(short, long)]
    quiet: bool,
    /// One JSON object
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Let nobody else in by this ticket
    Revoke {
        /// As `starling invites` shows it
        id: String,
    },
}

#[derive(clap::Args)]
pub struct List {
    /// One JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// The ticket goes to stdout, the words about it to stderr.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    if let Some(Command::Revoke { id }) = &args.command {
        return data::once(&args.reach, data::words(&["invite", "revoke", id]));
    }
    let uses = args.uses.to_string();
    let mut asked = vec!["invite", "uses", &uses, "ttl", &args.ttl, "role", &args.role, "json"];
    asked.extend(args.no_addresses.then_some("noaddresses"));
    let (text, page): (String, InvitePage) = ask_json(&mut args.reach.link()?, &asked)?;
    if args.json {
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    if args.quiet {
        println!("{}", page.ticket);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", page.line());
    anstream::eprintln!("{}", page.words());
    Ok(ExitCode::SUCCESS)
}

pub fn list(args: List) -> Result<ExitCode, Error> {
    let mut asked = vec!["invites"];
    asked.extend(args.json.then_some("json"));
    data::once(&args.reach, data::words(&asked))
}
