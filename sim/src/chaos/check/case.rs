//! One user's history, as what must have happened at the HSM, each event within its time, and what may have happened in
//! addition.

use super::super::history::{Asked, Micros, Operation, Outcome, Phase, Step};

/// A registration that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Registration {
    pub(super) pin: String,
    pub(super) secret: String,
    pub(super) guesses: u16,
}

/// Something that the HSM did or saw, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// It made this registration the record's.
    Register(usize),
    /// It deleted the record.
    Delete,
    /// It said which registration is there; one with guesses left.
    Bind,
    /// Nothing was registered.
    SawNone,
    /// There were no guesses left.
    SawLocked,
    /// It evaluated a PIN for the registration it had named, which is right or wrong, and said how many guesses were
    /// left.
    Guess { pin: String, right: bool, left: Option<u16> },
    /// It evaluated a wrong PIN for the registration it had named, with its last guess; or refused, because no guess
    /// was left.
    GuessLocked { pin: String },
    /// A different registration was there from the one it had named.
    SawOther,
    /// It gave this secret, of the registration it had named, and all guesses back.
    Give { secret: String },
    /// An answer that no record gives.
    Impossible,
}

/// An event that must have happened between these times, ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Must {
    pub(super) event: Event,
    pub(super) from: Micros,
    pub(super) until: Micros,
}

/// Events of one operation that happened in this order. With [`Event::Bind`] the thread is bound to a registration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Thread {
    pub(super) must: Vec<Must>,
}

/// What may have happened at any time from `from` on, up to `times` times, or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct May {
    pub(super) event: Loose,
    pub(super) from: Micros,
    pub(super) times: u8,
}

/// What a message may do whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loose {
    /// Makes this registration the record's.
    Register(usize),
    /// Deletes the record.
    Delete,
    /// Charges a guess to the registration that a thread is bound to, after this many of its events.
    Charge { thread: usize, after: usize },
    /// Gives back the guesses of the registration that a thread is bound to, after this many of its events.
    Give { thread: usize, after: usize },
}

/// One user's history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Case {
    pub(super) registrations: Vec<Registration>,
    pub(super) threads: Vec<Thread>,
    pub(super) may: Vec<May>,
}

