//! As much of RESP2 as it takes to ask our own peers a few questions.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a peer on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A peer counts its keys for 10 s at most.
const COUNTED_WITHIN: Duration = Duration::from_secs(15);
/// Longest answer that is read, in bytes: the status of a hundred peers many times over.
const ANSWER_MAX: u64 = 1024 * 1024;

/// Longest list that is read.
const LIST_MAX: usize = 100_000;

/// Asks one command of the peer at this port. Errors: its error reply, or why there was none.
pub fn ask(port: u16, words: &[&str]) -> Result<String, String> {
    ask_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), words)
}

/// How many keys the peer at this port counts: each partition at an owner, at itself where it is one and lacks nothing.
/// Errors: also where that takes longer than the 10 s for which a peer counts.
pub fn count_keys(port: u16) -> Result<u64, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let text =
        exchange(address, &["DBSIZE"], COUNTED_WITHIN, reply).unwrap_or_else(|e| Err(e.to_string()))?;
    text.parse().map_err(|_| format!("DBSIZE is answered with {text:.80}"))
}

/// What `ask` does where the answer is a list; one value is a list of one, and nothing an empty one.
pub fn list(port: u16, words: &[&str]) -> Result<Vec<String>, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    exchange(address, words, PATIENCE, list_reply).unwrap_or_else(|e| Err(e.to_string()))
}

/// The same of a server elsewhere.
pub fn ask_at(address: SocketAddr, words: &[&str]) -> Result<String, String> {
    try_ask_at(address, words).unwrap_or_else(|e| Err(e.to_string()))
}

/// The same, where an error reply is told apart from no reply.
pub fn try_ask_at(address: SocketAddr, words: &[&str]) -> Answer<String> {
    exchange(address, words, PATIENCE, reply)
}

/// What the peer at this port knows of all others.
pub fn status(port: u16) -> Result<Value, String> {
    let text = ask(port, &["STATUS", "JSON"])?;
    serde_json::from_str(&text).map_err(|_| format!("STATUS JSON answered {text:.80}"))
}

/// One line of a peer's member table.
pub struct Member<'a> {
    pub name: &'a str,
    health: &'a str,
    step: &'a str,
}

impl Member<'_> {
    /// Alive or not; and how far it has come, if it is not all the way in.
    pub fn state(&self) -> String {
        let (health, step) = (self.health.to_ascii_lowercase(), self.step.to_ascii_lowercase());
        if self.is_member() { health } else { format!("{health} ({step})") }
    }

    /// All the way in.
    pub fn is_member(&self) -> bool {
        self.step.eq_ignore_ascii_case("member")
    }

    pub fn is_alive_member(&self) -> bool {
        self.is_member() && self.health.eq_ignore_ascii_case("alive")
    }
}

/// The member table of a status.
pub fn members(status: &Value) -> impl Iterator<Item = Member<'_>> {
    status["members"].as_array().into_iter().flatten().map(|member| Member {
        name: text(member, "name"),
        health: text(member, "health"),
        step: text(member, "step"),
    })
}

fn text<'a>(member: &'a Value, field: &str) -> &'a str {
    member.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Outside: why there was no reply. Inside: an error reply.
pub type Answer<T> = io::Result<Result<T, String>>;

fn exchange<T>(
    address: SocketAddr,
    words: &[&str],
    patience: Duration,
    read: impl FnOnce(&mut BufReader<io::Take<TcpStream>>) -> Answer<T>,
) -> Answer<T> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(command(words).as_bytes())?;
    read(&mut BufReader::new(stream.take(ANSWER_MAX)))
}

fn list_reply(reader: &mut impl BufRead) -> Answer<Vec<String>> {
    let head = reader.fill_buf()?;
    if head.starts_with(b"$-1") || head.starts_with(b"*-1") {
        return Ok(Ok(Vec::new()));
    }
    if !head.starts_with(b"*") {
        return Ok(reply(reader)?.map(|one| vec![one]));
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let count = line.trim_end()[1..].parse::<usize>().ok().filter(|count| *count < LIST_MAX);
    let count = count.ok_or_else(|| io::Error::other("it answered a list without a length"))?;
    let items: io::Result<Vec<_>> = (0..count).map(|_| reply(reader)).collect();
    Ok(items?.into_iter().collect())
}

fn command(words: &[&str]) -> String {
    let args = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), args.collect::<String>())
}

fn reply(reader: &mut impl BufRead) -> io::Result<Result<String, String>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let text = line.trim_end();
    match text.as_bytes().first() {
        Some(b'-') => Ok(Err(text[1..].to_owned())),
        Some(b'+' | b':') => Ok(Ok(text[1..].to_owned())),
        Some(b'$') => bulk(reader, &text[1..]).map(Ok),
        Some(_) => Err(io::Error::other(format!("it answered {text:.80}, which is no RESP"))),
        None => Err(io::Error::other("it closed the connection")),
    }
}

fn bulk(reader: &mut impl BufRead, length: &str) -> io::Result<String> {
    let length = length.parse::<u64>().ok().filter(|length| *length < ANSWER_MAX);
    let length = length.ok_or_else(|| io::Error::other("it answered without a length"))?;
    let mut text = String::new();
    reader.take(length).read_to_string(&mut text)?;
    reader.take(2).read_to_string(&mut String::new())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> Result<String, String> {
        reply(&mut bytes.as_bytes()).unwrap_or_else(|e| Err(e.to_string()))
    }

    #[test]
    fn words_become_a_command() {
        assert_eq!(command(&["STATUS", "JSON"]), "*2\r\n$6\r\nSTATUS\r\n$4\r\nJSON\r\n");
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(read("+OK\r\n").unwrap(), "OK");
        assert_eq!(read(":5\r\n").unwrap(), "5");
        assert_eq!(read("$5\r\na\r\nbc\r\n").unwrap(), "a\r\nbc");
        assert_eq!(read("-ERR no\r\n").unwrap_err(), "ERR no");
        assert!(read("").is_err() && read("HTTP/1.1\r\n").is_err() && read("$-1\r\n").is_err());
    }
}
