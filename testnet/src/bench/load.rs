//! The load: one thread that plays all clients over sockets that never block, so that it takes as
//! little as it can from the servers it shares the machine with.

use super::connection::{Connection, Pending};
use super::reply::Kind;
use super::tally::Tally;
use super::work::{Op, Requests, Work};
use mio::{Events, Poll, Token, Waker};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const WAKER: Token = Token(usize::MAX);
/// How often connections are looked after.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
/// A request without an answer for so long is given up. Peers answer within 2 s, if only that they
/// cannot.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// No answer at all for so long: the load ends.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// In the open loop requests are sent in steps of at least this: what is due in one step goes together.
const STEP: Duration = Duration::from_micros(200);
/// Of so many requests that are due and not sent it is told one by one how long they have waited.
const BEHIND_TOLD: u64 = 10_000;
/// Bytes that are read at once.
const SCRATCH: usize = 64 * 1024;

#[derive(Default)]
struct Control {
    /// How many stretches have begun, the warm-up not counted.
    stretch: AtomicUsize,
    stop: AtomicBool,
    /// For whoever watches.
    operations: AtomicU64,
    finished: AtomicBool,
}

/// A load that runs. What is counted is told apart by stretches of time, which the owner begins.
pub struct Load {
    control: Arc<Control>,
    waker: Arc<Waker>,
    thread: JoinHandle<Result<Vec<Tally>, String>>,
}

impl Load {
    pub fn start(addresses: &[SocketAddr], work: &Work, requests: Requests) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let control = Arc::new(Control::default());
        let clients = Clients::new(poll, addresses.to_vec(), work.clone(), requests, control.clone());
        let schedule = clients.schedule.clone();
        let thread = thread::Builder::new().name("load".into()).spawn(move || {
            let (control, mut clients) = (clients.control.clone(), clients);
            let result = clients.run();
            control.finished.store(true, Ordering::Release);
            result.map(|()| clients.tallies)
        })?;
        if let Some(schedule) = schedule {
            pace(schedule, control.clone(), waker.clone());
        }
        Ok(Self { control, waker, thread })
    }

    /// Begins the next stretch.
    pub fn next_stretch(&self) {
        self.control.stretch.fetch_add(1, Ordering::AcqRel);
        let _ = self.waker.wake();
    }

    pub fn operations(&self) -> u64 {
        self.control.operations.load(Ordering::Relaxed)
    }

    /// It has ended by itself: all requests are answered, or it failed.
    pub fn is_finished(&self) -> bool {
        self.control.finished.load(Ordering::Acquire)
    }

    /// Ends it. Returns a tally for each stretch, that of the warm-up first. Errors: why the load could
    /// not go on.
    pub fn stop(self) -> Result<Vec<Tally>, String> {
        self.control.stop.store(true, Ordering::Release);
        let _ = self.waker.wake();
        self.thread.join().unwrap_or_else(|_| Err("the thread that makes the load has failed".into()))
    }
}

/// Wakes the load whenever a request is due: epoll alone knows whole milliseconds only.
fn pace(schedule: Schedule, control: Arc<Control>, waker: Arc<Waker>) {
    thread::spawn(move || {
        while !control.stop.load(Ordering::Acquire) && !control.finished.load(Ordering::Acquire) {
            let _ = waker.wake();
            let now = Instant::now();
            let next = schedule.start(schedule.due(now)).saturating_duration_since(now);
            thread::sleep(next.clamp(STEP, SWEEP_EVERY));
        }
    });
}

/// Processor time of this thread.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

struct Clients {
    poll: Poll,
    addresses: Vec<SocketAddr>,
    work: Work,
    requests: Requests,
    control: Arc<Control>,
    connections: Vec<Connection>,
    tallies: Vec<Tally>,
    cpu_before: Duration,
    schedule: Option<Schedule>,
    /// Every request was sent.
    is_drained: bool,
    heard_at: Instant,
    swept_at: Instant,
    /// Why the load must end.
    broken: Option<String>,
    scratch: Vec<u8>,
}

/// The open loop: when requests should be sent.
#[derive(Clone)]
struct Schedule {
    began: Instant,
    rate: f64,
    sent: u64,
    /// Which connection is asked first for room.
    turn: usize,
}

impl Schedule {
    /// How many requests should have been sent by now: the first at the beginning.
    fn due(&self, now: Instant) -> u64 {
        (now.duration_since(self.began).as_secs_f64() * self.rate) as u64 + 1
    }

