//! A few words that stand for a key, an id or a digest, so that people can compare them.
//!
//! A device shows them on its own console, and a custodian types them in again. The words are those of BIP-39 (English,
//! 2,048 words, no two with the same first four letters); the list in `words.txt` is the published one, byte for byte.

use crate::hash::{hash, label};
use alloc::vec::Vec;
use core::fmt;

#[cfg(feature = "outside")]
mod typed;

/// How many words a fingerprint has: 6 of 11 bits each.
///
/// 66 bits: finding something with the same words as a given other takes about 2^66 tries. That holds only where the
/// other side draws last some part of what is hashed. Otherwise whoever tries may choose both, and then 2^33 tries are
/// enough.
pub const WORDS: usize = 6;
/// How many different words there are.
const LIST_WORDS: usize = 2048;
/// The bits of a word's position in the list.
const PLACE: u128 = LIST_WORDS as u128 - 1;
/// One word per line, sorted.
static LIST: &str = include_str!("words.txt");

/// The first 66 bits of `H("strongroom fingerprint 1", kind, field, …)`, as six words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u16; WORDS]);

impl Fingerprint {
    /// The fingerprint of these fields, which are of this kind. Another kind has other words for the same fields.
    #[must_use]
    pub fn of(kind: &str, fields: &[&[u8]]) -> Self {
        let all: Vec<&[u8]> = core::iter::once(kind.as_bytes()).chain(fields.iter().copied()).collect();
        let digest = hash(label::FINGERPRINT, &all);
        let head = digest.0.first_chunk().map_or(0, |head: &[u8; 16]| u128::from_be_bytes(*head));
        let mut words = [0; WORDS];
        let mut left = head;
        for word in &mut words {
            left = left.rotate_left(11);
            *word = (left & PLACE) as u16;
        }
        Self(words)
    }

    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|at| LIST.lines().nth(usize::from(*at)).unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.words().enumerate() {
            write!(f, "{}{word}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_words_are_those_of_bip_39() {
        assert_eq!(LIST.lines().count(), LIST_WORDS);
        let digest =
            Sha256::digest(LIST).iter().fold(String::new(), |hex, b| hex + &alloc::format!("{b:02x}"));
        // Of english.txt, as published with BIP-39.
        assert_eq!(digest, "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda");
    }

    #[test]
    fn words_are_of_the_kind_and_of_all_bytes() {
        let of = Fingerprint::of("build", &[&[7; 32]]);
        assert_eq!(of.to_string().split(' ').count(), WORDS);
        assert_ne!(of, Fingerprint::of("device key", &[&[7; 32]]));
        assert_ne!(of, Fingerprint::of("build", &[&[7; 31]]));
        assert_eq!(of.to_string(), "unfair push budget unlock resource shiver");
    }
}
