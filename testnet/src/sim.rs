//! Whole networks from one seed each: the very peers that run in real processes, on simulated machines,
//! thousands of times faster than life, under faults that are drawn from the seed, watched by checkers.

pub mod chance;
pub mod checkers;
pub mod clients;
mod disasters;
mod disk;
mod faults;
mod jobs;
mod ledger;
mod links;
mod marks;
mod model;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod plan;
mod play;
mod power;
mod scale;
mod schedule;
mod storage;
mod watch;
mod world;

use crate::local::Error;
use marks::Marks;
use plan::{Profile, Wishes};
use play::Played;
use serde::Serialize;
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};
use starling_protocol::time::Duration;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most peers of a simulated network that holds data.
const PEERS_MAX: u64 = 15;
/// After so many failures no more seeds are played.
const FAILURES_MAX: usize = 10;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Options of `testnet sim`.
#[derive(clap::Args)]
#[cfg_attr(
    not(feature = "mutants"),
    command(after_help = "Built with --features mutants it has --mutants and --marks too")
)]
pub struct Options {
    /// How many seeds to play
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "S")]
    start: u64,
    /// How many peers at first: 3 to 15, and up to 4,000 for scale [default: drawn from the seed]
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=4000), value_name = "PEERS")]
    peers: Option<u64>,
    /// Simulated minutes under faults [default: 2 for lite, 5 for swarm, 1 for churn]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1440), value_name = "MINUTES")]
    minutes: Option<u64>,
    /// How much is drawn
    #[arg(long, value_enum, default_value = "lite")]
    profile: Profile,
    /// Over how many threads the seeds are spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256), value_name = "N")]
    jobs: u64,
    /// Play no seed again in another process
    #[arg(long, hide = true)]
    once: bool,
    /// Play this seed alone, and tell its story
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// One line of JSON on stdout at the end
    #[arg(long, conflicts_with = "replay")]
    json: bool,
    #[cfg(feature = "mutants")]
    #[command(flatten)]
    broken: mutants::Options,
}

/// What `--json` prints.
#[derive(Default, Serialize)]
struct Report {
    seeds: u64,
    simulated_seconds: u64,
    seconds: f64,
    /// Simulated time over real time, of all threads together.
    times_real_time: f64,
    operations: u64,
    /// Of those, the ones that did what they were asked for, faults or not.
    answered: u64,
    frames: u64,
    events: u64,
    faults: BTreeMap<String, u64>,
    /// A hash over all that happened in all seeds: the same seeds and options, the same hash.
    trace: String,
    #[serde(skip)]
    marks: Marks,
    /// Rare branches that no seed has reached; known with the feature `mutants` alone.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    unreached: Marks,
    failures: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    seed: u64,
    what: String,
    options: String,
    replay: String,
}

/// Plays the seeds. The exit code tells whether a checker found anything. Interrupted, it tells what it has played.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    #[cfg(feature = "mutants")]
    if options.broken.mutants {
        return Ok(mutants::play_all(options));
    }
    if options.profile == Profile::Scale {
        return Ok(scale::run(options.peers, options.minutes.unwrap_or(10), options.start, options.json));
    }
    if let Some(many) = options.peers.filter(|peers| *peers > PEERS_MAX) {
        eprintln!(
            "error: {many} peers are too many but for --profile scale; give --peers {PEERS_MAX} or fewer"
        );
        return Ok(ExitCode::from(2));
    }
    let interrupt = interrupted()?;
    let seeds = match options.replay {
        Some(seed) => seed..seed.saturating_add(1),
        None => options.start..options.start.saturating_add(options.seeds),
    };
    // Those that never came are named too.
    let faults = plan::FAULTS.iter().map(|fault| (format!("{fault:?}"), 0)).collect();
    let (mut report, mut trace, began) = (Report { faults, ..Report::default() }, 0, Instant::now());
    let (mut simulated, mut told) = (Duration::ZERO, began);
    jobs::play_all(options, seeds, |seed, outcome| {
        // The process that was to play it again may have been interrupted as well.
        if interrupt.load(Ordering::SeqCst) {
            return false;
        }
        match outcome {
            Ok(played) => {
                simulated += played.simulated;
                trace = mixed(trace, played.trace);
                report.take(seed, played, options);
            }
            Err(what) => report.fail(seed, what, options),
        }
        report.seeds += 1;
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            report.progress(simulated, began.elapsed());
        }
        report.failures.len() < FAILURES_MAX && !report.has_enough(options)
    });
    report.simulated_seconds = simulated.as_secs();
    report.seconds = began.elapsed().as_secs_f64();
    report.times_real_time = simulated.as_secs_f64() / report.seconds.max(1e-9);
    report.trace = format!("{trace:016x}");
    report.unreached = marks::unreached(&report.marks);
    let code = report.end(options);
    if interrupt.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(code) }
}

