//! The model: what the HSM keeps for one user, and what each event does to it.

use super::case::{Case, Event, Loose};

/// A user's record, and which threads are bound to the registration in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// The registration and how many of its guesses are charged.
    pub(super) current: Option<(usize, u16)>,
    /// By thread: whether the registration that it was told about is still there. One that is replaced never comes
    /// back.
    pub(super) bound: Vec<bool>,
}

impl Record {
    /// Nothing is registered.
    pub(super) fn new(case: &Case) -> Self {
        Self { current: None, bound: vec![false; case.threads.len()] }
    }

    /// The record after `event` of `thread`; `None` if that could not have happened to this record.
    pub(super) fn after(&self, case: &Case, thread: usize, event: &Event) -> Option<Self> {
        let mut next = self.clone();
        match event {
            Event::Register(index) => next.replace(Some(*index)),
            Event::Delete => next.replace(None),
            Event::SawNone => self.current.is_none().then_some(())?,
            Event::SawLocked => self.is_locked(case).then_some(())?,
            Event::SawOther => (self.current.is_some() && !self.bound[thread]).then_some(())?,
            Event::Impossible => return None,
            Event::Bind => {
                (self.current.is_some() && !self.is_locked(case)).then_some(())?;
                next.bound[thread] = true;
            }
            Event::Guess { pin, right, left } => {
                let (index, used) = self.open_to(case, thread)?;
                let registration = &case.registrations[index];
                let told = left.is_none_or(|left| registration.guesses - used == left + 1);
                ((registration.pin == *pin) == *right && told).then_some(())?;
                next.current = Some((index, used + 1));
            }
            Event::GuessLocked { .. } if self.bound[thread] && self.is_locked(case) => {}
            Event::GuessLocked { pin } => {
                let last = Event::Guess { pin: pin.clone(), right: false, left: Some(0) };
                return self.after(case, thread, &last);
            }
            Event::Give { secret } => {
                let (index, _) = self.current.filter(|_| self.bound[thread])?;
                (case.registrations[index].secret == *secret).then_some(())?;
                next.current = Some((index, 0));
            }
        }
        Some(next)
    }

    /// The record after a message whose answer was lost was carried out; `None` if that changes nothing.
    pub(super) fn after_loose(&self, case: &Case, event: Loose) -> Option<Self> {
        let mut next = self.clone();
        match event {
            Loose::Register(index) => next.replace(Some(index)),
            Loose::Delete => next.replace(self.current.map(|_| None)?),
            Loose::Charge { thread, .. } => {
                let (index, used) = self.open_to(case, thread)?;
                next.current = Some((index, used + 1));
            }
            Loose::Give { thread, .. } => {
                let (index, _) = self.current.filter(|(_, used)| *used > 0 && self.bound[thread])?;
                next.current = Some((index, 0));
            }
        }
        Some(next)
    }

    fn replace(&mut self, by: Option<usize>) {
        self.current = by.map(|index| (index, 0));
        self.bound.fill(false);
    }

    pub(super) fn is_locked(&self, case: &Case) -> bool {
        self.current.is_some_and(|(index, used)| used >= case.registrations[index].guesses)
    }

    /// The registration that `thread` is bound to, if it is there and has guesses left.
    fn open_to(&self, case: &Case, thread: usize) -> Option<(usize, u16)> {
        self.current.filter(|_| self.bound[thread] && !self.is_locked(case))
    }
}
