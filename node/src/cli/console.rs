//! `starling console`.

use crate::error::Error;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> Result<ExitCode, Error> {
    Err(Error::new("this build has no `console` yet"))
}
