//! Seeds spread over threads, and some played again in another process. What comes of it is told in the order of
//! the seeds, however many threads there are.

use super::{Options, mixed, play::Played, played};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Every so many seeds one is played again, in a process of its own: it must go the same way.
const AGAIN_EVERY: u64 = 50;
/// Most seeds that one thread may be ahead of what has been told.
const AHEAD_MAX: usize = 64;

/// What one seed came to. `Err`: a peer panicked, or it went another way the second time.
pub type Outcome = Result<Played, String>;

/// Plays the seeds, and hands each outcome to `take` until that says that it is enough.
pub fn play_all(options: &Options, seeds: Range<u64>, mut take: impl FnMut(u64, Outcome) -> bool) {
    let jobs = options.jobs.clamp(1, 1 << 10);
    std::thread::scope(|scope| {
        let begin = |job| {
            let (done, outcomes) = sync_channel(AHEAD_MAX);
            let mine = (seeds.start.saturating_add(job)..seeds.end).step_by(jobs as usize);
            scope.spawn(move || play_each(options, mine, &done));
            outcomes
        };
        // Once this is dropped, no thread can tell of more, and each stops after the seed that it is at.
        let threads: Vec<Receiver<Outcome>> = (0..jobs).map(begin).collect();
        for (seed, outcomes) in seeds.zip(threads.iter().cycle()) {
            let outcome = outcomes.recv().expect("a thread ends after its last seed");
            if !take(seed, outcome) {
                break;
            }
        }
    });
}

fn play_each(options: &Options, seeds: impl Iterator<Item = u64>, done: &SyncSender<Outcome>) {
    #[cfg(feature = "mutants")]
    starling_crdt::mutant::play(options.broken.mutant);
    for seed in seeds {
        let mut outcome = played(seed, &options.wishes(), options.replay.is_some());
        if seed % AGAIN_EVERY == 0 && options.replay.is_none() && !options.once {
            outcome = outcome.and_then(|played| again(options, seed, played));
        }
        if done.send(outcome).is_err() {
            return;
        }
    }
}

/// `Err` unless another process plays the seed the same.
fn again(options: &Options, seed: u64, played: Played) -> Outcome {
    let cannot = |why: String| format!("could not be played again in another process: {why}");
    let program = std::env::current_exe().map_err(|error| cannot(error.to_string()))?;
    let mut other = Command::new(program);
    other.args(["sim", "--once", "--json", "--seeds", "1", "--start", &seed.to_string()]);
    other.args(options.words()).stderr(Stdio::null());
    let output = other.output().map_err(|error| cannot(error.to_string()))?;
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| cannot(error.to_string()))?;
    if report["trace"].as_str() == Some(&format!("{:016x}", mixed(0, played.trace))) {
        return Ok(played);
    }
    Err("played again in another process, it went another way".into())
}
