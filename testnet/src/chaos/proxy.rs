//! The way to one peer, over TCP and over UDP, leads through this process, which loses, delays and reorders what
//! passes. Datagrams are lost and overtake each other; of a stream, what would have been lost comes late, as if it had
//! been sent again, and all behind it waits.
//!
//! The threads end with their connections; those that listen, with the process.

use crate::local::Error;
use crate::sim::chance::{Chance, Concern};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a segment that was lost takes to be sent again: Linux waits 200 ms at least.
const SENT_AGAIN: Duration = Duration::from_millis(200);
/// Largest piece of a stream, and largest datagram, in bytes.
const PIECE_MAX: usize = 64 * 1024;
/// Most pieces under way in one direction of a stream; then its sender has to wait.
const PIECES_MAX: usize = 64;
/// Most datagrams under way to and from one peer; one more is lost.
const DATAGRAMS_MAX: usize = 4096;
/// Most senders of datagrams to one peer; those of another are lost.
const SENDERS_MAX: usize = 256;
/// After so much silence the way back to a sender of datagrams is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a port is looked for that is free over TCP and UDP.
const PORTS_TRIED: usize = 20;

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Least and most, in milliseconds; each datagram is delayed for itself.
    pub delay_ms: (u64, u64),
    /// Of ten thousand, how many are lost.
    pub loss: u64,
}

/// What all proxies of a network share.
#[derive(Default)]
struct Sky {
    weather: Mutex<Weather>,
    /// Datagrams that were lost, and that left after one that had come later; pieces of streams that came late as
    /// lost ones do.
    lost: AtomicU64,
    overtaken: AtomicU64,
    late: AtomicU64,
}

impl Sky {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One proxy for each peer.
pub struct Proxies {
    sky: Arc<Sky>,
    ports: Vec<u16>,
}

impl Proxies {
    /// In front of peers that listen on these ports, over TCP and UDP, or will. The seed decides what is lost.
    pub fn start(listening: &[u16], seed: u64) -> Result<Self, Error> {
        let sky = Arc::new(Sky::default());
        let ports = (0..).zip(listening).map(|(number, to)| {
            let (tcp, udp) = bind().map_err(Error::io("cannot listen on", "127.0.0.1"))?;
            let port = tcp.local_addr().map_err(Error::io("cannot listen on", "127.0.0.1"))?.port();
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, *to));
            let chance = move |which: u64| Chance::new(seed ^ (number << 40 | which << 32), Concern::Network);
            let (streams, datagrams) = (sky.clone(), sky.clone());
            thread::spawn(move || accept(&tcp, to, &streams, chance));
            thread::spawn(move || forward(&Arc::new(udp), to, &datagrams, chance(0)));
            Ok(port)
        });
        let ports = ports.collect::<Result<_, Error>>()?;
        Ok(Self { sky, ports })
    }

    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub fn set(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// What the weather has done, with its names.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Sky { lost, overtaken, late, .. } = &*self.sky;
        [
            ("datagrams lost", read(lost)),
            ("datagrams overtaken", read(overtaken)),
            ("pieces of streams late", read(late)),
        ]
    }
}

/// A port of its own that is free over both.
fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    let both = || {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp = UdpSocket::bind(tcp.local_addr()?)?;
        Ok((tcp, udp))
    };
    (1..PORTS_TRIED).find_map(|_| both().ok()).map_or_else(both, Ok)
}

fn accept(listener: &TcpListener, to: SocketAddr, sky: &Arc<Sky>, chance: impl Fn(u64) -> Chance) {
    for (number, incoming) in (1..).zip(listener.incoming()) {
        // Where nobody listens, whoever came sees his connection end.
        let Ok((near, far)) = incoming.and_then(|near| Ok((near, TcpStream::connect(to)?))) else { continue };
        let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
        let pair = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)));
        if let Ok((near_too, far_too)) = pair {
            carry(near, far_too, sky.clone(), chance(2 * number));
            carry(far, near_too, sky.clone(), chance(2 * number + 1));
        }
    }
}

