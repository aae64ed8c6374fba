//! The language of the console: Redis commands, with flags, repetition and other peers.

use super::flags::{self, Flag, OF_LINES};
use crate::commands;
use crate::words::{self, Word};

/// Most repetitions of one line.
const TIMES_MAX: u32 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Empty,
    /// `:time on`: the words after the colon.
    Own(Vec<String>),
    Command(Call),
}

/// A command to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub times: u32,
    /// The peer to send it to, by name or address; `None`: the one that the console is connected to.
    pub at: Option<String>,
    /// What is sent, flags translated.
    pub words: Vec<Vec<u8>>,
    /// The reply is wanted as JSON.
    pub json: bool,
    /// JSON was asked for, whoever makes it.
    pub wants_json: bool,
    /// What was typed, without what comes before the command and without flags.
    pub typed: Vec<Vec<u8>>,
}

impl Call {
    /// The command as its flags want it; those of where to connect say nothing here. Errors: what is wrong with them.
    pub fn of(typed: Vec<Vec<u8>>, flags: &[Flag]) -> Result<Self, String> {
        // Of two the later counts.
        let value = |name| flags.iter().rfind(|(flag, _)| *flag == name).map(|(_, value)| value.as_str());
        let (r, w, wants_json) = (value("--r"), value("--w"), value("--json").is_some());
        let mut words = typed.clone();
        if r.or(w).is_some() {
            let name = typed.first().map(Vec::as_slice).unwrap_or_default();
            if commands::find(name).is_some() && !commands::takes_quorum(name) {
                return Err(format!(
                    "{} asks for no copies; --r and --w go with commands that do",
                    text(name)
                ));
            }
            words.splice(0..0, [b"WITH".to_vec(), copies("--r", r)?, copies("--w", w)?]);
        }
        let call = Self { times: 1, at: None, words, json: false, wants_json: false, typed };
        Ok(if wants_json { call.in_json() } else { call })
    }

    /// True if it is the command of that name, given in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.typed.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// As with `--json`.
    pub fn in_json(mut self) -> Self {
        if !self.wants_json {
            let mut command = self.words.split_off(self.words.len() - self.typed.len());
            self.json = !ask_for_json(&mut command);
            self.words.append(&mut command);
            self.wants_json = true;
        }
        self
    }
}

/// Reads a line. Errors: what is wrong with it, for the user.
pub fn parse(line: &[u8]) -> Result<Line, String> {
    let line = line.trim_ascii();
    let own = line.strip_prefix(b":");
    let words = words::split(own.unwrap_or(line)).map_err(|error| format!("{error}: {}", shown(line)))?;
    if own.is_some() {
        return Ok(Line::Own(words.into_iter().map(|word| text(&word.bytes)).collect()));
    }
    if words.is_empty() {
        return Ok(Line::Empty);
    }
    call(as_typed_in_a_shell(words)).map(Line::Command)
}

/// Where the program has flags for the words of a command, these do here, too: `invite --ttl 5m` is `invite TTL 5m`.
fn as_typed_in_a_shell(mut words: Vec<Word>) -> Vec<Word> {
    let is_plain = |word: &Word, text: &str| !word.quoted && word.bytes.eq_ignore_ascii_case(text.as_bytes());
    let is_prefix = |word: &Word| word.bytes.starts_with(b"@") || word.bytes.iter().all(u8::is_ascii_digit);
    let command = words.iter().position(|word| !is_prefix(word));
    let takes_words = |at: &usize| ["invite", "token"].iter().any(|name| is_plain(&words[*at], name));
    let Some(command) = command.filter(takes_words) else { return words };
    // That has no words: its flags are the console's own.
    if words.get(command + 1).is_some_and(|word| is_plain(word, "revoke")) {
        return words;
    }
    let rest = words.split_off(command + 1);
    words.extend(rest.into_iter().flat_map(unflagged));
    words
}

/// `--word` as `WORD`, and `--word=value` as two words.
fn unflagged(word: Word) -> Vec<Word> {
    let flag = word.bytes.strip_prefix(b"--").filter(|flag| !word.quoted && !matches!(*flag, b"" | b"help"));
    let Some(flag) = flag else { return vec![word] };
    let (name, value) = match flag.iter().position(|byte| *byte == b'=') {
        Some(at) => (&flag[..at], Some(&flag[at + 1..])),
        None => (flag, None),
    };
    // The one whose name has a dash: NOADDRESSES.
    let name = name.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_uppercase).collect();
    let words = [Some(name), value.map(<[u8]>::to_vec)].into_iter().flatten();
    words.map(|bytes| Word { bytes, quoted: false }).collect()
}

/// Reads `[5] [@peer] command [argument ...] [flag ...]`.
fn call(words: Vec<Word>) -> Result<Call, String> {
    let (mut times, mut at, mut skip) = (1, None, 0);
    for word in words.iter().take(words.len().saturating_sub(1)).take(2) {
        if word.quoted {
            break;
        }
        if let Some(peer) = word.bytes.strip_prefix(b"@").filter(|_| at.is_none()) {
            at = Some(text(peer));
        } else if let Some(number) =
            text(&word.bytes).parse::<u32>().ok().filter(|_| skip == usize::from(at.is_some()))
        {
            times = number;
        } else {
            break;
        }
        skip += 1;
    }
    if times > TIMES_MAX {
        return Err(format!("a command is repeated at most {TIMES_MAX} times"));
    }
    let (typed, flags) = flags::take(words.into_iter().skip(skip).collect(), &OF_LINES)
        .map_err(|why| format!("{why}; quote it if it is data"))?;
    Ok(Call { times, at, ..Call::of(typed, &flags)? })
}

