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
    keys_held: Option<u64>,
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
        let is_repair = disturbance == Some(Disturbance::Repair);
        let held = if is_repair { self.held_by_each()? } else { None };
        let load = start(self.target, work, Requests::drawn(work, SEED))?;
        let progress = Progress::new(&label, self.seconds.as_secs());
        let mut run = Run { load, stretches: Vec::new(), progress, label };
        self.wait(&mut run, WARM_UP, |_| false);
        run.begin(disturbance.map(|_| "before"), self.target);
        self.wait(&mut run, self.seconds, |_| false);
        let changed = match disturbance {
            None => Ok(()),
            Some(Disturbance::Kill) => self.kill(&mut run),
            Some(Disturbance::Repair) => self.repair(&mut run, held),
            Some(Disturbance::Join) => self.join(&mut run),
        };
        let rows = run.finish(self, work)?;
        if rows.is_empty() && changed.is_ok() && !self.interrupt.is_raised() {
            let words = format!("{}: nothing was asked for within the time that was measured", work.name);
            return Err(Error::Words(words));
        }
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

    fn repair(&mut self, run: &mut Run, all: Option<u64>) -> Result<(), Error> {
        let (last, name) = self.last_peer()?;
        run.begin(Some(&format!("{name} loses its disk and starts")), self.target);
        let network = self.network()?;
        network.kill(last);
        network.wipe(last)?;
        let began = Instant::now();
        network.start(last)?;
        let port = network.seats()[last].resp;
        self.target.refresh();
        run.begin(Some(&format!("{name} is filled")), self.target);
        let mut filling = Filling::default();
        let is_over = self.wait(run, CHANGE_MAX, |target| filling.is_over(target, began));
        let took = began.elapsed().as_secs_f64();
        let filled = Filled {
            took,
            was_seen: is_over && filling.has_begun,
            held: all.and_then(|_| resp::count_keys(port).ok()),
            all,
        };
        run.filled(&filled);
        run.begin(Some("after"), self.target);
        self.wait(run, self.seconds, |_| false);
        Ok(())
    }

    /// How many keys each peer holds; `None` where none holds all, so that a peer would count those of others.
    fn held_by_each(&mut self) -> Result<Option<u64>, Error> {
        let n = self.target.quorums.map_or(0, |(n, _, _)| usize::from(n));
        let seats = self.network()?.seats();
        if n < seats.len() {
            return Ok(None);
        }
        resp::count_keys(seats[0].resp).map(Some).map_err(Error::Words)
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
        self.target.refresh();
        run.stretches.last_mut().into_iter().for_each(|stretch| stretch.count_new(&self.target.pids));
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

impl Stretch {
    /// Those that have started in it count with all that they have used.
    fn count_new(&mut self, pids: &[u32]) {
        let known = std::mem::replace(&mut self.pids, pids.to_vec());
        self.before.processes += pids.iter().filter(|pid| !known.contains(pid)).count() as u64;
    }
}

/// What the filling of a wiped peer came to.
struct Filled {
    /// Seconds from its start.
    took: f64,
    /// First some peer saw a difference, then none did.
    was_seen: bool,
    /// The keys that it counts then, and those that there were before. `None`: they cannot be counted.
    held: Option<u64>,
    all: Option<u64>,
}

impl Filled {
    /// `None`: it was not filled, or that cannot be told.
    fn keys_per_second(&self) -> Option<f64> {
        let held = self
            .held
            .filter(|held| self.was_seen && *held > 0 && self.all.is_some_and(|all| *held >= all))?;
        Some(held as f64 / self.took)
    }

    fn note(&self) -> String {
        let took = self.took;
        let held =
            self.held.map_or_else(|| "keys that cannot be counted".into(), |held| format!("{held} keys"));
        match self.keys_per_second() {
            Some(rate) => format!("{held} in {took:.1} s from its start: {rate:.0} keys/s"),
            None if self.was_seen => match self.all {
                Some(all) => format!("it seemed filled after {took:.1} s, with {held} of {all}"),
                None => format!("filled {took:.1} s after its start, with {held}"),
            },
            None => format!(
                "within {took:.0} s it was not seen that it was being filled, and then was: it counts {held}"
            ),
        }
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
        let (after, note, keys_per_second, keys_held) = (None, None, None, None);
        self.stretches.push(Stretch { name, pids, before, after, note, keys_per_second, keys_held });
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

    fn filled(&mut self, filled: &Filled) {
        self.note(filled.note());
        if let Some(stretch) = self.stretches.last_mut() {
            (stretch.keys_per_second, stretch.keys_held) = (filled.keys_per_second(), filled.held);
        }
    }

    fn finish(mut self, scene: &Scene, work: &Work) -> Result<Vec<Row>, Error> {
        self.close();
        let tallies = self.load.stop().map_err(|why| Error::Words(format!("{}: {why}", work.name)))?;
        let measured = tallies.into_iter().skip(1).zip(self.stretches);
        let rows = measured.map(|(tally, stretch)| {
            let after = stretch.after.unwrap_or_default();
            let row = Row::new(scene.server, work, stretch.name, &tally, stretch.before, after, stretch.note);
            let disk_bytes_per_op = row.disk_bytes_per_op.filter(|_| !scene.target.is_in_memory());
            let (keys_per_second, keys_held) = (stretch.keys_per_second, stretch.keys_held);
            Row { keys_per_second, keys_held, disk_bytes_per_op, ..row }
        });
        Ok(rows.filter(|row| row.operations > 0 || row.errors + row.cut > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_joins_counts_from_its_start() {
        let before = Usage { cpu: 3.0, processes: 1, ..Usage::default() };
        let (name, after, note, keys_per_second, keys_held) = (None, None, None, None, None);
        let mut stretch = Stretch { name, pids: vec![7], before, after, note, keys_per_second, keys_held };
        stretch.count_new(&[7, 9]);
        assert_eq!((stretch.pids, stretch.before.processes, stretch.before.cpu), (vec![7, 9], 2, 3.0));
    }

    #[test]
    fn a_peer_that_does_not_hold_all_was_not_filled() {
        let of = |was_seen, held, all| Filled { took: 2.0, was_seen, held, all };
        assert_eq!(of(true, Some(50), Some(50)).keys_per_second(), Some(25.0));
        let not = [
            of(true, Some(49), Some(50)),
            of(false, Some(50), Some(50)),
            of(true, Some(0), Some(0)),
            of(true, None, Some(50)),
            of(true, None, None),
        ];
        for filled in not {
            assert_eq!(filled.keys_per_second(), None, "{}", filled.note());
            assert!(!filled.note().contains("keys/s"), "{}", filled.note());
        }
    }
}
