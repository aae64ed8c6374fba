//! `COMMAND`: the table, as Redis clients read it.

use super::session::Session;
use super::{
    Arguments, COUNTED_KEYS, DataCall, Group, Keys, Kind, Prepared, Spec, all, find, help, prepare,
    subcommand, unknown_subcommand,
};
use crate::resp::frame::Frame;

pub fn command(_: &mut Session, args: Arguments) -> Frame {
    let (word, args) = subcommand(args);
    match (word.as_str(), args.as_slice()) {
        ("", []) => Frame::Array(all().map(info).collect()),
        ("COUNT", []) => Frame::Int(all().count().try_into().unwrap_or(i64::MAX)),
        ("LIST", []) => Frame::Array(all().map(|spec| Frame::bulk(spec.name)).collect()),
        ("INFO", []) => Frame::Array(all().map(info).collect()),
        ("INFO", names) => {
            Frame::Array(names.iter().map(|name| find(name).map_or(Frame::Null, info)).collect())
        }
        ("DOCS", []) => Frame::Map(all().map(docs).collect()),
        ("DOCS", names) => Frame::Map(names.iter().filter_map(|name| find(name)).map(docs).collect()),
        ("HELP", []) => help::lines("command"),
        ("GETKEYS", [name, rest @ ..]) => keys_of(name, rest),
        _ => unknown_subcommand("command", &word),
    }
}

/// Name, arity, flags, first key, last key, step, then what only Redis has: categories, tips, key
/// specifications and subcommands.
fn info(spec: &Spec) -> Frame {
    let Keys { first, last, step } = spec.keys;
    let movable = (spec.keys == COUNTED_KEYS).then_some(&"movablekeys");
    let flags = flags(spec).iter().chain(movable).map(|flag| Frame::Simple((*flag).into())).collect();
    let category = Frame::Simple(format!("@{}", spec.group.name()));
    let numbers = [first, last, step].map(|number| Frame::Int(number.into()));
    let mut fields = vec![Frame::bulk(spec.name), Frame::Int(spec.arity.into()), Frame::Set(flags)];
    fields.extend(numbers);
    fields.extend([
        Frame::Set(vec![category]),
        Frame::Array(Vec::new()),
        Frame::Array(Vec::new()),
        Frame::Array(Vec::new()),
    ]);
    Frame::Array(fields)
}

fn flags(spec: &Spec) -> &'static [&'static str] {
    match spec.kind {
        Kind::Read => &["readonly"],
        Kind::Write => &["write", "denyoom"],
        Kind::Admin => &["admin"],
        Kind::Local => &["loading", "stale", "fast"],
    }
}

fn docs(spec: &Spec) -> (Frame, Frame) {
    let entry = |name: &str, value| (Frame::bulk(name), value);
    let mut fields = vec![
        entry("summary", Frame::bulk(spec.summary)),
        entry("since", Frame::bulk(env!("CARGO_PKG_VERSION"))),
        entry("group", Frame::bulk(group(spec.group))),
        entry("complexity", Frame::bulk("")),
    ];
    let arguments = arguments(spec.usage);
    if !arguments.is_empty() {
        fields.push(entry("arguments", Frame::Array(arguments)));
    }
    (Frame::bulk(spec.name), Frame::Map(fields))
}

/// `redis-cli` lists commands by the groups that it knows.
fn group(group: Group) -> &'static str {
    match group {
        Group::Network => "cluster",
        other => other.name(),
    }
}

/// The arguments of a usage line: `key field value [field value ...]` is a key, then a block that repeats.
/// Alternatives stay one piece of text.
fn arguments(usage: &str) -> Vec<Frame> {
    if usage.is_empty() {
        return Vec::new();
    }
    if usage.contains('|') || usage.matches('[').count() > 1 {
        return vec![argument(usage, &[])];
    }
    let (plain, optional) = usage.split_once('[').unwrap_or((usage, ""));
    let mut frames: Vec<_> = plain.split_whitespace().map(|word| argument(word, &[])).collect();
    let optional = optional.trim_end_matches(']').trim();
    if let Some(repeated) = optional.strip_suffix("...") {
        frames.push(argument(repeated.trim(), &["optional", "multiple"]));
    } else if !optional.is_empty() {
        frames.push(argument(optional, &["optional"]));
    }
    frames
}

fn argument(name: &str, flags: &[&str]) -> Frame {
    let entry = |name: &str, value: &str| (Frame::bulk(name), Frame::bulk(value));
    let kind = if name == "key" { "key" } else { "string" };
    let mut fields = vec![entry("name", name), entry("type", kind), entry("display_text", name)];
    if !flags.is_empty() {
        let flags = flags.iter().map(|flag| Frame::Simple((*flag).into())).collect();
        fields.push((Frame::bulk("flags"), Frame::Array(flags)));
    }
    Frame::Map(fields)
}

fn keys_of(name: &[u8], args: &[Vec<u8>]) -> Frame {
    let words = args.len() + 1;
    let Some(spec) = find(name).filter(|spec| spec.accepts(words)) else {
        return Frame::error("ERR Invalid command specified, or invalid number of arguments for command");
    };
    if spec.keys == COUNTED_KEYS {
        return counted_keys(name, args);
    }
    let Keys { first, last, step } = spec.keys;
    let (Ok(first), Ok(step)) = (usize::try_from(first), usize::try_from(step)) else { return Frame::Null };
    if first == 0 || step == 0 {
        return Frame::error("ERR The command has no key arguments");
    }
    let last = usize::try_from(last).unwrap_or(args.len());
    let keys = args.iter().take(last).skip(first - 1).step_by(step);
    Frame::Array(keys.map(|key| Frame::bulk(key.clone())).collect())
}

fn counted_keys(name: &[u8], args: &[Vec<u8>]) -> Frame {
    match prepare(std::iter::once(name).chain(args.iter().map(Vec::as_slice)).map(<[u8]>::to_vec).collect()) {
        Prepared::Data(DataCall { plan, .. }) => {
            Frame::Array(plan.into_iter().map(|(key, _)| Frame::Bulk(key.into_vec())).collect())
        }
        Prepared::Refused(frame) => frame,
        Prepared::Other(..) => Frame::Null,
    }
}
