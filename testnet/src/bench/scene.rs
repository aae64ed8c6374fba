//! One measurement: the load, and what happens meanwhile.

use super::load::Load;
use super::progress::Progress;
use super::report::Row;
use super::tally::Tally;
use super::target::Target;
use super::usage::{self, Usage};
use super::work::{Requests, Work};
use crate::local::{Error, Interrupt, Network, resp};
use clap::ValueEnum;
use std::thread;
use std::time::{Duration, Instant};

/// Load before anything is counted: connections are made, caches and buffers fill.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the others have to notice that a peer is gone before the measurement goes on.
const NOTICE: Duration = Duration::from_secs(10);
/// Longest filling, and longest wait for a repair or a join, while the load goes on.
const FILL_MAX: Duration = Duration::from_secs(1800);
const CHANGE_MAX: Duration = Duration::from_secs(600);
const GLANCE: Duration = Duration::from_millis(50);
/// The first seed; each load has one of its own, and the same in every run.
const SEED: u64 = 1;

/// What happens to the peers under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disturbance {
    /// The last peer is killed, and stays away.
    Kill,
    /// The last peer's disk is replaced by an empty one: the others fill it.
    Repair,
    /// One more peer joins.
    Join,
}

pub struct Scene<'a> {
    pub target: &'a mut Target,
    /// Whose figures these are.
    pub server: &'a str,
    pub seconds: Duration,
    pub interrupt: &'a Interrupt,
}

/// A load under way, and what the servers use in each stretch of it.
struct Run {
    load: Load,
    stretches: Vec<Stretch>,
    progress: Progress,
    label: String,
}

struct Stretch {
    name: Option<String>,
    /// Whose usage is counted.
    pids: Vec<u32>,
    before: Usage,
    after: Option<Usage>,
    note: Option<String>,
    keys_per_second: Option<f64>,
}

impl Scene<'_> {
    /// Writes what a workload reads. Errors: a write failed, so that the measurement would be of misses.
    pub fn fill(&self, work: &Work) -> Result<(), Error> {
        let load = start(self.target, work, Requests::each_key_once(work, SEED))?;
        let mut progress = Progress::new(&work.name, work.keys);
        let began = Instant::now();
        while !load.is_finished() && !self.interrupt.is_raised() && began.elapsed() < FILL_MAX {
            progress.show(load.operations(), load.operations());
            thread::sleep(GLANCE);
        }
        let tallies = load.stop().map_err(|why| Error::Words(format!("{}: {why}", work.name)))?;
        if self.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let failed: u64 = tallies.iter().map(|tally| tally.errors + tally.cut).sum();
        let written: u64 = tallies.iter().map(Tally::operations).sum();
        if failed > 0 || written < work.keys {
            let first = tallies.iter().find_map(|tally| tally.first_error.clone()).unwrap_or_default();
            let what = format!("{}: {written} were written, {failed} failed {first}", work.name);
            return Err(Error::Words(what.trim_end().to_owned()));
        }
        Ok(())
    }

    /// The load alone, or with a disturbance: then one row before, and those during and after.
    pub fn measure(&mut self, work: &Work, disturbance: Option<Disturbance>) -> Result<Vec<Row>, Error> {
        let label = format!("{}: {}, {}", self.server, work.name, clients(work));
        let load = start(self.target, work, Requests::drawn(work, SEED))?;
        let progress = Progress::new(&label, self.seconds.as_secs());
        let mut run = Run { load, stretches: Vec::new(), progress, label };
        self.wait(&mut run, WARM_UP, |_| false);
        run.begin(disturbance.map(|_| "before"), self.target);
        self.wait(&mut run, self.seconds, |_| false);
        let changed = match disturbance {
            None => Ok(()),
            Some(Disturbance::Kill) => self.kill(&mut run),
            Some(Disturbance::Repair) => self.repair(&mut run, work),
            Some(Disturbance::Join) => self.join(&mut run),
        };
        let rows = run.finish(self, work)?;
        match changed {
            Ok(()) | Err(Error::Interrupted) => Ok(rows),
            Err(error) => Err(error),
        }
    }

    fn kill(&mut self, run: &mut Run) -> Result<(), Error> {
        let (last, name) = self.last_peer()?;
        run.begin(Some(&format!("the {} s after {name} was killed", NOTICE.as_secs())), self.target);
        self.network()?.kill(last);
        self.target.refresh();
        run.recount(self.target);
        self.wait(run, NOTICE, |_| false);
        run.begin(Some(&format!("without {name}")), self.target);
        self.wait(run, self.seconds, |_| false);
        Ok(())
    }

    fn repair(&mut self, run: &mut Run, work: &Work) -> Result<(), Error> {
        let (last, name) = self.last_peer()?;
        run.begin(Some(&format!("{name} loses its disk and starts")), self.target);
        let network = self.network()?;
        network.kill(last);
        network.wipe(last)?;
        let began = Instant::now();
        network.start(last)?;
        self.target.refresh();
        run.begin(Some(&format!("{name} is filled")), self.target);
        let mut filling = Filling::default();
        let filled = self.wait(run, CHANGE_MAX, |target| filling.is_over(target, began));
        let (took, keys) = (began.elapsed().as_secs_f64(), work.keys);
        run.filled(filled.then(|| keys as f64 / took));
        run.note(match filled {
            true => format!("{keys} keys in {took:.1} s from its start: {:.0} keys/s", keys as f64 / took),
            false => format!("not seen to be filled within {took:.0} s"),
        });
        run.begin(Some("after"), self.target);
        self.wait(run, self.seconds, |_| false);
        Ok(())
    }

    fn network(&mut self) -> Result<&mut Network, Error> {
        let none = || Error::Words("a disturbance needs peers that were started for it".into());
        self.target.own().map(|own| &mut own.network).ok_or_else(none)
    }

    fn last_peer(&mut self) -> Result<(usize, String), Error> {
        let seats = self.network()?.seats();
        Ok((seats.len() - 1, seats[seats.len() - 1].name.clone()))
    }

    fn join(&mut self, run: &mut Run) -> Result<(), Error> {
        run.begin(Some("a peer joins"), self.target);
        let began = Instant::now();
        let network = self.network()?;
        let index = network.add(None)?;
        let port = network.seats()[index].resp;
        let name = network.seats()[index].name.clone();
        let is_in = |_: &Target| {
            let status = resp::status(port).ok();
            status.is_some_and(|status| resp::members(&status).any(|m| m.name == name && m.is_member()))
        };
        let is_member = self.wait(run, CHANGE_MAX, is_in);
        let took = began.elapsed().as_secs_f64();
        run.note(if is_member {
            format!("{name} is a member after {took:.1} s")
        } else {
            format!("{name} is no member after {took:.0} s")
        });
        self.target.refresh();
        run.begin(Some("after"), self.target);
        self.wait(run, self.seconds, |_| false);
        Ok(())
    }

    /// Until something is so: true. False: the time is over, somebody interrupted, or the load failed.
    fn wait(&self, run: &mut Run, most: Duration, mut is_so: impl FnMut(&Target) -> bool) -> bool {
        let began = Instant::now();
        run.progress.set_length(u64::try_from(most.as_millis()).unwrap_or(u64::MAX));
        while began.elapsed() < most && !self.interrupt.is_raised() && !run.load.is_finished() {
            if is_so(self.target) {
                return true;
            }
            let passed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            run.progress.show(passed, run.load.operations());
            thread::sleep(GLANCE.min(most.saturating_sub(began.elapsed())));
        }
        false
    }
}

