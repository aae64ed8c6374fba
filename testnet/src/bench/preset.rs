//! `bench --table`: the goals that Starling has set itself, each measured.

mod many;

use super::against::{Figures, median, ratios};
use super::goal::{self, Bound, Goal, Unit};
use super::options::Options;
use super::report::Row;
use super::scene::{Disturbance, Scene};
use super::table::grouped;
use super::target::{Founding, Target};
use super::usage;
use super::watch;
use super::work::{Op, Skew, Work};
use super::{Setting, found, notes};
use crate::local::{Error, Interrupt, Missed, Network, until};
use Bound::{AtLeast, AtMost};
use many::own;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// etcd 3.4, three members, every write synced, the same values, on the two-core machine that the goals
/// were set on: puts and linearizable reads per second, and the 99th percentile of puts. Ratios to these
/// hold on that machine; elsewhere `--against` measures etcd itself.
const ETCD_PUTS: f64 = 8_140.0;
const ETCD_PUTS_OF_ONE: f64 = 1_450.0;
const ETCD_READS: f64 = 11_200.0;
const ETCD_PUT_P99_US: f64 = 19_000.0;
/// iroh-docs 0.35 there: entries per second that reach all of three disks.
const IROH_REPLICATED: f64 = 946.0;
/// Redis as it is when every write is synced.
const REDIS: &str = "redis-server --port {} --save '' --appendonly yes --appendfsync always";

/// How many writes are watched until all others show them.
const WATCHED: u32 = 200;
/// How many keys a peer that was started again is asked for.
const ASKED_FOR: u64 = 256;
/// How long a peer may take to serve again.
const SERVING_WITHIN: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    goals: Vec<Goal>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Preset<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    report: Report,
}

/// Measures all of it; what one part cannot measure is told, and the next goes on.
pub fn run(options: &Options, interrupt: &Interrupt) -> Result<(), Error> {
    let (goals, rows) = (Vec::new(), Vec::new());
    let report = Report { setting: Setting::of(options), goals, rows, notes: notes(options) };
    let mut preset = Preset { options, interrupt, report };
    let result = preset.parts();
    let failed = preset.report.rows.iter().filter_map(Row::failures);
    preset.report.notes.extend(failed);
    preset.report.print(options.json);
    result
}

impl Report {
    fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("numbers and words can be written"));
            return;
        }
        if !self.goals.is_empty() {
            println!("{}\n", goal::table(&self.goals));
        }
        self.notes.iter().for_each(|note| println!("{note}"));
    }
}

