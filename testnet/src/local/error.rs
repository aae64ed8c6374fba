//! What can go wrong on the way, in the words of whoever started it.

use super::ports::Holder;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "port {port} is taken{}; stop what holds it, or let free ports be chosen with --base-port 0",
        by(holder)
    )]
    PortTaken { port: u16, holder: Option<Holder> },
    #[error(
        "no {0} free ports were found on 127.0.0.1; stop some programs, or name a range with --base-port"
    )]
    NoPorts(usize),
    #[error(
        "ports {base} and up do not leave room for {count} peers; choose a --base-port below {}",
        u16::MAX - 300
    )]
    PortRange { base: u16, count: usize },
    #[error(
        "the peer program was not found at {path}; build it with `cargo build -p starling-node`, or name it with --bin"
    )]
    NoBinary { path: PathBuf },
    #[error("the peer program could not be built; what the compiler says stands above")]
    Build,
    #[error("{name} did not start: {why}{}", log_lines(log))]
    Start { name: String, why: String, log: Vec<String> },
    #[error("the peers did not all find one another within {seconds} s: {seen}; look at the logs in {dir}")]
    Strangers { seconds: u64, seen: String, dir: PathBuf },
    #[error("{name} did not answer on its RESP port: {why}; `ctl status` shows who runs, its log is {log}")]
    Silent { name: String, why: String, log: PathBuf },
    #[error("a testnet runs in {dir} already (pid {pid}); stop that one, or choose another --dir")]
    Running { dir: PathBuf, pid: String },
    #[error("no testnet runs in {dir}; start one with `testnet up --dir {dir}`")]
    NotRunning { dir: PathBuf },
    #[error(
        "the testnet in {dir} was founded with {what} {was}, not {asked}; leave {flag} away, or choose another --dir"
    )]
    Founded { dir: PathBuf, what: &'static str, flag: &'static str, was: usize, asked: usize },
    #[error("{path} is not the plan of a testnet that this version can read ({why}); choose another --dir")]
    Plan { path: PathBuf, why: String },
    #[error("there is no peer {name}; there are {known}")]
    Unknown { name: String, known: String },
    #[error("{0}")]
    Words(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// For `map_err`: what was being done to which path.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}

fn by(holder: &Option<Holder>) -> String {
    holder.as_ref().map_or_else(String::new, |h| format!(" by pid {} ({})", h.pid, h.command))
}

fn log_lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n  | {line}")).collect()
}
