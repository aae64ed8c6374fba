//! What commands print: results on stdout, words about them on stderr. None of it ends in a panic, whoever is at
//! the other end.

use crate::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// How long a person waits without a word.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Bytes as they are, and the end of a line. Errors: nobody takes them, as where the disk is full.
pub fn bytes(bytes: &[u8]) -> Result<(), Error> {
    write_line(&mut io::stdout().lock(), bytes)
}

/// Text in colours, where they are wanted. Errors: as above.
pub fn text(text: impl Display) -> Result<(), Error> {
    write_line(&mut anstream::stdout().lock(), text.to_string().as_bytes())
}

/// On stderr. If that is not taken, nothing is left to tell it on.
pub fn say(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

fn write_line(out: &mut impl Write, line: &[u8]) -> Result<(), Error> {
    taken(out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// A reader that has gone away (`| head`) wants no more; that is no failure.
pub fn taken(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new("the answer cannot be written to standard output")
                .why(error)
                .hint("what the command does is done; see where its output goes, and that the disk has room"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_no_failure() {
        assert_eq!(taken(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        let error = taken(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(error.code(), crate::error::FAILURE);
    }
}
