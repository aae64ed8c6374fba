//! Completion and hints, from the table of commands.

use crate::commands;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use std::borrow::Cow;
use std::path::PathBuf;

const OWN: [&str; 6] = [":help", ":quit", ":json on", ":json off", ":time on", ":time off"];
const OF_TESTNET: [&str; 9] =
    [":status", ":kill", ":restart", ":pause", ":resume", ":wipe", ":add", ":partition", ":heal"];

/// Helps whoever types.
pub struct Assistant {
    testnet: bool,
    /// The names of the members, as last heard.
    pub peers: Vec<String>,
}

impl Assistant {
    pub fn new(testnet: bool) -> Self {
        Self { testnet, peers: Vec::new() }
    }

    /// What the word that begins at `start` may become.
    fn candidates(&self, line: &str, start: usize) -> Vec<String> {
        let before: Vec<&str> = line[..start].split_whitespace().collect();
        let word = &line[start..];
        let all: Vec<String> = match before.iter().find(|word| !is_prefix(word)) {
            None if word.starts_with('@') => self.peers.iter().map(|peer| format!("@{peer}")).collect(),
            None if word.starts_with(':') => self.own_words(),
            None => names(word),
            Some(command) if command.starts_with(':') => self.peers.clone(),
            Some(command) => match command.to_ascii_lowercase().as_str() {
                "help" if word.starts_with('@') => groups(),
                "help" | "explain" if before.last() == Some(command) => names(word),
                "forget" => self.peers.clone(),
                _ => Vec::new(),
            },
        };
        let fits = |candidate: &String| {
            candidate.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        all.into_iter().filter(fits).collect()
    }

    fn own_words(&self) -> Vec<String> {
        let of_testnet = if self.testnet { &OF_TESTNET[..] } else { &[] };
        OWN.iter().chain(of_testnet).map(|word| word.to_string()).collect()
    }
}

/// `5` and `@p3` before a command.
fn is_prefix(word: &str) -> bool {
    word.starts_with('@') || word.parse::<u32>().is_ok()
}

/// The commands, in capitals if the word is.
fn names(word: &str) -> Vec<String> {
    let capitals = word.bytes().any(|byte| byte.is_ascii_uppercase());
    let name =
        |spec: &commands::Spec| if capitals { spec.name.to_ascii_uppercase() } else { spec.name.into() };
    commands::all().map(name).collect()
}

fn groups() -> Vec<String> {
    commands::Group::ALL.iter().map(|group| format!("@{}", group.name())).collect()
}

/// The arguments of the command on the line that have not been typed yet.
fn remaining(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| is_prefix(word));
    let spec = commands::find(words.next()?.as_bytes())?;
    let typed = words.count();
    let arguments = arguments(spec.usage);
    // A word that is being typed has used up its argument.
    let rest = arguments.get(typed..).filter(|rest| !rest.is_empty())?.join(" ");
    Some(if line.ends_with(' ') { rest } else { format!(" {rest}") })
}

/// The usage in pieces: words, and what stands in brackets.
fn arguments(usage: &str) -> Vec<String> {
    let (mut pieces, mut depth) = (vec![String::new()], 0);
    for letter in usage.chars() {
        match letter {
            ' ' if depth == 0 => pieces.push(String::new()),
            _ => {
                depth += i32::from(letter == '[') - i32::from(letter == ']');
                pieces.last_mut().expect("there is always a last piece").push(letter);
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    // What is optional and comes first is rarely typed; hints would be one argument behind.
    if let [first, _, ..] = pieces.as_slice()
        && first.starts_with('[')
    {
        pieces.remove(0);
    }
    pieces
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..pos];
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let found = self.candidates(typed, start);
        let found = if let [only] = found.as_slice() { vec![format!("{only} ")] } else { found };
        Ok((start, found))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos < line.len() { None } else { remaining(line) }
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if !colours() {
            return Cow::Borrowed(hint);
        }
        let dim = anstyle::Style::new().dimmed();
        Cow::Owned(format!("{dim}{hint}{dim:#}"))
    }
}

/// Whether this terminal wants colours (no-color.org).
pub fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where the lines typed are kept for the next time: `$XDG_STATE_HOME` or `~/.local/state`.
pub fn history_file() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    let directory = base.join("starling");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("console_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let mut assistant = Assistant::new(true);
        assistant.peers = vec!["p1".into(), "p2".into()];
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        assistant.candidates(line, start)
    }

    #[test]
    fn words_are_completed_where_they_make_sense() {
        assert_eq!(completed("smem"), ["smembers"]);
        assert_eq!(completed("SMEM"), ["SMEMBERS"]);
        assert_eq!(completed("@p2 5 smem"), ["smembers"]);
        assert_eq!(completed("explain smem"), ["smembers"]);
        assert_eq!(completed("help @ha"), ["@hash"]);
        assert_eq!(completed("@"), ["@p1", "@p2"]);
        assert_eq!(completed(":kill p"), ["p1", "p2"]);
        assert_eq!(completed(":par"), [":partition"]);
        assert!(completed("get k").is_empty());
        assert_eq!(completed("").len(), commands::all().count());
    }

    #[test]
    fn hints_show_the_arguments_that_are_left() {
        assert_eq!(remaining("set").as_deref(), Some(" key value [KEEPTTL]"));
        assert_eq!(remaining("set ").as_deref(), Some("key value [KEEPTTL]"));
        assert_eq!(remaining("@p2 set k ").as_deref(), Some("value [KEEPTTL]"));
        assert_eq!(remaining("set k v").as_deref(), Some(" [KEEPTTL]"));
        assert_eq!(remaining("explain get ").as_deref(), Some("[argument ...]"));
        assert_eq!(remaining("get k"), None);
        assert_eq!(remaining("nothing "), None);
        assert_eq!(remaining(""), None);
    }
}
