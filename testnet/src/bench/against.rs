//! Ours beside something else, in turns, so that ratios hold where the machine drifts.

use super::report::Row;
use super::table::{grouped, latency, render};
use crate::local::{Error, Interrupt, Missed, Process};
use serde::Serialize;
use serde_json::Value;
use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest run of a command that measures by itself.
const COMMAND_MAX: Duration = Duration::from_secs(3600);
/// Most output of it that is read.
const OUTPUT_MAX: u64 = 16 * 1024 * 1024;

/// What one round brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub ops_per_second: f64,
    pub p99_us: f64,
    /// Requests that failed.
    pub failed: u64,
}

impl From<&Row> for Figures {
    fn from(row: &Row) -> Self {
        let failed = row.errors + row.cut;
        Self { ops_per_second: row.ops_per_second, p99_us: row.latency.p99_us as f64, failed }
    }
}

/// Which measurement of several a figure belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    pub work: &'a str,
    pub clients: usize,
    /// There is no other: figures without a name are of this.
    pub only: bool,
}

/// One figure of ours over the same of the other, round by round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub work: String,
    /// `ops_per_second` (more is better) or `p99_us` (less is better).
    pub figure: &'static str,
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    /// Smallest, middle and largest.
    #[serde(flatten)]
    pub spread: Option<Spread>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// The ratios of both figures over all rounds; none without a round. What has failed, or done nothing, is not compared.
pub fn ratios(work: &str, rounds: &[(Figures, Figures)]) -> Vec<Ratio> {
    let why = incomparable(rounds);
    let of = |figure, get: fn(&Figures) -> f64| {
        let (ours, theirs): (Vec<f64>, Vec<f64>) =
            rounds.iter().map(|(ours, theirs)| (get(ours), get(theirs))).unzip();
        let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let (min, max) = (*ratios.first()?, *ratios.last()?);
        let spread = why.is_none().then(|| Spread { min, median: median(&ratios), max });
        Some(Ratio { work: work.to_owned(), figure, ours, theirs, spread, why: why.clone() })
    };
    let throughput = of("ops_per_second", |figures| figures.ops_per_second);
    throughput.into_iter().chain(of("p99_us", |figures| figures.p99_us)).collect()
}

/// Why the two cannot be compared.
fn incomparable(rounds: &[(Figures, Figures)]) -> Option<String> {
    let [ours, theirs] =
        [rounds.iter().map(|(ours, _)| ours).collect(), rounds.iter().map(|(_, theirs)| theirs).collect()]
            .map(|all: Vec<&Figures>| {
                let failed: u64 = all.iter().map(|figures| figures.failed).sum();
                let is_idle =
                    all.iter().any(|figures| figures.ops_per_second <= 0.0 || figures.p99_us <= 0.0);
                (failed, is_idle)
            });
    let said = |who: &str, (failed, is_idle): (u64, bool)| match (failed, is_idle) {
        (1.., _) => Some(format!("not compared: {failed} requests of {who} failed")),
        (0, true) => Some(format!("not compared: {who} answered nothing")),
        (0, false) => None,
    };
    said("ours", ours).or_else(|| said("theirs", theirs))
}

/// Of numbers in order; 0 of none.
pub fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => 0.0,
        1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The ratios as a table.
pub fn table(ratios: &[Ratio], other: &str) -> String {
    let row = |ratio: &Ratio| {
        let middle = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let value = median(&sorted);
            if ratio.figure == "p99_us" { latency(value as u64) } else { grouped(value) }
        };
        let number = |value: f64| format!("{value:.2}");
        let (ours, theirs) = (middle(&ratio.ours), middle(&ratio.theirs));
        let what = if ratio.figure == "p99_us" { "p99" } else { "ops/s" };
        let title = format!("{}, {what}", ratio.work);
        let of =
            |get: fn(Spread) -> f64| ratio.spread.map_or_else(|| "-".into(), |spread| number(get(spread)));
        vec![title, ours, theirs, of(|all| all.min), of(|all| all.median), of(|all| all.max)]
    };
    let header = ["OURS OVER THEIRS", "OURS", other, "MIN", "MEDIAN", "MAX"];
    let mut text = render(&header, ratios.iter().map(row).collect());
    let mut whys: Vec<_> =
        ratios.iter().filter_map(|ratio| Some((&ratio.work, ratio.why.as_ref()?))).collect();
    whys.dedup();
    whys.iter().for_each(|(work, why)| text.push_str(&format!("\n  {work}: {why}")));
    text
}

