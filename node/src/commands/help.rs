//! `HELP`: the table, for people.

use super::session::Session;
use super::{Arguments, Group, Spec, all, find, refused, shown};
use crate::resp::frame::Frame;

pub fn help(session: &mut Session, args: Arguments) -> Frame {
    match text(args.first().map(Vec::as_slice)) {
        Ok(text) => session.page(&text),
        Err(line) => Frame::error(line),
    }
}

/// What is answered to the subcommand HELP: a line per element, as with Redis.
pub(super) fn lines(name: &str) -> Frame {
    let text = text(Some(name.as_bytes())).unwrap_or_default();
    Frame::Array(text.lines().map(|line| Frame::Simple(line.into())).collect())
}

/// All commands by group, or what there is to say about one. Error: the line for what does not exist.
pub fn text(word: Option<&[u8]>) -> Result<String, String> {
    word.map_or_else(|| Ok(overview()), topic)
}

fn topic(word: &[u8]) -> Result<String, String> {
    if let Some(group) = word.strip_prefix(b"@") {
        let group = String::from_utf8_lossy(group).to_ascii_lowercase();
        let found = Group::ALL.into_iter().find(|known| known.name() == group);
        return found.map(of_group).ok_or_else(|| {
            let groups: Vec<_> = Group::ALL.iter().map(|group| format!("@{}", group.name())).collect();
            format!("ERR unknown group '{}'; there are {}", shown(word), groups.join(" "))
        });
    }
    match find(word) {
        Some(spec) => Ok(of_command(spec)),
        None => refused::refusal(word).ok_or_else(|| refused::unknown(word)),
    }
}

fn overview() -> String {
    let mut text =
        String::from("Begin with:  set greeting hello   get greeting   explain get greeting   status\n\n");
    for group in Group::ALL {
        let names: Vec<_> = all().filter(|spec| spec.group == group).map(|spec| spec.name).collect();
        text.push_str(&wrapped(&format!("@{:<11} ", group.name()), &names));
    }
    text.push_str("\nhelp set tells about one command, help @set about a group");
    text
}

/// Words after a heading, broken before column 100.
fn wrapped(heading: &str, words: &[&str]) -> String {
    const WIDTH: usize = 100;
    let mut text = heading.to_owned();
    let mut column = heading.len();
    for word in words {
        if column + word.len() > WIDTH {
            text.push_str(&format!("\n{}", " ".repeat(heading.len())));
            column = heading.len();
        }
        text.push_str(word);
        text.push(' ');
        column += word.len() + 1;
    }
    format!("{}\n", text.trim_end())
}

fn of_group(group: Group) -> String {
    let specs: Vec<_> = all().filter(|spec| spec.group == group).collect();
    let width = specs.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
    let lines: Vec<_> = specs.iter().map(|spec| format!("{:<width$}  {}", spec.name, spec.summary)).collect();
    lines.join("\n")
}

fn of_command(spec: &Spec) -> String {
    let mut lines = vec![
        spec.example.to_owned(),
        String::new(),
        format!("usage    {}", spec.synopsis()),
        format!("does     {}", spec.summary),
    ];
    if !spec.caveat.is_empty() {
        lines.push(format!("note     {}", spec.caveat));
    }
    lines.push(format!("group    @{}", spec.group.name()));
    lines.join("\n")
}
