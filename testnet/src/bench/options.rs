//! What can be asked of `testnet bench`.

use super::scene::Disturbance;
use super::work::{Op, Skew, Work};
use crate::local::{Error, PEERS_MAX};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;
use std::time::Duration;

/// How many different keys unless told.
const KEYS: u64 = 10_000;
/// Most bytes of values that all clients may have under way.
const UNDER_WAY_MAX: u64 = 1 << 30;
/// Rates of the open loop, in operations per second: one in a quarter of an hour to as many as a machine can draw.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1e7;

/// How fast is it? Starts a network of peers, or takes servers that run, loads them from one thread,
/// and prints throughput, latencies and what the servers used.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many peers to start
    #[arg(long, default_value_t = 3, value_parser = range(1, PEERS_MAX as u64), value_name = "PEERS", conflicts_with = "connect")]
    pub peers: usize,
    /// N: how many copies of each key [default: 3, or all if there are fewer peers]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N", conflicts_with = "connect")]
    pub replicas: Option<u8>,
    /// When a write counts as kept: synced to disk, or synced every second (interval)
    #[arg(long, value_enum, default_value = "synced", conflicts_with = "connect")]
    pub durability: Durability,
    /// Make the temporary directory of the peers in this one; a disk, not memory, to measure syncs
    /// [default: that of the system]
    #[arg(long, value_name = "DIR", conflicts_with = "connect")]
    pub dir: Option<PathBuf>,
    /// The peer program [default: built from the same source, or `starling` beside this program]
    #[arg(long, value_name = "PATH", env = "STARLING_BIN")]
    pub bin: Option<PathBuf>,
    /// Start no peers: measure the servers at these addresses. Any that speaks RESP will do
    #[arg(long, num_args = 1.., value_name = "ADDR")]
    pub connect: Vec<String>,
    /// Numbers of clients, from 1 to 512; each has a connection of its own, and they are spread over
    /// the peers. Several numbers, apart by commas, are measured one after another
    #[arg(long, default_value = "64", value_delimiter = ',', value_parser = range(1, 512), value_name = "N")]
    pub clients: Vec<usize>,
    /// How long each measurement lasts, after a second to warm up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "S")]
    pub seconds: u64,
    /// What to do, one measurement for each: set, get, incr, del, sadd, sismember, hset, hget
    #[arg(long, value_enum, value_delimiter = ',', default_value = "set,get", value_name = "OPS")]
    pub ops: Vec<Op>,
    /// Instead: get and set mixed in these shares, for example 95:5
    #[arg(long, value_parser = mix, value_name = "READS:WRITES", conflicts_with = "ops")]
    pub mix: Option<(u32, u32)>,
    /// Bytes of each value
    #[arg(long, default_value_t = 100, value_parser = range(0, 1 << 20), value_name = "BYTES")]
    pub value_size: usize,
    /// How many different keys [default: 10000; with --table 100000 where there are to be many]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), value_name = "N")]
    pub keys: Option<u64>,
    /// Which keys are asked for: all alike, or some far more than others (zipf, as in YCSB)
    #[arg(long, value_enum, default_value = "uniform")]
    pub skew: Skew,
    /// How many requests a client sends at once; it sends the next when all are answered
    #[arg(long, default_value_t = 1, value_parser = range(1, 1024), value_name = "N")]
    pub pipeline: usize,
    /// R: how many copies a read asks [default: the network's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "R")]
    pub r: Option<u8>,
    /// W: how many synced copies acknowledge a write [default: the network's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "W")]
    pub w: Option<u8>,
    /// The open loop: so many operations per second, whether or not the servers keep up. Latencies then
    /// count from when a request should have been sent, so that a stall is felt by all it delays
    #[arg(long, value_parser = rate, allow_negative_numbers = true, value_name = "OPS/S")]
    pub rate: Option<f64>,
    /// Measure before, while and after the last peer is killed
    #[arg(long, conflicts_with_all = ["connect", "during", "against"])]
    pub with_a_peer_down: bool,
    /// Measure before, while and after the last peer's disk is replaced (repair) or another joins (join)
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["connect", "against"])]
    pub during: Option<During>,
    /// Compare with something else, measured in turns with ours in the same run; prints the ratios.
    /// A COMMAND with {} is a server: {} stands for a port of 127.0.0.1, it must stay in the foreground
    /// and speak RESP there; it runs in an empty directory and gets the same load.
    /// A COMMAND without {} measures by itself: its last line of output must be two numbers, operations
    /// per second and the 99th percentile in microseconds, or a JSON object with `ops_per_second` (or
    /// `ops_per_s`) and `p99_us`, and it goes with one of --ops and one number of --clients; what `bench
    /// --json` prints for the same measurements will do, of another build for example
    #[arg(long, value_name = "COMMAND", verbatim_doc_comment)]
    pub against: Option<String>,
    /// How often each measurement is repeated [default: 3 with --against, else 1]
    #[arg(long, value_parser = range(1, 100), value_name = "N")]
    pub rounds: Option<usize>,
    /// Measure everything that Starling has set itself a goal for, and show each figure beside its goal:
    /// some minutes, with redis-server in turns if it is installed
    #[arg(long, conflicts_with_all = ["peers", "replicas", "connect", "clients", "ops", "mix", "skew", "pipeline", "r", "w", "rate", "with_a_peer_down", "during", "against", "plot"])]
    pub table: bool,
    /// With --table: how long 20 peers are watched while nothing happens
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=86_400), value_name = "S")]
    pub idle: u64,
    /// One JSON object on stdout instead of tables
    #[arg(long)]
    pub json: bool,
    /// Write charts into this directory: latency.svg and throughput.svg
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum During {
    Repair,
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    Synced,
    Interval,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
            Durability::Interval => "interval",
        }
    }
}

