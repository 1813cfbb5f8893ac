//! What a record must be after each request: the whole of `client-protocol.md` section 12 in a screen, and the second place of
//! `protocol.md` section 18, written apart from the core, so that every answer that leaves a core can be foretold.

use super::clients::{Answer, Seen, guesses};
use super::step::{Made, Wish};
use std::collections::{BTreeMap, BTreeSet};

/// One record. A record id without a leaf has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    present: Place,
    staged: Place,
}

/// Where a record has a registration, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
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
    Staged = 7,
    Activated = 8,
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

    fn places(&self, user: u8) -> impl Iterator<Item = Place> {
        self.records.get(&user).into_iter().flat_map(|record| [record.present, record.staged])
    }

    /// The registrations whose secrets the record must hold, as bits: none whose last guess is charged.
    pub(super) fn secrets(&self, user: u8) -> u8 {
        let with_guesses = self.places(user).filter(|place| place.left() > 0);
        with_guesses.filter_map(Place::registration).fold(0, |bits, registration| bits | 1 << registration)
    }

    /// The registrations of which the record has charged the last guess, and waits for the tag.
    pub(super) fn at_last_guess(&self, user: u8) -> impl Iterator<Item = u8> {
        self.places(user).filter(|place| place.left() == 0).filter_map(Place::registration)
    }

    /// How many guesses are left of what is registered.
    pub(super) fn left(&self, user: u8) -> u8 {
        self.records.get(&user).map_or(0, |record| record.present.left())
    }

    /// How often this registration was accepted or reset on this chain.
    pub(super) fn accepted(&self, user: u8, registration: u8) -> u32 {
        self.accepted.get(&(user, registration)).copied().unwrap_or(0)
    }

    /// Runs one request, and foretells what comes of it.
    pub(super) fn apply(&mut self, user: u8, wish: Wish) -> Foretold {
        let absent = !self.has_leaf(user);
        let mut record = self.records.get(&user).copied().unwrap_or(Record::ABSENT);
        let before = record;
        let (answer, happening) = record.apply(wish);
        if !absent || matches!(wish, Wish::Register2(_) | Wish::Stage(_)) {
            self.records.insert(user, record);
        }
        let accepted = match (wish, happening) {
            (Wish::Register2(registration), _) | (Wish::Stage(registration), Happening::Staged) => {
                Some(registration)
            }
            _ => None,
        };
        let recovered = if let Answer::Share(registration) = answer { Some(registration) } else { None };
        if let Some(registration) = accepted.or(recovered) {
            *self.accepted.entry((user, registration)).or_default() += 1;
        }
        let moved = record.present.registration() != before.present.registration();
        let is_new = happening == Happening::Registered || happening == Happening::Activated && moved;
        let left = if happening == Happening::Erased { 0 } else { record.about(wish).left() };
        Foretold { answer, happening, left, is_new }
    }
}

/// What must come of a request.
pub(super) struct Foretold {
    pub(super) answer: Answer,
    pub(super) happening: Happening,
    /// How many guesses are left of the registration that it was about.
    pub(super) left: u8,
    /// Whether the list of what counted begins with it.
    pub(super) is_new: bool,
}

impl Record {
    const ABSENT: Self = Self { present: Place::NotRegistered, staged: Place::NotRegistered };

    /// The place that has the registration that a wish names; else the present one.
    fn about(&self, wish: Wish) -> &Place {
        let asked = match wish {
            Wish::Recover2(asked, _) | Wish::Recover3(asked, _) => Some(asked),
            Wish::Stage(asked) | Wish::Activate(asked) => Some(asked),
            _ => None,
        };
        if asked.is_some() && self.staged.registration() == asked { &self.staged } else { &self.present }
    }

    fn about_mut(&mut self, asked: u8) -> &mut Place {
        if self.staged.registration() == Some(asked) { &mut self.staged } else { &mut self.present }
    }

    fn apply(&mut self, wish: Wish) -> (Answer, Happening) {
        match wish {
            Wish::Register1 | Wish::Odd(_) => (Answer::Here, Happening::Nothing),
            Wish::Register2(registration) => {
                *self = Self { present: Place::new(registration), staged: Place::NotRegistered };
                (Answer::Registered, Happening::Registered)
            }
            Wish::Recover1 => (self.present.recover1(), Happening::Nothing),
            Wish::Attempts => (Answer::Attempts, Happening::Nothing),
            Wish::Recover2(asked, point) => self.about_mut(asked).recover2(asked, point),
            Wish::Recover3(asked, right) => self.about_mut(asked).recover3(asked, right),
            Wish::Delete => {
                *self = Self::ABSENT;
                (Answer::Deleted, Happening::Deleted)
            }
            Wish::Stage(registration) => (Answer::Staged, self.stage(registration)),
            Wish::Activate(registration) => self.activate(registration),
            Wish::Versions => {
                let [present, staged] = [self.present.seen(), self.staged.seen()];
                (Answer::Versions { present, staged }, Happening::Nothing)
            }
        }
    }

    fn stage(&mut self, registration: u8) -> Happening {
        if [self.present, self.staged].iter().any(|place| place.registration() == Some(registration)) {
            return Happening::Nothing;
        }
        self.staged = Place::new(registration);
        Happening::Staged
    }

    fn activate(&mut self, asked: u8) -> (Answer, Happening) {
        let present = match (self.present.registration(), self.staged.registration()) {
            (Some(present), _) if present == asked => self.present,
            (_, Some(staged)) if staged == asked => self.staged,
            _ => return (Answer::NotStaged, Happening::Nothing),
        };
        let nothing = self.staged == Place::NotRegistered;
        *self = Self { present, staged: Place::NotRegistered };
        (Answer::Activated, if nothing { Happening::Nothing } else { Happening::Activated })
    }
}

impl Place {
    const fn new(registration: u8) -> Self {
        Self::Registered { registration, charged: 0, last: None }
    }

    const fn registration(self) -> Option<u8> {
        match self {
            Self::Registered { registration, .. } => Some(registration),
            Self::NotRegistered | Self::NoGuesses => None,
        }
    }

    const fn left(&self) -> u8 {
        match self {
            Self::Registered { registration, charged, .. } => {
                guesses(*registration).saturating_sub(*charged) as u8
            }
            Self::NotRegistered | Self::NoGuesses => 0,
        }
    }

    const fn seen(self) -> Seen {
        match self.recover1() {
            Answer::Version(registration) => Seen::Version(registration),
            Answer::NotRegistered => Seen::Nothing,
            _ => Seen::NoGuesses,
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
