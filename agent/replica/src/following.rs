//! Whom this member follows, and what becomes of the clients that it sends there.
//!
//! Kept here: a leader under whom nothing happens while clients wait is not followed; each time that it was left in vain,
//! it is followed for twice as long, until something happens.

use super::interface::Millis;
use super::turn::MAX_BACK_OFF;
use strongroom_proto::ids::{HsmId, Index, Term};

/// For how long a leader is followed under whom nothing happens while clients wait; then the same time not at all. Longer
/// than it takes such a leader to give way by itself. Twice as long each time that it was in vain.
const IN_VAIN_MS: u64 = 12_000;
/// After so long without one, clients do not wait.
const NOBODY_ASKS_MS: u64 = 4_000;
/// How many entries show that leading is not in vain: a new leader makes one in any case, and may race another.
const PROGRESS: u64 = 3;

/// The leader, and how that goes.
#[derive(Default)]
pub(super) struct Following {
    /// Who leads, as far as this member knows, and in which leadership; it may be itself.
    leader: Option<(HsmId, Term)>,
    /// Since when and when last clients were sent away, and nothing has been captured since.
    waiting: Option<(Millis, Millis)>,
    /// The leadership that is not followed before this time.
    left: Option<(HsmId, Term, Millis)>,
    /// How often in a row a leader was left, and what was captured then.
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

    /// It is not known who leads.
    pub(super) const fn forget_leader(&mut self) {
        self.leader = None;
    }

    /// # Panics
    /// If what is kept here is not.
    pub(super) fn assert_invariants(&self, now: Millis) {
        let follows_in_vain = self.leader.is_some_and(|(leader, term)| self.has_left(leader, term, now));
        assert!(!follows_in_vain, "a leader is followed under whom nothing happened");
        let patience_ms = IN_VAIN_MS << MAX_BACK_OFF;
        let for_good = self.left.is_some_and(|(_, _, until)| until > now.after(patience_ms));
        assert!(!for_good, "a leader is left for good");
    }

    /// How long to follow a leader under whom nothing happens.
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

    /// Whether this leadership is one that is not followed now.
    pub(super) fn has_left(&self, leader: HsmId, term: Term, now: Millis) -> bool {
        self.left.is_some_and(|(of, its, until)| (of, its) == (leader, term) && now < until)
    }

    /// A client is sent to the leader. Whether that has been in vain for too long.
    pub(super) fn sends_in_vain(&mut self, now: Millis) -> bool {
        let (since, last) = self.waiting.unwrap_or((now, now));
        let since = if now > last.after(NOBODY_ASKS_MS) { now } else { since };
        self.waiting = Some((since, now));
        now >= since.after(self.patience_ms())
    }

    /// Leaves the leader in this leadership, when this is captured.
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
    #[should_panic(expected = "a leader is followed under whom nothing happened")]
    fn following_a_leader_that_was_just_left_is_noticed() {
        let mut following = left();
        following.follow(LEADER);
        following.assert_invariants(Millis(4 + IN_VAIN_MS));
    }

    #[test]
    #[should_panic(expected = "a leader is left for good")]
    fn leaving_a_leader_for_good_is_noticed() {
        let mut following = left();
        following.left = Some((LEADER.0, LEADER.1, Millis(u64::MAX)));
        following.assert_invariants(Millis(5));
    }
}
