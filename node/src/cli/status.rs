//! `starling status`.

use super::data;
use crate::error::Error;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// The peer: host:port or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT")]
    connect: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    let mut words = vec!["status"];
    words.extend(args.json.then_some("--json"));
    let words = words.into_iter().map(|word| word.as_bytes().to_vec()).collect();
    data::once(args.connect, words)
}
