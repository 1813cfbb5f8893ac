//! A custodian's key on n cards, of which any k are enough: Shamir's secret sharing, one share a card.
//!
//! A card is 32 words of BIP-39, 11 bits each: 44 bytes.
//!
//! | bytes | |
//! |---|---|
//! | 1 | version (4 bits: 1), how many cards are needed (4 bits) |
//! | 1 | how many there are (4 bits), the index of this one, from 1 (4 bits) |
//! | 2 | the set, drawn when the key was divided |
//! | 4 | the first of `H("strongroom custodian card key 1", public key)` |
//! | 32 | the share |
//! | 4 | the first of `H("strongroom custodian card 1", all before)` |
//!
//! So the words alone say whether one was mistyped, how many cards are needed, which go together, and whether the key that they
//! make is the one that was divided. Fewer than k cards say nothing of the key but its public key.

use super::shamir;
use super::words::{BITS, place, word};
use crate::admin::custodian_key;
use ed25519_dalek::SigningKey;
use std::fmt;
use strongroom_proto::enrolment::CustodianKey;
use strongroom_proto::hash::hash;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
/// How many words a card has.
pub const WORDS: usize = 32;
const BYTES: usize = WORDS * BITS / 8;
/// Bytes before the check.
const BODY: usize = BYTES - 4;
const CHECK: &str = "strongroom custodian card 1";
const KEY: &str = "strongroom custodian card key 1";
/// The most cards.
const MOST: u8 = 15;

/// How many cards there are, and how many of them are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Split {
    needed: u8,
    cards: u8,
}

impl Split {
    fn new(needed: u8, cards: u8) -> Option<Self> {
        ((2..=cards).contains(&needed) && cards <= MOST).then_some(Self { needed, cards })
    }

    /// How many cards make the key.
    #[must_use]
    pub const fn needed(self) -> usize {
        self.needed as usize
    }
}

impl std::str::FromStr for Split {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once("-of-").and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        parts
            .and_then(|(needed, cards)| Self::new(needed, cards))
            .ok_or("cards are K-of-N, such as 3-of-5: from 2 to N are needed, and there are at most 15")
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.needed, self.cards)
    }
}

/// One card.
pub struct Card {
    split: Split,
    index: u8,
    set: [u8; 2],
    of: [u8; 4],
    // Secret: a part of the key. In a place of its own, so that no copy is left behind where the card was moved from.
    share: Box<Zeroizing<[u8; shamir::BYTES]>>,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card").field("split", &self.split).field("index", &self.index).finish_non_exhaustive()
    }
}

/// What is wrong with cards. No message repeats a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CardError {
    /// A word that is none.
    #[error("word {0} of this card is not in the list of BIP-39; look at it again")]
    NotAWord(usize),
    /// Too few or too many words.
    #[error("this card has {0} words, and a card has 32; look at it again")]
    Count(usize),
    /// The words are not those that were written.
    #[error(
        "the words of this card do not fit together: one of them is another word of the list, or two changed places; look at it again"
    )]
    Check,
    /// Of a newer program.
    #[error("this card is of version {0}: read it with the program of that version")]
    Version(u8),
    /// From another set.
    #[error(
        "card {0} is not of the same set as the first: cards go together only with those that were made with them"
    )]
    OtherSet(u8),
    /// The same card twice.
    #[error("card {0} is there twice; give another one of the set")]
    Twice(u8),
    /// Not enough.
    #[error("{0} cards are there, and this set needs {1}; give more of them")]
    TooFew(usize, u8),
    /// They make another key.
    #[error(
        "these cards do not make the key that they say: one of them was not made with the others; leave one out, or give another"
    )]
    OtherKey,
}

/// What is drawn to divide a key. Secret.
pub struct Drawn {
    set: [u8; 2],
    coefficients: Zeroizing<Vec<[u8; shamir::BYTES]>>,
}

impl Drawn {
    /// From a source of randomness, for this many cards.
    ///
    /// # Errors
    /// That of the source.
    pub fn draw<E>(split: Split, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut set = [0; 2];
        fill(&mut set)?;
        let mut coefficients = Zeroizing::new(vec![[0; shamir::BYTES]; split.needed().saturating_sub(1)]);
        coefficients.iter_mut().try_for_each(|of_power| fill(of_power))?;
        Ok(Self { set, coefficients })
    }
}

impl Card {
    /// Divides a key.
    #[must_use]
    pub fn divide(key: &SigningKey, split: Split, drawn: &Drawn) -> Vec<Self> {
        let of = tag(&custodian_key(key));
        let card = |index| {
            let share = Box::new(shamir::share(key.as_bytes(), &drawn.coefficients, index));
            Self { split, index, set: drawn.set, of, share }
        };
        (1..=split.cards).map(card).collect()
    }

