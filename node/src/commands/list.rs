//! Lists: what `TOKENS [JSON]` and its like answer.

use super::session::Session;
use super::{Arguments, upper};
use crate::render::{json, table};
use crate::resp::frame::Frame;
use serde::Serialize;

/// A line of a list: an object for programs, a row for people.
pub(super) trait Line: Serialize {
    const HEADER: &'static [&'static str];

    fn row(&self) -> Vec<String>;
}

/// `name`: the command, for its usage. `none`: what is said where the list is empty.
pub(super) fn answer<L: Line>(
    session: &Session,
    (name, args): (&str, &Arguments),
    lines: Result<Vec<L>, String>,
    none: &str,
) -> Frame {
    let as_json = match args.as_slice() {
        [] => false,
        [word] if upper(word) == "JSON" => true,
        _ => return Frame::error(format!("ERR syntax error; usage: {name} [JSON]")),
    };
    match lines {
        Err(line) => Frame::error(line),
        Ok(lines) if as_json => Frame::bulk(json(&lines)),
        Ok(lines) if lines.is_empty() => session.page(none),
        Ok(lines) => session.page(&table(L::HEADER, lines.iter().map(Line::row))),
    }
}
