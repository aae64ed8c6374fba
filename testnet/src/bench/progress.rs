//! Tells on stderr what is being measured: a bar on a terminal, else a line for each measurement.

use super::table::grouped;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

pub struct Progress {
    bar: ProgressBar,
    label: String,
    shown: Option<(Instant, u64)>,
}

impl Progress {
    /// For something that comes to an end at `length`, in whatever unit.
    pub fn new(label: &str, length: u64) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(length)
        } else {
            eprintln!("{label}");
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{msg:<60} {bar:30} {percent:>3} %");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_message(label.to_owned());
        Self { bar, label: label.to_owned(), shown: None }
    }

    /// What is measured from now on.
    pub fn relabel(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        if self.bar.is_hidden() {
            eprintln!("{label}");
        }
    }

    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// `operations`: how many there have been in all.
    pub fn show(&mut self, position: u64, operations: u64) {
        let now = Instant::now();
        let Some((before, count)) = self.shown else {
            self.shown = Some((now, operations));
            return;
        };
        let took = now - before;
        if took < Duration::from_millis(200) {
            return;
        }
        let rate = operations.saturating_sub(count) as f64 / took.as_secs_f64();
        self.shown = Some((now, operations));
        self.bar.set_position(position);
        self.bar.set_message(format!("{}  {}/s", self.label, grouped(rate)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