impl Case {
    /// The history of one user, as known at `now`: the outcome of what had not ended by then was unknown.
    pub(super) fn new<'a>(operations: impl IntoIterator<Item = &'a Operation>, now: Micros) -> Self {
        let mut case = Self::default();
        for operation in operations {
            case.add(operation, now);
        }
        // The search takes the earliest first.
        case.may.sort_by_key(|may| may.from);
        case
    }

    fn add(&mut self, operation: &Operation, now: Micros) {
        let unknown = Outcome::Unknown(String::new());
        let known = operation.ended <= now;
        let outcome = if known { &operation.outcome } else { &unknown };
        let phases: Vec<_> = operation.phases.iter().filter(|phase| phase.at <= now).copied().collect();
        match &operation.asked {
            Asked::Register { pin, secret, guesses } => {
                let registration =
                    Registration { pin: pin.clone(), secret: secret.clone(), guesses: *guesses };
                self.register(&registration, &phases, operation.ended, outcome);
            }
            Asked::Delete => self.delete(&phases, operation.ended, outcome),
            Asked::Recover { pin } => self.recover(pin, &phases, operation.ended, outcome),
        }
    }

    /// An HSM carries out at most one Register2 of each phase.
    fn register(&mut self, registration: &Registration, phases: &[Phase], ended: Micros, outcome: &Outcome) {
        let sent: Vec<_> = phases.iter().filter(|phase| phase.step == Step::Register2).collect();
        for (n, phase) in sent.iter().enumerate() {
            let index = self.registrations.len();
            self.registrations.push(registration.clone());
            if *outcome == Outcome::Done && n + 1 == sent.len() {
                self.must(vec![Must { event: Event::Register(index), from: phase.at, until: ended }]);
            } else if phase.sent > 0 {
                self.may.push(May { event: Loose::Register(index), from: phase.at, times: 1 });
            }
        }
    }

    fn delete(&mut self, phases: &[Phase], ended: Micros, outcome: &Outcome) {
        let Some(phase) = phases.iter().find(|phase| phase.step == Step::Delete) else { return };
        let mut lost = phase.sent;
        if *outcome == Outcome::Done {
            self.must(vec![Must { event: Event::Delete, from: phase.at, until: ended }]);
            lost = lost.saturating_sub(1);
        }
        self.maybe(Loose::Delete, phase.at, lost);
    }

    fn recover(&mut self, pin: &str, phases: &[Phase], ended: Micros, outcome: &Outcome) {
        let starts: Vec<_> = (0..phases.len()).filter(|i| phases[*i].step == Step::Recover1).collect();
        for (n, start) in starts.iter().enumerate() {
            // A recovery that starts over found a different registration the time before.
            let (end, until, outcome) = match starts.get(n + 1) {
                Some(next) => (*next, phases[*next].at, &Outcome::Changed),
                None => (phases.len(), ended, outcome),
            };
            self.round(pin, &phases[*start..end], until, outcome);
        }
    }

    /// One round of a recovery: which registration, a guess, and the secret if it was right.
    fn round(&mut self, pin: &str, phases: &[Phase], ended: Micros, outcome: &Outcome) {
        let thread = self.threads.len();
        let begun = |step| phases.iter().find(|phase| phase.step == step);
        let Some(first) = begun(Step::Recover1) else { return };
        let saw = |event, from| Must { event, from, until: ended };
        let Some(second) = begun(Step::Recover2) else {
            match outcome {
                Outcome::NotRegistered => self.must(vec![saw(Event::SawNone, first.at)]),
                Outcome::Wrong { left: 0 } => self.must(vec![saw(Event::SawLocked, first.at)]),
                Outcome::Unknown(_) | Outcome::Broken(_) => {}
                _ => self.must(vec![saw(Event::Impossible, first.at)]),
            }
            return;
        };
        let mut must = vec![Must { event: Event::Bind, from: first.at, until: second.at }];
        let pin = pin.to_owned();
        if let Some(third) = begun(Step::Recover3) {
            let event = Event::Guess { pin, right: true, left: None };
            must.push(Must { event, from: second.at, until: third.at });
            self.maybe(Loose::Charge { thread, after: 1 }, second.at, second.sent.saturating_sub(1));
            match outcome {
                Outcome::Secret(secret) => must.push(saw(Event::Give { secret: secret.clone() }, third.at)),
                Outcome::NotRegistered => must.push(saw(Event::SawNone, third.at)),
                Outcome::Changed => must.push(saw(Event::SawOther, third.at)),
                // One session, one ciphertext: it is carried out once, however often it is sent.
                Outcome::Unknown(_) | Outcome::Broken(_) => {
                    self.maybe(Loose::Give { thread, after: 2 }, third.at, third.sent.min(1));
                }
                Outcome::Wrong { .. } | Outcome::Done => must.push(saw(Event::Impossible, third.at)),
            }
            return self.must(must);
        }
        let answered = match outcome {
            Outcome::Wrong { left: 0 } => Some(Event::GuessLocked { pin }),
            Outcome::Wrong { left } => Some(Event::Guess { pin, right: false, left: Some(*left) }),
            Outcome::NotRegistered => Some(Event::SawNone),
            Outcome::Changed => Some(Event::SawOther),
            Outcome::Unknown(_) | Outcome::Broken(_) => None,
            Outcome::Secret(_) | Outcome::Done => Some(Event::Impossible),
        };
        let lost = second.sent.saturating_sub(u32::from(answered.is_some()));
        must.extend(answered.map(|event| saw(event, second.at)));
        self.maybe(Loose::Charge { thread, after: 1 }, second.at, lost);
        self.must(must);
    }

    fn must(&mut self, must: Vec<Must>) {
        self.threads.push(Thread { must });
    }

    fn maybe(&mut self, event: Loose, from: Micros, times: u32) {
        if times > 0 {
            self.may.push(May { event, from, times: times.try_into().unwrap_or(u8::MAX) });
        }
    }
}
