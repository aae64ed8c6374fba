//! Patterns of keys, as Redis has them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a literal character.

/// Longest pattern, in bytes. With it, a page of names is gone through in a fraction of a second, whatever the pattern.
pub const PATTERN_MAX: usize = 1024;
const WORD_BITS: usize = u64::BITS as usize;

/// A pattern, ready to be matched with any number of texts, each in one pass: all places in the pattern where the
/// text so far may have led are kept at once, a bit for each (Baeza-Yates and Gonnet's Shift-And, with loops for `*`).
/// Trying one place after the other would take pattern times text steps, which clients could choose as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// For each byte the places from which it leads to the next one.
    steps: Vec<[u64; 256]>,
    /// The places that any byte leaves as they are: there stands a `*`.
    stays: Vec<u64>,
    /// The place behind the last element.
    end: usize,
}

impl Pattern {
    /// Errors: the line for a pattern that is too long.
    pub fn new(pattern: &[u8]) -> Result<Self, String> {
        if pattern.len() > PATTERN_MAX {
            return Err(format!(
                "ERR a pattern is at most {PATTERN_MAX} bytes long, this one is {}",
                pattern.len()
            ));
        }
        let words = pattern.len() / WORD_BITS + 1;
        let mut read = Self { steps: vec![[0; 256]; words], stays: vec![0; words], end: 0 };
        let mut at = 0;
        while at < pattern.len() {
            let (word, bit) = place(read.end);
            if pattern[at] == b'*' {
                read.stays[word] |= bit;
                at += 1;
                continue;
            }
            let (takes, length) = element(&pattern[at..]);
            let taken = takes.iter().zip(read.steps[word].iter_mut()).filter(|(takes, _)| **takes);
            taken.for_each(|(_, steps)| *steps |= bit);
            read.end += 1;
            at += length;
        }
        Ok(read)
    }

    /// True if the whole of `text` matches. Takes a step for each byte of it and each 64 bytes of the pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (word, last) = place(self.end);
        let mut reached = vec![0u64; self.stays.len()];
        reached[0] = 1;
        for byte in text {
            if self.advance(&mut reached, *byte) {
                return false;
            }
            // Nothing that follows can matter.
            if reached[word] & self.stays[word] & last != 0 {
                return true;
            }
        }
        reached[word] & last != 0
    }

    /// Where one more byte leads. True: nowhere.
    fn advance(&self, reached: &mut [u64], byte: u8) -> bool {
        let (mut carried, mut any) = (0, 0);
        for ((places, steps), stays) in reached.iter_mut().zip(&self.steps).zip(&self.stays) {
            let led = *places & steps[usize::from(byte)];
            *places = (led << 1) | carried | (*places & stays);
            carried = led >> (WORD_BITS - 1);
            any |= *places;
        }
        any == 0
    }
}

/// The word and the bit of a place.
fn place(at: usize) -> (usize, u64) {
    (at / WORD_BITS, 1 << (at % WORD_BITS))
}

/// Which bytes the pattern's first element takes, and how long it is.
fn element(pattern: &[u8]) -> ([bool; 256], usize) {
    let only = |literal: u8| std::array::from_fn(|byte| byte == usize::from(literal));
    match pattern {
        [b'?', ..] => ([true; 256], 1),
        [b'[', ..] => class(pattern),
        [b'\\', literal, ..] => (only(*literal), 2),
        [literal, ..] => (only(*literal), 1),
        [] => ([false; 256], 0),
    }
}

/// `[abc]`, `[a-z]`, `[^abc]`. A class that is not closed reaches to the end.
fn class(pattern: &[u8]) -> ([bool; 256], usize) {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut inside = [false; 256];
    while let Some(&first) = pattern.get(at) {
        let (low, high, length) = match (first, &pattern[at + 1..]) {
            (b']', _) => {
                at += 1;
                break;
            }
            (b'\\', [literal, ..]) => (*literal, *literal, 2),
            (low, [b'-', high, ..]) if *high != b']' => (low.min(*high), low.max(*high), 3),
            (literal, _) => (literal, literal, 1),
        };
        inside[usize::from(low)..=usize::from(high)].fill(true);
        at += length;
    }
    (inside.map(|inside| inside != negated), at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    /// The same by trying everything, as slowly as that is.
    fn tried(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| tried(rest, &text[taken..])),
            ([], _) | (_, []) => false,
            (_, [byte, rest @ ..]) => {
                let (takes, length) = element(pattern);
                takes[usize::from(*byte)] && tried(&pattern[length..], rest)
            }
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text) in [
            ("*", ""),
            ("user:*", "user:1"),
            ("*:1", "user:1"),
            ("u*r*1", "user:1"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[a-c]llo", "hbllo"),
            ("h[^e]llo", "hallo"),
            (r"a\*b", "a*b"),
            (r"[\]]", "]"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("user:*", "use"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            (r"a\*b", "axb"),
            ("a*b", "abc"),
            ("[a-c]", "d"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    /// A step of a scan goes through ten times as much. Trying each place anew took half a minute for this.
    #[test]
    fn no_pattern_makes_a_page_of_long_names_take_long() {
        let (names, began) = (vec![b'a'; 16 * 1024], Instant::now());
        for pattern in ["*".to_owned() + &"a".repeat(PATTERN_MAX - 2) + "b", "a*".repeat(400) + "b"] {
            let pattern = Pattern::new(pattern.as_bytes()).unwrap();
            assert!((0..100).all(|_| !pattern.matches(&names)));
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn a_pattern_is_read_up_to_its_longest_and_no_further() {
        let longest = "a".repeat(PATTERN_MAX);
        assert!(matches(longest.as_bytes(), longest.as_bytes()));
        assert!(!matches(longest.as_bytes(), "a".repeat(PATTERN_MAX - 1).as_bytes()));
        let error = Pattern::new("a".repeat(PATTERN_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(error, "ERR a pattern is at most 1024 bytes long, this one is 1025");
    }

    proptest! {
        #[test]
        fn any_pattern_matches_what_it_does_by_trying_all(
            pattern in "[]\\[*?^a-c\\\\-]{0,12}",
            text in "[a-c]{0,12}",
        ) {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), tried(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn places_beyond_a_word_are_kept_as_well(
            before in "[ab]{50,70}", middle in "[ab]{0,9}", after in "[ab]{50,70}", other in "[ab]{100,149}",
        ) {
            let pattern = format!("{before}*{after}");
            let text = format!("{before}{middle}{after}");
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
            let has = other.starts_with(&before) && other[before.len()..].ends_with(&after);
            prop_assert_eq!(matches(pattern.as_bytes(), other.as_bytes()), has);
        }
    }
}
