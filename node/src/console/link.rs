//! The connection of the console, made when it is needed and made again when it broke.

use super::output::exit_code;
use super::reach::Reach;
use crate::directory::Directory;
use crate::error::{Error, FAILURE};
use crate::render::StatusPage;
use crate::resp::client::{Client, Login, OPENING, is_silent, is_strange, speaks_tls_alone};
use crate::resp::frame::Frame;
use crate::resp::patience::Patience;
use crate::resp::tls::{self, Trust};
use crate::stdio;
use starling_protocol::admission::token::Token;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Where a peer takes commands when nothing else is said.
pub const DEFAULT_PORT: u16 = 7379;
/// How long a prompt is waited for, at each of three questions.
const SOON: Duration = Duration::from_secs(1);
/// As of a program that SIGINT ends.
const GIVEN_UP: u8 = 130;
/// `TIMEOUT`: the outcome is unknown.
pub const TIMED_OUT: u8 = 7;

pub struct Link {
    address: String,
    reach: Reach,
    client: Option<Client>,
    /// What AUTH has said, where nothing else was enough.
    login: Option<Login>,
    /// The last QUORUM that was accepted: a connection that is made again begins with it.
    quorum: Option<Vec<Vec<u8>>>,
    patience: Patience,
    hints: &'static Hints,
}

/// What to do where no peer is reached, or one that does not answer.
struct Hints {
    start: &'static str,
    wake: &'static str,
}

const ALONE: Hints = Hints {
    start: "start one with `starling up`, or name another: --connect HOST:PORT, or the directory of one that runs here: --dir DIR",
    wake: "see its process and its log, and start it again if it stays so; or name another: --connect HOST:PORT",
};
const IN_TESTNET: Hints = Hints {
    start: ":status lists the peers; :restart p1 starts one again, @p2 get k asks another",
    wake: ":status lists the peers; :resume p1 lets a paused one go on, @p2 get k asks another",
};

/// A reply, and what was noted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    pub frame: Frame,
    /// Concurrent values that the reply does not show.
    pub hidden: i64,
}

impl Link {
    /// `address`: host and port; `reach`: how. Nothing is sent yet.
    pub fn to(address: String, reach: &Reach) -> Self {
        let patience = Patience::default();
        let (reach, client, login, quorum) = (reach.clone(), None, None, None);
        Self { address, reach, client, login, quorum, patience, hints: &ALONE }
    }

    /// Among peers that the console itself can start again.
    pub fn in_testnet(self) -> Self {
        Self { hints: &IN_TESTNET, ..self }
    }

    /// To another peer in the same way.
    pub fn beside(&self, address: String) -> Self {
        let (patience, hints) = (self.patience.clone(), self.hints);
        Self { patience, hints, ..Self::to(address, &self.reach) }
    }

    /// Ends its waits, and those of the links beside it.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a command, connecting first if need be. A connection that was idle may have been closed by a
    /// peer that restarted, or whose last word was that a token has ended: then it is made again, but a command is
    /// never sent twice by itself.
    pub fn run<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<Reached, Error> {
        let (address, patience, before) = (self.address.clone(), self.patience.clone(), self.client.take());
        let client = match aloud(&address, &patience, || self.alive(before)) {
            Ok(client) => self.client.insert(client),
            Err(error) if error.is_named("NOAUTH") => return self.log_in(words).unwrap_or(Err(error)),
            Err(error) => return Err(error),
        };
        match client.call(words) {
            Ok(Frame::Attributed(notes, frame)) => Ok(Reached { frame: *frame, hidden: hidden(&notes) }),
            Ok(frame) => {
                self.remember(words, &frame);
                Ok(Reached { frame, hidden: 0 })
            }
            Err(error) => {
                self.client = None;
                Err(self.broken(&error))
            }
        }
    }

    /// This connection, if it answers, or another.
    fn alive(&self, before: Option<Client>) -> Result<Client, Error> {
        if let Some(mut client) = before {
            let ping = self.patience.shortened(OPENING, || client.call(&["PING"]));
            if matches!(ping, Ok(Frame::Simple(pong)) if pong == "PONG") {
                return Ok(client);
            }
        }
        self.connect()
    }