/// What to call a command: its program.
pub fn name(command: &str) -> String {
    let program = command.split_whitespace().next().unwrap_or(command);
    program.rsplit('/').next().unwrap_or(program).chars().take(40).collect()
}

/// A command that is a server has a place for its port.
pub fn is_server(command: &str) -> bool {
    command.contains("{}")
}

/// Runs a command that measures by itself.
pub fn measure(command: &str, which: Which<'_>, interrupt: &Interrupt) -> Result<Figures, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("cannot create a directory in", std::env::temp_dir()))?;
    let path = dir.path().join("output");
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"eval "$1" >"$2""#, "sh", command]).arg(&path);
    let mut process = Process::start(shell).map_err(Error::io("cannot run", "sh"))?;
    let status = process.end(Instant::now() + COMMAND_MAX, interrupt).map_err(|missed| match missed {
        Missed::Interrupted => Error::Interrupted,
        Missed::Deadline => Error::Words("--against: the command did not end within an hour".into()),
        Missed::Ended => Error::Words("--against: how the command ended cannot be told".into()),
    })?;
    if !status.success() {
        return Err(Error::Words(format!("--against: {command:?} failed: {status}")));
    }
    let size = File::open(&path).and_then(|file| file.metadata()).map_or(0, |meta| meta.len());
    if size > OUTPUT_MAX {
        return Err(Error::Words(format!("--against: {command:?} printed {size} bytes; that is too much")));
    }
    let text = fs::read(&path).map_err(Error::io("cannot read", &path))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.trim_end().lines().last().unwrap_or_default().trim();
    figures(line, which).map_err(|why| {
        Error::Words(format!("--against: the last line of {command:?} is {line:.200?}; {why}"))
    })
}

/// The figures in the last line of an output. Errors: what it lacks.
fn figures(line: &str, which: Which<'_>) -> Result<Figures, String> {
    let Which { work, clients, only } = which;
    let object = serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
    if let Some(rows) = object.as_ref().and_then(|object| object["rows"].as_array()) {
        let is_it = |row: &&Value| row["work"] == *work && row["clients"] == clients && row["when"].is_null();
        let row = rows.iter().find(is_it).and_then(of_object);
        return row.ok_or_else(|| format!("it has no row of {work} with {clients} clients"));
    }
    if !only {
        return Err(
            "that is one measurement, and there are several here: run one of --ops (or --mix) and one \
                    number of --clients at a time, or give what `bench --json` prints for all of them"
                .into(),
        );
    }
    object.as_ref().map_or_else(|| of_words(line), of_object).ok_or_else(|| {
        "expected operations per second and the 99th percentile in microseconds, or a JSON object with \
         ops_per_second and p99_us"
            .into()
    })
}

fn of_object(object: &Value) -> Option<Figures> {
    let rate = object["ops_per_second"].as_f64().or_else(|| object["ops_per_s"].as_f64());
    let failed = ["errors", "cut"].map(|field| object[field].as_u64().unwrap_or(0)).iter().sum();
    sane(rate?, object["p99_us"].as_f64()?, failed)
}

fn of_words(line: &str) -> Option<Figures> {
    let mut words = line.split_whitespace();
    let (rate, p99) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    sane(rate, p99, 0).filter(|_| words.next().is_none())
}

