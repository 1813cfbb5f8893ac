//! Which leader this member follows, and whether the clients that it sends there get anywhere.
//!
//! Kept here: a leader that gets nothing done while clients wait is not followed; each time that leaving it did not
//! help, it is followed for twice as long, until something happens.

use super::interface::Millis;
use super::turn::MAX_BACK_OFF;
use strongroom_proto::ids::{HsmId, Index, Term};

/// How long to follow a leader that gets nothing done while clients wait, and then how long not to follow it. Longer
/// than such a leader takes to step down by itself. Twice as long each time that leaving it did not help.
const IN_VAIN_MS: u64 = 12_000;
/// After this long without a client, no clients wait.
const NOBODY_ASKS_MS: u64 = 4_000;
/// How many entries show that a leader gets something done: a new leader makes one in any case, and may race another.
const PROGRESS: u64 = 3;

/// The leader, and how that goes.
#[derive(Default)]
pub(super) struct Following {
    /// Who leads, as far as this member knows, and in which leadership; it may be itself.
    leader: Option<(HsmId, Term)>,
    /// When clients were first and last sent away with nothing captured since.
    waiting: Option<(Millis, Millis)>,
    /// The leadership that is not followed before this time.
    left: Option<(HsmId, Term, Millis)>,
    /// How often in a row a leader was left, and what had been captured then.
    in_vain: u32,
    left_at: Option<Index>,
}

impl Following {
    /// Who leads, as far as this member knows.
    pub(super) fn leader(&self) -> Option<HsmId> {
        self.leader.map(|(leader, _)| leader)
    }

    /// Somebody leads.
    pub(super) const fn follow(&mut self, leader: (HsmId, Term)) {
        self.leader = Some(leader);
    }

    /// Who leads is not known.
    pub(super) const fn forget_leader(&mut self) {
        self.leader = None;
    }

    /// # Panics
    /// If the invariant above does not hold.
    pub(super) fn assert_invariants(&self, now: Millis) {
        let follows_in_vain = self.leader.is_some_and(|(leader, term)| self.has_left(leader, term, now));
        assert!(!follows_in_vain, "a leader that gets nothing done is followed");
        let patience_ms = IN_VAIN_MS << MAX_BACK_OFF;
        let for_good = self.left.is_some_and(|(_, _, until)| until > now.after(patience_ms));
        assert!(!for_good, "a leader is left forever");
    }

    /// The leader itself says that it leads no longer: what it said before may still come.
    pub(super) const fn yielded(&mut self, now: Millis, (leader, term): (HsmId, Term)) {
        self.leader = None;
        self.left = Some((leader, term, now.after(IN_VAIN_MS)));
    }

    /// How long to follow a leader that gets nothing done.
    fn patience_ms(&self) -> u64 {
        IN_VAIN_MS << self.in_vain.min(MAX_BACK_OFF)
    }

    /// Something new is captured.
    pub(super) fn captured(&mut self, index: Index) {
        self.waiting = None;
        if self.left_at.is_none_or(|at| index.0 >= at.0.saturating_add(PROGRESS)) {
            self.in_vain = 0;
        }
    }

    /// Whether this leadership is one not to follow now.
    pub(super) fn has_left(&self, leader: HsmId, term: Term, now: Millis) -> bool {
        self.left.is_some_and(|(of, its, until)| (of, its) == (leader, term) && now < until)
    }

    /// A client is sent to the leader. Returns whether that has led to nothing for too long.
    pub(super) fn sends_in_vain(&mut self, now: Millis) -> bool {
        let (since, last) = self.waiting.unwrap_or((now, now));
        let since = if now > last.after(NOBODY_ASKS_MS) { now } else { since };
        self.waiting = Some((since, now));
        now >= since.after(self.patience_ms())
    }

    /// Leaves the leader of this leadership; `captured` is what is captured now.
    pub(super) fn leave(&mut self, now: Millis, (leader, term): (HsmId, Term), captured: Index) {
        *self = Self {
            leader: None,
            waiting: None,
            left: Some((leader, term, now.after(self.patience_ms()))),
            in_vain: self.in_vain.saturating_add(1),
            left_at: Some(captured),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: (HsmId, Term) = (HsmId([1; 16]), Term([2; 16]));

    fn left() -> Following {
        let mut following = Following::default();
        following.leave(Millis(5), LEADER, Index(3));
        following.assert_invariants(Millis(5));
        following
    }

    #[test]
    fn a_leader_that_was_left_is_followed_again_after_a_while() {
        let mut following = left();
        following.follow(LEADER);
        following.assert_invariants(Millis(5 + IN_VAIN_MS));
    }

    #[test]
    fn a_leader_is_followed_for_twice_as_long_each_time_until_something_happens() {
        let (mut following, mut now) = (Following::default(), Millis(0));
        for times in 0..4 {
            for _ in 0..IN_VAIN_MS << times {
                assert!(!following.sends_in_vain(now));
                now = now.after(1);
            }
            assert!(following.sends_in_vain(now));
            following.leave(now, LEADER, Index(3));
        }
        following.captured(Index(3 + PROGRESS));
        assert_eq!(following.patience_ms(), IN_VAIN_MS);
    }

    #[test]
    #[should_panic(expected = "a leader that gets nothing done is followed")]
    fn following_a_leader_that_was_just_left_is_noticed() {
        let mut following = left();
        following.follow(LEADER);
        following.assert_invariants(Millis(4 + IN_VAIN_MS));
    }

    #[test]
    #[should_panic(expected = "a leader is left forever")]
    fn leaving_a_leader_for_good_is_noticed() {
        let mut following = left();
        following.left = Some((LEADER.0, LEADER.1, Millis(u64::MAX)));
        following.assert_invariants(Millis(5));
    }
}
