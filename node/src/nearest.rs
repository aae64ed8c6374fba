//! What was meant by a word that is mistyped.

/// No name is longer.
const LENGTH_MAX: usize = 32;

/// The closest of them and how far it is, where a letter is missing, too many or another, or two are swapped; in words
/// of more than five letters two times that.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    if word.len() > LENGTH_MAX {
        return None;
    }
    let far = if word.len() > 5 { 2 } else { 1 };
    let found = names.map(|name| (strsim::osa_distance(word, name), name)).min()?;
    (found.0 <= far && found.0 < word.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_are_close_by_one_letter_and_longer_ones_by_two() {
        let names = ["del", "help", "leave", "members", "join"];
        let near = |word: &str| nearest(word, names.into_iter()).map(|(_, name)| name);
        assert_eq!(near("hepl"), Some("help"), "two letters are swapped");
        assert_eq!(near("jion"), Some("join"));
        assert_eq!(near("serve"), None, "it is no leave");
        assert_eq!(near("smember"), Some("members"));
        assert_eq!(near("d"), None);
        assert_eq!(near(&"d".repeat(1 << 20)), None);
    }
}