/// Becomes true by Ctrl-C; a second one ends this process at once, in the middle of a seed.
fn interrupted() -> Result<Arc<AtomicBool>, Error> {
    let interrupt = Arc::new(AtomicBool::new(false));
    register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupt))
        .and_then(|_| register(SIGINT, Arc::clone(&interrupt)))
        .map_err(Error::io("cannot watch for", "signals"))?;
    Ok(interrupt)
}

/// `Err`: a peer panicked.
fn played(seed: u64, wishes: &Wishes, aloud: bool) -> Result<Played, String> {
    std::panic::catch_unwind(|| play::play(seed, wishes, aloud)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("a peer panicked: {}", text.unwrap_or_default())
    })
}

fn mixed(trace: u64, next: u64) -> u64 {
    (trace.rotate_left(5) ^ next).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Report {
    fn take(&mut self, seed: u64, played: Played, options: &Options) {
        self.operations += played.operations;
        self.answered += played.answered;
        self.frames += played.counts.frames;
        self.events += played.counts.events;
        for (fault, count) in &played.counts.faults {
            *self.faults.entry(format!("{fault:?}")).or_default() += count;
        }
        self.marks.extend(played.marks);
        if let Some(what) = played.broken {
            self.fail(seed, what, options);
        }
    }

    fn fail(&mut self, seed: u64, what: String, options: &Options) {
        let drawn = plan::Plan::draw(seed, &options.wishes()).to_string();
        let replay = options.line(seed);
        eprintln!("seed {seed}: {what}\n  options: {drawn}\n  replay:  {replay}");
        self.failures.push(Failed { seed, what, options: drawn, replay });
    }

    fn progress(&self, simulated: Duration, took: Duration) {
        let mut out = std::io::stderr();
        if out.is_terminal() {
            let (faults, rate) = (self.faults.values().sum::<u64>(), self.seeds as f64 / took.as_secs_f64());
            let (hours, failures) = (simulated.as_secs_f64() / 3600.0, self.failures.len());
            // What cannot be shown is no reason to stop.
            let _ = write!(
                out,
                "\r{} seeds, {rate:.1}/s, {hours:.1} simulated hours, {faults} faults, {failures} failures ",
                self.seeds
            );
        }
    }

    fn end(&self, options: &Options) -> ExitCode {
        if options.json {
            println!("{}", serde_json::to_string(self).expect("numbers and words can be written"));
        } else {
            let faults = self.faults.iter().filter(|(_, count)| **count > 0);
            let faults: Vec<_> = faults.map(|(fault, count)| format!("{fault} {count}")).collect();
            println!(
                "{} seeds, {} simulated seconds in {:.1} s: {:.0} times real time; {} operations, {} answered, {} frames",
                self.seeds,
                self.simulated_seconds,
                self.seconds,
                self.times_real_time,
                self.operations,
                self.answered,
                self.frames
            );
            println!("faults: {}\nfailures: {}", faults.join(", "), self.failures.len());
        }
        let is_marked = self.end_marks(options);
        if self.failures.is_empty() && is_marked { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Names the rare branches that were never reached. False if they ought to have been.
    fn end_marks(&self, options: &Options) -> bool {
        if options.replay.is_none() && !options.once {
            for (name, what) in &self.unreached {
                eprintln!("never reached: {name}: {}", what.trim());
            }
        }
        let must = options.marks() || marks::must_be_reached(options.profile, self.seeds);
        self.unreached.is_empty() || !must
    }

    fn has_enough(&self, options: &Options) -> bool {
        options.marks() && marks::unreached(&self.marks).is_empty()
    }
}

impl Options {
    fn wishes(&self) -> Wishes {
        Wishes { profile: self.profile, peers: self.peers, minutes: self.minutes }
    }

    /// Whether rare branches are all that matters.
    fn marks(&self) -> bool {
        #[cfg(feature = "mutants")]
        return self.broken.marks;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// The line that plays one seed of this run again.
    fn line(&self, seed: u64) -> String {
        format!("testnet sim {} --replay {seed}", self.words().join(" "))
    }

    /// What was asked for, seeds apart.
    fn words(&self) -> Vec<String> {
        let profile = clap::ValueEnum::to_possible_value(&self.profile).expect("no profile is skipped");
        let mut words = vec![format!("--profile={}", profile.get_name())];
        words.extend(self.peers.map(|peers| format!("--peers={peers}")));
        words.extend(self.minutes.map(|minutes| format!("--minutes={minutes}")));
        #[cfg(feature = "mutants")]
        words.extend(self.broken.mutant.map(|mutant| format!("--mutant={}", mutant.name())));
        words
    }
}
