//! When a peer is to stop: SIGTERM, SIGINT, SIGHUP, or the end of standard input where that was asked for.

use crate::error::Error;
use std::io::Read;
use tokio::sync::watch;

/// Exit code after a second signal, when nothing is waited for any more (128 + SIGINT).
const IN_A_HURRY: i32 = 130;

#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Takes over the signals of the process. A second one ends it at once.
    pub fn install(on_stdin_eof: bool) -> Result<Self, Error> {
        let (wanted, stop) = watch::channel(false);
        let mut signals = Signals::install()
            .map_err(|error| Error::new("cannot receive signals of the system").why(error))?;
        let by_signal = wanted.clone();
        tokio::spawn(async move {
            signals.next().await;
            by_signal.send_replace(true);
            signals.next().await;
            std::process::exit(IN_A_HURRY);
        });
        if on_stdin_eof {
            // Reading blocks, and cannot be given up: the thread ends with the process.
            std::thread::spawn(move || {
                let mut buffer = [0; 256];
                while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
                wanted.send_replace(true);
            });
        }
        Ok(Self(stop))
    }

    pub async fn wanted(&self) {
        // The sender lives in a task that ends with the process.
        let _ = self.0.clone().wait_for(|wanted| *wanted).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// The terminal has gone away.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(()) = received(&mut self.hangup) => {}
        }
    }
}

#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// As by `nohup`: then the peer is to outlive its terminal. Where the system does not tell, nothing is changed.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
