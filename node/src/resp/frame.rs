//! Frames of RESP2 and RESP3, both ways (redis.io, "Redis serialization protocol specification").

use std::fmt::Write as _;

/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 16;
/// Most elements of one aggregate that are read.
pub const ELEMENTS_MAX: usize = 1 << 20;
/// Longest string that is read, in bytes: the largest slice (16 MiB) as escaped JSON, usually.
pub const STRING_MAX: usize = 64 << 20;

/// One value on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Null,
    Bool(bool),
    Int(i64),
    /// As written: `3.14`, `inf`.
    Double(String),
    Big(String),
    Simple(String),
    Error(String),
    Bulk(Vec<u8>),
    /// Text for people; clients show it without quotes.
    Verbatim(String),
    Array(Vec<Frame>),
    Set(Vec<Frame>),
    Map(Vec<(Frame, Frame)>),
    Push(Vec<Frame>),
    /// A frame and what is told about it. RESP2 has no such thing: there, only the frame is sent.
    Attributed(Vec<(Frame, Frame)>, Box<Frame>),
}

/// The version of the protocol that a client has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    #[default]
    Resp2,
    Resp3,
}

/// The bytes are not RESP, or exceed a limit. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(pub String);

impl Frame {
    pub fn ok() -> Self {
        Frame::Simple("OK".into())
    }

    pub fn bulk(bytes: impl Into<Vec<u8>>) -> Self {
        Frame::Bulk(bytes.into())
    }

    /// An error line; it begins with its code in capitals.
    pub fn error(line: impl Into<String>) -> Self {
        Frame::Error(line.into())
    }

    /// Appends the frame as `version` writes it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match version {
            Version::Resp2 => self.encode2(out),
            Version::Resp3 => self.encode3(out),
        }
    }

    fn encode2(&self, out: &mut Vec<u8>) {
        let each = |out: &mut Vec<u8>, frames: &[Frame]| {
            header(out, b'*', frames.len());
            frames.iter().for_each(|frame| frame.encode2(out));
        };
        match self {
            Frame::Null => out.extend_from_slice(b"$-1\r\n"),
            Frame::Bool(value) => line(out, b':', if *value { "1" } else { "0" }),
            Frame::Double(text) | Frame::Big(text) | Frame::Verbatim(text) => {
                string(out, b'$', text.as_bytes())
            }
            Frame::Array(frames) | Frame::Set(frames) | Frame::Push(frames) => each(out, frames),
            Frame::Map(entries) => {
                header(out, b'*', entries.len() * 2);
                entries.iter().for_each(|(key, value)| {
                    key.encode2(out);
                    value.encode2(out);
                });
            }
            Frame::Attributed(_, frame) => frame.encode2(out),
            same => same.encode_scalar(out),
        }
    }

    fn encode3(&self, out: &mut Vec<u8>) {
        let each = |out: &mut Vec<u8>, kind: u8, frames: &[Frame]| {
            header(out, kind, frames.len());
            frames.iter().for_each(|frame| frame.encode3(out));
        };
        let pairs = |out: &mut Vec<u8>, kind: u8, entries: &[(Frame, Frame)]| {
            header(out, kind, entries.len());
            entries.iter().for_each(|(key, value)| {
                key.encode3(out);
                value.encode3(out);
            });
        };
        match self {
            Frame::Null => out.extend_from_slice(b"_\r\n"),
            Frame::Bool(value) => line(out, b'#', if *value { "t" } else { "f" }),
            Frame::Double(text) => line(out, b',', text),
            Frame::Big(text) => line(out, b'(', text),
            Frame::Verbatim(text) => string(out, b'=', format!("txt:{text}").as_bytes()),
            Frame::Array(frames) => each(out, b'*', frames),
            Frame::Set(frames) => each(out, b'~', frames),
            Frame::Push(frames) => each(out, b'>', frames),
            Frame::Map(entries) => pairs(out, b'%', entries),
            Frame::Attributed(attributes, frame) => {
                pairs(out, b'|', attributes);
                frame.encode3(out);
            }
            same => same.encode_scalar(out),
        }
    }

    /// The kinds that both versions write alike.
    fn encode_scalar(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Int(number) => line(out, b':', &number.to_string()),
            Frame::Simple(text) => line(out, b'+', text),
            Frame::Error(text) => line(out, b'-', text),
            Frame::Bulk(bytes) => string(out, b'$', bytes),
            other => unreachable!("{other:?} is written by its version"),
        }
    }
}