/// Watches a peer being filled: first some peer sees a difference, then none does.
#[derive(Default)]
struct Filling {
    asked_at: Option<Instant>,
    has_begun: bool,
}

impl Filling {
    /// Between two questions: the answers take time from the peers that are measured.
    const EVERY: Duration = Duration::from_millis(500);
    /// Contexts are compared every 5 s; without a difference for so long there was none.
    const QUIET: Duration = Duration::from_secs(20);

    fn is_over(&mut self, target: &Target, began: Instant) -> bool {
        if self.asked_at.is_some_and(|at| at.elapsed() < Self::EVERY) {
            return false;
        }
        self.asked_at = Some(Instant::now());
        let differing = |address| {
            let text = resp::ask_at(address, &["STATUS", "JSON"]).ok()?;
            serde_json::from_str::<serde_json::Value>(&text).ok()?["repairing"].as_u64()
        };
        let counts: Vec<Option<u64>> = target.addresses.iter().map(|address| differing(*address)).collect();
        self.has_begun |= counts.iter().any(|count| count.is_some_and(|count| count > 0));
        counts.iter().all(|count| *count == Some(0)) && (self.has_begun || began.elapsed() > Self::QUIET)
    }
}

fn start(target: &Target, work: &Work, requests: Requests) -> Result<Load, Error> {
    Load::start(&target.addresses, work, requests).map_err(Error::io("cannot make", "the load"))
}

/// How many clients, in words.
pub fn clients(work: &Work) -> String {
    format!("{} client{}", work.clients, if work.clients == 1 { "" } else { "s" })
}

impl Run {
    fn begin(&mut self, name: Option<&str>, target: &Target) {
        self.close();
        if let Some(name) = name {
            self.progress.relabel(&format!("{}; {name}", self.label));
        }
        self.load.next_stretch();
        let (name, pids) = (name.map(str::to_owned), target.pids.clone());
        let before = usage::of(&pids);
        self.stretches.push(Stretch { name, pids, before, after: None, note: None, keys_per_second: None });
    }

    /// From now on the stretch counts the usage of those that run now.
    fn recount(&mut self, target: &Target) {
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.pids.clone_from(&target.pids);
            stretch.before = usage::of(&stretch.pids);
        }
    }

    fn close(&mut self) {
        if let Some(stretch) = self.stretches.last_mut().filter(|stretch| stretch.after.is_none()) {
            stretch.after = Some(usage::of(&stretch.pids));
        }
    }

    fn note(&mut self, note: String) {
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.note = Some(note);
        }
    }

    fn filled(&mut self, keys_per_second: Option<f64>) {
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.keys_per_second = keys_per_second;
        }
    }

    fn finish(mut self, scene: &Scene, work: &Work) -> Result<Vec<Row>, Error> {
        self.close();
        let tallies = self.load.stop().map_err(|why| Error::Words(format!("{}: {why}", work.name)))?;
        let measured = tallies.into_iter().skip(1).zip(self.stretches);
        let rows = measured.map(|(tally, stretch)| {
            let after = stretch.after.unwrap_or_default();
            let row = Row::new(scene.server, work, stretch.name, &tally, stretch.before, after, stretch.note);
            Row { keys_per_second: stretch.keys_per_second, ..row }
        });
        Ok(rows.filter(|row| row.operations > 0 || row.errors + row.cut > 0).collect())
    }
}
