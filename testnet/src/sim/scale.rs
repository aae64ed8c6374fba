//! Large networks, membership alone: how soon a crash is noticed, how soon all agree, what it costs each peer,
//! and how often a healthy peer is taken for dead because others are slow.

mod crowd;

use super::chance::{Chance, Concern};
use crowd::{Belief, Crowd};
use serde::Serialize;
use starling_protocol::config::Config;
use starling_protocol::member::Health;
use starling_protocol::time::{Duration, Time};
use std::ops::Range;
use std::process::ExitCode;

/// Sizes, unless one is asked for.
const SIZES: [usize; 2] = [100, 1_000];
/// Until this all have connections, and their tables are compared.
const FORMED: Duration = Duration::from_secs(20);
const PEERS_MIN: usize = 20;
/// In each simulated minute so many machines go, one after the other, and peers are killed; no more than that in all.
const GONE: (u64, u64) = (2, 20);
const KILLED: (u64, u64) = (1, 5);
/// In the end one in so many goes at the same moment.
const AT_ONCE: usize = 20;
/// How long all may take to agree, and how often they are asked.
const AGREE_MAX: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(100);
/// Of each minute, in seconds: how long nothing happens, and how long some are slow.
const CALM: u64 = 6;
const SLOW: u64 = 24;
/// Most simulated seconds that some are slow, times peers: there each peer hears of all others again and again, so
/// that the work grows with their square.
const SLOW_MOST: u64 = 60_000;
/// One peer in so many is slow: for one of these spans, in milliseconds, it neither sends nor reads, then it does so
/// for one of those, again and again (Lifeguard, section V).
const SLOW_ONE_IN: usize = 8;
const STALLS_MS: [u64; 5] = [128, 512, 2_048, 8_192, 32_768];
const READS_MS: [u64; 6] = [1, 4, 16, 64, 256, 1_024];
/// Goals, in protocol periods: the expected first suspicion of SWIM is e/(e-1).
const SUSPICION_MAX: f64 = 1.6;
const AGREEMENT_MAX: f64 = 20.0;
/// Times fewer false positives than plain SWIM has.
const FEWER: usize = 50;
/// A peer of the largest network may send so much more than one of the smallest.
const LOAD_MAX: f64 = 1.25;

/// One size.
#[derive(Serialize)]
struct Row {
    peers: usize,
    load: Load,
    /// After a machine was gone without a word.
    gone: Noticed,
    /// After a peer was killed on a machine that went on.
    killed: Noticed,
    /// After many machines were gone at once.
    at_once: Noticed,
    /// While some were slow.
    mistaken: Mistaken,
    /// The same, of plain SWIM.
    mistaken_plain: Mistaken,
    /// Real time, in seconds.
    seconds: f64,
}

/// What each peer sends in a second while nothing happens.
#[derive(Serialize)]
struct Load {
    messages: f64,
    bytes: f64,
}

/// In protocol periods after a crash.
#[derive(Serialize)]
struct Noticed {
    /// Until somebody suspects it.
    median_suspicion: f64,
    /// Until all that run take it for dead.
    median_agreement: f64,
    worst_agreement: f64,
}

/// How often somebody took for dead one that was neither dead nor slow.
#[derive(Serialize)]
struct Mistaken {
    all: usize,
    /// Not slow themselves.
    healthy: usize,
}

