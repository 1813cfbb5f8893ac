//! When it is this member's turn to try to lead.
//!
//! Kept here: a member that hears a leader waits; one that led to no effect waits longer each time, and asks the others
//! first; a time-out is drawn from the seed and from nothing else.

use super::interface::Millis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use strongroom_proto::ids::{HsmId, Index};

/// How often the time-out doubles at most while leaderships do not last.
pub(super) const MAX_BACK_OFF: u32 = 6;

/// What this member waits for before it tries to lead.
pub(super) struct Turn {
    rng: StdRng,
    /// When to try.
    deadline: Millis,
    /// When it last heard the leader, and the newest entry that the leader said is in the store.
    heard_at: Option<Millis>,
    heard: Index,
    /// While it waits for what the others say of a leader: those who follow one.
    sayers: Option<BTreeSet<HsmId>>,
    /// Whether a long time passed in one jump before the last event.
    slept: bool,
    /// How often in a row it led to no effect or not for long, without hearing a leader since.
    deposed: u32,
}

impl Turn {
    pub(super) fn new(now: Millis, seed: [u8; 32]) -> Self {
        Self {
            rng: StdRng::from_seed(seed),
            deadline: now,
            heard_at: None,
            heard: Index::ZERO,
            sayers: None,
            slept: false,
            deposed: 0,
        }
    }

    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.deadline <= now
    }

    /// When to try.
    pub(super) const fn deadline(&self) -> Millis {
        self.deadline
    }

    /// How often a time-out doubles now.
    pub(super) fn back_off(&self) -> u32 {
        self.deposed.min(MAX_BACK_OFF)
    }

    /// Waits for another time-out, drawn from this range.
    pub(super) fn put_off(&mut self, now: Millis, timeout_ms: &RangeInclusive<u64>) {
        self.sayers = None;
        let (least, most) = timeout_ms.clone().into_inner();
        let after = self.rng.random_range(least..=most.max(least));
        self.deadline = now.after(after << self.back_off());
    }

    /// Whether to ask the others first: the last leadership did not last, and they have not been asked since.
    pub(super) const fn asks_first(&self) -> bool {
        self.deposed > 0 && self.sayers.is_none()
    }

    /// The others have been asked: waits for what they say.
    pub(super) fn wait_for_sayers(&mut self, until: Millis) {
        debug_assert!(self.asks_first(), "the others are asked only once per time-out");
        self.sayers = Some(BTreeSet::new());
        self.deadline = until;
    }

    /// One of them says that it follows somebody. Returns how many have said so, while this member waits for it.
    pub(super) fn said(&mut self, by: HsmId) -> Option<usize> {
        let sayers = self.sayers.as_mut()?;
        sayers.insert(by);
        Some(sayers.len())
    }

    /// Hears the leader, which says that this entry is in the store.
    pub(super) fn hear(&mut self, now: Millis, newest: Index) {
        self.heard_at = Some(now);
        self.heard = newest;
        self.deposed = 0;
    }

    /// Whether it has heard the leader within this time.
    pub(super) fn has_heard(&self, now: Millis, within_ms: u64) -> bool {
        self.heard_at.is_some_and(|at| now < at.after(within_ms))
    }

    /// The newest entry that a leader said is in the store.
    pub(super) const fn heard(&self) -> Index {
        self.heard
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, now: Millis, timeout_ms: &RangeInclusive<u64>) {
        assert!(
            self.heard_at.is_none_or(|at| at <= self.deadline),
            "a member that hears a leader does not wait"
        );
        assert!(self.sayers.is_none() || self.deposed > 0, "the others are asked without need");
        let longest = now.after(*timeout_ms.end() << MAX_BACK_OFF);
        assert!(
            self.sayers.is_some() || self.deadline <= longest,
            "a time-out is longer than any that could be drawn"
        );
    }

    /// Its leadership has ended; whether it was one that lasted.
    pub(super) const fn led(&mut self, lasted: bool) {
        self.deposed = if lasted { 1 } else { self.deposed.saturating_add(1) };
    }

    /// Takes note of whether a long time has passed in one jump, and returns whether that is new.
    pub(super) const fn woke(&mut self, slept: bool) -> bool {
        let before = std::mem::replace(&mut self.slept, slept);
        slept && !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT_MS: RangeInclusive<u64> = 150..=300;

    fn turn() -> Turn {
        let mut turn = Turn::new(Millis(5), [1; 32]);
        turn.hear(Millis(5), Index(1));
        turn.put_off(Millis(5), &TIMEOUT_MS);
        turn.assert_invariants(Millis(5), &TIMEOUT_MS);
        turn
    }

    #[test]
    fn a_member_that_led_to_no_effect_waits_longer_each_time_and_asks_first() {
        let mut turn = turn();
        for times in 1..=2 * MAX_BACK_OFF {
            turn.led(false);
            assert!(turn.asks_first());
            turn.put_off(Millis(5), &TIMEOUT_MS);
            turn.assert_invariants(Millis(5), &TIMEOUT_MS);
            assert!(!turn.is_due(Millis(4 + (150 << times.min(MAX_BACK_OFF)))));
        }
    }

    #[test]
    fn a_time_out_is_drawn_from_the_seed_and_from_nothing_else() {
        let drawn = |seed: u8, at: u64| {
            let mut turn = Turn::new(Millis(at), [seed; 32]);
            let mut draw = || {
                turn.put_off(Millis(at), &TIMEOUT_MS);
                turn.deadline.0 - at
            };
            [draw(), draw(), draw()]
        };
        assert_eq!(drawn(1, 5), drawn(1, 900));
        assert_ne!(drawn(1, 5), drawn(2, 5));
    }

    #[test]
    #[should_panic(expected = "a member that hears a leader does not wait")]
    fn not_waiting_for_a_leader_is_noticed() {
        let mut turn = turn();
        turn.hear(Millis(1_000), Index(1));
        turn.assert_invariants(Millis(1_000), &TIMEOUT_MS);
    }

    #[test]
    #[should_panic(expected = "the others are asked without need")]
    fn asking_without_need_is_noticed() {
        let mut turn = turn();
        turn.sayers = Some(BTreeSet::new());
        turn.assert_invariants(Millis(5), &TIMEOUT_MS);
    }

    #[test]
    #[should_panic(expected = "a time-out is longer than any that could be drawn")]
    fn a_time_out_that_is_not_drawn_is_noticed() {
        let mut turn = turn();
        turn.deadline = Millis(900_000);
        turn.assert_invariants(Millis(5), &TIMEOUT_MS);
    }
}
