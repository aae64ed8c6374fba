//! `starling status`.

use super::data;
use crate::console::Reach;
use crate::error::Error;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    let mut words = vec!["status"];
    words.extend(args.json.then_some("--json"));
    data::once(&args.reach, data::words(&words))
}
