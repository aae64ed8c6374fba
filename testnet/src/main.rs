//! `testnet`: Starling networks on one machine.

mod bench;
mod chaos;
mod local;
mod sim;

use clap::{Parser, Subcommand};
use local::{Error, Front, Options, PEERS_MAX, Wishes, control};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "testnet", version, about = "Starling networks on one machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start peers as processes of this machine, and open a console to the first
    Up(Up),
    /// Do something to a running testnet: status, kill, restart, pause, resume, wipe, add, partition, heal
    Ctl(Ctl),
    /// Play simulated networks under faults, each from one seed, and check what must be true
    Sim(sim::Options),
    /// Kill, stop, cut off and wipe real peers while clients work, and check what must be true in the end
    Chaos(chaos::Options),
    /// Measure throughput and latency of peers, alone or in turns with something else
    Bench(bench::Options),
}

#[derive(clap::Args)]
struct Up {
    /// How many peers: 5 unless told, at most 100
    #[arg(short = 'n', value_name = "PEERS")]
    peers: Option<usize>,
    /// Keep everything in this directory; the same directory later starts the same peers again
    /// [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// No console: stay in the foreground until Ctrl-C or SIGTERM
    #[arg(long)]
    no_console: bool,
    /// One line of JSON on stdout once all peers know each other; no console
    #[arg(long)]
    json: bool,
    /// N: how many copies of each key [default: 3, or all if there are fewer peers]
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,
    /// The RESP port of the first peer [default: 7379]; 0: free ports are chosen
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Q: into how many partitions the keys are cut [default: 256]
    #[arg(long, value_name = "Q")]
    partitions: Option<u16>,
    /// The peer program [default: built from the same source, or `starling` beside this program]
    #[arg(long, value_name = "PATH", env = "STARLING_BIN")]
    bin: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Ctl {
    /// The directory of the testnet, as `up` has shown it
    #[arg(long)]
    dir: PathBuf,
    /// What to do, for example: kill p2 | partition p1 p2 '|' p3 p4 p5 | status --json
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<String>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(up) => local::up(up.into()).map(ExitCode::from),
        Command::Ctl(ctl) => ask(&ctl),
        Command::Sim(options) => sim::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(if matches!(error, Error::Interrupted) { 130 } else { 1 })
    })
}

fn ask(ctl: &Ctl) -> Result<ExitCode, Error> {
    let answer = control::ask(&ctl.dir, &ctl.words)?;
    if answer.ok {
        println!("{}", answer.text);
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Words(answer.text))
}

impl From<Up> for Options {
    fn from(up: Up) -> Self {
        let front = match (up.json, up.no_console) {
            (true, _) => Front::Json,
            (false, true) => Front::Foreground,
            (false, false) => Front::Console,
        };
        let wishes = Wishes {
            peers: up.peers,
            replicas: up.replicas,
            partitions: up.partitions,
            base_port: up.base_port,
        };
        Self { wishes, dir: up.dir, program: up.bin, front }
    }
}

const _: () = assert!(PEERS_MAX == 100, "the help of `up` says at most 100");
