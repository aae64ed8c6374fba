//! `starling invite`.

use super::data;
use crate::commands::admission::InvitePage;
use crate::console::{Reach, ask_json};
use crate::error::Error;
use crate::stdio;
use anstyle::AnsiColor;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use starling_protocol::admission::invite::USES_MAX;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many machines it lets in
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=USES_MAX as i64))]
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
    /// Show the ticket as a QR code too
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    qr: bool,
    /// One JSON object
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    pub fn wants_json(&self) -> bool {
        match &self.command {
            Some(Command::Revoke { json, .. } | Command::List { json }) => *json,
            None => self.json,
        }
    }
}

#[derive(clap::Subcommand)]
enum Command {
    /// As `starling invites`
    #[command(hide = true)]
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Let nobody else in by this ticket
    Revoke {
        /// As `starling invites` shows it
        id: String,
        /// The reply as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The ticket goes to stdout, the words about it to stderr.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    match &args.command {
        Some(Command::List { json }) => return data::once(&args.reach, &["invites"], *json),
        Some(Command::Revoke { id, json }) => {
            return data::once(&args.reach, &["invite", "revoke", id], *json);
        }
        None => {}
    }
    let uses = args.uses.to_string();
    let mut asked = vec!["invite", "uses", &uses, "ttl", &args.ttl, "role", &args.role, "json"];
    asked.extend(args.no_addresses.then_some("noaddresses"));
    let (text, page): (String, InvitePage) = ask_json(&mut args.reach.link()?, &asked)?;
    if args.json {
        return stdio::text(text).map(|()| ExitCode::SUCCESS);
    }
    if args.quiet {
        return stdio::text(page.ticket).map(|()| ExitCode::SUCCESS);
    }
    if args.qr {
        let colors = AnsiColor::White.on(AnsiColor::Black);
        let lines = qr(&page.ticket)?;
        lines.lines().for_each(|line| stdio::say(format_args!("{colors}{line}{colors:#}")));
    }
    stdio::text(page.line())?;
    stdio::say(format_args!("{}{}", page.words(), args.reach.flags()));
    Ok(ExitCode::SUCCESS)
}

/// Light on dark, as most terminals are. In capitals, which take less room; a ticket is read in either.
fn qr(ticket: &str) -> Result<String, Error> {
    let code = QrCode::with_error_correction_level(ticket.to_ascii_uppercase(), EcLevel::L)
        .map_err(|why| Error::new("the ticket does not fit into a QR code").why(why))?;
    let (dark, light) = (Dense1x2::Light, Dense1x2::Dark);
    Ok(code.render().dark_color(dark).light_color(light).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_fits_a_terminal_as_a_qr_code() {
        // As long as one with two addresses, and with four long ones.
        for (length, width) in [(170, 50), (1100, 110)] {
            let code = qr(&format!("st1{}", "a".repeat(length))).unwrap();
            let widths: Vec<_> = code.lines().map(|line| line.chars().count()).collect();
            assert!(widths.iter().all(|found| *found == widths[0] && *found < width), "{widths:?}");
            assert!(code.lines().count() <= width / 2 + 1);
        }
        assert!(qr(&"a".repeat(5000)).is_err());
    }
}
