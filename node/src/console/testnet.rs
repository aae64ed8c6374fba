//! The testnet that a console belongs to: words go out as one line of JSON, an answer comes back as one.

use crate::resp::patience::Patience;
#[cfg(unix)]
use crate::resp::patience::Patient;
use serde::Deserialize;
use std::path::PathBuf;

/// The socket of a testnet in a directory.
#[derive(Clone, Debug)]
pub struct Testnet {
    socket: PathBuf,
    patience: Patience,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    pub ok: bool,
    pub text: String,
}

impl Testnet {
    pub fn in_directory(directory: PathBuf) -> Self {
        Self { socket: directory.join("testnet.sock"), patience: Patience::default() }
    }

    /// The same, which gives up waiting when `patience` does.
    pub fn with_patience(self, patience: &Patience) -> Self {
        Self { patience: patience.clone(), ..self }
    }

    /// Sends words and waits for the answer. Error: the testnet does not answer, in words for the user.
    pub fn send(&self, words: &[&str]) -> Result<Answer, String> {
        self.exchange(words).map_err(|error| match Patience::was_lost(&error) {
            true => "given up; the testnet goes on with it".to_owned(),
            false => format!("the testnet does not answer ({error}); is testnet up still running?"),
        })
    }

    #[cfg(unix)]
    fn exchange(&self, words: &[&str]) -> std::io::Result<Answer> {
        use std::io::{BufRead, BufReader, Read, Write};
        /// Longest answer, in bytes: the status of a large testnet.
        const ANSWER_MAX: u64 = 4 * 1024 * 1024;
        /// Restarting several peers takes its time.
        const LONGEST: std::time::Duration = std::time::Duration::from_secs(180);
        let stream = std::os::unix::net::UnixStream::connect(&self.socket)?;
        let mut stream = Patient::local(stream, &self.patience)?;
        let mut line = serde_json::to_vec(words)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        let mut reader = BufReader::new(stream.take(ANSWER_MAX));
        self.patience.at_most(LONGEST, || reader.read_until(b'\n', &mut answer))?;
        Ok(serde_json::from_slice(&answer)?)
    }

    #[cfg(not(unix))]
    fn exchange(&self, _: &[&str]) -> std::io::Result<Answer> {
        Err(std::io::Error::other(format!("{} is a Unix socket", self.socket.display())))
    }

    /// Where the peer of that name takes commands. Error: there is none, in words for the user.
    pub fn address_of(&self, name: &str) -> Result<String, String> {
        let answer = self.send(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let peers = status.get("peers").and_then(|peers| peers.as_array()).cloned().unwrap_or_default();
        let field = |peer: &serde_json::Value, field: &str| Some(peer.get(field)?.as_str()?.to_owned());
        let found = peers.iter().find(|peer| field(peer, "name").as_deref() == Some(name));
        found.and_then(|peer| field(peer, "resp")).ok_or_else(|| {
            let names: Vec<_> = peers.iter().filter_map(|peer| field(peer, "name")).collect();
            format!("no peer of this testnet is called {name}; there are {}", names.join(" "))
        })
    }
}