    /// AUTH is what opens a connection that else is refused. `None`: that is not what was typed.
    fn log_in<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Option<Result<Reached, Error>> {
        self.login = Some(Login::typed(words)?);
        let connected = self.connect().map(|client| {
            self.client = Some(client);
            Reached { frame: Frame::ok(), hidden: 0 }
        });
        if connected.is_err() {
            self.login = None;
        }
        Some(connected)
    }

    fn connect(&self) -> Result<Client, Error> {
        let login = self.login()?;
        let trust = self.reach.trust().or_else(|| own_certificate(&self.reach, &self.address));
        trust.iter().try_for_each(tls::usable)?;
        let unreachable = |error| self.unreachable(&error);
        let mut client = Client::connect(&self.address, login.as_ref(), trust.as_ref(), &self.patience)
            .map_err(unreachable)?;
        let ask = |quorum: &Vec<Vec<u8>>| self.patience.shortened(OPENING, || client.call(quorum));
        let answer = self.quorum.as_ref().map(ask).transpose();
        match answer.map_err(unreachable)? {
            Some(Frame::Error(line)) => Err(self.other_quorum(&line)),
            _ => Ok(client),
        }
    }

    /// What was asked for on this connection holds on the next one too; RESET ends it as it does there. After that,
    /// and in RESP2, replies lack what the console shows, such as notes: so the next command connects anew.
    fn remember<A: AsRef<[u8]>>(&mut self, words: &[A], answer: &Frame) {
        let is = |at: usize, text: &[u8]| {
            words.get(at).is_some_and(|word: &A| word.as_ref().eq_ignore_ascii_case(text))
        };
        match words.len() {
            _ if matches!(answer, Frame::Error(_)) => {}
            _ if is(0, b"AUTH") => self.login = Login::typed(words),
            1 if is(0, b"RESET") => (self.quorum, self.client, self.login) = (None, None, None),
            _ if is(0, b"HELLO") && is(1, b"2") => self.client = None,
            2 if is(0, b"QUORUM") => self.quorum = None,
            3 if is(0, b"QUORUM") => {
                self.quorum = Some(words.iter().map(|word| word.as_ref().to_vec()).collect());
            }
            _ => {}
        }
    }

    fn other_quorum(&self, line: &str) -> Error {
        Error::new(format!("{} does not take the QUORUM of this console", self.address))
            .why(line)
            .hint("start the console again: it then begins with the quorum of the network")
    }

    /// A token, or the password where one is to be found.
    fn login(&self) -> Result<Option<Login>, Error> {
        if let Some(login) = &self.login {
            return Ok(Some(login.clone()));
        }
        if let Some(token) = self.reach.token() {
            if !Token::is_like(token.as_bytes()) {
                return Err(no_token());
            }
            return Ok(Some(Login { user: "token".into(), secret: token.to_owned() }));
        }
        Ok(password(&self.reach, &self.address)?.map(|secret| Login { user: "default".into(), secret }))
    }

    /// What the peer knows of its network. Errors: it cannot be reached, or does not tell this client.
    pub fn status(&mut self) -> Result<StatusPage, Error> {
        ask_json(self, &["STATUS", "JSON"]).map(|(_, page)| page)
    }

    /// The same, where a person waits to type and a peer that stands still is better told of soon.
    pub fn status_soon(&mut self) -> Result<StatusPage, Error> {
        let patience = self.patience.clone();
        patience.at_most(SOON, || self.status())
    }

