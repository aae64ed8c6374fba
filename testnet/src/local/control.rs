//! How a running testnet is spoken to from outside: a Unix socket in its directory. One connection, one
//! line with a JSON array of words, one line back.

use super::commands;
use super::error::Error;
use super::network::Network;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const FILE: &str = "testnet.sock";
/// Longest line that is read, in bytes.
const LINE_MAX: u64 = 64 * 1024;
/// Whoever connects must have sent its line by then, since requests are served one after another.
const LINE_WITHIN: Duration = Duration::from_secs(5);

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub ok: bool,
    pub text: String,
}

/// The network, as the socket and the program that started it share it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Network>>);

impl Shared {
    pub fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    /// A request that panicked leaves processes that still have to be stopped: the lock is not refused.
    pub fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves requests, one after another, until the program ends.
pub fn serve(dir: &Path, network: Shared) -> Result<(), Error> {
    let path = dir.join(FILE);
    // Whoever calls holds the lock of the directory, so a socket that lies there is a dead one's.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(Error::io("cannot listen at", &path))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller that goes away early loses only its own answer.
            let _ = answer(&stream, &network);
        }
    });
    Ok(())
}

pub fn close(dir: &Path) {
    let _ = fs::remove_file(dir.join(FILE));
}

fn answer(stream: &UnixStream, network: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(LINE_WITHIN))?;
    stream.set_write_timeout(Some(LINE_WITHIN))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    let result = match serde_json::from_str::<Vec<String>>(&line) {
        Ok(words) => commands::run(&mut network.lock(), &words),
        Err(_) => Err(Error::Words("expected one line with a JSON array of words".into())),
    };
    let answer = match result {
        Ok(text) => Answer { ok: true, text },
        Err(error) => Answer { ok: false, text: error.to_string() },
    };
    send(stream, &answer)
}

fn send(mut stream: &UnixStream, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    stream.write_all(&bytes)
}

/// Asks the testnet that runs in `dir`. Errors: none runs there, or it ended before it answered.
pub fn ask(dir: &Path, words: &[String]) -> Result<Answer, Error> {
    let path = dir.join(FILE);
    let stream = UnixStream::connect(&path).map_err(|_| Error::NotRunning { dir: dir.to_owned() })?;
    let mut line = String::new();
    let sent = send(&stream, &words).and_then(|()| BufReader::new(&stream).read_line(&mut line));
    sent.map_err(Error::io("no answer through", &path))?;
    serde_json::from_str(&line).map_err(|_| Error::Words("the testnet stopped before it answered".into()))
}
