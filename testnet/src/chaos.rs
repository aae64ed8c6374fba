//! Real processes under faults: peers are killed, stopped, cut off, and lose their disks while clients work, and the
//! network between them loses, delays and reorders; in the end all must agree, and hold what was acknowledged.
//!
//! The seed decides which faults come when. What the processes make of them differs from run to run.

mod check;
mod clients;
mod disks;
mod faults;
mod proxy;

use crate::local::{self, Error, Home, Interrupt, Network, Plan, Wishes, multiaddrs, peer_program};
use check::Verdict;
use clients::Clients;
use faults::Faults;
use proxy::Proxies;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Options of `testnet chaos`.
#[derive(clap::Args)]
pub struct Options {
    /// How many peers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=20), value_name = "PEERS")]
    peers: u64,
    /// How long faults come, in seconds
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    seconds: u64,
    /// Decides which faults come, and when
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// The peer program [default: built from the same source, or `starling` beside this program]
    #[arg(long, value_name = "PATH", env = "STARLING_BIN")]
    bin: Option<PathBuf>,
    /// One line of JSON on stdout at the end
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    seed: u64,
    peers: u64,
    seconds: f64,
    operations: usize,
    acknowledged: usize,
    refused: usize,
    /// Neither acknowledged nor refused: they may have taken effect.
    unknown: usize,
    faults: BTreeMap<&'static str, u32>,
    /// What became of datagrams and of pieces of streams.
    network: BTreeMap<&'static str, u64>,
    /// Until all peers agreed after the last fault was mended.
    agreed_after_seconds: Option<f64>,
    /// Elements that are there though a removal had seen them: additions that were carried out late.
    came_back: usize,
    found: Vec<String>,
}

/// The exit code tells whether a checker found anything. Interrupted, it stops what it started.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    let interrupt = local::interrupted_by_signals()?;
    let program = peer_program(options.bin.clone(), &interrupt)?;
    let home = Home::temporary(None)?;
    let peers = usize::try_from(options.peers).ok();
    let wishes = Wishes { peers, base_port: Some(0), ..Wishes::default() };
    let plan = Plan::prepare(home.dir(), &wishes)?;
    let mut network = Network::new(home.dir().to_owned(), program, plan, interrupt.clone());
    let listening: Vec<u16> = network.seats().iter().map(|seat| seat.listen).collect();
    let proxies = Proxies::start(&listening, options.seed)?;
    network.set_through(through(proxies.ports()));
    network.start_all()?;
    eprintln!("{} peers know one another; faults come for {} s", options.peers, options.seconds);
    let report = play(options, &mut network, proxies, &interrupt);
    network.stop_all();
    let report = report?;
    report.print(options.json);
    Ok(if report.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every second peer is reached over QUIC alone, so that datagrams carry something too.
fn through(ports: &[u16]) -> Vec<Vec<String>> {
    let ways = ports.iter().map(|port| multiaddrs(*port));
    (0..)
        .zip(ways)
        .map(|(number, [tcp, quic])| if number % 2 == 0 { vec![tcp, quic] } else { vec![quic] })
        .collect()
}

fn play(
    options: &Options,
    network: &mut Network,
    proxies: Proxies,
    interrupt: &Interrupt,
) -> Result<Report, Error> {
    let began = Instant::now();
    let mut clients = Clients::start(network.seats().iter().map(|seat| seat.resp).collect(), options.seed);
    let mut faults = Faults::new(options.seed, began, proxies);
    let end = began + Duration::from_secs(options.seconds);
    let outcome = faults.strike_until(end, network, interrupt).and_then(|()| faults.mend_all(network));
    clients.stop();
    outcome?;
    let refusing = check::refusing(network, &clients, interrupt)?;
    let ops = clients.into_ops();
    let Verdict { agreed, mut found, came_back } = check::all(network, &ops, interrupt)?;
    found.extend(refusing);
    let count = |wanted| ops.iter().filter(|op| clients::kind(&op.outcome) == wanted).count();
    Ok(Report {
        seed: options.seed,
        peers: options.peers,
        seconds: began.elapsed().as_secs_f64(),
        operations: ops.len(),
        acknowledged: count(clients::Kind::Acknowledged),
        refused: count(clients::Kind::Refused),
        unknown: count(clients::Kind::Unknown),
        network: faults.network_counts(),
        faults: faults.counts,
        agreed_after_seconds: agreed.map(|span| span.as_secs_f64()),
        came_back,
        found,
    })
}

impl Report {
    fn print(&self, json: bool) {
        if json {
            return println!("{}", serde_json::to_string(self).expect("numbers and words can be written"));
        }
        let Self { operations, acknowledged, refused, unknown, seconds, .. } = self;
        println!(
            "{operations} operations in {seconds:.0} s: {acknowledged} acknowledged, {refused} refused, {unknown} unknown"
        );
        let faults: Vec<_> = self.faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        println!("faults: {}", faults.join(", "));
        let network: Vec<_> = self.network.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("network: {}", network.join(", "));
        match self.agreed_after_seconds {
            Some(after) => println!("all agreed {after:.1} s after the last fault"),
            None => println!("they do not agree"),
        }
        if self.came_back > 0 {
            println!("{} removed elements are there: additions that were carried out late", self.came_back);
        }
        self.found.iter().for_each(|found| println!("FOUND: {found}"));
        println!("failures: {}", self.found.len());
    }
}
