//! The figures of one measurement.

use super::tally::{Latencies, Second, Tally};
use super::usage::Usage;
use super::work::{Op, Skew, Work};
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `starling`, or what it is compared with.
    pub server: String,
    pub work: String,
    /// Which stretch of a run with a disturbance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    pub clients: usize,
    pub pipeline: usize,
    pub value_bytes: usize,
    pub keys: u64,
    pub skew: Skew,
    /// `None`: the network's own.
    pub r: Option<u8>,
    pub w: Option<u8>,
    /// The rate of the open loop, where latencies count from the intended start; `None`: the closed
    /// loop, where they count from the sending, and a slow server is asked less often.
    pub asked_per_second: Option<f64>,
    pub seconds: f64,
    pub operations: u64,
    pub ops_per_second: f64,
    /// Of all that was asked for. What failed or was not answered by the end counts with the time it waited.
    #[serde(flatten)]
    pub latency: Percentiles,
    /// Of what succeeded, for each operation of a mix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_op: Vec<OpRow>,
    pub errors: u64,
    pub cut: u64,
    pub misses: u64,
    pub behind: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Of all server processes together; `None`: they do not run here, or changed meanwhile, or did nothing.
    pub servers_cpu_s_per_100k: Option<f64>,
    pub client_cpu_s_per_100k: Option<f64>,
    /// How busy the one thread of the client was, from 0 to 1.
    pub client_busy: f64,
    pub resident_bytes_per_process: Option<u64>,
    /// `None` also where the data lies in memory, or a process does not tell.
    pub disk_bytes_per_op: Option<f64>,
    /// What went over the loopback interface beside the clients' own bytes: with the headers of the packets of
    /// those, 104 bytes for an operation whose request and answer each go alone (IPv4 and TCP with timestamps).
    pub wire_bytes_per_op: Option<f64>,
    pub per_second: Vec<Second>,
    /// How fast a wiped peer was filled meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_per_second: Option<f64>,
    /// The keys that it counted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_held: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip)]
    pub latencies: Latencies,
}

impl Row {
    /// What was not answered as it should be, in words.
    pub fn failures(&self) -> Option<String> {
        let counts = [(self.errors, "errors"), (self.cut, "cut off"), (self.misses, "keys not found")];
        let counts: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let when = self.when.as_ref().map_or(String::new(), |when| format!(", {when}"));
        let of = format!("{}: {}, {} clients{when}", self.server, self.work, self.clients);
        (!counts.is_empty()).then(|| format!("{of}: {}", counts.join(", ")))
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct OpRow {
    pub op: Op,
    pub operations: u64,
    #[serde(flatten)]
    pub latency: Percentiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

impl Percentiles {
    pub fn of(latencies: &Latencies) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.max(),
        }
    }
}

impl Row {
    pub fn new(
        server: &str,
        work: &Work,
        when: Option<String>,
        tally: &Tally,
        before: Usage,
        after: Usage,
        note: Option<String>,
    ) -> Self {
        let (operations, seconds) = (tally.operations(), tally.took.as_secs_f64());
        let per_op = |total: f64| (operations > 0).then(|| total / operations as f64);
        let same = before.processes == after.processes && after.processes > 0;
        let written = after.written.zip(before.written);
        let written = written.and_then(|(after, before)| per_op(after.saturating_sub(before) as f64));
        let wire = after.wire.saturating_sub(before.wire).saturating_sub(tally.payload);
        let latencies = tally.all();
        let by_op = tally.by_op.iter().map(|(op, some)| OpRow {
            op: *op,
            operations: some.len(),
            latency: Percentiles::of(some),
        });
        Self {
            server: server.to_owned(),
            work: work.name.clone(),
            when,
            clients: work.clients,
            pipeline: work.pipeline,
            value_bytes: work.value_size,
            keys: work.keys,
            skew: work.skew,
            r: work.quorum.map(|(r, _)| r),
            w: work.quorum.map(|(_, w)| w),
            asked_per_second: work.rate,
            seconds,
            operations,
            ops_per_second: operations as f64 / seconds.max(1e-9),
            latency: Percentiles::of(&latencies),
            by_op: if tally.by_op.len() > 1 { by_op.collect() } else { Vec::new() },
            errors: tally.errors,
            cut: tally.cut,
            misses: tally.misses,
            behind: tally.behind,
            first_error: tally.first_error.clone(),
            servers_cpu_s_per_100k: per_op((after.cpu - before.cpu) * 1e5).filter(|_| same),
            client_cpu_s_per_100k: per_op(tally.client_cpu.as_secs_f64() * 1e5),
            client_busy: tally.client_cpu.as_secs_f64() / seconds.max(1e-9),
            resident_bytes_per_process: same.then(|| after.resident / after.processes),
            disk_bytes_per_op: written.filter(|_| same),
            wire_bytes_per_op: per_op(wire as f64).filter(|_| same),
            per_second: tally.seconds.clone(),
            keys_per_second: None,
            keys_held: None,
            note,
            latencies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::work::tests::work;
    use std::time::{Duration, Instant};

    #[test]
    fn nothing_is_shared_out_among_no_operations() {
        let (now, usage) =
            (Instant::now(), Usage { cpu: 2.0, processes: 1, written: Some(9), ..Usage::default() });
        let per_op = |operations: u64| {
            let mut tally = Tally::new(now);
            (0..operations).for_each(|_| tally.record(Op::Set, Duration::from_micros(9)));
            let before = Usage { processes: 1, written: Some(0), ..Usage::default() };
            let row = Row::new("x", &work(&[(Op::Set, 1)]), None, &tally, before, usage, None);
            [
                row.servers_cpu_s_per_100k,
                row.client_cpu_s_per_100k,
                row.wire_bytes_per_op,
                row.disk_bytes_per_op,
            ]
        };
        assert_eq!(per_op(0), [None; 4]);
        assert_eq!(per_op(2), [Some(1e5), Some(0.0), Some(0.0), Some(4.5)]);
    }
}
