//! How long the HSM has left calls without an answer.
//!
//! Kept here: an HSM counts as silent if something was asked and nothing at all came back for longer than its answers
//! take. How long that is depends on the HSM: a board that works on a full batch must not be taken for dead.

use super::interface::{CallId, Millis};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many times as long as its slowest recent answer an HSM may take.
const SLOWER: u64 = 2;
/// After this long, the slowest answer counts half.
const HALVED_MS: u64 = 10_000;

/// Calls under way, including those whose answers no longer matter, and how long answers take.
#[derive(Default)]
pub(super) struct Silence {
    asked: BTreeMap<CallId, Millis>,
    /// When the HSM last answered anything.
    heard_at: Millis,
    slowest_ms: u64,
    halved_at: Millis,
}

impl Silence {
    /// A call goes out.
    pub(super) fn asked(&mut self, now: Millis, call: CallId) {
        self.fade(now);
        self.asked.insert(call, now);
    }

    /// A call has ended, with a reply or without.
    pub(super) fn ended(
        &mut self,
        now: Millis,
        call: CallId,
        answered: bool,
        bounds_ms: &RangeInclusive<u64>,
    ) {
        let Some(asked) = self.asked.remove(&call).filter(|_| answered) else { return };
        self.fade(now);
        // The HSM answers calls in turn: this one began when the previous one was answered.
        let took_ms = now.0.saturating_sub(self.heard_at.max(asked).0);
        self.heard_at = now;
        // An answer that comes after the HSM was taken for silent counts only this much: an HSM that stalled once is
        // not treated as slow from then on, and one that is slow gets more time with each answer.
        self.slowest_ms = self.slowest_ms.max(took_ms.min(self.patience_ms(bounds_ms)));
    }

    /// Whether a call waits and nothing has been heard for too long. What is too long stays within `bounds_ms`.
    pub(super) fn is_silent(&self, now: Millis, bounds_ms: &RangeInclusive<u64>) -> bool {
        // Calls are numbered in the order in which they go out.
        let oldest = self.asked.values().next();
        oldest.is_some_and(|asked| now > self.heard_at.max(*asked).after(self.patience_ms(bounds_ms)))
    }

    /// When that will be so, if nothing is heard until then.
    pub(super) fn deadline(&self, bounds_ms: &RangeInclusive<u64>) -> Option<Millis> {
        let oldest = self.asked.values().next()?;
        Some(self.heard_at.max(*oldest).after(self.patience_ms(bounds_ms)).after(1))
    }

    /// # Panics
    /// If the invariant above does not hold.
    pub(super) fn assert_invariants(
        &self,
        bounds_ms: &RangeInclusive<u64>,
        calls: impl Iterator<Item = CallId>,
    ) {
        for call in calls {
            assert!(self.asked.contains_key(&call), "it would not be noticed that {call:?} is not answered");
        }
        assert!(self.slowest_ms <= *bounds_ms.end(), "an HSM is never taken for silent");
    }

    fn patience_ms(&self, bounds_ms: &RangeInclusive<u64>) -> u64 {
        self.slowest_ms.saturating_mul(SLOWER).min(*bounds_ms.end()).max(*bounds_ms.start())
    }

    fn fade(&mut self, now: Millis) {
        let halvings = now.0.saturating_sub(self.halved_at.0) / HALVED_MS;
        if halvings > 0 {
            self.slowest_ms =
                u32::try_from(halvings).ok().and_then(|by| self.slowest_ms.checked_shr(by)).unwrap_or(0);
            self.halved_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS_MS: RangeInclusive<u64> = 300..=2_000;

    fn is_silent(silence: &Silence, at: u64) -> bool {
        silence.is_silent(Millis(at), &BOUNDS_MS)
    }

    /// Asks at `from`, with an answer `after_ms` later. Returns how long nothing may come before the HSM counts as
    /// silent.
    fn patience(silence: &mut Silence, from: u64, after_ms: u64) -> u64 {
        let call = CallId(from);
        silence.asked(Millis(from), call);
        let until = (from..).find(|at| is_silent(silence, *at)).expect("at last");
        silence.ended(Millis(from + after_ms), call, true, &BOUNDS_MS);
        until - from - 1
    }

    #[test]
    #[should_panic(expected = "it would not be noticed that CallId(1) is not answered")]
    fn a_call_that_is_not_waited_for_is_noticed() {
        Silence::default().assert_invariants(&BOUNDS_MS, [CallId(1)].into_iter());
    }

    #[test]
    #[should_panic(expected = "an HSM is never taken for silent")]
    fn unlimited_patience_is_noticed() {
        let silence = Silence { slowest_ms: 2_001, ..Silence::default() };
        silence.assert_invariants(&BOUNDS_MS, std::iter::empty());
    }

    #[test]
    fn an_hsm_is_silent_when_it_was_asked_and_nothing_comes_for_longer_than_its_answers_take() {
        let mut silence = Silence::default();
        assert!(!is_silent(&silence, 900_000), "nothing was asked");
        silence.asked(Millis(1_000), CallId(1));
        silence.asked(Millis(1_200), CallId(2));
        assert!(!is_silent(&silence, 1_300) && is_silent(&silence, 1_301));
        silence.ended(Millis(1_250), CallId(1), true, &BOUNDS_MS);
        assert!(
            !is_silent(&silence, 1_750) && is_silent(&silence, 1_751),
            "twice as long as its answer took"
        );
        silence.ended(Millis(3_400), CallId(2), false, &BOUNDS_MS);
        assert!(!is_silent(&silence, 900_000));
    }

    #[test]
    fn a_slow_hsm_is_given_more_time_by_each_answer_and_one_that_is_slow_no_more_is_not() {
        let mut silence = Silence::default();
        let given: Vec<u64> = (0..4).map(|n| patience(&mut silence, n * 1_000, 900)).collect();
        assert_eq!(given, [300, 600, 1_200, 1_800]);
        assert_eq!(patience(&mut silence, 104_000, 5), 300);
    }

    #[test]
    fn an_hsm_that_stalled_once_is_not_taken_for_a_slow_one() {
        let mut silence = Silence::default();
        assert_eq!(patience(&mut silence, 1_000, 8_000), 300);
        assert_eq!(patience(&mut silence, 9_500, 5), 600);
        assert_eq!(patience(&mut silence, 20_000, 5), 300);
    }
}
