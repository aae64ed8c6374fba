//! `starling join`: `up`, with somebody to enter a network through.

use super::up;
use crate::error::Error;
use std::process::ExitCode;

#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// A peer of the network: host:port or a multiaddr
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
    #[command(flatten)]
    up: up::Args,
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    let Args { addresses, mut up } = args;
    up.settings.add("join", addresses);
    up::run(up)
}
