//! The search for an order in which everything that a user was told could have happened.
//!
//! Events that must have happened are taken one after another, each no earlier than it can have begun and no later than
//! it must have ended; in between come events that may have happened. The search backtracks from dead ends, and
//! remembers them. What it leaves out, and why it misses nothing by that:
//!
//! - An event that only reads and fits now is taken now: if there is an order, there is one that begins like this.
//! - A lost charge is taken only where an event needs a higher count: charges to one registration come to the same in
//!   any order, and until then nothing has seen it.
//! - Two replacements with nothing between them: the first might as well not have happened.

use super::case::{Case, Event, Loose, May, Must};
use super::record::Record;
use crate::chaos::history::Micros;
use std::collections::HashSet;

/// The result of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// There is such an order.
    Order,
    /// There is none.
    None,
    /// The search was given up: it had visited as many states as it may visit.
    Undecided,
}

#[derive(Clone)]
struct State {
    record: Record,
    /// By thread: how many of its events have happened.
    done: Vec<u8>,
    /// By what may happen: how often it has.
    spent: Vec<u8>,
    /// No event from now on happened before this.
    clock: Micros,
    /// Whether the last event was a replacement that only may have happened.
    replaced: bool,
}

struct Search<'a> {
    case: &'a Case,
    limit: usize,
    /// States that are dead ends. The clock follows from what has happened.
    dead: HashSet<Box<[u8]>>,
}

/// Looks for an order, and visits at most `limit` states.
pub(super) fn search(case: &Case, limit: usize) -> Found {
    let state = State {
        record: Record::new(case),
        done: vec![0; case.threads.len()],
        spent: vec![0; case.may.len()],
        clock: 0,
        replaced: false,
    };
    let mut search = Search { case, limit, dead: HashSet::new() };
    match search.visit(&state) {
        Some(true) => Found::Order,
        Some(false) => Found::None,
        None => Found::Undecided,
    }
}

impl Search<'_> {
    /// Whether an order leads on from here; `None` if the search is given up.
    fn visit(&mut self, state: &State) -> Option<bool> {
        let Some(until) = self.pending(state).map(|(_, must)| must.until).min() else { return Some(true) };
        if state.clock > until {
            return Some(false);
        }
        let key = state.key();
        if self.dead.contains(&key) {
            return Some(false);
        }
        if self.dead.len() >= self.limit {
            return None;
        }
        for next in self.moves(state, until) {
            if self.visit(&next)? {
                return Some(true);
            }
        }
        self.dead.insert(key);
        Some(false)
    }

    /// The next event of each thread that has one.
    fn pending<'s>(&'s self, state: &'s State) -> impl Iterator<Item = (usize, &'s Must)> {
        let next = |(thread, at): (usize, &u8)| {
            self.case.threads[thread].must.get(usize::from(*at)).map(|must| (thread, must))
        };
        state.done.iter().enumerate().filter_map(next)
    }

    /// Every way to go on that must be tried, likelier ones first.
    fn moves(&self, state: &State, until: Micros) -> Vec<State> {
        let mut ready: Vec<_> = self.pending(state).filter(|(_, must)| must.from <= until).collect();
        ready.sort_by_key(|(_, must)| must.until);
        let mut moves = Vec::new();
        for (thread, must) in &ready {
            let replaces = matches!(must.event, Event::Register(_) | Event::Delete);
            if state.replaced && replaces {
                continue;
            }
            let Some(record) = state.record.after(self.case, *thread, &must.event) else { continue };
            let settled = match must.event {
                Event::Bind => !self.could_be_replaced(state, must.until),
                Event::SawNone | Event::SawLocked | Event::SawOther => true,
                // Others may change nothing now, but something later.
                _ => false,
            };
            let mut next = State { record, replaced: false, ..state.clone() };
            next.done[*thread] += 1;
            next.clock = next.clock.max(must.from);
            if settled {
                return vec![next];
            }
            moves.push(next);
        }
        let wanting = ready.iter().any(|(thread, must)| self.wants_charge(state, *thread, &must.event));
        let mut charged = false;
        for (which, may) in self.case.may.iter().enumerate() {
            if state.spent[which] >= may.times || may.from > until || !self.is_due(state, may) {
                continue;
            }
            let replaces = matches!(may.event, Loose::Register(_) | Loose::Delete);
            let charges = matches!(may.event, Loose::Charge { .. });
            if state.replaced && replaces || charges && (!wanting || charged) {
                continue;
            }
            let Some(record) = state.record.after_loose(self.case, may.event) else { continue };
            // In order of their times: the first possible one is as good as any other.
            charged |= charges;
            let mut next = State { record, replaced: replaces, ..state.clone() };
            next.spent[which] += 1;
            next.clock = next.clock.max(may.from);
            moves.push(next);
        }
        moves
    }

    /// Whether what comes before it has happened.
    fn is_due(&self, state: &State, may: &May) -> bool {
        match may.event {
            Loose::Register(_) | Loose::Delete => true,
            Loose::Charge { thread, after } | Loose::Give { thread, after } => {
                usize::from(state.done[thread]) >= after
            }
        }
    }

    /// Whether another registration could be there by then.
    fn could_be_replaced(&self, state: &State, until: Micros) -> bool {
        let must = self
            .pending(state)
            .any(|(_, must)| matches!(must.event, Event::Register(_) | Event::Delete) && must.from <= until);
        let may = self.case.may.iter().zip(&state.spent).any(|(may, spent)| {
            matches!(may.event, Loose::Register(_) | Loose::Delete) && *spent < may.times && may.from <= until
        });
        must || may
    }

    /// Whether an event that does not fit could fit with more guesses charged.
    fn wants_charge(&self, state: &State, thread: usize, event: &Event) -> bool {
        let Some((index, used)) = state.record.current else { return false };
        let guesses = self.case.registrations[index].guesses;
        match event {
            Event::SawLocked => used < guesses,
            Event::GuessLocked { .. } => state.record.bound[thread] && used < guesses,
            Event::Guess { left: Some(left), .. } => {
                state.record.bound[thread] && guesses.saturating_sub(used) > left + 1
            }
            _ => false,
        }
    }
}

