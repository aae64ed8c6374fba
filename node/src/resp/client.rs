//! A client of a peer, for the console and the one-shot commands: one command at a time.

use super::frame::{Frame, decode, encode_command};
use super::patience::{Patience, Patient};
use super::tls::{self, Trust};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a peer may take to answer what needs no other peer and no disk, such as a greeting.
pub const OPENING: Duration = Duration::from_secs(5);
/// The first byte of what TLS answers to one who does not speak it (RFC 8446, section 5.1). No reply begins so.
const TLS_ALERT: u8 = 21;
/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;

/// A connection came about, and then nothing more.
#[derive(Debug, thiserror::Error)]
#[error("no answer to the greeting")]
struct Silent;

/// Whether somebody took the connection and did not answer.
pub fn is_silent(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Silent>())
}

fn silent(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, Silent),
        _ => error,
    }
}

/// What answers speaks no RESP before there is TLS.
#[derive(Debug, thiserror::Error)]
#[error("it speaks TLS alone; say --tls, or --tls-ca FILE")]
struct TlsAlone;

/// Whether whoever took the connection waits for TLS.
pub fn speaks_tls_alone(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<TlsAlone>())
}

/// What was answered is not what a peer answers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Strange(String);

/// Whether somebody answered who is no peer.
pub fn is_strange(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Strange>())
}

/// Who a client says it is.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    /// The password, or a token.
    pub secret: String,
}

impl Login {
    /// That of a command AUTH. `None`: it is none.
    pub fn typed<A: AsRef<[u8]>>(words: &[A]) -> Option<Self> {
        let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
        let (auth, user, secret) = match words.as_slice() {
            [auth, secret] => (auth, "default", secret),
            [auth, user, secret] => (auth, &**user, secret),
            _ => return None,
        };
        let is_auth = auth.eq_ignore_ascii_case("auth");
        is_auth.then(|| Self { user: user.into(), secret: secret.clone().into_owned() })
    }
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

pub struct Client {
    stream: Box<dyn Connection>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `host:port`, over TLS if `trust` says whom to believe, logs in if it is told how, speaks
    /// RESP3 and asks for notes. Errors: nobody answers there, or not as a peer would.
    pub fn connect(
        address: &str,
        login: Option<&Login>,
        trust: Option<&Trust>,
        patience: &Patience,
    ) -> io::Result<Self> {
        let stream = open(address)?;
        patience.shortened(OPENING, || Self::begin(stream, address, login, trust, patience)).map_err(silent)
    }

    fn begin(
        stream: TcpStream,
        address: &str,
        login: Option<&Login>,
        trust: Option<&Trust>,
        patience: &Patience,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let stream = Patient::new(stream, patience)?;
        let stream: Box<dyn Connection> = match trust {
            None => Box::new(stream),
            Some(trust) => Box::new(tls::connect(stream, host_of(address), trust)?),
        };
        let mut client = Self { stream, buffer: Vec::new() };
        let (user, secret) = login.map_or(("", ""), |login| (&login.user, &login.secret));
        let hello = ["HELLO", "3", "AUTH", user, secret];
        let opening: [&[&str]; 3] = [
            if login.is_some() { &hello } else { &hello[..2] },
            &["CLIENT", "SETINFO", "LIB-NAME", "starling-console"],
            &["CLIENT", "NOTES", "ON"],
        ];
        for words in opening {
            if let Frame::Error(line) = client.call(words)? {
                return Err(refused(&line));
            }
        }
        Ok(client)
    }

    /// Sends one command and waits for its reply. After an error the connection is of no use.
    pub fn call<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Frame> {
        let mut command = Vec::new();
        encode_command(words, &mut command);
        self.stream.write_all(&command)?;
        self.stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Frame> {
        let mut piece = vec![0; READ_SIZE];
        loop {
            if self.buffer.first() == Some(&TLS_ALERT) {
                return Err(io::Error::other(TlsAlone));
            }
            let frame = decode(&self.buffer).map_err(|error| io::Error::other(Strange(error.to_string())))?;
            if let Some((frame, length)) = frame {
                self.buffer.drain(..length);
                return Ok(frame);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
                Err(error) => return Err(error),
            }
        }
    }
}

fn refused(line: &str) -> io::Error {
    let denied = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    match line.split(' ').next().unwrap_or_default() {
        "NOAUTH" => match line.strip_suffix("; connect again with another") {
            // A token that was good a moment ago.
            Some(ended) => denied(ended.strip_prefix("NOAUTH ").unwrap_or(ended)),
            None => denied("it wants a password"),
        },
        "WRONGPASS" if line.contains("invalid username-password") => denied("the password is wrong"),
        "WRONGPASS" => denied(line.strip_prefix("WRONGPASS ").unwrap_or(line)),
        // A Starling peer says so in these words; what else an error is, is said by somebody else.
        "ERR" if line.starts_with("ERR max number of clients") => io::Error::new(
            io::ErrorKind::ConnectionAborted,
            line.strip_prefix("ERR ").unwrap_or(line).to_owned(),
        ),
        _ => io::Error::other(Strange(format!("it does not speak as one: {line}"))),
    }
}

/// Without the port, and without the brackets of IPv6.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn open(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "that name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_token_ends_while_it_comes_reads_that_and_no_wish_for_a_password() {
        let said = |line| refused(line).to_string();
        assert_eq!(said("NOAUTH the token was revoked; connect again with another"), "the token was revoked");
        assert_eq!(said("NOAUTH Authentication required."), "it wants a password");
    }
}
