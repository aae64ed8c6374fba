//! Flags among the words of a command, as in a shell.

use crate::nearest::nearest;
use crate::words::Word;

/// Which flags a command may have.
pub struct Known {
    /// Those that a value follows.
    pub valued: &'static [&'static str],
    pub plain: &'static [&'static str],
}

impl Known {
    pub fn find(&self, flag: &str) -> Option<&'static str> {
        self.valued.iter().chain(self.plain).copied().find(|known| *known == flag)
    }
}

/// In the console.
pub const OF_LINES: Known = Known { valued: &["--r", "--w"], plain: &["--json", "--help"] };

/// A flag and its value, which is empty where it has none.
pub type Flag = (&'static str, String);

/// The words without flags, and these in their order. What begins with two dashes is a flag, unless it is quoted or
/// comes after `--`: one that is misspelt would else be data, and what follows it a key to remove. Flags stand before
/// the arguments or behind them; among these one is never followed: it may be data that somebody else has written, and
/// would tell where the token goes. With one dash there is `-x`, and only before the arguments. `leave --help` and
/// `leave -h` become `help leave`. With more words `--help` is refused, since nothing of what these ask for is done, and
/// `-h` is data.
pub fn take(words: Vec<Word>, known: &Known) -> Result<(Vec<Vec<u8>>, Vec<Flag>), String> {
    if let [name, Word { bytes, quoted: false }] = words.as_slice()
        && matches!(bytes.as_slice(), b"--help" | b"-h")
    {
        return Ok((vec![b"help".to_vec(), name.bytes.clone()], Vec::new()));
    }
    let mut words = words.into_iter().peekable();
    let (mut kept, mut taken) = (Vec::from_iter(words.next().map(|word| word.bytes)), Vec::new());
    let name = kept.first().map(|name| text(name)).unwrap_or_default();
    let mut behind = None;
    while let Some(word) = words.next() {
        if !word.quoted && word.bytes == b"--" {
            kept.extend(words.map(|word| word.bytes));
            break;
        }
        let typed = text(&word.bytes);
        let short = kept.len() == 1 && known.plain.contains(&&*typed);
        if word.quoted || !(short || typed.len() > 2 && typed.starts_with("--")) {
            if let Some(flag) = behind {
                return Err(format!("{flag} stands among what {name} is about; flags go first or last"));
            }
            kept.push(word.bytes);
            continue;
        }
        let (flag, value) =
            typed.split_once('=').map_or((&*typed, None), |(flag, value)| (flag, Some(value)));
        let flag = known.find(flag).ok_or_else(|| unknown(&name, flag, known))?;
        let value = match value {
            _ if flag == "--help" => return Err(format!("--help stands alone: {name} --help")),
            _ if known.plain.contains(&flag) && value.is_some() => {
                return Err(format!("{flag} takes no value"));
            }
            _ if known.plain.contains(&flag) => String::new(),
            Some(value) => value.to_owned(),
            None => {
                let next = words.next_if(|next| next.quoted || !next.bytes.starts_with(b"--"));
                text(&next.ok_or_else(|| format!("{flag} lacks its value"))?.bytes)
            }
        };
        behind = behind.or((kept.len() > 1).then_some(flag));
        taken.push((flag, value));
    }
    Ok((kept, taken))
}

fn unknown(name: &str, flag: &str, known: &Known) -> String {
    let all = known.valued.iter().chain(known.plain).copied();
    match nearest(flag.trim_start_matches('-'), all.filter_map(|flag| flag.strip_prefix("--"))) {
        Some((_, close)) => format!("{name} knows no flag {flag}; did you mean --{close}?"),
        None => format!("{name} knows no flag {flag}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    fn taken(line: &str) -> Result<(String, Vec<Flag>), String> {
        let (words, flags) = take(words::split(line.as_bytes()).unwrap(), &OF_LINES)?;
        Ok((words.iter().map(|word| text(word)).collect::<Vec<_>>().join(" "), flags))
    }

    #[test]
    fn flags_stand_before_the_arguments_or_behind_them() {
        let both = vec![("--w", "3".to_owned()), ("--json", String::new())];
        for line in ["set --w 3 --json k v", "set --w=3 k v --json", "set k v --w 3 --json"] {
            assert_eq!(taken(line), Ok(("set k v".into(), both.clone())), "{line}");
        }
        let among = taken("mset x 1 --w 1 y 2").unwrap_err();
        assert!(among.starts_with("--w stands among what mset is about"), "{among}");
        assert_eq!(taken("set k v --w").unwrap_err(), "--w lacks its value");
        assert_eq!(taken("get k --r --json").unwrap_err(), "--r lacks its value");
        assert_eq!(taken("get k --json=1").unwrap_err(), "--json takes no value");
    }

    #[test]
    fn a_flag_that_is_misspelt_is_no_data() {
        let mistyped = taken("hset user:1 name bob --jsno x").unwrap_err();
        assert_eq!(mistyped, "hset knows no flag --jsno; did you mean --json?");
        assert_eq!(taken("del prod --connect=db").unwrap_err(), "del knows no flag --connect");
        for line in ["set k \"--jsno\"", "set k -- --jsno", "set -- k --jsno"] {
            assert_eq!(taken(line), Ok(("set k --jsno".into(), Vec::new())), "{line}");
        }
        assert_eq!(taken("incrby k -5").unwrap().0, "incrby k -5");
        assert_eq!(taken("set k -- --").unwrap().0, "set k --");
    }

    #[test]
    fn who_asks_for_help_gets_nothing_else() {
        for line in ["del --help", "del -h"] {
            assert_eq!(taken(line).unwrap().0, "help del", "{line}");
        }
        for line in ["del d1 d2 --help", "del --help d1", "set --w 3 --help"] {
            assert!(taken(line).unwrap_err().starts_with("--help stands alone: "), "{line}");
        }
        for line in ["get \"--help\"", "get -- --help"] {
            assert_eq!(taken(line).unwrap().0, "get --help", "{line}");
        }
    }

    #[test]
    fn one_dash_is_data_but_for_a_flag_that_stands_before_the_arguments() {
        let shell = Known { valued: &["--w"], plain: &["-x"] };
        let taken = |line: &str| take(words::split(line.as_bytes()).unwrap(), &shell).unwrap();
        for line in
            ["set k -h", "set -h v", "set k -x", "set \"-x\" v", "get \"-h\"", "set -- -x -h", "incrby k -5"]
        {
            assert_eq!(taken(line).1, [], "{line}");
        }
        let (words, flags) = taken("set -x --w 1 -- -x");
        assert_eq!((words, flags[0].0), (vec![b"set".to_vec(), b"-x".to_vec()], "-x"));
    }
}
