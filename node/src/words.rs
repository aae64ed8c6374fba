//! Splits a line into words, with the quotes and escapes of `redis-cli`.

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub bytes: Vec<u8>,
    /// Some of it was in quotes: it is data, never a flag.
    pub quoted: bool,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbalanced {
    #[error("a quote is opened and not closed")]
    Open,
    #[error("a space must follow the quote that closes a word")]
    Glued,
}

/// `set k "a b\n"` is three words. In double quotes: `\n \r \t \b \a \xHH`, and `\` before any other
/// character is that character. In single quotes only `\'`. A closing quote must end the word.
pub fn split(line: &[u8]) -> Result<Vec<Word>, Unbalanced> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn word(mut rest: &[u8]) -> Result<(Word, &[u8]), Unbalanced> {
    let mut word = Word { bytes: Vec::new(), quoted: false };
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            _ if byte.is_ascii_whitespace() => break,
            b'"' | b'\'' => {
                word.quoted = true;
                rest = quoted(byte, after, &mut word.bytes)?;
                if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                    return Err(Unbalanced::Glued);
                }
            }
            _ => {
                word.bytes.push(byte);
                rest = after;
            }
        }
    }
    Ok((word, rest))
}

/// Reads up to the closing quote and returns what follows it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (&byte, after) = rest.split_first().ok_or(Unbalanced::Open)?;
        rest = after;
        if byte == quote {
            return Ok(rest);
        }
        if byte != b'\\' {
            bytes.push(byte);
        } else if quote == b'"' {
            rest = escaped(rest, bytes)?;
        } else if rest.first() == Some(&b'\'') {
            bytes.push(b'\'');
            rest = &rest[1..];
        } else {
            bytes.push(b'\\');
        }
    }
}

fn escaped<'a>(rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    let (&byte, after) = rest.split_first().ok_or(Unbalanced::Open)?;
    if let [b'x', high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
    {
        bytes.push((high * 16 + low) as u8);
        return Ok(after);
    }
    bytes.push(match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => b'\x08',
        b'a' => b'\x07',
        other => other,
    });
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<String> {
        let words = split(line.as_bytes()).unwrap();
        words.into_iter().map(|word| String::from_utf8(word.bytes).unwrap()).collect()
    }

    #[test]
    fn words_quotes_and_escapes() {
        assert_eq!(texts("  set  k v "), ["set", "k", "v"]);
        assert_eq!(texts(r#"set k "a \"b\"\n\x41""#), ["set", "k", "a \"b\"\nA"]);
        assert_eq!(texts(r"set k 'it\'s \n'"), ["set", "k", "it's \\n"]);
        assert_eq!(texts(r#"set k """#), ["set", "k", ""]);
        assert!(texts("   ").is_empty());
    }

    #[test]
    fn a_quote_left_open_or_glued_to_the_next_word_is_an_error() {
        for line in [r#"get "k"#, "get 'k", r#"get "k\"#] {
            assert_eq!(split(line.as_bytes()), Err(Unbalanced::Open), "{line}");
        }
        for line in [r#"set a "x"y"#, r#"set a "x"y""#, "set a 'x'y"] {
            assert_eq!(split(line.as_bytes()), Err(Unbalanced::Glued), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_split_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = split(&line);
        }

        #[test]
        fn what_the_console_quotes_it_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let line = crate::resp::frame::quoted(&bytes);
            prop_assert_eq!(split(line.as_bytes()), Ok(vec![Word { bytes, quoted: true }]));
        }
    }
}
