//! How fast it is: a load on real peers, and what it brings.

mod against;
mod connection;
mod date;
mod disk;
mod goal;
mod load;
mod options;
mod plot;
mod preset;
mod progress;
mod reply;
mod report;
mod scene;
#[cfg(test)]
mod server;
mod table;
mod tally;
mod target;
mod usage;
mod watch;
mod work;

pub use options::Options;

use crate::local::{self, Error, Interrupt, Wishes};
use against::{Figures, Ratio, Which};
use report::Row;
use scene::{Disturbance, Scene};
use serde::Serialize;
use std::process::ExitCode;
use std::time::SystemTime;
use target::{Founding, Target};
use work::{Op, Work};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ratios: Vec<Ratio>,
    /// What has to be known to read the figures.
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
}

/// What figures depend on and no row tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Setting {
    /// Of the beginning, in UTC, like 2026-11-23.
    date: String,
    /// How many peers; `None`: servers that run elsewhere, or more than one number of peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<usize>,
    /// When a write counts as kept; `None`: that is the affair of servers that run elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<&'static str>,
}

impl Setting {
    fn of(options: &Options) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_own = options.connect.is_empty();
        Self {
            date: date::of_day(since_1970.as_secs() / (24 * 60 * 60)),
            peers: (is_own && !options.table).then_some(options.peers),
            durability: is_own.then(|| options.durability.name()),
        }
    }

    fn note(&self) -> String {
        let peers = self.peers.map_or_else(String::new, |peers| format!("; --peers {peers}"));
        let durability = self.durability.map_or_else(String::new, |name| format!("; --durability {name}"));
        format!("measured on {}{peers}{durability}", self.date)
    }
}

/// Measures, and prints what was measured also when it was interrupted or failed on the way.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    options.check()?;
    // What was measured would be without its charts.
    options.plot.as_deref().map_or(Ok(()), plot::prepare)?;
    let interrupt = local::interrupted_by_signals()?;
    if options.table {
        return preset::run(options, &interrupt).map(|()| ExitCode::SUCCESS);
    }
    let setting = Setting::of(options);
    let mut report = Report { setting, rows: Vec::new(), ratios: Vec::new(), notes: Vec::new(), other: None };
    let result = measure(options, &interrupt, &mut report);
    if !report.rows.is_empty() {
        report.print(options.json);
        if let Some(dir) = &options.plot {
            plot::write(dir, &report.rows)?;
        }
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn measure(options: &Options, interrupt: &Interrupt, report: &mut Report) -> Result<(), Error> {
    let mut ours = open(options, interrupt)?;
    let works = options.works(ours.quorums)?;
    let mut other = match &options.against {
        Some(command) => Some(Other::start(command, options, interrupt)?),
        None => None,
    };
    report.other = other.as_ref().map(|other| other.name.clone());
    report.notes = notes(options);
    report.notes.splice(0..0, works.first().map(|work| ours.describe(work)));
    report.notes.extend(ours.unseen.clone());
    let mut filled = Vec::new();
    works.iter().try_for_each(|work| {
        rounds(options, interrupt, work, (&mut ours, other.as_mut()), &mut filled, report)
    })
}

/// Writes the keys that a workload needs, here and there, unless they are there. A peer that is to be filled needs some in
/// any case.
fn fill(
    options: &Options,
    interrupt: &Interrupt,
    work: &Work,
    (ours, other): (&mut Target, Option<&mut Other>),
    filled: &mut Vec<Op>,
) -> Result<(), Error> {
    let is_repair = options.disturbance() == Some(Disturbance::Repair);
    let mut theirs = other.and_then(|other| other.server.as_mut().zip(Some(other.name.as_str())));
    for filling in if is_repair { work.filling_all() } else { work.filling() } {
        let by = filling.ops[0].0;
        if filled.contains(&by) {
            continue;
        }
        scene(ours, "starling", options, interrupt).fill(&filling)?;
        if let Some((server, name)) = &mut theirs {
            scene(server, name, options, interrupt).fill(&filling)?;
        }
        filled.push(by);
    }
    if work.deletes() {
        filled.retain(|by| *by != Op::Del.made_by());
    }
    Ok(())
}

/// All rounds of one workload.
fn rounds(
    options: &Options,
    interrupt: &Interrupt,
    work: &Work,
    (ours, mut other): (&mut Target, Option<&mut Other>),
    filled: &mut Vec<Op>,
    report: &mut Report,
) -> Result<(), Error> {
    let mut pairs = Vec::new();
    for _ in 0..options.rounds() {
        fill(options, interrupt, work, (ours, other.as_deref_mut()), filled)?;
        let rows = scene(ours, "starling", options, interrupt).measure(work, options.disturbance())?;
        let figures = rows.first().map(Figures::from);
        report.rows.extend(rows);
        if interrupt.is_raised() {
            break;
        }
        if let Some(other) = &mut other {
            let theirs = other.round(options, interrupt, work, report);
            pairs.extend(figures.zip(theirs?));
        }
    }
    report.ratios.extend(against::ratios(&format!("{}, {}", work.name, scene::clients(work)), &pairs));
    if interrupt.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
}

fn scene<'a>(
    target: &'a mut Target,
    server: &'a str,
    options: &Options,
    interrupt: &'a Interrupt,
) -> Scene<'a> {
    Scene { target, server, seconds: options.span(), interrupt }
}

