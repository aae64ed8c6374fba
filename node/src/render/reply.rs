//! Replies for people, for scripts and as JSON.

use crate::resp::frame::{Frame, quoted};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

/// As `redis-cli` prints replies on a terminal: `(integer) 5`, `"hello"`, `1) "ada"`.
pub fn typed(frame: &Frame) -> String {
    let mut text = String::new();
    write_typed(frame, "", &mut text);
    text.truncate(text.trim_end_matches('\n').len());
    text
}

fn write_typed(frame: &Frame, indent: &str, text: &mut String) {
    match frame {
        Frame::Null => text.push_str("(nil)\n"),
        Frame::Bool(value) => text.push_str(if *value { "(true)\n" } else { "(false)\n" }),
        Frame::Int(number) => text.push_str(&format!("(integer) {number}\n")),
        Frame::Double(number) => text.push_str(&format!("(double) {}\n", super::plain(number))),
        Frame::Big(number) => text.push_str(&format!("(big number) {}\n", super::plain(number))),
        Frame::Simple(word) => text.push_str(&format!("{}\n", super::plain(word))),
        Frame::Error(line) => text.push_str(&format!("(error) {}\n", super::plain(line))),
        Frame::Bulk(bytes) => text.push_str(&format!("{}\n", quoted(bytes))),
        Frame::Verbatim(page) => text.push_str(&format!("{}\n", page_text(page))),
        Frame::Attributed(_, frame) => write_typed(frame, indent, text),
        Frame::Array(frames) | Frame::Push(frames) => write_list(frames, "(empty array)", indent, text),
        Frame::Set(frames) => write_list(frames, "(empty set)", indent, text),
        Frame::Map(entries) => write_map(entries, indent, text),
    }
}

fn write_list(frames: &[Frame], empty: &str, indent: &str, text: &mut String) {
    if frames.is_empty() {
        text.push_str(&format!("{empty}\n"));
        return;
    }
    let width = frames.len().to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (i, frame) in frames.iter().enumerate() {
        let before = if i == 0 { "" } else { indent };
        text.push_str(&format!("{before}{:>width$}) ", i + 1));
        write_typed(frame, &inner, text);
    }
}

fn write_map(entries: &[(Frame, Frame)], indent: &str, text: &mut String) {
    if entries.is_empty() {
        text.push_str("(empty hash)\n");
        return;
    }
    let width = entries.len().to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (i, (key, value)) in entries.iter().enumerate() {
        let before = if i == 0 { "" } else { indent };
        text.push_str(&format!("{before}{:>width$}) {} => ", i + 1, typed(key)));
        write_typed(value, &inner, text);
    }
}

/// Pages come from the peer: their line breaks are kept, other control characters shown.
fn page_text(page: &str) -> String {
    page.lines().map(super::plain).collect::<Vec<_>>().join("\n")
}

/// As `redis-cli` prints replies into a pipe: bytes as they are, a line per element, nothing for nil.
pub fn raw(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Null => {}
        Frame::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Frame::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Frame::Double(text) | Frame::Big(text) | Frame::Simple(text) | Frame::Error(text) => {
            out.extend_from_slice(text.as_bytes());
        }
        Frame::Verbatim(text) => out.extend_from_slice(text.trim_end().as_bytes()),
        Frame::Bulk(bytes) => out.extend_from_slice(bytes),
        Frame::Attributed(_, frame) => raw(frame, out),
        Frame::Array(frames) | Frame::Set(frames) | Frame::Push(frames) => raw_lines(frames.iter(), out),
        Frame::Map(entries) => raw_lines(entries.iter().flat_map(|(key, value)| [key, value]), out),
    }
}

fn raw_lines<'a>(frames: impl Iterator<Item = &'a Frame>, out: &mut Vec<u8>) {
    for (i, frame) in frames.enumerate() {
        if i > 0 {
            out.push(b'\n');
        }
        raw(frame, out);
    }
}

/// A reply as JSON. Bytes that are not UTF-8 become `{"hex": "…"}`; of a map whose keys are then no longer told apart,
/// an array of pairs.
pub fn value(frame: &Frame) -> Value {
    match frame {
        Frame::Null => Value::Null,
        Frame::Bool(value) => json!(value),
        Frame::Int(number) => json!(number),
        Frame::Double(text) | Frame::Big(text) | Frame::Simple(text) | Frame::Verbatim(text) => json!(text),
        Frame::Error(line) => json!({ "error": line }),
        Frame::Bulk(bytes) => bytes_value(bytes),
        Frame::Array(frames) | Frame::Set(frames) | Frame::Push(frames) => frames.iter().map(value).collect(),
        Frame::Map(entries) => map_value(entries),
        Frame::Attributed(_, frame) => value(frame),
    }
}

fn map_value(entries: &[(Frame, Frame)]) -> Value {
    let object: Map<_, _> = entries.iter().map(|(key, entry)| (key_text(key), value(entry))).collect();
    if object.len() == entries.len() {
        return Value::Object(object);
    }
    entries.iter().map(|(key, entry)| json!([value(key), value(entry)])).collect()
}

fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": HEXLOWER.encode(bytes) }),
    }
}

fn key_text(key: &Frame) -> String {
    match value(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A key as text, or `hex:` and its bytes.
pub fn text_or_hex(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("hex:{}", HEXLOWER.encode(bytes)), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_json_would_not_tell_apart_are_pairs() {
        let bulk = |bytes: &[u8]| Frame::Bulk(bytes.to_vec());
        let fields = |names: [&[u8]; 2]| {
            Frame::Map(
                names.iter().zip([1, 2]).map(|(name, value)| (bulk(name), Frame::Int(value))).collect(),
            )
        };
        assert_eq!(value(&fields([b"a", b"\xff"])), json!({ "a": 1, r#"{"hex":"ff"}"#: 2 }));
        let same = fields([br#"{"hex":"ff"}"#, b"\xff"]);
        assert_eq!(value(&same), json!([[r#"{"hex":"ff"}"#, 1], [{ "hex": "ff" }, 2]]));
    }
}