/// Plays one size or both; of the minutes the last are those with slow peers. The exit code tells whether the goals
/// are met.
pub fn run(peers: Option<u64>, minutes: u64, seed: u64, json: bool) -> ExitCode {
    let sizes = peers.and_then(|peers| usize::try_from(peers).ok()).map_or(SIZES.to_vec(), |one| vec![one]);
    if let Some(few) = sizes.iter().find(|size| **size < PEERS_MIN) {
        eprintln!("error: {few} peers are too few for --profile scale; give --peers {PEERS_MIN} or more");
        return ExitCode::from(2);
    }
    let rows: Vec<Row> = sizes.into_iter().map(|peers| play(peers, minutes, seed)).collect();
    if json {
        println!("{}", serde_json::to_string(&rows).expect("numbers can be written"));
    } else {
        print(&rows);
    }
    let missed = missed(&rows);
    missed.iter().for_each(|what| eprintln!("missed: {what}"));
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(rows: &[Row]) {
    println!("Each peer sends, in a calm network:");
    for Row { peers, load: Load { messages, bytes }, .. } in rows {
        println!("{peers:>6} peers   {messages:.1} messages/s, {bytes:.0} bytes/s");
    }
    println!(
        "After a crash, in protocol periods, first suspicion (median), and until all agree (median, worst):"
    );
    for Row { peers, gone, killed, at_once, .. } in rows {
        for (what, noticed) in [("machine gone", gone), ("peer killed", killed), ("5 % at once", at_once)] {
            let Noticed { median_suspicion, median_agreement, worst_agreement } = noticed;
            println!(
                "{peers:>6} peers   {what:<12}   {median_suspicion:<5.2}   {median_agreement:.1}   {worst_agreement:.1}"
            );
        }
    }
    println!("One in {SLOW_ONE_IN} slow: others taken for dead; by those that were not slow:");
    for Row { peers, mistaken, mistaken_plain, .. } in rows {
        for (what, Mistaken { all, healthy }) in [("here", mistaken), ("plain SWIM", mistaken_plain)] {
            println!("{peers:>6} peers   {what:<12}   {all:<8}   {healthy}");
        }
    }
}

/// The goals that were not met, in words.
fn missed(rows: &[Row]) -> Vec<String> {
    let mut missed = Vec::new();
    for Row { peers, load, gone, killed, mistaken, mistaken_plain, .. } in rows {
        let mut goal = |met: bool, what: String| {
            if !met {
                missed.push(format!("with {peers} peers {what}"));
            }
        };
        for Noticed { median_suspicion, worst_agreement, .. } in [gone, killed] {
            let met = *median_suspicion <= SUSPICION_MAX;
            goal(met, format!("a crash was first suspected after {median_suspicion:.2} periods"));
            let met = *worst_agreement <= AGREEMENT_MAX;
            goal(met, format!("all agreed after {worst_agreement:.1} periods, or never"));
        }
        let fewer = mistaken.all * FEWER <= mistaken_plain.all;
        goal(
            fewer,
            format!("{} were taken for dead, and {} by plain SWIM", mistaken.all, mistaken_plain.all),
        );
        let least = &rows[0].load;
        let constant = load.messages <= least.messages * LOAD_MAX && load.bytes <= least.bytes * LOAD_MAX;
        goal(constant, format!("each sends {:.0} bytes/s, and {:.0} in the least", load.bytes, least.bytes));
    }
    missed
}

fn play(peers: usize, minutes: u64, seed: u64) -> Row {
    let began = std::time::Instant::now();
    let tell = |what| eprintln!("{:6.0} s  {peers} peers: {what}", began.elapsed().as_secs_f64());
    let config = Config::default();
    let mut crowd = Crowd::new(peers, seed, &config);
    crowd.run_to(Time(0) + FORMED);
    tell("all are connected");
    let load = load(&mut crowd, peers, Duration::from_secs(CALM * minutes));
    let mut last = peers;
    let mut crashes = |count: u64, at_once: usize, how: fn(&mut Crowd, usize)| {
        let delays = (0..count).flat_map(|_| {
            last -= at_once;
            delays_of(&mut crowd, last..last + at_once, how, &config)
        });
        noticed(delays.collect())
    };
    let of = |(each, most): (u64, u64)| (each * minutes).min(most);
    let gone = crashes(of(GONE), 1, Crowd::vanish);
    let killed = crashes(of(KILLED), 1, Crowd::kill);
    tell("machines are gone, one after the other");
    let at_once = crashes(1, peers / AT_ONCE, Crowd::vanish);
    tell("many are gone at once");
    drop(crowd);
    let (plain, span) =
        (Config { lifeguard: false, ..config.clone() }, Duration::from_secs(slow_for(peers, minutes)));
    let mistaken = mistaken_with(peers, seed, &config, span);
    tell("some were slow");
    let mistaken_plain = mistaken_with(peers, seed, &plain, span);
    Row {
        peers,
        load,
        gone,
        killed,
        at_once,
        mistaken,
        mistaken_plain,
        seconds: began.elapsed().as_secs_f64(),
    }
}

fn slow_for(peers: usize, minutes: u64) -> u64 {
    (SLOW * minutes).min(SLOW_MOST / peers as u64)
}

fn load(crowd: &mut Crowd, peers: usize, span: Duration) -> Load {
    let (frames, bytes) = (crowd.frames, crowd.bytes);
    crowd.weighs = true;
    crowd.run_to(crowd.now + span);
    crowd.weighs = false;
    let each = |count: u64| count as f64 / peers as f64 / span.as_secs_f64();
    Load { messages: each(crowd.frames - frames), bytes: each(crowd.bytes - bytes) }
}

/// Of each that crashes: when somebody suspected it, and when all that run took it for dead.
fn delays_of(
    crowd: &mut Crowd,
    victims: Range<usize>,
    how: fn(&mut Crowd, usize),
    config: &Config,
) -> Vec<(f64, f64)> {
    let at = crowd.now;
    victims.clone().for_each(|victim| how(crowd, victim));
    crowd.beliefs.clear();
    let all = crowd.running() * victims.len();
    while crowd.now < at + AGREE_MAX && crowd.beliefs.iter().filter(|belief| is_death(belief)).count() < all {
        crowd.run_to(crowd.now + GLANCE);
    }
    let since = |time: Time| time.since(at).as_secs_f64() / config.probe_period.as_secs_f64();
    let delays = victims.map(|victim| {
        let of_it = || crowd.beliefs.iter().filter(|belief| belief.of == victim);
        let first = of_it().next().map_or(f64::INFINITY, |belief| since(belief.at));
        let dead: Vec<_> = of_it().filter(|belief| is_death(belief)).collect();
        let last = dead.last().filter(|_| dead.len() == crowd.running());
        (first, last.map_or(f64::INFINITY, |belief| since(belief.at)))
    });
    delays.collect()
}

fn is_death(belief: &Belief) -> bool {
    belief.health == Health::Dead
}

fn noticed(delays: Vec<(f64, f64)>) -> Noticed {
    let (mut suspicions, mut agreements): (Vec<f64>, Vec<f64>) = delays.into_iter().unzip();
    suspicions.sort_by(f64::total_cmp);
    agreements.sort_by(f64::total_cmp);
    let median = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY);
    Noticed {
        median_suspicion: median(&suspicions),
        median_agreement: median(&agreements),
        worst_agreement: agreements.last().copied().unwrap_or(f64::INFINITY),
    }
}

