//! Mutants: one rule at a time is broken, and the checkers must find it.

use super::plan::{Profile, Wishes};
use super::played;
use serde::Serialize;
use starling_crdt::mutant::{Mutant, play};
use std::process::ExitCode;

#[derive(clap::Args)]
#[group(skip)]
pub struct Options {
    /// Play with this rule broken
    #[arg(long, value_parser = named, value_name = "NAME")]
    pub mutant: Option<Mutant>,
    /// Break one rule after the other, and tell at which seed each was found
    #[arg(long, conflicts_with_all = ["mutant", "replay"])]
    pub mutants: bool,
    /// Stop once every rare branch was reached, and fail if one was not
    #[arg(long, conflicts_with_all = ["mutant", "mutants", "replay"])]
    pub marks: bool,
}

fn named(name: &str) -> Result<Mutant, String> {
    let all = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
    found.copied().ok_or_else(|| format!("no such mutant; there are {}", all()))
}

/// What became of one mutant.
#[derive(Serialize)]
struct Fate {
    mutant: &'static str,
    /// The rule that is broken.
    what: &'static str,
    /// Where it was found, and how. `None`: it was not.
    found: Option<Found>,
}

#[derive(Serialize)]
struct Found {
    profile: String,
    seed: u64,
    how: String,
}

/// Plays every mutant until a checker finds it, in as many seeds of each profile as were asked for.
pub fn play_all(options: &super::Options) -> ExitCode {
    // A mutant that panics is found; nobody needs to see how.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = 0;
    for mutant in Mutant::ALL {
        let fate = Fate { mutant: mutant.name(), what: mutant.what(), found: find(*mutant, options) };
        missed += u32::from(fate.found.is_none());
        fate.print(options.json);
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn find(mutant: Mutant, options: &super::Options) -> Option<Found> {
    play(Some(mutant));
    let seeds = options.start..options.start.saturating_add(options.seeds);
    let all = [Profile::Lite, Profile::Churn, Profile::Swarm];
    let all = all.into_iter().flat_map(|p| seeds.clone().map(move |s| (p, s)));
    let mut all = all.filter_map(|(profile, seed)| {
        let wishes = Wishes { profile, peers: options.peers, minutes: options.minutes };
        let how = match played(seed, &wishes, false) {
            Ok(played) => played.broken?,
            Err(panic) => panic,
        };
        Some(Found { profile: format!("{profile:?}").to_lowercase(), seed, how })
    });
    let found = all.next();
    play(None);
    found
}

impl Fate {
    fn print(&self, json: bool) {
        if json {
            return println!("{}", serde_json::to_string(self).expect("words and numbers can be written"));
        }
        match &self.found {
            Some(Found { profile, seed, how }) => {
                let how: String = how.chars().take(120).collect();
                println!("{:<18} {profile} {seed:<4} {how}", self.mutant);
            }
            None => println!("{:<18} NOT FOUND  {}", self.mutant, self.what),
        }
    }
}
