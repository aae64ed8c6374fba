//! `starling console`.

use crate::console::{self, Reach};
use crate::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

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
    #[arg(long, value_name = "DIR", hide = true)]
    testnet: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    let Args { reach, commands, file, testnet } = args;
    console::run(console::Options { reach, commands, file, testnet })
}