fn sane(ops_per_second: f64, p99_us: f64, failed: u64) -> Option<Figures> {
    let is_sane = |figure: f64| figure.is_finite() && figure >= 0.0;
    (is_sane(ops_per_second) && is_sane(p99_us)).then_some(Figures { ops_per_second, p99_us, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Which<'_> = Which { work: "set", clients: 64, only: true };

    fn of(ops_per_second: f64, p99_us: f64) -> Figures {
        Figures { ops_per_second, p99_us, failed: 0 }
    }

    #[test]
    fn figures_are_read_from_a_line() {
        assert_eq!(figures("8140.5 19000", SET), Ok(of(8140.5, 19_000.0)));
        assert_eq!(figures("{\"ops_per_s\":5,\"p50_us\":1,\"p99_us\":2}", SET), Ok(of(5.0, 2.0)));
        for bad in ["", "5", "5 x", "5 6 7", "NaN 1", "{\"p99_us\":2}", "-1 2"] {
            assert!(figures(bad, SET).unwrap_err().contains("ops_per_second"), "{bad:?}");
        }
    }

    #[test]
    fn of_several_rows_that_of_the_same_work_counts() {
        let row = |work: &str, clients: usize, rate: f64, errors: u64| serde_json::json!({"work": work, "clients": clients, "ops_per_second": rate, "p99_us": 3, "errors": errors});
        let rows = [row("set", 1, 5.0, 0), row("set", 64, 7.5, 0), row("get", 64, 9.0, 2)];
        let line = serde_json::json!({ "rows": rows }).to_string();
        assert_eq!(figures(&line, Which { only: false, ..SET }), Ok(of(7.5, 3.0)));
        let get = figures(&line, Which { work: "get", ..SET }).unwrap();
        assert_eq!((get.ops_per_second, get.failed), (9.0, 2));
        let missing = figures(&line, Which { work: "incr", ..SET }).unwrap_err();
        assert!(missing.contains("no row of incr with 64 clients"), "{missing}");
        // One figure would be taken for that of each.
        assert!(figures("12 34", Which { only: false, ..SET }).unwrap_err().contains("--ops"));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let rounds =
            [(of(10.0, 8.0), of(5.0, 2.0)), (of(30.0, 2.0), of(10.0, 2.0)), (of(4.0, 4.0), of(4.0, 2.0))];
        let spreads: Vec<_> = ratios("set", &rounds).iter().map(|ratio| ratio.spread.unwrap()).collect();
        assert_eq!(spreads[0], Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(spreads[1], Spread { min: 1.0, median: 2.0, max: 4.0 });
        assert!(super::ratios("set", &[]).is_empty());
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn what_failed_or_did_nothing_is_not_compared() {
        let failing = Figures { failed: 3, ..of(5.0, 5.0) };
        let cases = [
            ((failing.clone(), of(5.0, 5.0)), "3 requests of ours"),
            ((of(5.0, 5.0), failing), "3 requests of theirs"),
            ((of(5.0, 5.0), of(0.0, 0.0)), "theirs answered nothing"),
        ];
        for (round, words) in cases {
            let ratios = ratios("set", &[(of(5.0, 5.0), of(5.0, 5.0)), round]);
            for ratio in &ratios {
                assert_eq!(ratio.spread, None);
                assert!(ratio.why.as_ref().unwrap().contains(words), "{:?}", ratio.why);
            }
            assert_eq!(table(&ratios, "X").matches(words).count(), 1);
        }
    }

    #[test]
    fn a_command_measures_by_itself() {
        let quiet = Interrupt::default();
        assert_eq!(measure("echo hello; echo '12 34'", SET, &quiet).unwrap(), of(12.0, 34.0));
        let text = measure("echo twelve", SET, &quiet).unwrap_err().to_string();
        assert!(text.contains("twelve") && text.contains("ops_per_second"), "{text}");
        assert!(measure("exit 3", SET, &quiet).unwrap_err().to_string().contains("exit status: 3"));
    }

    #[test]
    fn commands_are_called_by_their_program() {
        assert_eq!(name("/usr/bin/redis-server --port {}"), "redis-server");
        assert!(is_server("x {}") && !is_server("x"));
    }
}
