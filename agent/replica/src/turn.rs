//! When it is this member's turn to try to lead.
//!
//! Kept here: a member that hears a leader waits, and if the leader says that it will be silent, a little longer, never
//! as long as it likes; one that led to no effect waits longer each time, and asks the others first; a time-out is drawn
//! from the seed and from nothing else.

use super::interface::Millis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use strongroom_proto::ids::{HsmId, Index};

/// How often the time-out doubles at most while leaderships do not last.
pub(super) const MAX_BACK_OFF: u32 = 6;
/// How much silence a leader is granted at most, whatever it says: a leader that lies, or is gone, costs its group this
/// much and no more.
pub(super) const MAX_SILENT_MS: u64 = 500;

/// What this member waits for before it tries to lead.
pub(super) struct Turn {
    rng: StdRng,
    /// When to try.
    deadline: Millis,
    /// When it last heard the leader, and the newest entry that the leader said is in the store.
    heard_at: Option<Millis>,
    heard: Index,
    /// How long the leader may be silent before a time-out begins, by what it said last.
    silent_ms: u64,
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
            silent_ms: 0,
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
        self.silent_ms = 0;
        let (least, most) = timeout_ms.clone().into_inner();
        let after = self.rng.random_range(least..=most.max(least));
        self.deadline = now.after(after << self.back_off());
    }

    /// There is nothing to lead for, as far as this member knows: it looks again after the longest time-out.
    pub(super) fn rest(&mut self, now: Millis, timeout_ms: &RangeInclusive<u64>) {
        (self.sayers, self.silent_ms) = (None, 0);
        self.deadline = now.after(*timeout_ms.end() << MAX_BACK_OFF);
    }

    /// The leader that was just heard may be silent for so long: the time-out begins only then.
    pub(super) fn grant(&mut self, silent_ms: u64) {
        self.silent_ms = silent_ms;
        self.deadline = self.deadline.after(silent_ms);
    }

    /// Time has passed that says nothing about the leader: waits for another time-out, after the same silence.
    pub(super) fn wait_anew(&mut self, now: Millis, timeout_ms: &RangeInclusive<u64>) {
        let silent_ms = self.silent_ms;
        self.put_off(now, timeout_ms);
        self.grant(silent_ms);
    }

    /// The leader has something to do now, and no longer a reason to be silent: waits for it as for any other, from now
    /// on.
    pub(super) fn expect(&mut self, now: Millis, timeout_ms: &RangeInclusive<u64>) {
        if self.silent_ms > 0 {
            let granted = self.deadline;
            self.put_off(now, timeout_ms);
            self.deadline = self.deadline.min(granted);
        }
    }

    /// Whether to ask the others first, if they have not been asked: the last leadership did not last; or it `follows`
    /// nobody, and there may be a leader that is silent.
    pub(super) const fn asks_first(&self, follows: bool) -> bool {
        (self.deposed > 0 || !follows) && self.sayers.is_none()
    }

    /// The others have been asked: waits for what they say.
    pub(super) fn wait_for_sayers(&mut self, until: Millis) {
        debug_assert!(self.sayers.is_none(), "the others are asked only once per time-out");
        self.sayers = Some(BTreeSet::new());
        self.deadline = until;
    }

    /// It leads: what the others say comes too late.
    pub(super) fn forget_sayers(&mut self) {
        self.sayers = None;
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

    /// Whether it has heard the leader within this time, apart from the silence that is the leader's right.
    pub(super) fn has_heard(&self, now: Millis, within_ms: u64) -> bool {
        self.heard_at.is_some_and(|at| now < at.after(self.silent_ms).after(within_ms))
    }

    /// The newest entry that a leader said is in the store.
    pub(super) const fn heard(&self) -> Index {
        self.heard
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, now: Millis, timeout_ms: &RangeInclusive<u64>, follows: bool) {
        assert!(
            self.heard_at.is_none_or(|at| at <= self.deadline),
            "a member that hears a leader does not wait"
        );
        let asks = self.deposed > 0 || !follows;
        assert!(self.sayers.is_none() || asks, "the others are asked without need");
        assert!(self.silent_ms <= MAX_SILENT_MS, "a leader is silent for as long as it likes");
        let longest = now.after(*timeout_ms.end() << MAX_BACK_OFF).after(self.silent_ms);
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
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
        turn
    }

    #[test]
    fn a_member_that_led_to_no_effect_waits_longer_each_time_and_asks_first() {
        let mut turn = turn();
        for times in 1..=2 * MAX_BACK_OFF {
            turn.led(false);
            assert!(turn.asks_first(true));
            turn.put_off(Millis(5), &TIMEOUT_MS);
            turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
            assert!(!turn.is_due(Millis(4 + (150 << times.min(MAX_BACK_OFF)))));
        }
    }

    #[test]
    fn a_member_that_follows_nobody_asks_first_and_one_whose_leader_is_gone_does_not() {
        let mut turn = turn();
        assert!(!turn.asks_first(true) && turn.asks_first(false));
        turn.wait_for_sayers(Millis(400));
        assert!(!turn.asks_first(false), "once is enough");
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, false);
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
        turn.assert_invariants(Millis(1_000), &TIMEOUT_MS, true);
    }

    #[test]
    fn a_silence_that_was_announced_comes_before_the_time_out_and_ends_when_there_is_something_to_do() {
        let mut turn = turn();
        turn.grant(500);
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
        assert!(!turn.is_due(Millis(5 + 500 + 149)) && turn.is_due(Millis(5 + 500 + 300)));
        assert!(turn.has_heard(Millis(5 + 500 + 149), 150) && !turn.has_heard(Millis(5 + 500 + 150), 150));
        turn.wait_anew(Millis(2_000), &TIMEOUT_MS);
        assert!(!turn.is_due(Millis(2_000 + 500 + 149)), "the same silence once more");
        turn.expect(Millis(2_100), &TIMEOUT_MS);
        let deadline = turn.deadline();
        assert!((2_100 + 150..=2_100 + 300).contains(&deadline.0));
        turn.expect(Millis(2_200), &TIMEOUT_MS);
        assert_eq!(turn.deadline(), deadline, "what is expected once more is not waited for longer");
    }

    #[test]
    fn what_is_expected_near_the_end_of_a_silence_is_not_waited_for_longer_than_without_it() {
        let mut turn = turn();
        turn.grant(100);
        let deadline = turn.deadline();
        turn.expect(Millis(deadline.0 - 10), &TIMEOUT_MS);
        assert_eq!(turn.deadline(), deadline);
    }

    #[test]
    #[should_panic(expected = "a leader is silent for as long as it likes")]
    fn a_silence_that_is_too_long_is_noticed() {
        let mut turn = turn();
        turn.grant(MAX_SILENT_MS + 1);
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
    }

    #[test]
    #[should_panic(expected = "the others are asked without need")]
    fn asking_without_need_is_noticed() {
        let mut turn = turn();
        turn.sayers = Some(BTreeSet::new());
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
    }

    #[test]
    #[should_panic(expected = "a time-out is longer than any that could be drawn")]
    fn a_time_out_that_is_not_drawn_is_noticed() {
        let mut turn = turn();
        turn.deadline = Millis(900_000);
        turn.assert_invariants(Millis(5), &TIMEOUT_MS, true);
    }
}
