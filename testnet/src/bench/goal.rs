//! Figures beside what they are to reach.

use super::table::{grouped, latency, render};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Micros,
    Seconds,
    /// How many times as much.
    Times,
    Percent,
    MiB,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table of goals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    pub what: String,
    /// `None`: it could not be measured; the remark says why.
    pub figure: Option<f64>,
    pub unit: Unit,
    pub goal: Bound,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remark: String,
}

impl Goal {
    pub fn new(what: &str, figure: f64, unit: Unit, goal: Bound) -> Self {
        Self { what: what.into(), figure: Some(figure), unit, goal, remark: String::new() }
    }

    /// `None`: there was nothing to measure.
    pub fn of(what: &str, figure: Option<f64>, unit: Unit, goal: Bound) -> Self {
        let remark = if figure.is_none() { "nothing was seen to measure" } else { "" };
        Self { what: what.into(), figure, unit, goal, remark: remark.into() }
    }

    pub fn remark(self, remark: impl Into<String>) -> Self {
        Self { remark: remark.into(), ..self }
    }

    fn is_met(&self) -> Option<bool> {
        self.figure.map(|figure| match self.goal {
            Bound::AtLeast(least) => figure >= least,
            Bound::AtMost(most) => figure <= most,
        })
    }

    fn row(&self) -> Vec<String> {
        let figure = self.figure.map_or_else(|| "-".into(), |figure| self.unit.text(figure));
        let goal = match self.goal {
            Bound::AtLeast(least) => format!(">= {}", self.unit.text(least)),
            Bound::AtMost(most) => format!("<= {}", self.unit.text(most)),
        };
        let met = self.is_met().map_or("not measured", |met| if met { "yes" } else { "no" });
        vec![self.what.clone(), figure, goal, met.into()]
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", grouped(value)),
            Unit::Micros => latency(value as u64),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Times => format!("{value:.2} x"),
            Unit::Percent => format!("{value:.0} %"),
            Unit::MiB => format!("{value:.0} MiB"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// The goals as a table, and below it what has to be said of some of them.
pub fn table(goals: &[Goal]) -> String {
    let mut text = render(&["WORK", "MEASURED", "GOAL", "MET"], goals.iter().map(Goal::row).collect());
    for goal in goals.iter().filter(|goal| !goal.remark.is_empty()) {
        text.push_str(&format!("\n  {}: {}", goal.what, goal.remark));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let fast = Goal::new("set", 1500.0, Unit::PerSecond, Bound::AtLeast(1000.0));
        let slow = Goal::new("wait", 3.0, Unit::Seconds, Bound::AtMost(2.0)).remark("too slow");
        let none = Goal::of("gone", None, Unit::Times, Bound::AtMost(2.0));
        let met = [&fast, &slow, &none].map(Goal::is_met);
        assert_eq!(met, [Some(true), Some(false), None]);
        let text = table(&[fast, slow, none]);
        for words in ["1,500/s", ">= 1,000/s", "3.00 s", "<= 2.00 s", "not measured", "wait: too slow"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