impl Preset<'_> {
    /// One part after another. Errors: interrupted.
    fn parts(&mut self) -> Result<(), Error> {
        for part in [Self::speed, Self::beside_redis, Self::filled, Self::many] {
            match part(self) {
                Ok(()) => {}
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => {
                    eprintln!("error: {error}");
                    self.report.notes.push(format!("a part was not measured: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Three peers under the loads of the table, and without one of them.
    fn speed(&mut self) -> Result<(), Error> {
        let mut peers = self.found(3)?;
        let own = &mut peers;
        self.arrivals(own)?;
        let set = self.one(own, &self.work(Op::Set, 64))?;
        self.goal(
            "SET, 64 clients: 6 x etcd there",
            set.ops_per_second,
            Unit::PerSecond,
            AtLeast(6.0 * ETCD_PUTS),
        );
        let p99 = set.latency.p99_us as f64;
        self.goal(
            "SET, 64 clients: p99, a quarter of etcd's there",
            p99,
            Unit::Micros,
            AtMost(ETCD_PUT_P99_US / 4.0),
        );
        let cpu = Goal::of(
            "SET: CPU of all peers per 100,000",
            set.servers_cpu_s_per_100k,
            Unit::Seconds,
            AtMost(3.0),
        );
        self.report.goals.push(cpu);
        let one = self.one(own, &self.work(Op::Set, 1))?.ops_per_second;
        self.goal("SET, 1 client: 3 x etcd there", one, Unit::PerSecond, AtLeast(3.0 * ETCD_PUTS_OF_ONE));
        let all = Work { quorum: Some((2, 3)), ..self.work(Op::Set, 64) };
        let all = self.one(own, &all)?.ops_per_second;
        self.goal(
            "SET on three disks: 20 x iroh-docs there",
            all,
            Unit::PerSecond,
            AtLeast(20.0 * IROH_REPLICATED),
        );
        let plain = self.one(own, &self.work(Op::Set, 50))?.ops_per_second;
        let piped = Work { pipeline: 16, ..self.work(Op::Set, 50) };
        let piped = self.one(own, &piped)?.ops_per_second;
        self.goal("SET, 50 clients: pipelining 16 over none", piped / plain, Unit::Times, AtLeast(2.0));
        let get = Work { quorum: Some((2, 2)), ..self.work(Op::Get, 64) };
        self.fill(own, &get)?;
        let get = self.one(own, &get)?.ops_per_second;
        self.goal("GET R=2, 64 clients: 6 x etcd there", get, Unit::PerSecond, AtLeast(6.0 * ETCD_READS));
        self.killed(own)
    }

    fn arrivals(&mut self, peers: &Target) -> Result<(), Error> {
        eprintln!("one write every 50 ms, until all peers show it");
        let delays = watch::arrivals(&peers.addresses, WATCHED, self.interrupt)?;
        self.goal(
            "a write seen by all after its acknowledgement",
            median(&delays) * 1e6,
            Unit::Micros,
            AtMost(1000.0),
        );
        Ok(())
    }

    fn killed(&mut self, peers: &mut Target) -> Result<(), Error> {
        let rows = self.scene(peers).measure(&self.work(Op::Set, 64), Some(Disturbance::Kill))?;
        if let [before, noticing, after, ..] = rows.as_slice() {
            let share = after.ops_per_second / before.ops_per_second * 100.0;
            self.goal("SET with one of three killed, over before", share, Unit::Percent, AtLeast(90.0));
            let errors = noticing.errors + after.errors + after.cut;
            let cut = format!("{} requests were under way at the killed peer", noticing.cut);
            let goal =
                Goal::new("errors beyond those under way there", errors as f64, Unit::Count, AtMost(0.0));
            self.report.goals.push(goal.remark(cut));
        }
        self.report.rows.extend(rows);
        Ok(())
    }

    /// In turns with a single Redis, which keeps one copy.
    fn beside_redis(&mut self) -> Result<(), Error> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            self.report.notes.push("redis-server is not installed here: not compared with it".into());
            return Ok(());
        }
        let mut ours = self.found(3)?;
        let mut theirs = Target::start(REDIS, self.options.dir.as_deref(), self.interrupt)?;
        let get = Work { quorum: Some((1, 2)), ..self.work(Op::Get, 64) };
        let set = self.work(Op::Set, 64);
        for (what, work) in
            [("SET, 64 clients, over redis-server", set), ("GET R=1, 64 clients, over redis-server", get)]
        {
            self.fill(&mut ours, &work)?;
            let plain = Work { quorum: None, ..work.clone() };
            plain.filling().iter().try_for_each(|filling| self.beside(&mut theirs).fill(filling))?;
            let mut rounds: Vec<(Figures, Figures)> = Vec::new();
            for _ in 0..self.options.rounds.unwrap_or(3) {
                let row = self.one(&mut ours, &work)?;
                let measured = self.beside(&mut theirs).measure(&plain, None)?;
                let other = self.only(&plain, measured)?;
                rounds.push((Figures::from(&row), Figures::from(&other)));
            }
            if let Some(ratio) = ratios(what, &rounds).first() {
                let said = ratio
                    .spread
                    .map(|all| format!("from {:.2} to {:.2} in {} rounds", all.min, all.max, rounds.len()));
                let median = ratio.spread.map(|all| all.median);
                let goal = Goal::of(what, median, Unit::Times, AtLeast(0.5));
                self.report.goals.push(goal.remark(said.or_else(|| ratio.why.clone()).unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Many keys: what they cost while nothing happens, a restart, and the filling of an empty disk.
    fn filled(&mut self) -> Result<(), Error> {
        let mut peers = self.found(3)?;
        let get = Work { keys: self.many_keys(), quorum: Some((2, 2)), ..self.work(Op::Get, 64) };
        let keys = format!("at {} keys", grouped(get.keys as f64));
        let remark = if get.keys < 1_000_000 { "the goal is for 1,000,000 keys; --keys 1000000" } else { "" };
        self.fill(&mut peers, &get)?;
        let used = usage::of(&peers.pids);
        let memory = used.resident as f64 / (used.processes.max(1) * 1024 * 1024) as f64;
        let goal = Goal::new(&format!("memory of a peer {keys}"), memory, Unit::MiB, AtMost(200.0));
        self.report.goals.push(goal.remark(remark));
        let restart = self.restart(&mut peers, get.keys)?;
        let goal = Goal::new(&format!("restart to serving {keys}"), restart, Unit::Seconds, AtMost(2.0));
        self.report.goals.push(goal.remark(remark));
        self.refill(&mut peers, &get, &keys, remark)
    }

    fn refill(&mut self, peers: &mut Target, get: &Work, keys: &str, remark: &str) -> Result<(), Error> {
        let rows = self.scene(peers).measure(get, Some(Disturbance::Repair))?;
        let stretch =
            |when: &str| rows.iter().find(|row| row.when.as_ref().is_some_and(|name| name.contains(when)));
        let (before, filling) = (stretch("before"), stretch("is filled"));
        let times = before
            .zip(filling)
            .map(|(before, filling)| filling.latency.p99_us as f64 / before.latency.p99_us as f64);
        let what = format!("GET p99 while a wiped peer is filled, over before, {keys}");
        let load = before.zip(filling).map(|(before, filling)| {
            let [before, filling] = [before, filling].map(|row| grouped(row.ops_per_second));
            both(format!("{before} reads/s before, {filling}/s of the two others meanwhile"), remark)
        });
        let goal = Goal::of(&what, times, Unit::Times, AtMost(2.0));
        self.report.goals.push(goal.remark(load.unwrap_or_default()));
        let held = filling.and_then(|row| row.keys_held);
        let rate = filling.and_then(|row| row.keys_per_second).filter(|_| held == Some(get.keys));
        let what = format!("filling a wiped peer {keys}");
        let said = held.map_or("its keys were not counted".into(), |held| {
            format!("it counts {} keys when it seems filled", grouped(held as f64))
        });
        let remark = both(said, remark);
        self.report.goals.push(Goal::of(&what, rate, Unit::PerSecond, AtLeast(50_000.0)).remark(remark));
        self.report.rows.extend(rows);
        Ok(())
    }

    /// Kills a peer and starts it. Seconds from the start until it has answered for keys from all over, with what it
    /// holds itself.
    fn restart(&self, peers: &mut Target, keys: u64) -> Result<f64, Error> {
        let network = own(peers);
        network.kill(0);
        let began = Instant::now();
        network.start(0)?;
        // Now that it is ready they stand still and answer nothing for it. Before, a start waits some seconds for others.
        let others = 1..network.seats().len();
        others.clone().for_each(|index| network.pause(index));
        let served = self.serves_alone(network, keys);
        let took = began.elapsed().as_secs_f64();
        others.into_iter().try_for_each(|index| network.resume(index))?;
        peers.refresh();
        served.map(|()| took)
    }

    fn serves_alone(&self, network: &Network, keys: u64) -> Result<(), Error> {
        let deadline = Instant::now() + SERVING_WITHIN;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, network.seats()[0].resp));
        let key = |i| Op::Get.key(i * keys / ASKED_FOR).to_string();
        let asked: Vec<String> = (0..ASKED_FOR).map(key).collect();
        let serves = || watch::reads_all(address, &asked).ok()?.then_some(());
        until(deadline, self.interrupt, serves).map_err(|missed| match missed {
            Missed::Interrupted => Error::Interrupted,
            _ => Error::Words("a peer that was started again did not serve its keys within 60 s".into()),
        })
    }

    fn found(&self, peers: usize) -> Result<Target, Error> {
        let founding: Founding = found(self.options, peers, self.interrupt)?;
        Target::found(&founding, self.interrupt)
    }

    fn scene<'a>(&'a self, target: &'a mut Target) -> Scene<'a> {
        Scene { target, server: "starling", seconds: self.options.span(), interrupt: self.interrupt }
    }

    fn beside<'a>(&'a self, target: &'a mut Target) -> Scene<'a> {
        Scene { server: "redis-server", ..self.scene(target) }
    }

    fn one(&mut self, target: &mut Target, work: &Work) -> Result<Row, Error> {
        let measured = self.scene(target).measure(work, None)?;
        self.only(work, measured)
    }

    /// The row of a measurement without a disturbance, which is kept.
    fn only(&mut self, work: &Work, mut rows: Vec<Row>) -> Result<Row, Error> {
        if self.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let row = rows.pop().ok_or_else(|| Error::Words(format!("{}: nothing was answered", work.name)))?;
        self.report.rows.push(row.clone());
        Ok(row)
    }

    fn fill(&self, target: &mut Target, work: &Work) -> Result<(), Error> {
        work.filling().iter().try_for_each(|filling| self.scene(target).fill(filling))
    }

    fn goal(&mut self, what: &str, figure: f64, unit: Unit, goal: Bound) {
        self.report.goals.push(Goal::new(what, figure, unit, goal));
    }

    fn many_keys(&self) -> u64 {
        self.options.keys.unwrap_or(100_000)
    }

    fn work(&self, op: Op, clients: usize) -> Work {
        Work {
            name: op.name().to_owned(),
            ops: vec![(op, 1)],
            value_size: self.options.value_size,
            keys: 10_000,
            skew: Skew::Uniform,
            clients,
            pipeline: 1,
            rate: None,
            quorum: None,
        }
    }
}

fn both(said: String, remark: &str) -> String {
    if remark.is_empty() { said } else { format!("{said}; {remark}") }
}