    /// Whether a peer has let this client in, whatever it said to the last command.
    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let name = if error.kind() == io::ErrorKind::PermissionDenied { "NOAUTH" } else { "UNREACHABLE" };
        self.why_unreachable(error).named(name)
    }

    fn why_unreachable(&self, error: &io::Error) -> Error {
        if Patience::was_lost(error) {
            return Error::new(format!("given up before {} had answered", self.address))
                .why("it is slow, paused or cut off; nothing of this command was sent")
                .hint("try again, or name another: --connect HOST:PORT")
                .with_code(GIVEN_UP);
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            let hint = match self.login.is_none() && self.reach.token().is_some() {
                true => "ask for another: starling token create, at a peer of that network",
                false => {
                    "name the file that holds its password: --password-file FILE, or STARLING_PASSWORD_FILE; or log in \
                     with a token: --token TOKEN; in the console: auth PASSWORD"
                }
            };
            return Error::new(format!("the peer at {} does not let this client in", self.address))
                .why(error)
                .hint(hint);
        }
        if let Some((why, hint)) = tls::failed(error) {
            return Error::new(format!("no secure connection to {}", self.address)).why(why).hint(hint);
        }
        if is_silent(error) {
            return Error::new(format!(
                "the peer at {} takes connections, but does not answer",
                self.address
            ))
            .why("it is starting still, or paused, overloaded or stuck; nothing of this command was sent")
            .hint(self.hints.wake);
        }
        if speaks_tls_alone(error) {
            return Error::new(format!("the peer at {} speaks TLS alone", self.address))
                .why("what is sent there must be encrypted")
                .hint("say --tls, or --tls-ca FILE to name its certificate");
        }
        if is_strange(error) {
            return Error::new(format!("what answers at {} is no Starling peer", self.address))
                .why(error)
                .hint("name another address: --connect HOST:PORT");
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::new(format!("something answers at {}, but not as a client port", self.address))
                .why("it has closed the connection; or it is a peer that was just stopping")
                .hint("name the address that is under \"clients\" where the peer was started: --connect HOST:PORT");
        }
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
            io::ErrorKind::TimedOut => "nobody answered in time".into(),
            _ => error.to_string(),
        };
        Error::new(format!("no peer can be reached at {}", self.address))
            .why(why)
            .hint(self.hints.start)
            .with_code(FAILURE)
    }

    fn broken(&self, error: &io::Error) -> Error {
        if Patience::was_lost(error) {
            return Error::new("given up before the reply")
                .named("TIMEOUT")
                .why("a write may or may not have been done")
                .hint("read the key to see; the next command connects again")
                .with_code(GIVEN_UP);
        }
        let (why, code, name) = match error.kind() {
            io::ErrorKind::TimedOut => ("no answer came in time".into(), TIMED_OUT, "TIMEOUT"),
            io::ErrorKind::UnexpectedEof => ("the peer closed the connection".into(), FAILURE, "BROKEN"),
            _ => (error.to_string(), FAILURE, "BROKEN"),
        };
        Error::new(format!("the connection to {} broke before the reply", self.address))
            .why(format!("{why}; a write may or may not have been done"))
            .hint("read the key to see; the next command connects again")
            .with_code(code)
            .named(name)
    }
}

/// Says that the peer is silent where that lasts; not where one waits but for a moment, and is told what came of it.
fn aloud<T>(address: &str, patience: &Patience, wait: impl FnOnce() -> T) -> T {
    if patience.longest() <= stdio::SILENCE {
        return wait();
    }
    let (waiting, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(stdio::SILENCE) == Err(RecvTimeoutError::Timeout) {
                stdio::say(format_args!("the peer at {address} has not answered yet"));
            }
        });
        let result = wait();
        drop(waiting);
        result
    })
}

/// It may be a password, and is not shown.
fn no_token() -> Error {
    Error::usage("what was given as a token is none")
        .why("a token begins with stk1")
        .hint("copy the whole line that `starling token create` has printed; a password is named by its file: --password-file FILE")
}

/// The object that a command answers, as text and read. Errors: the peer cannot be reached, refuses, or is
/// of another version.
pub fn ask_json<T: serde::de::DeserializeOwned>(
    link: &mut Link,
    words: &[&str],
) -> Result<(String, T), Error> {
    let strange = |why: &str| Error::new("the peer's answer makes no sense").why(why);
    let frame = link.run(words)?.frame;
    let code = exit_code(&frame);
    let text = match frame {
        Frame::Bulk(text) => text,
        Frame::Error(line) => return Err(Error::of_line(&line).with_code(code)),
        _ => return Err(strange("it is of another version")),
    };
    let read = serde_json::from_slice(&text).map_err(|error| strange(&error.to_string()))?;
    Ok((String::from_utf8_lossy(&text).into_owned(), read))
}

