//! Reads the commands of one client, however they are cut into packets.
//!
//! What has been read is kept, so that a client that sends byte by byte costs no more than one that
//! does not. Nothing is allocated for a length, only for bytes that have come.

use super::frame::ProtocolError;
use crate::words;
use starling_crdt::cell::VALUE_MAX;

/// Most arguments of one command, the command's name included.
pub const ARGUMENTS_MAX: usize = 65_536;
/// Longest argument, in bytes: the largest value and a little, so that one just too long for a value is
/// answered with an error instead of a closed connection.
pub const ARGUMENT_MAX: usize = VALUE_MAX + 64 * 1024;
/// Longest command, in bytes.
pub const COMMAND_MAX: usize = 32 * 1024 * 1024;
/// Longest command that is written as a line, and longest header line. Redis: 64 KiB.
pub const LINE_MAX: usize = 64 * 1024;

/// Most arguments, and the longest, of a client that has not logged in: more than HELLO with a token needs.
pub const STRANGERS_ARGUMENTS_MAX: usize = 16;
pub const STRANGERS_ARGUMENT_MAX: usize = 8 * 1024;

/// Memory is given out in pieces of this many bytes, or larger ones.
const PIECE: usize = 16;

pub type Arguments = Vec<Vec<u8>>;

#[derive(Debug, Default)]
pub struct RequestReader {
    bytes: Vec<u8>,
    /// Where in `bytes` that which has not been read begins.
    at: usize,
    /// The command that is being read, the arguments it still lacks, its bytes so far.
    arguments: Arguments,
    lacks: usize,
    size: usize,
    /// The length of the argument that is being read.
    length: Option<usize>,
    /// The client may send large commands.
    trusted: bool,
}

impl RequestReader {
    /// Where bytes from the client are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        // Of a long pipeline not all is moved each time.
        if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        &mut self.bytes
    }

    /// What may come next: from one who has not logged in only as much as that takes.
    pub fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Bytes of memory that unfinished commands take.
    pub fn held(&self) -> usize {
        let arguments = self.arguments.iter().map(|argument| argument.capacity().next_multiple_of(PIECE));
        let heads = self.arguments.capacity() * size_of::<Vec<u8>>();
        self.bytes.capacity() + heads + arguments.sum::<usize>()
    }

    /// Bytes that have come and were not read.
    pub fn unread(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Gives back memory when nothing is buffered.
    pub fn relax(&mut self) {
        if self.at == self.bytes.len() {
            self.bytes = Vec::new();
            self.at = 0;
        }
    }

    /// The next command. Without words it is an empty line or one that announces no arguments, which Redis passes
    /// over; whoever reads them may pause between. `None`: more bytes are needed. After an error the connection is of
    /// no use.
    pub fn next_command(&mut self) -> Result<Option<Arguments>, ProtocolError> {
        loop {
            if self.lacks > 0 {
                if !self.read_argument()? {
                    return Ok(None);
                }
                if self.lacks == 0 {
                    return Ok(Some(std::mem::take(&mut self.arguments)));
                }
                continue;
            }
            match self.bytes.get(self.at) {
                None => return Ok(None),
                Some(b'*') => {
                    if !self.read_count()? {
                        return Ok(None);
                    }
                    if self.lacks == 0 {
                        return Ok(Some(Arguments::new()));
                    }
                }
                Some(_) => return self.read_inline(),
            }
        }
    }

    /// `*3`: how many arguments follow; none where it is less than zero. False: not all there yet.
    fn read_count(&mut self) -> Result<bool, ProtocolError> {
        let most = if self.trusted { ARGUMENTS_MAX } else { STRANGERS_ARGUMENTS_MAX };
        let Some(line) = self.line()? else { return Ok(false) };
        let count = number(&line[1..]).filter(|count| *count <= most as i64);
        let count = count.ok_or_else(|| error(format!("invalid multibulk length; at most {most}")))?;
        self.lacks = usize::try_from(count).unwrap_or(0);
        self.size = 0;
        Ok(true)
    }

    /// `$5`, then five bytes. False: not all there yet.
    fn read_argument(&mut self) -> Result<bool, ProtocolError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.read_length()? {
                Some(length) => *self.length.insert(length),
                None => return Ok(false),
            },
        };
        let Some(bytes) = self.bytes[self.at..].get(..length + 2) else { return Ok(false) };
        if &bytes[length..] != b"\r\n" {
            return Err(error("an argument does not end where its length says"));
        }
        self.arguments.push(bytes[..length].to_vec());
        self.at += length + 2;
        self.length = None;
        self.lacks -= 1;
        Ok(true)
    }

    fn read_length(&mut self) -> Result<Option<usize>, ProtocolError> {
        let most = if self.trusted { ARGUMENT_MAX } else { STRANGERS_ARGUMENT_MAX };
        let Some(line) = self.line()? else { return Ok(None) };
        let Some((b'$', digits)) = line.split_first() else {
            let first = line.first().copied().unwrap_or(b' ').escape_ascii();
            return Err(error(format!("expected '$', got '{first}'")));
        };
        let length = number(digits).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= most);
        let length = length.ok_or_else(|| error(format!("invalid bulk length; at most {most} bytes")))?;
        self.size += length;
        if self.size > COMMAND_MAX {
            return Err(error(format!("a command of more than {COMMAND_MAX} bytes; send it in parts")));
        }
        Ok(Some(length))
    }

    /// A command typed by hand: words on a line.
    fn read_inline(&mut self) -> Result<Option<Arguments>, ProtocolError> {
        let Some(line) = self.line()? else { return Ok(None) };
        let words = words::split(line).map_err(|_| error("unbalanced quotes in request"))?;
        // A browser that was tricked into sending requests here (Redis does the same).
        if words.first().is_some_and(|word| *word.bytes == *b"POST" || *word.bytes == *b"Host:") {
            return Err(error("this is not an HTTP port"));
        }
        Ok(Some(words.into_iter().map(|word| word.bytes).collect()))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Option<&[u8]>, ProtocolError> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
            return if rest.len() >= LINE_MAX { Err(error("too big inline request")) } else { Ok(None) };
        };
        self.at += end + 1;
        Ok(Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])))
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn error(why: impl Into<String>) -> ProtocolError {
    ProtocolError(why.into())
}

#[cfg(test)]
mod tests;
