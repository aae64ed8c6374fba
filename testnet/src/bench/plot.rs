//! Charts of what was measured, as SVG.

use super::report::Row;
use super::table::{grouped, latency, titles};
use crate::local::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
/// Room for the labels of the axes.
const LEFT: f64 = 90.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 40.0;
/// Height of a line of the legend.
const LINE: f64 = 18.0;
/// Okabe and Ito's colours, which people with any kind of colour vision tell apart.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442"];

/// One chart: axes with their marks, and a line for each row.
struct Chart {
    heading: &'static str,
    x_marks: Vec<(f64, String)>,
    y_marks: Vec<(f64, String)>,
    /// Points with both coordinates from 0 to 1.
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Makes the directory of the charts, if need be.
pub fn prepare(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("cannot create", dir))
}

/// Writes both charts into a directory that is there.
pub fn write(dir: &Path, rows: &[Row]) -> Result<(), Error> {
    for (name, chart) in [("latency.svg", latencies(rows)), ("throughput.svg", throughput(rows))] {
        let path = dir.join(name);
        fs::write(&path, chart.svg()).map_err(Error::io("cannot write", &path))?;
        eprintln!("{} written", path.display());
    }
    Ok(())
}

/// Latency by percentile: each step to the right is a tenth of the requests of the step before.
fn latencies(rows: &[Row]) -> Chart {
    const NINES: f64 = 4.0;
    let x = |quantile: f64| -(1.0 - quantile).max(10f64.powf(-NINES)).log10() / NINES;
    let most = rows.iter().map(|row| row.latency.max_us).max().unwrap_or(1).max(10) as f64;
    let decades = most.log10().ceil();
    let y = |us: u64| (us.max(1) as f64).log10() / decades;
    let quantiles: Vec<f64> = (0..=200).map(|i| 1.0 - 10f64.powf(-NINES * f64::from(i) / 200.0)).collect();
    let line = |(row, title): (&Row, String)| {
        let point = |quantile: &f64| (x(*quantile), y(row.latencies.value_at_quantile(*quantile)));
        (title, quantiles.iter().map(point).collect())
    };
    let marks =
        [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
    Chart {
        heading: "latency by percentile",
        x_marks: marks.map(|(quantile, text)| (x(quantile), text.to_owned())).to_vec(),
        y_marks: (0..=decades as u32).map(|i| (f64::from(i) / decades, latency(10u64.pow(i)))).collect(),
        lines: rows.iter().zip(titles(rows)).map(line).collect(),
    }
}

/// Operations in each second.
fn throughput(rows: &[Row]) -> Chart {
    let count = rows.iter().map(|row| row.per_second.len()).max().unwrap_or(0).max(2) - 1;
    let most = rows.iter().flat_map(|row| row.per_second.iter().map(|second| second.operations as f64));
    // A stretch of less than a second has but its mean.
    let most = most.chain(rows.iter().map(|row| row.ops_per_second)).fold(1.0, f64::max);
    let top = round_up(most);
    let line = |(row, title): (&Row, String)| {
        let points = row.per_second.iter().enumerate();
        let points = points.map(|(i, second)| (i as f64 / count as f64, second.operations as f64 / top));
        let mut points: Vec<_> = points.collect();
        if points.is_empty() {
            points.push((0.0, row.ops_per_second / top));
        }
        (title, points)
    };
    let mut seconds: Vec<usize> = (0..=4).map(|i| count * i / 4).collect();
    seconds.dedup();
    Chart {
        heading: "operations per second, over seconds",
        x_marks: seconds.iter().map(|i| (*i as f64 / count as f64, i.to_string())).collect(),
        y_marks: (0..=4).map(|i| f64::from(i) / 4.0).map(|y| (y, grouped(y * top))).collect(),
        lines: rows.iter().zip(titles(rows)).map(line).collect(),
    }
}

/// The next of 1, 2, 4, 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0].map(|step| step * power).into_iter().find(|top| *top >= value).unwrap_or(value)
}

impl Chart {
    fn svg(&self) -> String {
        let height = HEIGHT + LINE * self.lines.len() as f64;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut draw = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        draw(format!("<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>", self.heading));
        for (at, text) in &self.x_marks {
            let (x, bottom) = place((*at, 0.0));
            draw(grid(x, TOP, x, bottom));
            draw(format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                bottom + 18.0
            ));
        }
        for (at, text) in &self.y_marks {
            let (left, y) = place((0.0, *at));
            draw(grid(left, y, WIDTH - RIGHT, y));
            draw(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 8.0,
                y + 4.0
            ));
        }
        for (i, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            draw(polyline(points, colour));
            let y = HEIGHT + LINE * i as f64;
            draw(format!("<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"14\" height=\"10\" fill=\"{colour}\"/>"));
            draw(format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT + 20.0, y + 10.0, escaped(name)));
        }
        draw("</svg>".into());
        out
    }
}

/// From 0..1 to where it is drawn.
fn place((x, y): (f64, f64)) -> (f64, f64) {
    let (x, y) = (x.clamp(0.0, 1.0), y.clamp(0.0, 1.0));
    (LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP))
}

fn grid(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>")
}

/// One point alone is a dot.
fn polyline(points: &[(f64, f64)], colour: &str) -> String {
    if let [point] = points {
        let (x, y) = place(*point);
        return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }
    let mut text = String::new();
    for point in points {
        let (x, y) = place(*point);
        write!(text, "{x:.1},{y:.1} ").expect("writing to memory does not fail");
    }
    format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", text.trim_end())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::{Second, Tally};
    use crate::bench::usage::Usage;
    use crate::bench::work::{Op, tests::work};
    use std::time::{Duration, Instant};

    #[test]
    fn a_chart_has_its_lines_and_escapes_names() {
        let chart = Chart {
            heading: "h",
            x_marks: vec![(0.0, "0".into())],
            y_marks: vec![(1.0, "1".into())],
            lines: vec![("a < b & c".into(), vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN)])],
        };
        let svg = chart.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("a < b"));
        assert!(svg.contains(&format!("{LEFT:.1},{:.1}", HEIGHT - BOTTOM)), "{svg}");
    }

    #[test]
    fn a_stretch_of_a_second_or_less_is_a_dot() {
        let mut tally = Tally::new(Instant::now());
        tally.record(Op::Set, Duration::from_micros(9));
        tally.took = Duration::from_millis(500);
        let usage = Usage::default();
        let short = Row::new("x", &work(&[(Op::Set, 1)]), None, &tally, usage, usage, None);
        assert!(short.per_second.is_empty());
        let one = Row { per_second: vec![Second { operations: 2, p99_us: 9 }], ..short.clone() };
        // Two a second, of at most two: at the top.
        let dot = format!("cx=\"{LEFT:.1}\" cy=\"{TOP:.1}\"");
        for row in [short, one] {
            let svg = throughput(&[row]).svg();
            assert!(svg.contains(&dot), "{svg}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([1.0, 7.0, 81_000.0, 100.0, 0.3].map(round_up), [1.0, 8.0, 100_000.0, 100.0, 0.4]);
    }
}