fn range(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

fn mix(text: &str) -> Result<(u32, u32), String> {
    let part = |text: &str| text.trim().parse::<u32>().ok().filter(|part| *part <= 1_000_000);
    let parts = text.split_once(':').and_then(|(reads, writes)| Some((part(reads)?, part(writes)?)));
    let parts = parts.filter(|(reads, writes)| reads + writes > 0);
    parts.ok_or_else(|| "it must be two shares, reads and writes, like 95:5".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (RATE_MIN..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| {
        format!("it must be a number of operations per second, from {RATE_MIN} to {RATE_MAX:.0}")
    })
}

impl Options {
    /// The workloads, in the order they are measured. `quorums`: N, R and W of the network, if it is one.
    pub fn works(&self, quorums: Option<(u8, u8, u8)>) -> Result<Vec<Work>, Error> {
        let quorum = self.quorum(quorums)?;
        let works: Vec<_> = self
            .clients
            .iter()
            .flat_map(|clients| {
                let mixes = self.mixes().into_iter();
                mixes.map(move |(name, ops)| self.work(name, ops, *clients, quorum))
            })
            .collect();
        let under_way = |work: &Work| (work.clients * work.pipeline * work.value_size) as u64;
        match works.iter().find(|work| under_way(work) > UNDER_WAY_MAX) {
            Some(work) => Err(Error::Words(format!(
                "--clients {} times --pipeline {} times --value-size {} is more than the 1 GiB that may be \
                 under way; make one of them smaller",
                work.clients, work.pipeline, work.value_size
            ))),
            None => Ok(works),
        }
    }

    fn work(&self, name: String, ops: Vec<(Op, u32)>, clients: usize, quorum: Option<(u8, u8)>) -> Work {
        Work {
            name,
            ops,
            value_size: self.value_size,
            keys: self.keys.unwrap_or(KEYS),
            skew: self.skew,
            clients,
            pipeline: self.pipeline,
            rate: self.rate,
            quorum,
        }
    }

    fn mixes(&self) -> Vec<(String, Vec<(Op, u32)>)> {
        match self.mix {
            Some((reads, writes)) => {
                let shares = [(Op::Get, reads), (Op::Set, writes)];
                let shares = shares.into_iter().filter(|(_, share)| *share > 0).collect();
                vec![(format!("get:set {reads}:{writes}"), shares)]
            }
            None => self.ops.iter().map(|op| (op.name().to_owned(), vec![(*op, 1)])).collect(),
        }
    }

    fn quorum(&self, quorums: Option<(u8, u8, u8)>) -> Result<Option<(u8, u8)>, Error> {
        if self.r.is_none() && self.w.is_none() {
            return Ok(None);
        }
        let Some((n, r, w)) = quorums else {
            return Err(Error::Words("--r and --w are for Starling peers; what runs there is none".into()));
        };
        for (flag, value) in [("--r", self.r), ("--w", self.w)] {
            if let Some(value) = value.filter(|value| *value > n) {
                return Err(Error::Words(format!(
                    "{flag} is {value}; this network keeps {n} copies of each key"
                )));
            }
        }
        Ok(Some((self.r.unwrap_or(r), self.w.unwrap_or(w))))
    }

    pub fn disturbance(&self) -> Option<Disturbance> {
        match self.during {
            Some(During::Repair) => Some(Disturbance::Repair),
            Some(During::Join) => Some(Disturbance::Join),
            None => self.with_a_peer_down.then_some(Disturbance::Kill),
        }
    }

    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.against.is_some() { 3 } else { 1 })
    }

    /// How many different ones.
    pub fn measurements(&self) -> usize {
        self.mixes().len() * self.clients.len()
    }

    pub fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// What does not go together, and clap does not see.
    pub fn check(&self) -> Result<(), Error> {
        let (flag, least) = match self.disturbance() {
            Some(Disturbance::Kill) => ("--with-a-peer-down", 2),
            Some(Disturbance::Repair) => ("--during repair", 2),
            Some(Disturbance::Join) => ("--during join", 1),
            None => return Ok(()),
        };
        if self.peers < least {
            return Err(Error::Words(format!(
                "{flag} needs at least {least} peers; --peers is {}",
                self.peers
            )));
        }
        if self.rounds() * self.measurements() > 1 {
            return Err(Error::Words(format!(
                "{flag} changes the network, so it takes one measurement: one of --ops (or --mix), one \
                 number of --clients, no --rounds"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|e| e.to_string())
    }

    #[test]
    fn every_bad_value_names_its_option() {
        let cases = [
            ("--clients 0", "--clients"),
            ("--clients 513", "--clients"),
            ("--seconds 0", "--seconds"),
            ("--ops fly", "--ops"),
            ("--mix 95", "--mix"),
            ("--mix 0:0", "--mix"),
            ("--value-size 99999999", "--value-size"),
            ("--keys 0", "--keys"),
            ("--skew some", "--skew"),
            ("--pipeline 0", "--pipeline"),
            ("--rate -1", "--rate"),
            ("--rate=-1", "--rate"),
            ("--rate NaN", "--rate"),
            ("--rate 1e-300", "--rate"),
            ("--peers 0", "--peers"),
            ("--r 0", "--r"),
            ("--during flood", "--during"),
            ("--connect x --with-a-peer-down", "--with-a-peer-down"),
            ("--table --clients 3", "--clients"),
        ];
        for (line, named) in cases {
            let text = parse(line).unwrap_err();
            assert!(text.contains(named), "{line}: {text}");
        }
    }

    #[test]
    fn one_workload_for_each_operation_and_number_of_clients() {
        let works = parse("--ops set,get --clients 1,64 --r 1").unwrap().works(Some((3, 2, 2))).unwrap();
        let what: Vec<_> = works.iter().map(|work| (work.name.as_str(), work.clients)).collect();
        assert_eq!(what, [("set", 1), ("get", 1), ("set", 64), ("get", 64)]);
        assert_eq!(works[0].quorum, Some((1, 2)));
        let mixed = parse("--mix 95:5").unwrap().works(None).unwrap();
        assert_eq!(mixed[0].ops, [(Op::Get, 95), (Op::Set, 5)]);
        assert_eq!(parse("--mix 1:0").unwrap().works(None).unwrap()[0].ops, [(Op::Get, 1)]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let refused = |line: &str, quorums| {
            let options = parse(line).unwrap();
            let checked = options.check().and_then(|()| options.works(quorums).map(drop));
            checked.unwrap_err().to_string()
        };
        assert!(refused("--r 4", Some((3, 2, 2))).contains("--r is 4"));
        assert!(refused("--w 2", None).contains("Starling"));
        assert!(refused("--clients 512 --pipeline 1024 --value-size 1000000", None).contains("--pipeline"));
        assert!(refused("--peers 1 --with-a-peer-down --ops set", None).contains("--peers"));
        assert!(refused("--during join --ops set,get", None).contains("--ops"));
        assert!(refused("--during join --ops set,get --r 2 --w 2", Some((3, 2, 2))).contains("--ops"));
        assert!(parse("--during join --ops set").unwrap().check().is_ok());
    }

    #[test]
    fn a_comparison_takes_three_rounds() {
        assert_eq!(parse("").unwrap().rounds(), 1);
        assert_eq!(parse("--against x").unwrap().rounds(), 3);
        assert_eq!(parse("--against x --rounds 5").unwrap().rounds(), 5);
    }
}