    /// When the request of this number should be sent; that of the first is 0.
    fn start(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many are due and not sent.
    fn behind(&self, now: Instant) -> u64 {
        self.due(now).saturating_sub(self.sent)
    }
}

impl Clients {
    fn new(
        poll: Poll,
        addresses: Vec<SocketAddr>,
        work: Work,
        requests: Requests,
        control: Arc<Control>,
    ) -> Self {
        let now = Instant::now();
        let schedule = work.rate.map(|rate| Schedule { began: now, rate, sent: 0, turn: 0 });
        Self {
            poll,
            addresses,
            connections: (0..work.clients).map(|turn| Connection::new(turn, now)).collect(),
            work,
            requests,
            control,
            tallies: vec![Tally::new(now)],
            cpu_before: Duration::ZERO,
            schedule,
            is_drained: false,
            heard_at: now,
            swept_at: now.checked_sub(SWEEP_EVERY).unwrap_or(now),
            broken: None,
            scratch: vec![0; SCRATCH],
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            let now = Instant::now();
            self.begin_stretches(now);
            if now.duration_since(self.swept_at) >= SWEEP_EVERY {
                self.sweep(now);
            }
            self.send_due(now);
            match self.poll.poll(&mut events, Some(SWEEP_EVERY)) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e.to_string()),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.attend(event.token().0);
            }
        }
        self.end_stretch(Instant::now());
        self.broken.take().map_or(Ok(()), Err)
    }

    fn is_over(&self) -> bool {
        let is_done = || self.connections.iter().all(|connection| connection.pending.is_empty());
        self.control.stop.load(Ordering::Acquire) || self.broken.is_some() || self.is_drained && is_done()
    }

    fn begin_stretches(&mut self, now: Instant) {
        while self.tallies.len() <= self.control.stretch.load(Ordering::Acquire) {
            self.end_stretch(now);
            self.tallies.push(Tally::new(now));
        }
    }

    fn end_stretch(&mut self, now: Instant) {
        let cpu = own_cpu();
        self.tell_who_waits(now);
        let behind = self.schedule.as_ref().map_or(0, |schedule| schedule.behind(now));
        let tally = self.tally();
        (tally.client_cpu, tally.behind) = (cpu, behind);
        tally.end(now);
        let before = std::mem::replace(&mut self.cpu_before, cpu);
        self.tally().client_cpu -= before;
    }

    /// Requests under way, and those that are due, have waited already. Without them a stall that lasts to the end would
    /// hardly show: what it delays most is answered after it (coordinated omission).
    fn tell_who_waits(&mut self, now: Instant) {
        let tally = self.tallies.last_mut().expect("the warm-up is always there");
        for connection in &self.connections {
            connection.under_way().for_each(|start| tally.wait(now.saturating_duration_since(start), 1));
        }
        let Some(schedule) = &self.schedule else { return };
        let behind = schedule.behind(now);
        // Of many, one in so many stands for those beside it.
        let step = behind.div_ceil(BEHIND_TOLD).max(1);
        for number in (0..behind).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let waited = now.saturating_duration_since(schedule.start(schedule.sent + number));
            tally.wait(waited, step.min(behind - number));
        }
    }

    fn tally(&mut self) -> &mut Tally {
        self.tallies.last_mut().expect("the warm-up is always there")
    }

    fn sweep(&mut self, now: Instant) {
        self.swept_at = now;
        self.tally().tick(now);
        for token in 0..self.connections.len() {
            let connection = &mut self.connections[token];
            if connection.is_due(now) {
                if let Err(e) = connection.open(&self.addresses, self.poll.registry(), Token(token)) {
                    self.lose(token, &e);
                }
            } else if connection.pending.front().is_some_and(|first| now - first.sent > ANSWER_WITHIN) {
                self.lose(token, &io::Error::other("no answer within 10 s"));
            }
        }
        if !self.awaits_something(now) {
            self.heard_at = now;
        }
        if now - self.heard_at > SILENCE_MAX {
            let first = self.tallies.iter().find_map(|tally| tally.first_error.clone());
            let first = first.map_or(String::new(), |first| format!("; the first error: {first}"));
            self.broken = Some(format!("no answer for {} s{first}", SILENCE_MAX.as_secs()));
        }
    }

    /// In the open loop there may be nothing to do for long.
    fn awaits_something(&self, now: Instant) -> bool {
        let is_behind = self.schedule.as_ref().is_none_or(|schedule| schedule.behind(now) > 0);
        is_behind || self.connections.iter().any(|connection| !connection.pending.is_empty())
    }

    fn lose(&mut self, token: usize, why: &io::Error) {
        let now = Instant::now();
        let lost = self.connections[token].close(now);
        // A connection that was refused has lost nothing, but is worth a word.
        let tally = self.tally();
        lost.iter().for_each(|start| tally.wait(now.saturating_duration_since(*start), 1));
        tally.fail(lost.len() as u64, true, || why.to_string());
        tally.first_error.get_or_insert_with(|| why.to_string());
    }

    fn attend(&mut self, token: usize) {
        let result = self.attend_inner(token);
        let moved = self.connections[token].take_moved();
        self.tally().payload += moved;
        if let Err(why) = result {
            self.lose(token, &why);
        }
    }

    fn attend_inner(&mut self, token: usize) -> io::Result<()> {
        if self.connections[token].finish_connecting()? {
            self.prepare(token);
        }
        if !self.connections[token].is_connected() {
            return Ok(());
        }
        self.read(token)?;
        if self.schedule.is_none() && self.connections[token].pending.is_empty() {
            let now = Instant::now();
            for _ in 0..self.work.pipeline {
                self.append(token, now, now);
            }
        }
        self.connections[token].flush()
    }

    /// A new connection is told its quorums.
    fn prepare(&mut self, token: usize) {
        if let Some((r, w)) = self.work.quorum {
            let (now, connection) = (Instant::now(), &mut self.connections[token]);
            connection.out.extend_from_slice(format!("QUORUM {r} {w}\r\n").as_bytes());
            connection.pending.push_back(Pending { op: None, start: now, sent: now });
        }
    }

    fn read(&mut self, token: usize) -> io::Result<()> {
        let (tally, broken) = (self.tallies.last_mut().expect("never empty"), &mut self.broken);
        let (mut now, mut count) = (None, 0);
        let result = self.connections[token].read(&mut self.scratch, |pending, kind, bytes| {
            let now = *now.get_or_insert_with(Instant::now);
            let words = || String::from_utf8_lossy(bytes).trim_end().trim_start_matches('-').to_owned();
            match (pending.op, kind) {
                (None, Kind::Error) => *broken = Some(format!("QUORUM was refused: {}", words())),
                (None, _) => {}
                (Some(_), Kind::Error) => {
                    tally.wait(now.saturating_duration_since(pending.start), 1);
                    tally.fail(1, false, words);
                }
                (Some(op), kind) => {
                    let nothing_deleted = op == Op::Del && bytes == b":0\r\n";
                    tally.misses += u64::from(kind == Kind::Nil || nothing_deleted);
                    tally.record(op, now.saturating_duration_since(pending.start));
                    count += 1;
                }
            }
        });
        if let Some(now) = now {
            self.heard_at = now;
            self.control.operations.fetch_add(count, Ordering::Relaxed);
        }
        result
    }

    fn append(&mut self, token: usize, start: Instant, sent: Instant) {
        let connection = &mut self.connections[token];
        match self.requests.append(&mut connection.out) {
            Some(op) => connection.pending.push_back(Pending { op: Some(op), start, sent }),
            None => self.is_drained = true,
        }
    }

    /// The open loop: sends what is due, through the next connections that have room.
    fn send_due(&mut self, now: Instant) {
        while let Some(schedule) = self.schedule.as_ref().filter(|schedule| schedule.behind(now) > 0) {
            let (start, all) = (schedule.start(schedule.sent), self.connections.len());
            let room = (0..all).map(|i| (schedule.turn + i) % all).find(|token| {
                let connection = &self.connections[*token];
                connection.is_connected() && connection.pending.len() < self.work.pipeline
            });
            let (Some(token), Some(schedule)) = (room, &mut self.schedule) else { return };
            schedule.sent += 1;
            schedule.turn = token + 1;
            self.append(token, start, now);
            if let Err(why) = self.connections[token].flush() {
                self.lose(token, &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::server;
    use crate::bench::work::tests::work;
    use std::sync::atomic::AtomicBool;

    /// What an open loop of four clients brings within so long.
    fn open(address: SocketAddr, rate: f64, span: Duration) -> Tally {
        run(address, &Work { clients: 4, rate: Some(rate), ..work(&[(Op::Set, 1)]) }, span)
    }

    fn run(address: SocketAddr, work: &Work, span: Duration) -> Tally {
        let load = Load::start(&[address], work, Requests::drawn(work, 7)).unwrap();
        thread::sleep(Duration::from_millis(200));
        load.next_stretch();
        thread::sleep(span);
        load.stop().unwrap().pop().unwrap()
    }

    #[test]
    fn latencies_of_a_slow_open_loop_are_those_of_the_server() {
        let at_once = server::answering(|_| "+OK\r\n");
        let tally = open(at_once, 20.0, Duration::from_secs(1));
        let median = tally.all().value_at_quantile(0.5);
        assert!(tally.operations() >= 10 && median < 5_000, "{} in {median} us", tally.operations());
        assert_eq!(tally.behind, 0);
    }

    #[test]
    fn a_key_that_was_not_there_to_delete_is_a_miss() {
        for (reply, is_miss) in [(":0\r\n", true), (":1\r\n", false)] {
            let server = server::answering(move |_| reply);
            let tally = run(server, &work(&[(Op::Del, 1)]), Duration::from_millis(100));
            assert!(tally.operations() > 0);
            assert_eq!(tally.misses, if is_miss { tally.operations() } else { 0 });
        }
    }

    #[test]
    fn a_stall_to_the_end_is_felt_by_all_it_delays() {
        static STOPPED: AtomicBool = AtomicBool::new(false);
        let stopping = server::answering(|_| {
            while STOPPED.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(50));
            }
            "+OK\r\n"
        });
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(700));
            STOPPED.store(true, Ordering::Release);
        });
        let tally = open(stopping, 200.0, Duration::from_secs(1));
        let all = tally.all();
        // The server stood still for the last half of the second: so did half of what was asked for.
        assert!(all.max() >= 450_000, "{} us", all.max());
        assert!(all.value_at_quantile(0.75) >= 100_000, "{} us", all.value_at_quantile(0.75));
        assert!(tally.operations() < 150 && all.len() >= 180, "{} of {}", tally.operations(), all.len());
    }
}
