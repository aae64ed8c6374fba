//! How long a client waits for a reply: a while, and no longer than its user wants to.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a reply may take: longer than any deadline of a peer.
const REPLY: Duration = Duration::from_secs(30);
/// How often one who waits looks whether it is to give up.
const GLANCE: Duration = Duration::from_millis(50);

/// Shared by all who can end the wait.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    given_up: AtomicBool,
    longest_ms: AtomicU64,
}

/// Somebody wants to wait no more.
#[derive(Debug, thiserror::Error)]
#[error("given up before the reply")]
struct GivenUp;

impl Default for Patience {
    fn default() -> Self {
        let longest_ms = AtomicU64::new(REPLY.as_millis() as u64);
        Self(Arc::new(Limits { given_up: AtomicBool::new(false), longest_ms }))
    }
}

impl Patience {
    /// Whoever waits now gets an error at once, and so does the next, until `begin`.
    pub fn give_up(&self) {
        self.0.given_up.store(true, Ordering::SeqCst);
    }

    /// What was given up before is over.
    pub fn begin(&self) {
        self.0.given_up.store(false, Ordering::SeqCst);
    }

    /// Whether an error came about because somebody gave up.
    pub fn was_lost(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<GivenUp>())
    }

    /// Runs what shall wait for less than a reply may take, or may wait for longer.
    pub fn at_most<T>(&self, longest: Duration, run: impl FnOnce() -> T) -> T {
        let before = self.0.longest_ms.swap(longest.as_millis() as u64, Ordering::SeqCst);
        let result = run();
        self.0.longest_ms.store(before, Ordering::SeqCst);
        result
    }

    /// Runs what shall wait for less than it may now, if that is more than this.
    pub fn shortened<T>(&self, longest: Duration, run: impl FnOnce() -> T) -> T {
        self.at_most(longest.min(self.longest()), run)
    }

    /// How long a reply is waited for now.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.0.longest_ms.load(Ordering::SeqCst))
    }

    fn check(&self, since: Instant) -> io::Result<()> {
        if self.0.given_up.load(Ordering::SeqCst) {
            return Err(io::Error::other(GivenUp));
        }
        if since.elapsed() >= self.longest() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

/// A connection whose reads end when nobody wants to wait any more.
pub struct Patient<S> {
    stream: S,
    patience: Patience,
}

impl Patient<TcpStream> {
    pub fn new(stream: TcpStream, patience: &Patience) -> io::Result<Self> {
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(REPLY))?;
        Ok(Self { stream, patience: patience.clone() })
    }
}

#[cfg(unix)]
impl Patient<std::os::unix::net::UnixStream> {
    pub fn local(stream: std::os::unix::net::UnixStream, patience: &Patience) -> io::Result<Self> {
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(REPLY))?;
        Ok(Self { stream, patience: patience.clone() })
    }
}

impl<S: Read> Read for Patient<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            self.patience.check(since)?;
            match self.stream.read(buffer) {
                // What a read that takes too long is called differs between systems.
                Err(error) if is_glance(&error) => {}
                read => return read,
            }
        }
    }
}

fn is_glance(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

impl<S: Write> Write for Patient<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to one who says nothing.
    fn silent(patience: &Patience) -> (Patient<TcpStream>, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Patient::new(stream, patience).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn a_wait_ends_when_somebody_gives_up_and_the_next_one_is_as_long_as_ever() {
        let patience = Patience::default();
        let (mut stream, mut there) = silent(&patience);
        let other = patience.clone();
        let giving_up = std::thread::spawn(move || other.give_up());
        assert!(Patience::was_lost(&stream.read(&mut [0; 8]).unwrap_err()));
        giving_up.join().unwrap();
        patience.begin();
        there.write_all(b"+OK").unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 3);
    }

    #[test]
    fn a_wait_that_is_to_be_short_is() {
        let patience = Patience::default();
        let (mut stream, _there) = silent(&patience);
        let error = patience.at_most(Duration::from_millis(1), || stream.read(&mut [0; 8]).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!Patience::was_lost(&error));
        let mut shortened = || patience.shortened(Duration::from_millis(1), || stream.read(&mut [0; 8]));
        assert_eq!(shortened().unwrap_err().kind(), io::ErrorKind::TimedOut);
        let longer = || patience.shortened(REPLY, || patience.longest().as_millis());
        assert_eq!(patience.at_most(Duration::from_millis(1), longer), 1, "what is shorter already stays so");
    }
}
