//! What a record must be after each request: the whole of `client-protocol.md` section 12 in a screen, written apart
//! from the core, so that every answer that leaves a core can be foretold.

use super::clients::{Answer, guesses};
use super::step::{Made, Wish};
use std::collections::{BTreeMap, BTreeSet};

/// One record. A record id without a leaf has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record {
    NotRegistered,
    Registered { registration: u8, charged: u16, last: Option<u8> },
    NoGuesses,
}

/// What a sealed event says that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Happening {
    Nothing = 0,
    Registered = 1,
    GuessCharged = 2,
    LastGuessCharged = 3,
    Recovered = 4,
    Erased = 5,
    Deleted = 6,
}

/// The records of all users, by number, at one entry of a chain.
#[derive(Clone, Default)]
pub(super) struct Records {
    records: BTreeMap<u8, Record>,
    /// How often a registration was accepted or its counter reset, by user and registration.
    accepted: BTreeMap<(u8, u8), u32>,
    /// The entry that last changed each record.
    changed: BTreeMap<u8, Made>,
}

impl Records {
    pub(super) fn has_leaf(&self, user: u8) -> bool {
        self.records.contains_key(&user)
    }

    /// How many leaves there are.
    pub(super) fn leaves(&self) -> usize {
        self.records.len()
    }

    /// The entry that last changed a record.
    pub(super) fn changed(&self, user: u8) -> Option<Made> {
        self.changed.get(&user).copied()
    }

    /// These records are changed by an entry.
    pub(super) fn change(&mut self, users: &BTreeSet<u8>, by: Made) {
        self.changed.extend(users.iter().map(|user| (*user, by)));
    }

    /// A record comes from another group, as it was there.
    pub(super) fn adopt(&mut self, other: &Self, user: u8, by: Made) {
        match other.records.get(&user) {
            Some(record) => self.records.insert(user, *record),
            None => self.records.remove(&user),
        };
        self.accepted.retain(|(u, _), _| *u != user);
        self.accepted.extend(other.accepted.iter().filter(|((u, _), _)| *u == user));
        self.changed.insert(user, by);
    }

    /// The registration whose secrets the record must hold: none once its last guess is charged.
    pub(super) fn secrets(&self, user: u8) -> Option<u8> {
        match self.records.get(&user) {
            Some(Record::Registered { registration, charged, .. }) if *charged < guesses(*registration) => {
                Some(*registration)
            }
            _ => None,
        }
    }

    /// Whether the record has charged its last guess, and waits for the tag.
    pub(super) fn at_last_guess(&self, user: u8) -> bool {
        matches!(self.records.get(&user), Some(Record::Registered { registration, charged, .. })
            if *charged >= guesses(*registration))
    }

    /// How many guesses are left.
    pub(super) fn left(&self, user: u8) -> u8 {
        match self.records.get(&user) {
            Some(Record::Registered { registration, charged, .. }) => {
                guesses(*registration).saturating_sub(*charged) as u8
            }
            _ => 0,
        }
    }

    /// What is registered, if anything is.
    pub(super) fn registration(&self, user: u8) -> Option<u8> {
        match self.records.get(&user) {
            Some(Record::Registered { registration, .. }) => Some(*registration),
            _ => None,
        }
    }

    /// How often this registration was accepted or reset on this chain.
    pub(super) fn accepted(&self, user: u8, registration: u8) -> u32 {
        self.accepted.get(&(user, registration)).copied().unwrap_or(0)
    }

    /// Runs one request, and foretells its answer.
    pub(super) fn apply(&mut self, user: u8, wish: Wish) -> (Answer, Happening) {
        let absent = !self.has_leaf(user);
        let mut record = self.records.get(&user).copied().unwrap_or(Record::NotRegistered);
        let (answer, happening) = record.apply(wish);
        if !absent || matches!(wish, Wish::Register2(_)) {
            self.records.insert(user, record);
        }
        let registered = if let Wish::Register2(registration) = wish { Some(registration) } else { None };
        let recovered = if let Answer::Share(registration) = answer { Some(registration) } else { None };
        if let Some(registration) = registered.or(recovered) {
            *self.accepted.entry((user, registration)).or_default() += 1;
        }
        (answer, happening)
    }
}

impl Record {
    fn apply(&mut self, wish: Wish) -> (Answer, Happening) {
        match wish {
            Wish::Register1 | Wish::Odd(_) => (Answer::Here, Happening::Nothing),
            Wish::Register2(registration) => {
                *self = Self::Registered { registration, charged: 0, last: None };
                (Answer::Registered, Happening::Registered)
            }
            Wish::Recover1 => (self.recover1(), Happening::Nothing),
            Wish::Recover2(asked, point) => self.recover2(asked, point),
            Wish::Recover3(asked, right) => self.recover3(asked, right),
            Wish::Delete => {
                *self = Self::NotRegistered;
                (Answer::Deleted, Happening::Deleted)
            }
        }
    }

    const fn recover1(self) -> Answer {
        match self {
            Self::NotRegistered => Answer::NotRegistered,
            Self::Registered { registration, charged, .. } if charged < guesses(registration) => {
                Answer::Version(registration)
            }
            _ => Answer::NoGuesses,
        }
    }

    const fn recover2(&mut self, asked: u8, point: u8) -> (Answer, Happening) {
        let mut happening = Happening::Nothing;
        let answer = match self {
            Self::NotRegistered => Answer::NotRegistered,
            Self::NoGuesses => Answer::NoGuesses,
            Self::Registered { registration, .. } if *registration != asked => Answer::VersionMismatch,
            Self::Registered { registration, charged, last } => {
                let resent = matches!(last, Some(last) if *last == point);
                if !resent {
                    if *charged >= guesses(*registration) {
                        return (Answer::NoGuesses, happening);
                    }
                    *charged += 1;
                    *last = Some(point);
                    let is_last = *charged == guesses(*registration);
                    happening = if is_last { Happening::LastGuessCharged } else { Happening::GuessCharged };
                }
                Answer::Evaluated { registration: *registration, charged: *charged }
            }
        };
        (answer, happening)
    }

    fn recover3(&mut self, asked: u8, right: bool) -> (Answer, Happening) {
        match self {
            Self::NotRegistered => (Answer::NotRegistered, Happening::Nothing),
            Self::NoGuesses => (Answer::NoGuesses, Happening::Nothing),
            Self::Registered { registration, .. } if *registration != asked => {
                (Answer::VersionMismatch, Happening::Nothing)
            }
            Self::Registered { registration, charged, last } if right => {
                (*charged, *last) = (0, None);
                (Answer::Share(*registration), Happening::Recovered)
            }
            Self::Registered { registration, charged, .. } => {
                let left = guesses(*registration) - *charged;
                if left == 0 {
                    *self = Self::NoGuesses;
                    return (Answer::BadTag { left }, Happening::Erased);
                }
                (Answer::BadTag { left }, Happening::Nothing)
            }
        }
    }
}