fn hidden(notes: &[(Frame, Frame)]) -> i64 {
    let note = notes.iter().find(|(name, _)| *name == Frame::bulk("hidden"));
    match note {
        Some((_, Frame::Int(hidden))) => *hidden,
        _ => 0,
    }
}

/// `host:port`, `:port` or a port alone, as an address. `None`: none of these.
pub fn as_address(text: &str) -> Option<String> {
    let local = |port: NonZeroU16| SocketAddr::from((Ipv4Addr::LOCALHOST, port.get())).to_string();
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Some(local(port));
    }
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<NonZeroU16>().ok()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // Digits alone are a port that is mistyped.
    let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !host.bytes().all(|b| b.is_ascii_digit());
    (bare.parse::<IpAddr>().is_ok() || is_name).then(|| text.to_owned())
}

/// The same, and a host alone, at the usual port.
pub fn as_place(text: &str) -> Result<String, Error> {
    let host = || match text.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, DEFAULT_PORT).to_string()),
        Err(_) if text.is_empty() => None,
        Err(_) => as_address(&format!("{text}:{DEFAULT_PORT}")),
    };
    as_address(text).or_else(host).ok_or_else(|| {
        Error::usage(format!("{text:?} is not an address"))
            .hint("write host:port, a host or a port (1 to 65535), such as 127.0.0.1:7379")
    })
}

/// The password of the file that was named, or else of this user's own running peer.
fn password(reach: &Reach, address: &str) -> Result<Option<String>, Error> {
    let named = reach.password_file().map(PathBuf::from);
    let own = || own_file(reach, address, "password_file").map(PathBuf::from);
    let first = if reach.names_directory() && !reach.names_password() { own() } else { None };
    first.or(named).or_else(own).map(|path| crate::password::read(&path)).transpose()
}

/// That of this user's own running peer, if it is reached there.
fn own_certificate(reach: &Reach, address: &str) -> Option<Trust> {
    own_file(reach, address, "tls_cert").map(|path| Trust::File(path.into()))
}

/// A file that this user's own running peer names, if that peer is reached at this address.
fn own_file(reach: &Reach, address: &str, what: &str) -> Option<String> {
    let ready = own_peer(reach).ok()??;
    let path = ready.get(what)?.as_str()?.to_owned();
    (reached_at(&ready)? == address).then_some(path)
}

/// The peer of this user that runs, by the file it leaves in its directory; else the usual port.
pub fn default_address(reach: &Reach) -> String {
    let usual = || SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)).to_string();
    own_address(reach).ok().flatten().unwrap_or_else(usual)
}

/// That of the peer of this user that runs. Errors: this user may not look.
pub fn own_address(reach: &Reach) -> io::Result<Option<String>> {
    Ok(own_peer(reach)?.and_then(|ready| reached_at(&ready)))
}

/// Only while it runs: at the address of one that was killed somebody else may listen by now, for its password.
fn own_peer(reach: &Reach) -> io::Result<Option<serde_json::Value>> {
    let said = reach.directory().map(|dir| Directory::running(&dir)).transpose()?.flatten();
    Ok(said.and_then(|said| serde_json::from_slice(&said).ok()))
}

