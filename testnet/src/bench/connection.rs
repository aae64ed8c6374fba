//! One connection of a client, which never waits.

use super::reply::{self, Kind};
use super::work::Op;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between the end of a connection and the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// `None`: it prepares the connection and does not count.
    pub op: Option<Op>,
    /// Where its latency begins: when it was sent, in the open loop when it should have been.
    pub start: Instant,
    pub sent: Instant,
}

pub struct Connection {
    /// `None`: it is down until `retry_at`.
    stream: Option<TcpStream>,
    retry_at: Instant,
    connected: bool,
    /// Which of the servers' addresses is next.
    turn: usize,
    pub out: Vec<u8>,
    written: usize,
    /// The beginning of a reply whose end has not come.
    input: Vec<u8>,
    pub pending: VecDeque<Pending>,
    /// Bytes written and read since somebody asked.
    moved: u64,
}

impl Connection {
    /// A connection that is still down; `turn` says which address it tries first.
    pub fn new(turn: usize, now: Instant) -> Self {
        Self {
            stream: None,
            retry_at: now,
            connected: false,
            turn,
            out: Vec::new(),
            written: 0,
            input: Vec::new(),
            pending: VecDeque::new(),
            moved: 0,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.stream.is_none() && now >= self.retry_at
    }

    /// Begins to connect. Whether that works shows in an event.
    pub fn open(&mut self, addresses: &[SocketAddr], registry: &Registry, token: Token) -> io::Result<()> {
        let mut stream = TcpStream::connect(addresses[self.turn % addresses.len()])?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// An event came. True: the connection has just been made.
    pub fn finish_connecting(&mut self) -> io::Result<bool> {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.connected) else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {
                stream.set_nodelay(true)?;
                self.connected = true;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Where the latency of each request under way begins.
    pub fn under_way(&self) -> impl Iterator<Item = Instant> {
        self.pending.iter().filter(|pending| pending.op.is_some()).map(|pending| pending.start)
    }

    /// Gives up what was under way, and turns to the next address after a moment. Returns where the latency
    /// of each lost request began.
    pub fn close(&mut self, now: Instant) -> Vec<Instant> {
        let lost = self.under_way().collect();
        *self = Self { retry_at: now + RETRY_AFTER, ..Self::new(self.turn + 1, now) };
        lost
    }

    /// Bytes written and read since the last call.
    pub fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// Writes what lies in `out`, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.moved += count as u64;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what has come and tells of every reply, with the bytes of it.
    pub fn read(&mut self, scratch: &mut [u8], mut take: impl FnMut(Pending, Kind, &[u8])) -> io::Result<()> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            let count = match stream.read(scratch) {
                Ok(0) => return Err(io::Error::other("the server closed the connection")),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.moved += count as u64;
            self.digest(&scratch[..count], &mut take)?;
            // Less than there was room for: nothing is left, and the next byte brings an event (epoll(7)).
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn digest(&mut self, fresh: &[u8], take: &mut impl FnMut(Pending, Kind, &[u8])) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.input);
        let bytes = if held.is_empty() {
            fresh
        } else {
            held.extend_from_slice(fresh);
            &held
        };
        let mut at = 0;
        while let Some((length, kind)) =
            reply::first(&bytes[at..]).map_err(|_| io::Error::other("the server does not speak RESP"))?
        {
            let pending = self.pending.pop_front();
            let pending =
                pending.ok_or_else(|| io::Error::other("the server answered without a question"))?;
            take(pending, kind, &bytes[at..at + length]);
            at += length;
        }
        self.input = bytes[at..].to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_cut_anywhere_are_put_together_again() {
        let now = Instant::now();
        let mut connection = Connection::new(0, now);
        let ops = [Op::Get, Op::Set, Op::Incr];
        connection.pending = ops.map(|op| Pending { op: Some(op), start: now, sent: now }).into();
        let mut seen = Vec::new();
        for byte in b"$3\r\nabc\r\n-ERR no\r\n:1\r\n" {
            let mut take = |pending: Pending, kind, bytes: &[u8]| {
                seen.push((pending.op.unwrap(), kind, bytes.len()));
            };
            connection.digest(&[*byte], &mut take).unwrap();
        }
        assert_eq!(seen, [(Op::Get, Kind::Fine, 9), (Op::Set, Kind::Error, 9), (Op::Incr, Kind::Fine, 4)]);
        assert!(connection.digest(b"+OK\r\n", &mut |_, _, _| {}).is_err(), "nothing was asked");
    }

    #[test]
    fn closing_counts_what_is_lost_and_turns_to_another_address() {
        let now = Instant::now();
        let mut connection = Connection::new(4, now);
        let of = |op| Pending { op, start: now, sent: now };
        connection.pending = [of(None), of(Some(Op::Set)), of(Some(Op::Get))].into();
        assert_eq!(connection.close(now), [now; 2]);
        assert_eq!(connection.turn, 5);
        assert!(!connection.is_due(now) && connection.is_due(now + RETRY_AFTER));
    }
}