fn drawn(chance: &mut Chance, spans_ms: &[u64]) -> Duration {
    Duration::from_millis(chance.pick(spans_ms).copied().unwrap_or(1))
}

/// Some stall again and again.
fn mistaken_with(peers: usize, seed: u64, config: &Config, span: Duration) -> Mistaken {
    let mut crowd = Crowd::new(peers, seed, config);
    crowd.run_to(Time(0) + FORMED);
    crowd.beliefs.clear();
    let (mut chance, slow) = (Chance::new(seed, Concern::Faults), peers / SLOW_ONE_IN);
    let mut next: Vec<Time> = (0..slow).map(|_| crowd.now + drawn(&mut chance, &READS_MS)).collect();
    let end = crowd.now + span;
    let mut mistaken = Mistaken { all: 0, healthy: 0 };
    while let Some((index, at)) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at)
        && at < end
    {
        crowd.run_to(at);
        mistaken.count(&mut crowd, slow);
        let until = at + drawn(&mut chance, &STALLS_MS);
        crowd.stall(index, until);
        next[index] = until + drawn(&mut chance, &READS_MS);
    }
    crowd.run_to(end);
    mistaken.count(&mut crowd, slow);
    mistaken
}

impl Mistaken {
    /// Those who came to be believed dead; the first `slow` are slow.
    fn count(&mut self, crowd: &mut Crowd, slow: usize) {
        for belief in crowd.beliefs.drain(..).filter(|belief| is_death(belief) && belief.of >= slow) {
            self.all += 1;
            self.healthy += usize::from(belief.by >= slow);
        }
    }
}
