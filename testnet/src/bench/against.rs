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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    pub ops_per_second: f64,
    pub p99_us: f64,
}

impl From<&Row> for Figures {
    fn from(row: &Row) -> Self {
        Self { ops_per_second: row.ops_per_second, p99_us: row.latency.p99_us as f64 }
    }
}

/// One figure of ours over the same of the other, round by round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub work: String,
    /// `ops_per_second` (more is better) or `p99_us` (less is better).
    pub figure: &'static str,
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// The ratios of both figures over all rounds; none without a round.
pub fn ratios(work: &str, rounds: &[(Figures, Figures)]) -> Vec<Ratio> {
    let of = |figure, get: fn(&Figures) -> f64| {
        let (ours, theirs): (Vec<f64>, Vec<f64>) =
            rounds.iter().map(|(ours, theirs)| (get(ours), get(theirs))).unzip();
        let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b.max(1e-9)).collect();
        ratios.sort_by(f64::total_cmp);
        let (min, max) = (*ratios.first()?, *ratios.last()?);
        Some(Ratio { work: work.to_owned(), figure, ours, theirs, min, median: median(&ratios), max })
    };
    let throughput = of("ops_per_second", |figures| figures.ops_per_second);
    throughput.into_iter().chain(of("p99_us", |figures| figures.p99_us)).collect()
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
        vec![title, ours, theirs, number(ratio.min), number(ratio.median), number(ratio.max)]
    };
    let header = ["OURS OVER THEIRS", "OURS", other, "MIN", "MEDIAN", "MAX"];
    render(&header, ratios.iter().map(row).collect())
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
pub fn measure(command: &str, interrupt: &Interrupt) -> Result<Figures, Error> {
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
    figures(&text).ok_or_else(|| {
        let last = text.trim_end().lines().last().unwrap_or_default();
        Error::Words(format!(
            "--against: the last line of {command:?} is {last:?}; expected operations per second and the \
             99th percentile in microseconds, or a JSON object with ops_per_second and p99_us"
        ))
    })
}

/// The figures in the last line of an output.
fn figures(text: &str) -> Option<Figures> {
    let line = text.trim_end().lines().last()?.trim();
    let (ops_per_second, p99_us) = match serde_json::from_str::<Value>(line) {
        Ok(object) if object.is_object() => {
            let row = object["rows"].get(0).unwrap_or(&object);
            let rate = row["ops_per_second"].as_f64().or_else(|| row["ops_per_s"].as_f64());
            (rate?, row["p99_us"].as_f64()?)
        }
        _ => {
            let mut words = line.split_whitespace();
            let (rate, p99) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some((rate, p99))?
        }
    };
    let is_sane = |figure: f64| figure.is_finite() && figure >= 0.0;
    (is_sane(ops_per_second) && is_sane(p99_us)).then_some(Figures { ops_per_second, p99_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ops_per_second: f64, p99_us: f64) -> Figures {
        Figures { ops_per_second, p99_us }
    }

    #[test]
    fn figures_are_read_from_the_last_line() {
        assert_eq!(figures("starting\n8140.5 19000\n"), Some(of(8140.5, 19_000.0)));
        assert_eq!(figures("{\"ops_per_s\":5,\"p50_us\":1,\"p99_us\":2}"), Some(of(5.0, 2.0)));
        let ours = "{\"rows\":[{\"ops_per_second\":7.5,\"p99_us\":3},{}]}";
        assert_eq!(figures(ours), Some(of(7.5, 3.0)));
        for bad in ["", "5", "5 x", "5 6 7", "NaN 1", "{\"p99_us\":2}", "-1 2"] {
            assert_eq!(figures(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let rounds =
            [(of(10.0, 8.0), of(5.0, 2.0)), (of(30.0, 2.0), of(10.0, 2.0)), (of(4.0, 4.0), of(4.0, 2.0))];
        let ratios = ratios("set", &rounds);
        assert_eq!((ratios[0].min, ratios[0].median, ratios[0].max), (1.0, 2.0, 3.0));
        assert_eq!((ratios[1].min, ratios[1].median, ratios[1].max), (1.0, 2.0, 4.0));
        assert!(super::ratios("set", &[]).is_empty());
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn a_command_measures_by_itself() {
        let quiet = Interrupt::default();
        assert_eq!(measure("echo hello; echo '12 34'", &quiet).unwrap(), of(12.0, 34.0));
        let text = measure("echo twelve", &quiet).unwrap_err().to_string();
        assert!(text.contains("twelve") && text.contains("ops_per_second"), "{text}");
        assert!(measure("exit 3", &quiet).unwrap_err().to_string().contains("exit status: 3"));
    }

    #[test]
    fn commands_are_called_by_their_program() {
        assert_eq!(name("/usr/bin/redis-server --port {}"), "redis-server");
        assert!(is_server("x {}") && !is_server("x"));
    }
}
