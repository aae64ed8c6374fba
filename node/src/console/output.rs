//! Replies on stdout, words about them on stderr.

use super::{Call, Reached, Style};
use crate::error::Error;
use crate::render::explain::hidden_note;
use crate::render::plain;
use crate::render::reply::{raw, text_or_hex, typed, value};
use crate::resp::frame::Frame;
use crate::stdio;
use anstyle::AnsiColor;
use serde_json::Value;

/// Exit codes by the first word of an error line; they follow `etcdctl` and the rest of this program.
pub fn exit_code(frame: &Frame) -> u8 {
    let Frame::Error(line) = frame else { return 0 };
    let usage = ["ERR unknown", "ERR wrong number", "ERR syntax error", "NOTSUPPORTED "];
    match line.split(' ').next().unwrap_or_default() {
        "QUORUM" => 4,
        "TIMEOUT" => super::link::TIMED_OUT,
        _ if usage.iter().any(|start| line.starts_with(start)) || names_option(line) => crate::error::USAGE,
        _ => crate::error::FAILURE,
    }
}

/// `ERR W is from 1 to N`: what cannot be is what was typed.
fn names_option(line: &str) -> bool {
    let named = line.strip_prefix("ERR ").and_then(|rest| rest.split(' ').next());
    named.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// Errors: nobody takes it.
pub fn show(reached: &Reached, call: &Call, style: Style, json: bool) -> Result<(), Error> {
    match (&reached.frame, style) {
        (Frame::Error(line), _) if call.wants_json || json => stdio::bytes(error_json(line).as_bytes())?,
        (Frame::Error(line), _) => say_error(line),
        (frame, _) if json => stdio::bytes(as_json(frame, call).to_string().as_bytes())?,
        (frame, Style::Typed) if !call.wants_json => stdio::bytes(typed(frame).as_bytes())?,
        // JSON of the peer's own making, too.
        (frame, _) => print_raw(frame)?,
    }
    if reached.hidden > 0 {
        let key = call.typed.get(1).map(|key| plain(&text_or_hex(key))).unwrap_or_default();
        let hidden = u32::try_from(reached.hidden).unwrap_or(u32::MAX);
        let dim = anstyle::Style::new().dimmed();
        stdio::say(format_args!("{dim}note: {}{dim:#}", hidden_note(hidden, &key)));
    }
    Ok(())
}

/// As objects also what Redis made for programs before there was JSON: a fact a line, or a client a line.
fn as_json(frame: &Frame, call: &Call) -> Value {
    match frame {
        Frame::Verbatim(page) if call.is("info") => object(page.lines(), ':'),
        Frame::Verbatim(page) if call.is("client") => {
            let mut clients = page.lines().map(|line| object(line.split(' '), '='));
            let is_list = call.typed.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"list"));
            if is_list { clients.collect() } else { clients.next().unwrap_or_default() }
        }
        frame => value(frame),
    }
}

fn object<'a>(facts: impl Iterator<Item = &'a str>, between: char) -> Value {
    facts.filter_map(|fact| fact.split_once(between)).collect()
}

/// So that a program that asked for JSON gets a line of it for each command, whatever came of it.
pub fn error_json(line: &str) -> String {
    serde_json::json!({ "error": error_value(line) }).to_string()
}

pub fn error_value(line: &str) -> Value {
    let (code, text) = line.split_once(' ').unwrap_or((line, ""));
    serde_json::json!({ "code": code, "text": text })
}

/// As `redis-cli` writes replies into a pipe.
fn print_raw(frame: &Frame) -> Result<(), Error> {
    let mut bytes = Vec::new();
    raw(frame, &mut bytes);
    stdio::bytes(&bytes)
}

/// An error line. Failures of operations come in parts, why, state and hint: a line each.
pub fn say_error(line: &str) {
    let red = AnsiColor::Red.on_default().bold();
    let lines: Vec<_> = line.lines().map(plain).collect();
    let line = lines.join("\n");
    // `ERR` tells programs only that there is nothing more to tell.
    let line = line.strip_prefix("ERR ").unwrap_or(&line).to_owned();
    let failed = ["QUORUM ", "TIMEOUT ", "BUSY ", "NOTREADY "].iter().any(|code| line.starts_with(code));
    let text = if failed { line.replace("; ", "\n  ") } else { line };
    stdio::say(format_args!("{red}error{red:#}: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_programs_what_kind_of_failure_it_was() {
        let code = |line: &str| exit_code(&Frame::error(line));
        assert_eq!(code("QUORUM 1 of 2"), 4);
        assert_eq!(code("TIMEOUT no answer"), 7);
        assert_eq!(code("ERR unknown command 'x'"), 2);
        assert_eq!(code("NOTSUPPORTED MULTI"), 2);
        assert_eq!(code("ERR W is from 1 to N, here 3"), 2);
        assert_eq!(code("ERR TTL must be like 90s"), 2);
        assert_eq!(code("ERR this peer lets nobody in"), 1);
        assert_eq!(code("WRONGTYPE Operation"), 1);
        assert_eq!(code("BUSY too much"), 1);
        assert_eq!(exit_code(&Frame::Null), 0);
    }
}
