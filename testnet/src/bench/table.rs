//! Figures as tables for people.

use super::report::{Percentiles, Row};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A number with its thousands apart.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds, in a unit that fits.
pub fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn bytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / (1024.0 * 1024.0))
}

/// Lines of cells, the first left, the others right.
pub fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Columns that no row has anything to say for are left out.
pub fn rows(rows: &[Row]) -> String {
    let titles = titles(rows);
    let mut columns: Vec<(&str, Vec<String>)> = vec![
        ("WORK", titles),
        ("OPS/S", each(rows, |row| grouped(row.ops_per_second))),
        ("P50", each(rows, |row| latency(row.latency.p50_us))),
        ("P90", each(rows, |row| latency(row.latency.p90_us))),
        ("P99", each(rows, |row| latency(row.latency.p99_us))),
        ("P99.9", each(rows, |row| latency(row.latency.p999_us))),
        ("MAX", each(rows, |row| latency(row.latency.max_us))),
        ("ERRORS", each(rows, |row| row.errors.to_string())),
        ("CUT", each(rows, |row| some(row.cut))),
        ("MISSES", each(rows, |row| some(row.misses))),
        ("BEHIND", each(rows, |row| some(row.behind))),
        ("CPU S/100K", each(rows, |row| maybe(row.servers_cpu_s_per_100k, |cpu| format!("{cpu:.2}")))),
        ("CLIENT", each(rows, |row| format!("{:.0} %", row.client_busy * 100.0))),
        ("MEMORY", each(rows, |row| maybe(row.resident_bytes_per_process, bytes))),
        ("WIRE B/OP", each(rows, |row| maybe(row.wire_bytes_per_op, grouped))),
        ("DISK B/OP", each(rows, |row| maybe(row.disk_bytes_per_op, grouped))),
    ];
    columns.retain(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()));
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let lines = (0..rows.len()).map(|i| columns.iter().map(|(_, cells)| cells[i].clone()).collect());
    let mut text = render(&header, lines.collect());
    for (row, title) in rows.iter().zip(self::titles(rows)) {
        remarks(row).iter().for_each(|remark| text.push_str(&format!("\n  {title}: {remark}")));
    }
    text
}

fn each(rows: &[Row], cell: impl Fn(&Row) -> String) -> Vec<String> {
    rows.iter().map(cell).collect()
}

fn some(count: u64) -> String {
    if count == 0 { String::new() } else { count.to_string() }
}

fn maybe<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(String::new, text)
}

/// What each row measures; whose it is only where they are not all of one server.
pub fn titles(rows: &[Row]) -> Vec<String> {
    let one = rows.iter().all(|row| row.server == rows[0].server);
    let of = |row| if one { title(row) } else { format!("{}: {}", row.server, title(row)) };
    rows.iter().map(of).collect()
}

fn title(row: &Row) -> String {
    let plural = if row.clients == 1 { "" } else { "s" };
    let mut text = format!("{}, {} client{plural}", row.work, row.clients);
    if row.pipeline > 1 {
        text.push_str(&format!(" x {}", row.pipeline));
    }
    if let (Some(r), Some(w)) = (row.r, row.w) {
        text.push_str(&format!(", R={r} W={w}"));
    }
    if let Some(rate) = row.asked_per_second {
        text.push_str(&format!(", {}/s asked", grouped(rate)));
    }
    if let Some(when) = &row.when {
        text.push_str(&format!("; {when}"));
    }
    text
}

/// What a table has no room for.
fn remarks(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    for one in &row.by_op {
        let Percentiles { p50_us, p99_us, max_us, .. } = one.latency;
        let (p50, p99, max) = (latency(p50_us), latency(p99_us), latency(max_us));
        remarks.push(format!("{} {}: p50 {p50}, p99 {p99}, max {max}", one.operations, one.op.name()));
    }
    remarks.extend(row.note.clone());
    remarks.extend(row.first_error.as_ref().map(|error| format!("first error: {error}")));
    if row.client_busy > 0.9 {
        let busy = row.client_busy * 100.0;
        remarks.push(format!("the client was busy {busy:.0} % of the time and may be what limits"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0.0, 999.4, 999.6, 1_234_567.0].map(grouped));
        assert_eq!(["7 us", "1.50 ms", "2.00 s"], [7, 1500, 2_000_000].map(latency));
    }

    #[test]
    fn cells_stand_in_columns() {
        let text = render(&["A", "B"], vec![vec!["x".into(), "1".into()], vec!["long".into(), "22".into()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let ends: Vec<usize> = lines.iter().map(|line| line.len()).collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
