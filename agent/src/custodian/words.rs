//! The words of BIP-39 (English): 11 bits each, told apart by their first four letters.

/// The published list, which is also that of fingerprints.
static LIST: &str = include_str!("../../../proto/src/words.txt");
/// The bits of a word.
pub(super) const BITS: usize = 11;
/// This many letters tell a word from all others.
const TELLING_LETTERS: usize = 4;

/// The word at this place of the list.
pub(super) fn word(place: usize) -> &'static str {
    LIST.lines().nth(place).unwrap_or_default()
}

/// The place of a word as a person typed it: in upper or lower case, in full or cut off after its fourth letter or later.
pub(super) fn place(typed: &str) -> Option<usize> {
    let is_start =
        |word: &str| word.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed));
    let is_meant =
        |word: &str| is_start(word) && (typed.len() == word.len() || typed.len() >= TELLING_LETTERS);
    LIST.lines().position(is_meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_full_and_by_its_first_letters_and_no_other_is() {
        assert_eq!(LIST.lines().count(), 1 << BITS);
        for (i, listed) in LIST.lines().enumerate() {
            assert_eq!((word(i), place(listed)), (listed, Some(i)));
            let short: String = listed.chars().take(TELLING_LETTERS).collect();
            assert_eq!(place(&short.to_uppercase()), Some(i), "{short}");
        }
        assert_eq!((word(0), word(2047), word(2048)), ("abandon", "zoo", ""));
        for typed in ["", "a", "aba", "zo", "zooo", "abandonx", "strongroom", "äban"] {
            assert_eq!(place(typed), None, "{typed}");
        }
    }
}