fn open(options: &Options, interrupt: &Interrupt) -> Result<Target, Error> {
    if !options.connect.is_empty() {
        return Target::connect(&options.connect);
    }
    Target::found(&found(options, options.peers, interrupt)?, interrupt)
}

/// The network that the options ask for, with so many peers.
fn found(options: &Options, peers: usize, interrupt: &Interrupt) -> Result<Founding, Error> {
    let program = local::peer_program(options.bin.clone(), interrupt)?;
    let wishes =
        Wishes { peers: Some(peers), replicas: options.replicas, base_port: Some(0), ..Wishes::default() };
    let flags = vec!["--durability".into(), options.durability.name().into()];
    Ok(Founding { wishes, program, inside: options.dir.clone(), flags })
}

/// What ours is compared with.
struct Other {
    name: String,
    command: String,
    /// `None`: the command measures by itself.
    server: Option<Target>,
}

impl Other {
    fn start(command: &str, options: &Options, interrupt: &Interrupt) -> Result<Self, Error> {
        let server = if against::is_server(command) {
            Some(Target::start(command, options.dir.as_deref(), interrupt)?)
        } else {
            None
        };
        Ok(Self { name: against::name(command), command: command.to_owned(), server })
    }

    fn round(
        &mut self,
        options: &Options,
        interrupt: &Interrupt,
        work: &Work,
        report: &mut Report,
    ) -> Result<Option<Figures>, Error> {
        let Some(server) = &mut self.server else {
            let only = options.measurements() == 1;
            let which = Which { work: &work.name, clients: work.clients, only };
            return against::measure(&self.command, which, interrupt).map(Some);
        };
        let theirs = Work { quorum: None, ..work.clone() };
        let rows = scene(server, &self.name, options, interrupt).measure(&theirs, None)?;
        let figures = rows.first().map(Figures::from);
        report.rows.extend(rows);
        Ok(figures.filter(|_| !interrupt.is_raised()))
    }
}

fn notes(options: &Options) -> Vec<String> {
    let loops = match options.rate {
        Some(_) => "open loop: latencies count from when each request should have been sent",
        None => {
            "closed loop: a client sends when it has its answer, so latencies count from the sending and \
                 a stall is felt only by the requests under way; --rate opens the loop"
        }
    };
    let mut notes = vec![Setting::of(options).note(), loops.to_owned()];
    let inside = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    if options.connect.is_empty() {
        notes.extend(disk::describe(&inside));
    }
    if options.connect.is_empty() && disk::is_in_memory(&inside) {
        notes.push(format!(
            "{} lies in memory, where a sync costs nothing; --dir names a disk",
            inside.display()
        ));
    }
    notes.push(
        "wire: bytes over the loopback interface with the headers of packets, less the clients' requests and \
         answers but not the headers of those: 104 bytes for an operation whose request and answer go alone, as with \
         --pipeline 1; what other programs send there counts too, unless the benchmark has a network namespace of its own: \
         unshare -n sh -c 'ip link set lo up; testnet bench'"
            .into(),
    );
    if cfg!(debug_assertions) {
        notes.push("debug build: figures mean nothing; use cargo run --release".into());
    }
    notes
}

impl Report {
    fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("numbers and words can be written"));
            return;
        }
        println!("{}", table::rows(&self.rows));
        if let Some(other) = self.other.as_ref().filter(|_| !self.ratios.is_empty()) {
            println!("\n{}", against::table(&self.ratios, &other.to_uppercase()));
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
    }
}
