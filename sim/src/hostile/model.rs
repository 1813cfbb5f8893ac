//! What a record is to be after each request: the whole of `client-protocol.md` section 12 in a screen, written apart
//! from the core, so that every answer that leaves a core can be foretold.

use super::clients::{Answer, guesses};
use super::step::Wish;
use std::collections::BTreeMap;

/// One record. A record id without a leaf has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record {
    NotRegistered,
    Registered { registration: u8, charged: u16, last: Option<u8> },
    NoGuesses,
}

/// The records of all users, by number.
#[derive(Clone, Default)]
pub(super) struct Records(BTreeMap<u8, Record>);

impl Records {
    pub(super) fn has_leaf(&self, user: u8) -> bool {
        self.0.contains_key(&user)
    }

    /// Whether the record has charged its last guess, and waits for the tag.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn at_last_guess(&self, user: u8) -> Option<u8> {
        match self.0.get(&user) {
            Some(Record::Registered { registration, charged, .. }) if *charged >= guesses(*registration) => {
                Some(*registration)
            }
            _ => None,
        }
    }

    /// Runs one request, and foretells its answer.
    pub(super) fn apply(&mut self, user: u8, wish: Wish) -> Answer {
        let absent = !self.has_leaf(user);
        let mut record = self.0.get(&user).copied().unwrap_or(Record::NotRegistered);
        let answer = record.apply(wish);
        if !absent || matches!(wish, Wish::Register2(_)) {
            self.0.insert(user, record);
        }
        answer
    }
}

impl Record {
    fn apply(&mut self, wish: Wish) -> Answer {
        match wish {
            Wish::Register1 => Answer::Here,
            Wish::Register2(registration) => {
                *self = Self::Registered { registration, charged: 0, last: None };
                Answer::Registered
            }
            Wish::Recover1 => match *self {
                Self::NotRegistered => Answer::NotRegistered,
                Self::Registered { registration, charged, .. } if charged < guesses(registration) => {
                    Answer::Version(registration)
                }
                _ => Answer::NoGuesses,
            },
            Wish::Recover2(asked, point) => self.recover2(asked, point),
            Wish::Recover3(asked, right) => self.recover3(asked, right),
            Wish::Delete => {
                *self = Self::NotRegistered;
                Answer::Deleted
            }
        }
    }

    const fn recover2(&mut self, asked: u8, point: u8) -> Answer {
        match self {
            Self::NotRegistered => Answer::NotRegistered,
            Self::NoGuesses => Answer::NoGuesses,
            Self::Registered { registration, .. } if *registration != asked => Answer::VersionMismatch,
            Self::Registered { registration, charged, last } => {
                let resent = matches!(last, Some(last) if *last == point);
                if !resent {
                    if *charged >= guesses(*registration) {
                        return Answer::NoGuesses;
                    }
                    *charged += 1;
                    *last = Some(point);
                }
                Answer::Evaluated { registration: *registration, charged: *charged }
            }
        }
    }

    fn recover3(&mut self, asked: u8, right: bool) -> Answer {
        match self {
            Self::NotRegistered => Answer::NotRegistered,
            Self::NoGuesses => Answer::NoGuesses,
            Self::Registered { registration, .. } if *registration != asked => Answer::VersionMismatch,
            Self::Registered { registration, charged, last } if right => {
                (*charged, *last) = (0, None);
                Answer::Share(*registration)
            }
            Self::Registered { registration, charged, .. } => {
                let left = guesses(*registration) - *charged;
                if left == 0 {
                    *self = Self::NoGuesses;
                }
                Answer::BadTag { left }
            }
        }
    }
}
