//! `starling invite` and `starling invites`.

use super::data;
use crate::commands::admission::InvitePage;
use crate::console::{Link, as_address, default_address};
use crate::error::Error;
use crate::resp::frame::Frame;
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
    /// The peer that lets in: host:port or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT", global = true)]
    connect: Option<String>,
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
    /// The peer: host:port or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT")]
    connect: Option<String>,
}

/// The ticket goes to stdout, the words about it to stderr.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    if let Some(Command::Revoke { id }) = &args.command {
        return data::once(args.connect, words(&["invite", "revoke", id]));
    }
    let uses = args.uses.to_string();
    let mut asked = vec!["invite", "uses", &uses, "ttl", &args.ttl, "role", &args.role, "json"];
    asked.extend(args.no_addresses.then_some("noaddresses"));
    let address = args.connect.unwrap_or_else(default_address);
    let address = as_address(&address).ok_or_else(|| {
        Error::usage(format!("{address:?} is not an address")).hint("write host:port or a port")
    })?;
    let text = match Link::to(address).run(&asked)?.frame {
        Frame::Bulk(text) => text,
        Frame::Error(line) => return Err(Error::new(line.strip_prefix("ERR ").unwrap_or(&line).to_owned())),
        _ => return Err(Error::new("the peer's answer makes no sense; is it of another version?")),
    };
    if args.json {
        println!("{}", String::from_utf8_lossy(&text));
        return Ok(ExitCode::SUCCESS);
    }
    let page: InvitePage = serde_json::from_slice(&text)
        .map_err(|error| Error::new("the peer's answer makes no sense").why(error))?;
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
    data::once(args.connect, words(&asked))
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