/// One direction of a stream: one thread reads and says when each piece is due, one waits and writes.
fn carry(mut from: TcpStream, mut to: TcpStream, sky: Arc<Sky>, mut chance: Chance) {
    let (sender, pieces) = sync_channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    thread::spawn(move || {
        let (mut buffer, mut last) = (vec![0; PIECE_MAX], Instant::now());
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            last = last.max(Instant::now() + delay_of_piece(&sky, &mut chance));
            if sender.send((last, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn delay_of_piece(sky: &Sky, chance: &mut Chance) -> Duration {
    let weather = sky.weather();
    let again = chance.per_myriad(weather.loss);
    sky.late.fetch_add(again.into(), Ordering::Relaxed);
    chance.span_ms(weather.delay_ms) + if again { SENT_AGAIN } else { Duration::ZERO }
}

/// A datagram under way; the one due first is the least.
struct Datagram {
    due: Instant,
    /// In which order they came.
    number: u64,
    bytes: Vec<u8>,
    by: Arc<UdpSocket>,
    /// None: to whom the socket is connected.
    to: Option<SocketAddr>,
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Datagram {}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// Those who send datagrams to one peer, each with the socket that stands for it there.
type Senders = Arc<Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>>;

/// Datagrams to one peer; each sender gets a thread for the way back.
fn forward(front: &Arc<UdpSocket>, to: SocketAddr, sky: &Arc<Sky>, chance: Chance) {
    let (sender, waiting) = sync_channel(DATAGRAMS_MAX);
    let late = sky.clone();
    let weather = sky.clone();
    thread::spawn(move || deliver(&waiting, &late));
    let queue = Queue { sender, sky: weather, chance: Arc::new(Mutex::new((chance, 0))) };
    let senders = Senders::default();
    let mut buffer = vec![0; PIECE_MAX];
    loop {
        // An error tells of a datagram that was sent from here, and is no reason to stop.
        let Ok((read, from)) = front.recv_from(&mut buffer) else { continue };
        if let Some(by) = socket_for(from, front, to, &senders, &queue) {
            queue.put(&buffer[..read], by, None);
        }
    }
}

fn socket_for(
    from: SocketAddr,
    front: &Arc<UdpSocket>,
    to: SocketAddr,
    senders: &Senders,
    queue: &Queue,
) -> Option<Arc<UdpSocket>> {
    let mut known = senders.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(socket) = known.get(&from) {
        return Some(socket.clone());
    }
    if known.len() >= SENDERS_MAX {
        return None;
    }
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?);
    socket.connect(to).ok()?;
    socket.set_read_timeout(Some(SILENCE_MAX)).ok()?;
    known.insert(from, socket.clone());
    let (back, front, senders, queue) = (socket.clone(), front.clone(), senders.clone(), queue.clone());
    thread::spawn(move || {
        come_back(&back, from, &front, &queue);
        senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
    });
    Some(socket)
}

/// From the peer to one who sent to it, until it is silent.
fn come_back(back: &UdpSocket, to: SocketAddr, front: &Arc<UdpSocket>, queue: &Queue) {
    let mut buffer = vec![0; PIECE_MAX];
    loop {
        match back.recv(&mut buffer) {
            Ok(read) => queue.put(&buffer[..read], front.clone(), Some(to)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return;
            }
            // The peer is down.
            Err(_) => {}
        }
    }
}

/// Where datagrams to and from one peer wait until they are due.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Datagram>,
    sky: Arc<Sky>,
    /// With how many came.
    chance: Arc<Mutex<(Chance, u64)>>,
}

impl Queue {
    fn put(&self, bytes: &[u8], by: Arc<UdpSocket>, to: Option<SocketAddr>) {
        let weather = self.sky.weather();
        let (chance, number) = &mut *self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        let (lost, delay) = (chance.per_myriad(weather.loss), chance.span_ms(weather.delay_ms));
        let due = Instant::now() + delay;
        let datagram = Datagram { due, number: *number, bytes: bytes.to_vec(), by, to };
        if lost || self.sender.try_send(datagram).is_err() {
            self.sky.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn deliver(coming: &Receiver<Datagram>, sky: &Sky) {
    let (mut waiting, mut last) = (BinaryHeap::<Reverse<Datagram>>::new(), 0);
    loop {
        let next = waiting.peek().map(|Reverse(datagram)| datagram.due);
        let left = next.map_or(SILENCE_MAX, |due| due.saturating_duration_since(Instant::now()));
        match coming.recv_timeout(left) {
            Ok(_) if waiting.len() >= DATAGRAMS_MAX => drop(sky.lost.fetch_add(1, Ordering::Relaxed)),
            Ok(datagram) => waiting.push(Reverse(datagram)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while waiting.peek().is_some_and(|Reverse(next)| next.due <= Instant::now()) {
            let Some(Reverse(Datagram { number, bytes, by, to, .. })) = waiting.pop() else { break };
            sky.overtaken.fetch_add((number < last).into(), Ordering::Relaxed);
            last = last.max(number);
            // A datagram that cannot be sent is lost.
            let _ = match to {
                Some(to) => by.send_to(&bytes, to),
                None => by.send(&bytes),
            };
        }
    }
}

#[cfg(test)]
mod tests;
