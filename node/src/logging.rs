//! The log: lines for people on a terminal, JSON elsewhere, on stderr. Keys and values never come there.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` beats `verbose`: 0 is what an operator wants to know, 1 adds what
/// Starling does, 2 what the libraries do; what they trace beyond that is not in a release.
pub fn start(format: LogFormat, verbose: u8) {
    let usual = match verbose {
        0 => "warn,starling_node=info",
        1 => "info,starling_node=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // What cannot be written is told to stderr, which panics where that is gone: where a terminal was closed.
    let builder = builder.log_internal_errors(false);
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    // Fails only where somebody has started logging before, which then goes on.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        builder.with_target(false).with_ansi(colour).try_init()
    };
}