    /// Puts a key together again. More cards than are needed are taken, too, and must fit.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn join(cards: &[Self]) -> Result<SigningKey, CardError> {
        let first = cards.first().ok_or(CardError::TooFew(0, 2))?;
        for (i, card) in cards.iter().enumerate() {
            if (card.set, card.split, card.of) != (first.set, first.split, first.of) {
                return Err(CardError::OtherSet(card.index));
            }
            if cards.iter().take(i).any(|before| before.index == card.index) {
                return Err(CardError::Twice(card.index));
            }
        }
        if cards.len() < first.split.needed() {
            return Err(CardError::TooFew(cards.len(), first.split.needed));
        }
        let shares: Vec<_> = cards.iter().map(|card| (card.index, &**card.share)).collect();
        let key = SigningKey::from_bytes(&shamir::key(&shares));
        if tag(&custodian_key(&key)) == first.of { Ok(key) } else { Err(CardError::OtherKey) }
    }

    /// Reads a card as it was printed, written off or typed: words in full or cut off after the fourth letter or later, in upper
    /// or lower case. Numbers, and lines that begin with `#`, mean nothing.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn read(text: &str) -> Result<Self, CardError> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        let mut count = 0_usize;
        for typed in words(text) {
            let place = place(typed).ok_or(CardError::NotAWord(count.saturating_add(1)))?;
            for bit in 0..BITS {
                let at = count.saturating_mul(BITS).saturating_add(bit);
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte |= (((place >> (BITS - 1 - bit)) & 1) as u8) << (7 - at % 8);
                }
            }
            count = count.saturating_add(1);
        }
        if count == WORDS { Self::from_bytes(&bytes) } else { Err(CardError::Count(count)) }
    }

    /// How many words a text has that belong to a card.
    #[must_use]
    pub fn count(text: &str) -> usize {
        words(text).count()
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Result<Self, CardError> {
        let (body, stated) = bytes.split_at(BODY);
        if hash(CHECK, &[body]).0.get(..BYTES - BODY) != Some(stated) {
            return Err(CardError::Check);
        }
        let [first, second, s, t, a, b, c, d, share @ ..] = body else { return Err(CardError::Check) };
        if first >> 4 != VERSION {
            return Err(CardError::Version(first >> 4));
        }
        let (split, index) = (Split::new(first & 15, second >> 4).ok_or(CardError::Check)?, second & 15);
        if !(1..=split.cards).contains(&index) {
            return Err(CardError::Check);
        }
        let mut own = Box::new(Zeroizing::new([0; shamir::BYTES]));
        own.iter_mut().zip(share).for_each(|(own, byte)| *own = *byte);
        Ok(Self { split, index, set: [*s, *t], of: [*a, *b, *c, *d], share: own })
    }

    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let Self { split: Split { needed, cards }, index, set, of, share } = self;
        // Secret: as much as it will take, so that no part is left behind where it grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        bytes.extend_from_slice(&[(VERSION << 4) | needed, (cards << 4) | index]);
        bytes.extend_from_slice(set);
        bytes.extend_from_slice(of);
        bytes.extend_from_slice(&***share);
        let check = hash(CHECK, &[&bytes]);
        bytes.extend(check.0.iter().take(BYTES - BODY));
        bytes
    }

    /// The words, in order.
    fn words(&self) -> impl Iterator<Item = &'static str> {
        let bytes = self.bytes();
        let bit = move |at: usize| {
            usize::from((bytes.get(at / 8).copied().unwrap_or_default() >> (7 - at % 8)) & 1)
        };
        (0..WORDS)
            .map(move |i| word((0..BITS).fold(0, |place, bit_of| (place << 1) | bit(i * BITS + bit_of))))
    }

    /// The card as a text to print or to write off. Secret.
    #[must_use]
    pub fn text(&self, public: &CustodianKey) -> Zeroizing<String> {
        use fmt::Write;
        let Split { needed, cards } = self.split;
        let mut text = Zeroizing::new(String::with_capacity(1024));
        let [s, t] = self.set;
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "# Strongroom: card {} of {cards}, set {s:02x}{t:02x}. Any {needed} of them are the private key of the custodian",
            self.index
        );
        let _ = writeln!(text, "# {}", public.0);
        for (i, word) in self.words().enumerate() {
            let end = if i % 4 == 3 { "\n" } else { "" };
            let _ = write!(text, "{:2} {word:<10}{end}", i + 1);
        }
        text
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(str::split_whitespace)
        .filter(|word| !word.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

fn tag(public: &CustodianKey) -> [u8; 4] {
    let [a, b, c, d, ..] = hash(KEY, &[&public.0.0]).0;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Randomness of a test: each byte another.
    fn drawn(split: Split, seed: u8) -> Drawn {
        let mut next = seed;
        let fill = |bytes: &mut [u8]| -> Result<(), ()> {
            bytes.iter_mut().for_each(|byte| {
                next = next.wrapping_mul(5).wrapping_add(seed | 1);
                *byte = next;
            });
            Ok(())
        };
        Drawn::draw(split, fill).unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn cards(split: &str, of: u8, seed: u8) -> Vec<Card> {
        let split = split.parse().unwrap();
        Card::divide(&key(of), split, &drawn(split, seed))
    }

    fn read(card: &Card) -> Card {
        Card::read(&card.text(&custodian_key(&key(7)))).unwrap()
    }

    #[test]
    fn any_k_cards_make_the_key_and_fewer_do_not() {
        let all = cards("3-of-5", 7, 1);
        assert_eq!(all.len(), 5);
        for some in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let some: Vec<Card> = some.iter().map(|i| read(&all[*i])).collect();
            assert_eq!(Card::join(&some).unwrap(), key(7));
            assert_eq!(Card::join(&some[..2]).unwrap_err(), CardError::TooFew(2, 3));
        }
        assert_eq!(Card::join(&all).unwrap(), key(7), "more do no harm");
        assert_eq!(Card::join(&[]).unwrap_err(), CardError::TooFew(0, 2));
    }

    #[test]
    fn cards_that_do_not_go_together_are_told_apart() {
        let (first, second, other) = (cards("2-of-3", 7, 1), cards("2-of-3", 7, 2), cards("2-of-3", 8, 1));
        let more = cards("2-of-4", 7, 1);
        for stranger in [&second[1], &other[1], &more[1]] {
            assert_eq!(Card::join(&[read(&first[0]), read(stranger)]).unwrap_err(), CardError::OtherSet(2));
        }
        assert_eq!(Card::join(&[read(&first[1]), read(&first[1])]).unwrap_err(), CardError::Twice(2));
        // Even with the same set, they do not make a key.
        let mut passed_off = read(&second[1]);
        passed_off.set = first[0].set;
        assert_eq!(Card::join(&[read(&first[0]), read(&passed_off)]).unwrap_err(), CardError::OtherKey);
        assert_eq!(
            Card::join(&[read(&first[0]), read(&first[2]), passed_off]).unwrap_err(),
            CardError::OtherKey
        );
    }

    #[test]
    fn a_card_that_is_mistyped_says_so_and_never_shows_a_word() {
        let card = &cards("2-of-3", 7, 1)[0];
        let words: Vec<&str> = card.words().collect();
        let typed = |words: &[&str]| Card::read(&words.join(" ")).map(|card| card.index);
        assert_eq!(typed(&words), Ok(1));
        let short: Vec<String> =
            words.iter().map(|word| word.chars().take(4).collect::<String>().to_uppercase()).collect();
        assert_eq!(Card::read(&short.join("\n")).map(|card| card.index), Ok(1), "four letters do");
        assert_eq!(typed(&words[..31]), Err(CardError::Count(31)));
        assert_eq!(typed(&[&words[..], &["zoo"]].concat()), Err(CardError::Count(33)));
        for i in 0..WORDS {
            let mut wrong = words.clone();
            wrong[i] = "strongroom";
            assert_eq!(typed(&wrong), Err(CardError::NotAWord(i + 1)));
            wrong[i] = if words[i] == "zoo" { "zone" } else { "zoo" };
            assert_eq!(typed(&wrong), Err(CardError::Check), "word {i}");
        }
        let mut swapped = words.clone();
        let other = (1..WORDS).find(|i| words[*i] != words[0]).unwrap();
        swapped.swap(0, other);
        assert_eq!(typed(&swapped), Err(CardError::Check));
        assert!(!format!("{card:?}").contains("share"));
    }

    #[test]
    fn what_fits_together_and_makes_no_sense_is_refused() {
        let with = |first: u8, second: u8| {
            let mut bytes = [0; BYTES];
            bytes[..2].copy_from_slice(&[first, second]);
            let check = hash(CHECK, &[&bytes[..BODY]]);
            bytes[BODY..].copy_from_slice(&check.0[..BYTES - BODY]);
            Card::from_bytes(&bytes).map(|card| card.index)
        };
        assert_eq!(with(0x12, 0x33), Ok(3));
        assert_eq!(with(0x22, 0x33), Err(CardError::Version(2)));
        for (first, second) in [(0x10, 0x33), (0x11, 0x33), (0x14, 0x33), (0x12, 0x30), (0x12, 0x34)] {
            assert_eq!(with(first, second), Err(CardError::Check), "{first:02x} {second:02x}");
        }
        for text in ["", "3", "3-of-2", "1-of-3", "0-of-0", "2-of-16", "a-of-b", "2 of 3", "300-of-300"] {
            assert!(text.parse::<Split>().is_err(), "{text}");
        }
        assert_eq!("15-of-15".parse::<Split>().unwrap().to_string(), "15-of-15");
    }
}
