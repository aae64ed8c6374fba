//! Patterns of keys, as Redis has them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a literal character.

/// True if the whole of `text` matches. Takes at most pattern times text steps: on a mismatch only the
/// last `*` is tried again with one more byte, which is enough because it is free to take any bytes.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(length) = one(&pattern[p..], text[t]) {
            p += length;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// `[abc]`, `[a-z]`, `[^abc]`. A class that is not closed reaches to the end.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut inside = false;
    while let Some(&first) = pattern.get(at) {
        match (first, &pattern[at + 1..]) {
            (b']', _) => return (inside != negated).then_some(at + 1),
            (b'\\', [literal, ..]) => {
                inside |= *literal == byte;
                at += 2;
            }
            (low, [b'-', high, ..]) if *high != b']' => {
                inside |= (low.min(*high)..=low.max(*high)).contains(&byte);
                at += 3;
            }
            (literal, _) => {
                inside |= literal == byte;
                at += 1;
            }
        }
    }
    (inside != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_pattern_of_many_stars_does_not_take_for_ever() {
        assert!(!matches("a*".repeat(40).as_bytes(), &[b'b'; 10_000]));
        assert!(!matches(format!("{}b", "a*".repeat(200)).as_bytes(), &[b'a'; 10_000]));
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_without_a_panic(pattern in "[]\\[*?^a-c\\\\-]{0,12}", text in "[a-c]{0,12}") {
            matches(pattern.as_bytes(), text.as_bytes());
        }

        #[test]
        fn text_around_a_star_matches(before in "[a-z]{0,9}", middle in "[a-z]{0,9}", after in "[a-z]{0,9}") {
            let text = format!("{before}{middle}{after}");
            let pattern = format!("{before}*{after}");
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
