//! How soon peers learn of what has happened elsewhere.

use crate::local::cut::Cut;
use crate::local::{Error, Interrupt, Missed, Network, resp, until};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for something to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// Between two writes whose arrival is watched.
const WRITE_EVERY: Duration = Duration::from_millis(50);

/// In the line that a peer writes into its log, of JSON where it is a file, when it takes another for dead.
const TAKEN_FOR_DEAD: &str = r#""health":"Dead""#;

/// A connection that waits for its answers: for one question at a time.
struct Asker {
    reader: BufReader<TcpStream>,
}

impl Asker {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SEEN_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SEEN_WITHIN))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// One line of words there; the answer, `None` for none. Values are short here.
    fn ask(&mut self, line: &str) -> io::Result<Option<String>> {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let head = self.line()?;
        match head.split_at_checked(1) {
            Some(("$", "-1")) => Ok(None),
            Some(("$", _)) => self.line().map(Some),
            Some(("+" | ":", rest)) => Ok(Some(rest.to_owned())),
            _ => Err(io::Error::other(format!("{line} was answered with {head:.80}"))),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::Error::other("the peer closed the connection")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Writes through the first peer every 50 ms. How long after each acknowledgement all others show it when
/// they answer from one copy, in seconds, in order.
pub fn arrivals(addresses: &[SocketAddr], writes: u32, interrupt: &Interrupt) -> Result<Vec<f64>, Error> {
    let watched = |address: &SocketAddr| {
        let mut asker = Asker::connect(*address)?;
        asker.ask("QUORUM 1 1")?;
        Ok(asker)
    };
    let failed = |what: &'static str| Error::io(what, "the peers");
    let mut writer = Asker::connect(addresses[0]).map_err(failed("cannot connect to"))?;
    let watchers: io::Result<Vec<Asker>> = addresses[1..].iter().map(watched).collect();
    let mut watchers = watchers.map_err(failed("cannot connect to"))?;
    let mut delays = Vec::new();
    for round in 0..writes {
        if interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let began = Instant::now();
        let delay = arrival(&mut writer, &mut watchers, round).map_err(failed("cannot watch"))?;
        delays.push(delay.as_secs_f64());
        thread::sleep(WRITE_EVERY.saturating_sub(began.elapsed()));
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

fn arrival(writer: &mut Asker, watchers: &mut [Asker], round: u32) -> io::Result<Duration> {
    let value = format!("v{round}");
    writer.ask(&format!("SET watched {value}"))?;
    let acknowledged = Instant::now();
    // Seen by all once the last has it. Asking one after another adds a question for each.
    for watcher in watchers {
        while watcher.ask("GET watched")?.as_ref() != Some(&value) {
            if acknowledged.elapsed() > SEEN_WITHIN {
                return Err(io::Error::other("a write was not seen within 60 s"));
            }
        }
    }
    Ok(acknowledged.elapsed())
}

/// Whether a peer answers a read of one copy with a value for each of these keys.
pub fn reads_all(address: SocketAddr, keys: &[String]) -> io::Result<bool> {
    let mut asker = Asker::connect(address)?;
    asker.ask("QUORUM 1 1")?;
    for key in keys {
        if asker.ask(&format!("GET {key}"))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How a peer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Killed,
    /// It goes on running, and nothing comes through to it or from it.
    Cut,
}

impl Loss {
    pub fn name(self) -> &'static str {
        match self {
            Loss::Killed => "killed",
            Loss::Cut => "cut off",
        }
    }

    fn befalls(self, network: &mut Network, index: usize) -> Result<(), Error> {
        match self {
            Loss::Killed => network.kill(index),
            Loss::Cut => {
                let mut words: Vec<String> = network.names().into_iter().map(str::to_owned).collect();
                let lost = words.remove(index);
                words.extend(["|".into(), lost]);
                let cut = Cut::parse(&words, &network.names())?;
                network.set_cut(Some(cut))?;
            }
        }
        Ok(())
    }
}

/// Loses the last peer. When each of the others knew that it is dead, in seconds from when the loss began.
pub fn detections(network: &mut Network, loss: Loss, interrupt: &Interrupt) -> Result<Vec<f64>, Error> {
    let last = network.seats().len() - 1;
    let name = network.seats()[last].name.clone();
    let mut waiting: BTreeSet<u16> = network.seats()[..last].iter().map(|seat| seat.resp).collect();
    let began = Instant::now();
    loss.befalls(network, last)?;
    let mut knew = Vec::new();
    let all_know = until(began + SEEN_WITHIN, interrupt, || {
        // `until` rests between two rounds: a delay is right to about 50 ms.
        waiting.retain(|port| {
            let knows = knows_dead(*port, &name);
            knew.extend(knows.then(|| began.elapsed().as_secs_f64()));
            !knows
        });
        waiting.is_empty().then_some(())
    });
    match all_know {
        Ok(()) => Ok(knew),
        Err(Missed::Interrupted) => Err(Error::Interrupted),
        Err(_) => Err(Error::Words(format!(
            "{} of {last} peers did not notice within {} s that {name} was {}",
            waiting.len(),
            SEEN_WITHIN.as_secs(),
            loss.name()
        ))),
    }
}

/// How often any peer has taken another for dead, by their logs.
pub fn deaths(network: &Network) -> Result<usize, Error> {
    let told = network.seats().iter().map(|seat| network.log_of(seat)).map(|log| {
        let text = fs::read_to_string(&log).map_err(Error::io("cannot read", &log))?;
        Ok(text.lines().filter(|line| line.contains(TAKEN_FOR_DEAD)).count())
    });
    told.sum()
}

fn knows_dead(port: u16, name: &str) -> bool {
    let status = resp::status(port);
    status.is_ok_and(|status| resp::members(&status).any(|m| m.name == name && m.state().starts_with("dead")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::server;

    #[test]
    fn a_peer_reads_all_only_where_every_key_has_a_value() {
        let keys = ["a", "b"].map(String::from);
        for (second, all) in [("$1\r\nv\r\n", true), ("$-1\r\n", false)] {
            let address = server::answering(move |line| match line {
                "QUORUM 1 1" => "+OK\r\n",
                "GET a" => "$1\r\nv\r\n",
                _ => second,
            });
            assert_eq!(reads_all(address, &keys).unwrap(), all);
        }
        let refusing = server::answering(|_| "-NOAUTH no\r\n");
        assert!(reads_all(refusing, &keys).is_err());
    }
}
