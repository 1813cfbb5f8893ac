//! What the user knows: the PIN. Wiped when dropped, and never printed.

use std::fmt;

use unicode_normalization::char::{canonical_combining_class, compose, decompose_canonical};
use zeroize::Zeroizing;

/// A PIN or passphrase, used as its bytes: two encodings of one text are two PINs. What a user types goes through
/// [`Pin::normalized`], at registration and at recovery alike.
#[derive(Clone)]
pub struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    /// Takes the bytes.
    #[must_use]
    pub fn new(pin: Vec<u8>) -> Self {
        Self(Zeroizing::new(pin))
    }

    /// The PIN that a user typed, the same bytes from every keyboard that writes the same characters.
    ///
    /// As the profile `OpaqueString` for passwords maps a text (RFC 8265, section 4.2): spaces that are not ASCII become
    /// ASCII ones, and the text takes Unicode's form NFC. Line ends behind it are taken away: that profile has none, and
    /// text boxes and pipes add them. Nothing else changes: case, other spaces, and full-width digits stay what they are, and
    /// are other PINs. [`PinHelp`](crate::PinHelp) tells of those that a user is likely not to have meant.
    ///
    /// A text of ASCII without a line end is its own bytes. An application that has registered other texts byte for byte goes
    /// on with [`Pin::from`]: for such a registration, this could be another PIN.
    #[must_use]
    pub fn normalized(typed: &str) -> Self {
        let typed = typed.trim_end_matches(['\r', '\n']);
        if typed.is_ascii() {
            return Self::from(typed);
        }
        // Secret: what grew would leave copies behind. NFC makes UTF-8 at most three times as long (UAX #15, section 9).
        let mut bytes = Vec::with_capacity(typed.len().saturating_mul(3));
        for char in composed(decomposed(typed.chars().map(ascii_space))).iter() {
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Self::new(bytes)
    }

    /// The bytes, for a [`Stretcher`](crate::Stretcher).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An ASCII space for each other space: Unicode's category Zs.
const fn ascii_space(typed: char) -> char {
    match typed {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// Form NFD. With `composed`, in place of the whole normaliser that the tables come with: that one wipes nothing, and brings the tables of
/// NFKC into every page, 22 KB when compressed.
fn decomposed(typed: impl Iterator<Item = char> + Clone) -> Zeroizing<Vec<char>> {
    // At most four for each (UAX #15, section 9).
    let mut chars = Zeroizing::new(Vec::with_capacity(typed.clone().count().saturating_mul(4)));
    typed.for_each(|typed| decompose_canonical(typed, |char| chars.push(char)));
    // Marks on one character, in the order of their classes.
    let is_mark = |char: &char| canonical_combining_class(*char) != 0;
    for marks in chars.chunk_by_mut(|one, next| is_mark(one) && is_mark(next)) {
        marks.sort_by_key(|mark| canonical_combining_class(*mark));
    }
    chars
}

/// The canonical composition of form NFD: form NFC (Unicode, section 3.11, D117).
fn composed(mut chars: Zeroizing<Vec<char>>) -> Zeroizing<Vec<char>> {
    // How many are done, where the last one is to which others may be joined, and the class of the last that is done.
    let (mut done, mut starter, mut last_class) = (0, None::<usize>, 0);
    for next in 0..chars.len() {
        let char = chars[next];
        let class = canonical_combining_class(char);
        if let Some(at) = starter
            && (at + 1 == done || last_class < class)
            && let Some(joined) = compose(chars[at], char)
        {
            chars[at] = joined;
            continue;
        }
        if class == 0 {
            starter = Some(done);
        }
        chars[done] = char;
        (done, last_class) = (done + 1, class);
    }
    // Secret: what is cut off is wiped with the rest, whose capacity it stays in.
    chars.truncate(done);
    chars
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl From<&str> for Pin {
    fn from(pin: &str) -> Self {
        Self::new(pin.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn normalized(typed: &str) -> String {
        String::from_utf8(Pin::normalized(typed).as_bytes().to_vec()).unwrap()
    }

    fn same(typed: &str, otherwise: &str) -> bool {
        normalized(typed) == normalized(otherwise)
    }

    #[test]
    fn a_text_of_ascii_is_its_own_bytes_without_its_line_end() {
        for typed in ["4821", "4821\n", "4821\r\n", "4821\r", "4821\n\n"] {
            assert_eq!(normalized(typed), "4821", "{typed:?}");
        }
        for typed in ["", " 48 21 ", "\n4821", "48\n21", "Correct Horse", "\t"] {
            assert_eq!(normalized(typed), typed);
        }
    }

    #[test]
    fn one_text_in_two_encodings_is_one_pin() {
        for (composed, decomposed) in
            [("zoë", "zoe\u{308}"), ("Å", "A\u{30a}"), ("각", "\u{1100}\u{1161}\u{11a8}")]
        {
            assert_ne!(composed, decomposed);
            assert_eq!(
                (normalized(decomposed).as_str(), normalized(composed).as_str()),
                (composed, composed)
            );
        }
        // The sign for ångström, and marks in another order.
        assert!(same("\u{212b}", "Å") && same("a\u{323}\u{302}", "a\u{302}\u{323}"));
    }

    #[test]
    fn every_space_is_the_one_of_ascii_and_none_is_taken_away() {
        for space in
            ['\u{a0}', '\u{1680}', '\u{2000}', '\u{2009}', '\u{200a}', '\u{202f}', '\u{205f}', '\u{3000}']
        {
            assert_eq!(normalized(&format!("{space}ä{space}")), " ä ", "{space:?}");
        }
        // Neither has a width, and neither is a space.
        assert!(!same("4\u{200b}8", "48") && !same("4\u{feff}8", "48"));
    }

    #[test]
    fn what_only_looks_alike_is_another_pin() {
        for (typed, otherwise) in
            [("４８２１", "4821"), ("٤٨٢١", "4821"), ("ﬁ", "fi"), ("Zoë", "zoë"), ("²", "2")]
        {
            assert!(!same(typed, otherwise), "{typed} {otherwise}");
        }
    }

    #[test]
    fn it_is_the_form_nfc_of_any_text() {
        use unicode_normalization::UnicodeNormalization as _;
        let check = |text: &str| assert_eq!(normalized(text), text.nfc().collect::<String>(), "{text:?}");
        let spaces_and_ends = |char: &char| ascii_space(*char) != *char || matches!(char, '\r' | '\n');
        let all = ('\0'..='\u{30000}').filter(|char| !spaces_and_ends(char));
        all.clone().for_each(|char| check(&format!("{char}ä")));
        // Those that something happens to, in any order.
        let all: Vec<char> = all.collect();
        let telling = |char: &&char| {
            canonical_combining_class(**char) != 0 || normalized(&char.to_string()) != char.to_string()
        };
        let hangul = ('\u{1100}'..='\u{11ff}').chain('\u{ac00}'..='\u{ac20}');
        let letters = "aeiouAEIOUnscαωаий".chars();
        let mut pool: Vec<char> = all.iter().filter(telling).copied().chain(hangul).collect();
        pool.extend(letters.cycle().take(pool.len()));
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let length = rng.random_range(1..8);
            let text: String = (0..length).map(|_| pool[rng.random_range(0..pool.len())]).collect();
            check(&text);
        }
    }

    #[test]
    fn what_grows_most_stays_within_what_was_reserved() {
        // The standard's own examples of the most in UTF-8.
        for typed in ["\u{1d160}", "\u{fb2c}", "\u{390}"] {
            assert!(normalized(&typed.repeat(50)).len() <= 3 * 50 * typed.len());
        }
        assert_eq!(normalized("\u{1d160}").len(), 3 * "\u{1d160}".len());
    }
}
