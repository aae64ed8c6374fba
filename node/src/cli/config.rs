//! `starling config show`.

use crate::config::{Options, SettingFlags, Values};
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
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    settings: SettingFlags,
    /// Print one object, keyed by setting
    #[arg(long)]
    json: bool,
}

/// Prints the settings also when one of them cannot be used, and then says so.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    let Command::Show(show) = args.command;
    let values = Values::resolve(&show.settings, &|name| std::env::var_os(name))?;
    stdio::text(if show.json { as_json(&values) } else { as_table(&values) })?;
    Options::new(&values).map(|_| ExitCode::SUCCESS)
}

fn as_json(values: &Values) -> String {
    let shown = values.all().filter(|(setting, _)| !setting.hidden);
    let object: Map<_, _> = shown
        .map(|(setting, value)| {
            let found = if setting.is_list() { json!(value.texts) } else { json!(value.texts.first()) };
            (setting.key.to_owned(), json!({ "value": found, "from": value.origin.to_string() }))
        })
        .collect();
    serde_json::Value::Object(object).to_string()
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
