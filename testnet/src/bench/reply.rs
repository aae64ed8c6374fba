//! Where a reply ends and what it is: as much as counting needs.

/// Longest reply that is taken: larger than any value that a request here can ask for.
const REPLY_MAX: usize = 64 * 1024 * 1024;
/// Longest line: a status, a number, an error.
const LINE_MAX: usize = 64 * 1024;
/// How deep arrays may lie in one another.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fine,
    /// The key was not there.
    Nil,
    Error,
}

/// The server speaks something else than RESP2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage;

/// The first reply in `bytes`: its length and kind. `None`: there is more to come.
pub fn first(bytes: &[u8]) -> Result<Option<(usize, Kind)>, Garbage> {
    reply(bytes, 0)
}

fn reply(bytes: &[u8], depth: usize) -> Result<Option<(usize, Kind)>, Garbage> {
    let Some(line) = line(bytes)? else { return Ok(None) };
    let after = line.len() + 2;
    match line.first() {
        Some(b'+' | b':') => Ok(Some((after, Kind::Fine))),
        Some(b'-') => Ok(Some((after, Kind::Error))),
        Some(b'$') => match count(&line[1..])? {
            None => Ok(Some((after, Kind::Nil))),
            Some(length) => {
                let all = after + length + 2;
                Ok((bytes.len() >= all).then_some((all, Kind::Fine)))
            }
        },
        Some(b'*') if depth < DEPTH_MAX => match count(&line[1..])? {
            None => Ok(Some((after, Kind::Nil))),
            Some(elements) => array(bytes, after, elements, depth),
        },
        _ => Err(Garbage),
    }
}

fn array(
    bytes: &[u8],
    mut at: usize,
    elements: usize,
    depth: usize,
) -> Result<Option<(usize, Kind)>, Garbage> {
    for _ in 0..elements {
        let Some((length, _)) = reply(&bytes[at..], depth + 1)? else { return Ok(None) };
        at += length;
        if at > REPLY_MAX {
            return Err(Garbage);
        }
    }
    Ok(Some((at, Kind::Fine)))
}

/// Up to the first CRLF, without it.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Garbage> {
    let window = &bytes[..bytes.len().min(LINE_MAX)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(0) => Err(Garbage),
        Some(at) if bytes[at - 1] == b'\r' => Ok(Some(&bytes[..at - 1])),
        Some(_) => Err(Garbage),
        None if bytes.len() >= LINE_MAX => Err(Garbage),
        None => Ok(None),
    }
}

/// A length; `None`: -1.
fn count(digits: &[u8]) -> Result<Option<usize>, Garbage> {
    if digits == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Garbage)?;
    let count = text.parse::<usize>().map_err(|_| Garbage)?;
    if count > REPLY_MAX { Err(Garbage) } else { Ok(Some(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_is_measured_and_told_apart() {
        let cases: [(&str, usize, Kind); 8] = [
            ("+OK\r\n", 5, Kind::Fine),
            (":12\r\n", 5, Kind::Fine),
            ("-ERR no\r\n", 9, Kind::Error),
            ("$3\r\nabc\r\n", 9, Kind::Fine),
            ("$0\r\n\r\n", 6, Kind::Fine),
            ("$-1\r\n", 5, Kind::Nil),
            ("*-1\r\n", 5, Kind::Nil),
            ("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", 19, Kind::Fine),
        ];
        for (text, length, kind) in cases {
            assert_eq!(first(text.as_bytes()), Ok(Some((length, kind))), "{text:?}");
            assert_eq!(first(format!("{text}+OK\r\n").as_bytes()), Ok(Some((length, kind))), "{text:?}");
            for cut in 0..length {
                assert_eq!(first(&text.as_bytes()[..cut]), Ok(None), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        let long = "x".repeat(LINE_MAX);
        for text in ["HTTP/1.1 200 OK\r\n", "$x\r\n", "$99999999999\r\n", "\n", "+OK\n", &deep, &long] {
            assert_eq!(first(text.as_bytes()), Err(Garbage), "{:.20}", text);
        }
    }
}
