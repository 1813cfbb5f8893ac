//! How long the HSM has left calls without an answer.
//!
//! Kept here: an HSM counts as silent when something was asked and nothing at all came back for longer than its answers
//! take. How long that is follows from the HSM: a board that works on a full batch must not be taken for a dead one.

use super::interface::{CallId, Millis};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many times as long as its slowest answer of late an HSM may take.
const SLOWER: u64 = 4;
/// After so long the slowest answer counts half.
const HALVED_MS: u64 = 60_000;

/// Calls under way, those whose answers no longer matter too, and how long answers take.
#[derive(Default)]
pub(super) struct Silence {
    asked: BTreeMap<CallId, Millis>,
    /// When the HSM last answered anything.
    heard_at: Millis,
    slowest_ms: u64,
    halve_at: Millis,
}

impl Silence {
    /// A call leaves.
    pub(super) fn asked(&mut self, now: Millis, call: CallId) {
        self.asked.insert(call, now);
    }

    /// A call has ended, with a reply or without.
    pub(super) fn ended(&mut self, now: Millis, call: CallId, answered: bool) {
        let Some(asked) = self.asked.remove(&call).filter(|_| answered) else { return };
        self.heard_at = now;
        if now >= self.halve_at {
            self.slowest_ms /= 2;
            self.halve_at = now.after(HALVED_MS);
        }
        self.slowest_ms = self.slowest_ms.max(now.0.saturating_sub(asked.0));
    }

    /// Whether a call waits, and nothing has been heard for too long, which is within `bounds_ms`.
    pub(super) fn is_silent(&self, now: Millis, bounds_ms: &RangeInclusive<u64>) -> bool {
        let (least, longest) = (*bounds_ms.start(), *bounds_ms.end());
        let patience_ms = self.slowest_ms.saturating_mul(SLOWER).min(longest).max(least);
        // Calls are numbered in the order in which they leave.
        let oldest = self.asked.values().next();
        oldest.is_some_and(|asked| now > self.heard_at.max(*asked).after(patience_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_silent(silence: &Silence, at: u64) -> bool {
        silence.is_silent(Millis(at), &(300..=2_000))
    }

    #[test]
    fn an_hsm_is_silent_when_it_was_asked_and_nothing_comes_for_longer_than_its_answers_take() {
        let mut silence = Silence::default();
        assert!(!is_silent(&silence, 900_000), "nothing was asked");
        silence.asked(Millis(1_000), CallId(1));
        silence.asked(Millis(1_200), CallId(2));
        assert!(!is_silent(&silence, 1_300) && is_silent(&silence, 1_301));
        silence.ended(Millis(1_301), CallId(1), true);
        assert!(!is_silent(&silence, 1_301 + 1_204) && is_silent(&silence, 1_301 + 1_205));
        silence.ended(Millis(3_400), CallId(2), false);
        assert!(!is_silent(&silence, 900_000));
    }

    #[test]
    fn a_slow_hsm_is_given_time_and_one_that_is_slow_no_more_is_not() {
        let mut silence = Silence::default();
        silence.asked(Millis(0), CallId(1));
        silence.ended(Millis(1_500), CallId(1), true);
        let wait = |silence: &mut Silence, from: u64, call| {
            silence.asked(Millis(from), CallId(call));
            let until = (from..).find(|at| is_silent(silence, *at)).expect("at last");
            silence.ended(Millis(from + 1), CallId(call), true);
            until - from - 1
        };
        assert_eq!(wait(&mut silence, 2_000, 2), 2_000, "no longer than the link waits");
        let later = (3..20).map(|call| wait(&mut silence, call * 60_000, call)).last();
        assert_eq!(later, Some(300));
    }
}