fn reached_at(ready: &serde_json::Value) -> Option<String> {
    let address: SocketAddr = ready.get("resp")?.as_str()?.parse().ok()?;
    // A peer that takes clients on all addresses is reached on this one.
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    Some(SocketAddr::new(ip, address.port()).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::reach::Place;
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn addresses_are_read_in_their_short_forms() {
        assert_eq!(as_address("7379").as_deref(), Some("127.0.0.1:7379"));
        assert_eq!(as_address(":7379").as_deref(), Some("127.0.0.1:7379"));
        assert_eq!(as_address("db1.lan:7379").as_deref(), Some("db1.lan:7379"));
        assert_eq!(as_address("[::1]:7379").as_deref(), Some("[::1]:7379"));
        for text in ["p1", "", "host:", "host:99999", "host:0", "0", "a b:1", ":x", "73:80"] {
            assert_eq!(as_address(text), None, "{text}");
        }
        assert_eq!(as_place("localhost").unwrap(), "localhost:7379");
        assert_eq!(as_place("::1").unwrap(), "[::1]:7379");
        assert_eq!(as_place("7380").unwrap(), "127.0.0.1:7380");
        for text in ["", "host:", "host:99999", "a b", ":x", "73790", "0"] {
            assert!(as_place(text).unwrap_err().to_string().contains("1 to 65535"), "{text}");
        }
    }

    #[test]
    fn the_quorum_that_was_accepted_last_is_remembered() {
        let mut link = Link::to("127.0.0.1:1".into(), &Reach::default());
        link.remember(&["quorum", "1", "3"], &Frame::ok());
        link.remember(&["QUORUM", "9", "9"], &Frame::error("ERR R is from 1 to N, here 3"));
        link.remember(&["QUORUM"], &Frame::Map(Vec::new()));
        link.remember(&["GET", "quorum"], &Frame::Null);
        assert_eq!(link.quorum, Some(vec![b"quorum".to_vec(), b"1".to_vec(), b"3".to_vec()]));
        link.remember(&["quorum", "default"], &Frame::ok());
        assert_eq!(link.quorum, None);
    }

    #[test]
    fn who_takes_connections_and_says_nothing_is_not_told_as_one_that_is_not_there() {
        // The system takes them, as for a process that is stopped.
        let stopped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut link = Link::to(stopped.local_addr().unwrap().to_string(), &Reach::default());
        let patience = link.patience().clone();
        let error = patience.at_most(Duration::from_millis(1), || link.run(&["PING"]).unwrap_err());
        let text = error.to_string();
        assert!(text.contains("takes connections, but does not answer"), "{text}");
        assert!(text.contains("paused") && !text.contains("starling up"), "{text}");
    }

    /// It is told unasked, and is no answer to what is asked next.
    #[test]
    fn a_connection_whose_token_has_ended_meanwhile_takes_no_command() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = peer.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let ended = "-NOAUTH the token was revoked; connect again with another\r\n";
            for answers in [&["+OK\r\n", "+OK\r\n", "+OK\r\n", ":1\r\n", ended][..], &[ended]] {
                let (mut stream, _) = peer.accept().unwrap();
                for answer in answers {
                    // The last line of a connection is not waited for.
                    if *answer != ended {
                        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                    }
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let mut link = Link::to(at, &Reach::default());
        assert_eq!(link.run(&["INCR", "k"]).unwrap().frame, Frame::Int(1));
        let error = link.run(&["INCR", "k"]).unwrap_err();
        assert!(error.is_named("NOAUTH") && error.to_string().contains("was revoked"), "{error}");
        serving.join().unwrap();
    }

    #[test]
    fn what_is_no_token_is_told_before_anybody_is_asked() {
        let place = Place { token: Some("my secret".into()), ..Place::default() };
        let reach = Reach { place, ..Reach::default() };
        let error = Link::to("127.0.0.1:1".into(), &reach).run(&["PING"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("a token begins with stk1") && !text.contains("secret"), "{text}");
        assert_eq!(error.code(), crate::error::USAGE);
    }

    #[test]
    fn who_cannot_be_reached_is_named_with_what_to_do() {
        // Bound and closed again: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Link::to(free.to_string(), &Reach::default()).run(&["PING"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&free.to_string()) && text.contains("starling up"), "{text}");
        assert_eq!(error.code(), FAILURE);
        assert!(!text.contains("takes connections"), "{text}");
        let link = Link::to("127.0.0.1:1".into(), &Reach::default()).in_testnet();
        let error = link.beside(free.to_string()).run(&["PING"]).unwrap_err().to_string();
        assert!(error.contains(":restart") && !error.contains("starling up"), "{error}");
    }
}
