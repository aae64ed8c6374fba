//! `starling config show`, and `get`.

use super::data;
use crate::config::{Options, Setting, SettingFlags, Value, Values};
use crate::console::error_value;
use crate::error::Error;
use crate::stdio;
use clap::Subcommand;
use serde_json::{Map, json};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every setting, its value and where that comes from
    Show(Show),
    /// Ask a peer for settings by the names that Redis has for them: maxclients, maxmemory, ..
    Get {
        /// Names, or patterns such as max*
        #[arg(required = true)]
        patterns: Vec<String>,
        #[command(flatten)]
        asked: data::Args,
    },
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    settings: SettingFlags,
    /// Print one object, keyed by setting
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn wants_json(&self) -> bool {
        match &self.command {
            Command::Show(show) => show.json,
            Command::Get { asked, .. } => asked.json,
        }
    }
}

pub fn run(args: Args) -> Result<ExitCode, Error> {
    match args.command {
        Command::Show(show) => print(&show),
        Command::Get { patterns, asked } => {
            let words = ["config", "get"].into_iter().chain(patterns.iter().map(String::as_str));
            asked.run(&words.collect::<Vec<_>>())
        }
    }
}

/// Prints the settings also when one of them cannot be used, and then says so.
fn print(show: &Show) -> Result<ExitCode, Error> {
    let values = Values::resolve(&show.settings, &|name| std::env::var_os(name))?;
    let checked = Options::new(&values).map(|_| ExitCode::SUCCESS);
    if show.json {
        stdio::text(as_json(&values, checked.as_ref().err()))?;
        return Ok(checked.unwrap_or_else(|error| ExitCode::from(error.code())));
    }
    stdio::text(as_table(&values))?;
    checked
}

/// `error`: what is wrong with them; no setting is called so.
fn as_json(values: &Values, error: Option<&Error>) -> String {
    let shown = values.all().filter(|(setting, _)| !setting.hidden);
    let mut object: Map<_, _> = shown
        .map(|(setting, value)| {
            let found = if setting.is_list() { json!(value.texts) } else { single(setting, value) };
            (setting.key.to_owned(), json!({ "value": found, "from": value.origin.to_string() }))
        })
        .collect();
    if let Some(error) = error {
        object.insert("error".into(), error_value(&error.as_line()));
    }
    serde_json::Value::Object(object).to_string()
}

/// What is not as it must be stays text, as it was written.
fn single(setting: &Setting, value: &Value) -> serde_json::Value {
    let Some(text) = value.texts.first() else { return serde_json::Value::Null };
    match (setting.is_number(), setting.is_switch()) {
        (true, _) => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        (_, true) => text.parse::<bool>().map_or_else(|_| json!(text), |truth| json!(truth)),
        _ => json!(text),
    }
}

fn as_table(values: &Values) -> String {
    let shown = values.all().filter(|(setting, _)| !setting.hidden);
    let rows: Vec<_> = shown
        .map(|(setting, value)| (setting.key, value.texts.join(", "), value.origin.to_string()))
        .collect();
    let width = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or_default();
    let keys = width(&mut rows.iter().map(|row| row.0.len()));
    let texts = width(&mut rows.iter().map(|row| row.1.chars().count()));
    let lines: Vec<_> =
        rows.iter().map(|(key, text, origin)| format!("{key:keys$}  {text:texts$}  {origin}")).collect();
    lines.join("\n")
}