impl State {
    fn key(&self) -> Box<[u8]> {
        let mut key = Vec::with_capacity(self.done.len() + self.spent.len() + self.done.len() / 8 + 16);
        key.extend(&self.done);
        key.extend(&self.spent);
        for bits in self.record.bound.chunks(8) {
            key.push(bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
        }
        if let Some((index, used)) = self.record.current {
            key.extend(u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes());
            key.extend(used.to_le_bytes());
        }
        key.push(u8::from(self.replaced));
        key.into()
    }
}

/// The same without leaving anything out, for small cases.
#[cfg(test)]
pub(super) fn search_all(case: &Case) -> bool {
    fn visit(case: &Case, record: &Record, done: &mut [u8], spent: &mut [u8], clock: Micros) -> bool {
        let ended = |done: &[u8], thread: usize| usize::from(done[thread]) == case.threads[thread].must.len();
        if (0..case.threads.len()).all(|thread| ended(done, thread)) {
            return true;
        }
        for (thread, events) in case.threads.iter().enumerate() {
            let Some(must) = events.must.get(usize::from(done[thread])) else { continue };
            let time = clock.max(must.from);
            let Some(next) = record.after(case, thread, &must.event).filter(|_| time <= must.until) else {
                continue;
            };
            done[thread] += 1;
            let found = visit(case, &next, done, spent, time);
            done[thread] -= 1;
            if found {
                return true;
            }
        }
        for (which, may) in case.may.iter().enumerate() {
            let due = match may.event {
                Loose::Register(_) | Loose::Delete => true,
                Loose::Charge { thread, after } | Loose::Give { thread, after } => {
                    usize::from(done[thread]) >= after
                }
            };
            if !due || spent[which] >= may.times {
                continue;
            }
            let Some(next) = record.after_loose(case, may.event) else { continue };
            spent[which] += 1;
            let found = visit(case, &next, done, spent, clock.max(may.from));
            spent[which] -= 1;
            if found {
                return true;
            }
        }
        false
    }
    let (mut done, mut spent) = (vec![0; case.threads.len()], vec![0; case.may.len()]);
    visit(case, &Record::new(case), &mut done, &mut spent, 0)
}