/// As WITH takes it.
fn copies(flag: &str, value: Option<&str>) -> Result<Vec<u8>, String> {
    match value {
        None => Ok(b"-".to_vec()),
        Some(value) if value.parse().is_ok_and(|copies: u8| copies > 0) => Ok(value.into()),
        Some(value) => Err(format!("{flag} takes a number of copies, 1 or more, not {value:?}")),
    }
}

/// Some commands make their own JSON, with more in it than their reply has. False: this one does not.
fn ask_for_json(words: &mut Vec<Vec<u8>>) -> bool {
    match text(&words[0]).to_ascii_lowercase().as_str() {
        "explain" => words.insert(1, b"JSON".to_vec()),
        "status" if words.len() == 1 => words.push(b"JSON".to_vec()),
        "invites" | "tokens" if words.len() == 1 => words.push(b"JSON".to_vec()),
        "where" | "siblings" if words.len() == 2 => words.push(b"JSON".to_vec()),
        _ => return false,
    }
    true
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(line: &[u8]) -> String {
    text(line).chars().take(60).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Line::Command(call)) => call.words.iter().map(|word| text(word)).collect::<Vec<_>>().join(" "),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn called(line: &str) -> Call {
        let Ok(Line::Command(call)) = parse(line.as_bytes()) else { panic!("{line}") };
        call
    }

    #[test]
    fn flags_become_words_that_any_client_could_send() {
        assert_eq!(sent("get k"), "get k");
        assert_eq!(sent("get k --r 1"), "WITH 1 - get k");
        assert_eq!(sent("set k v --w=3"), "WITH - 3 set k v");
        assert_eq!(sent("explain get k --w 3 --r 2"), "WITH 2 3 explain get k");
        assert_eq!(sent("status --json"), "status JSON");
        assert_eq!(sent("where k --json"), "where k JSON");
        assert_eq!(sent("explain get k --json"), "explain JSON get k");
        assert_eq!(sent("explain --json get k"), "explain JSON get k");
        assert_eq!(sent("explain get k --r 1 --json"), "WITH 1 - explain JSON get k");
        assert!(called("get k --json").json);
        assert!(!called("status --json").json);
    }

    #[test]
    fn what_the_shell_takes_as_flags_is_taken_here_too() {
        assert_eq!(sent("invite --ttl 5m --uses=3 --no-addresses"), "invite TTL 5m USES 3 NOADDRESSES");
        assert_eq!(sent("token create --prefix app/ --json"), "token create PREFIX app/ JSON");
        assert_eq!(sent("@p2 invite --ttl 5m"), "invite TTL 5m");
        assert_eq!(sent("invite revoke abc --json"), "invite revoke abc");
        assert!(called("token revoke abc --json").json);
        assert_eq!(sent("token create prefix \"--x\""), "token create prefix --x");
        assert!(parse(b"set invite --ttl").is_err(), "it is a key there");
        assert_eq!(sent("tokens --json"), "tokens JSON");
        assert_eq!(sent("@p2 leave --help"), "help leave");
        assert!(parse(b"invite --ttl 5m --help").unwrap_err().contains("invite --help"));
    }

    #[test]
    fn what_is_quoted_or_after_two_dashes_is_data() {
        assert_eq!(sent(r#"set k "--json""#), "set k --json");
        assert_eq!(sent("set k -- --r 1"), "set k --r 1");
        assert!(parse(b"set k --r").unwrap_err().contains("lacks its value; quote it if it is data"));
    }

    #[test]
    fn copies_are_asked_for_by_a_number_and_where_there_are_any() {
        for line in ["set k v --w 0", "set k v --w 1x", "get k --r -1", "get k --r 256"] {
            assert!(parse(line.as_bytes()).unwrap_err().contains("takes a number of copies"), "{line}");
        }
        assert!(parse(b"ping --w 1").unwrap_err().starts_with("ping asks for no copies"));
        assert_eq!(sent("nothing --w 1"), "WITH - 1 nothing", "the peer says what it is");
    }

    #[test]
    fn commands_are_repeated_and_sent_elsewhere() {
        let call = called("5 incr k");
        assert_eq!((call.times, call.at, call.words.len()), (5, None, 2));
        let call = called("@p3 2 get k --r 1");
        assert_eq!((call.times, call.at.as_deref(), call.words.len()), (2, Some("p3"), 5));
        assert_eq!(called("2 @p3 get k").at.as_deref(), Some("p3"));
        assert_eq!(called("5").words, [b"5"]);
        assert!(parse(b"99999999 incr k").is_err());
    }

    #[test]
    fn lines_for_the_console_are_split_as_a_shell_does() {
        let own = |words: &[&str]| Ok(Line::Own(words.iter().map(|word| word.to_string()).collect()));
        assert_eq!(parse(b":partition p1 p2 | p3"), own(&["partition", "p1", "p2", "|", "p3"]));
        assert_eq!(parse(b" : heal "), own(&["heal"]));
        assert_eq!(parse(b"  "), Ok(Line::Empty));
        assert!(parse(b"get \"k").unwrap_err().contains("a quote is opened"));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in "[-@0-9a-z=:\"' ]{0,40}") {
            let _ = parse(line.as_bytes());
        }
    }
}