/// Appends a command as clients send it: an array of strings.
pub fn encode_command<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    header(out, b'*', args.len());
    args.iter().for_each(|arg| string(out, b'$', arg.as_ref()));
}

fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    line(out, kind, &count.to_string());
}

/// A line ends at the first line break: text must not contain one, or it would forge a reply.
fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

fn string(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    header(out, kind, bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Reads one frame from the start of `bytes` and tells how long it was; `None`: it is not all there yet.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, ProtocolError> {
    let mut decoder = Decoder { bytes, at: 0 };
    match decoder.frame(DEPTH_MAX) {
        Ok(frame) => Ok(Some((frame, decoder.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Bad(why)) => Err(why),
    }
}

enum Stop {
    Incomplete,
    Bad(ProtocolError),
}

fn bad(why: impl Into<String>) -> Stop {
    Stop::Bad(ProtocolError(why.into()))
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Decoder<'_> {
    fn frame(&mut self, depth: usize) -> Result<Frame, Stop> {
        if depth == 0 {
            return Err(bad(format!("nested deeper than {DEPTH_MAX}")));
        }
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        Ok(match kind {
            b'+' => Frame::Simple(self.text()?),
            b'-' => Frame::Error(self.text()?),
            b':' => Frame::Int(self.number()?),
            b',' => Frame::Double(self.text()?),
            b'(' => Frame::Big(self.text()?),
            b'#' => Frame::Bool(self.text()? == "t"),
            b'_' => self.text().map(|_| Frame::Null)?,
            b'$' => self.string()?.map_or(Frame::Null, Frame::Bulk),
            b'!' => Frame::Error(lossy(self.string()?.unwrap_or_default())),
            b'=' => Frame::Verbatim(verbatim(self.string()?.unwrap_or_default())),
            b'*' => self.elements(depth)?.map_or(Frame::Null, Frame::Array),
            b'~' => Frame::Set(self.elements(depth)?.unwrap_or_default()),
            b'>' => Frame::Push(self.elements(depth)?.unwrap_or_default()),
            b'%' => Frame::Map(self.entries(depth)?),
            b'|' => Frame::Attributed(self.entries(depth)?, Box::new(self.frame(depth - 1)?)),
            other => return Err(bad(format!("no reply begins with '{}'", other.escape_ascii()))),
        })
    }

    fn line(&mut self) -> Result<&[u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Incomplete)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn text(&mut self) -> Result<String, Stop> {
        self.line().map(|line| String::from_utf8_lossy(line).into_owned())
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let text = self.text()?;
        text.parse().map_err(|_| bad(format!("'{text}' is not a number")))
    }

    /// A length; -1 is RESP2's way to write nothing.
    fn length(&mut self, max: usize) -> Result<Option<usize>, Stop> {
        match self.number()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= max => Ok(Some(length)),
                _ => Err(bad(format!("length {length} is not from 0 to {max}"))),
            },
        }
    }

    fn string(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let Some(length) = self.length(STRING_MAX)? else { return Ok(None) };
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length + 2).ok_or(Stop::Incomplete)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(bad("a string does not end where its length says"));
        }
        self.at += length + 2;
        Ok(Some(bytes[..length].to_vec()))
    }

    fn elements(&mut self, depth: usize) -> Result<Option<Vec<Frame>>, Stop> {
        let Some(count) = self.length(ELEMENTS_MAX)? else { return Ok(None) };
        (0..count).map(|_| self.frame(depth - 1)).collect::<Result<_, _>>().map(Some)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Frame, Frame)>, Stop> {
        let count = self.length(ELEMENTS_MAX)?.unwrap_or_default();
        (0..count).map(|_| Ok((self.frame(depth - 1)?, self.frame(depth - 1)?))).collect()
    }
}

/// The text of a verbatim string: what follows its format, three letters and a colon.
fn verbatim(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(bytes.get(4..).unwrap_or_default()).into_owned()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Bytes as `redis-cli` quotes them: printable ASCII as it is, the rest escaped.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\x07' => text.push_str("\\a"),
            b'\x08' => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => write!(text, "\\x{other:02x}").expect("writing to memory does not fail"),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
