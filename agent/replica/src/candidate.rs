//! A member that tries to lead. It settles what it wrote, reads the log to its end, captures all of it, and only then
//! asks its HSM.
//!
//! Kept here: the HSM is asked once per attempt, and only after the walk to the end of the log has begun.

use super::catch_up::Walk;
use super::interface::Millis;

/// First and longest pause after the HSM left a candidate without an answer.
const BACK_OFF_MS: (u64, u64) = (100, 5_000);

/// The attempts, one after another.
pub(super) struct Candidate {
    not_before: Millis,
    back_off_ms: u64,
    /// Reads the log to its end, once the writes of an earlier leadership are settled.
    walk: Option<Walk>,
    /// Whether the HSM has been asked.
    asked: bool,
    /// Whether the group's last entry, at the end of the log, is not stored as committed: somebody must lead for that.
    wanted: bool,
}

impl Candidate {
    pub(super) const fn new(not_before: Millis) -> Self {
        Self { not_before, back_off_ms: 0, walk: None, asked: false, wanted: false }
    }

    /// Tries again later, from the start.
    pub(super) fn retry(&mut self, now: Millis) {
        let (first, longest) = BACK_OFF_MS;
        let back_off_ms = self.back_off_ms.saturating_mul(2).clamp(first, longest);
        *self = Self { back_off_ms, ..Self::new(now.after(back_off_ms)) };
    }

    /// Whether there is something to do: the pause is over, and the HSM is not asked yet.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        !self.asked && now >= self.not_before
    }

    /// When the attempt may begin.
    pub(super) const fn not_before(&self) -> Millis {
        self.not_before
    }

    /// The walk to the end of the log, once it has begun.
    pub(super) const fn walk(&self) -> Option<Walk> {
        self.walk
    }

    /// Begins an attempt with this walk.
    pub(super) const fn begin(&mut self, walk: Walk) {
        self.walk = Some(walk);
    }

    /// The group has ended, and somebody must lead it all the same.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether that is known.
    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The HSM is asked now.
    pub(super) const fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether the HSM has been asked.
    pub(super) const fn has_asked(&self) -> bool {
        self.asked
    }

    /// # Panics
    /// If the invariant above does not hold.
    pub(super) fn assert_invariants(&self) {
        assert!(!self.asked || self.walk.is_some(), "the HSM was asked before the log was read to its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the HSM was asked before the log was read to its end")]
    fn a_candidate_that_asks_too_early_is_noticed() {
        let mut candidate = Candidate::new(Millis(0));
        candidate.assert_invariants();
        candidate.ask();
        candidate.assert_invariants();
    }
}
