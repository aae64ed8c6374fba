//! `starling get k`: every data command as a command of its own.

use crate::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

pub fn run(_words: &[OsString]) -> Result<ExitCode, Error> {
    Err(Error::new("this build has no data commands yet"))
}
