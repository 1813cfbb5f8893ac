//! When it is this member's turn to try to lead.
//!
//! Kept here: who hears a leader waits; whoever led in vain waits longer each time, and asks the others first; a time-out
//! is drawn from the seed, and from nothing else.

use super::interface::Millis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use strongroom_proto::ids::{HsmId, Index};

/// How often the time-out doubles at most while leading does not last.
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
    /// Whether much time passed at once before the last event.
    slept: bool,
    /// How often in a row it led in vain or not for long, without hearing a leader since.
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

    /// Whether the others are to be asked first: the last time was in vain, and they have not been asked since.
    pub(super) const fn asks_first(&self) -> bool {
        self.deposed > 0 && self.sayers.is_none()
    }

    /// The others are asked; waits for what they say.
    pub(super) fn wait_for_sayers(&mut self, until: Millis) {
        debug_assert!(self.asks_first(), "they are asked once for each time-out");
        self.sayers = Some(BTreeSet::new());
        self.deadline = until;
    }

    /// One of them says that it follows somebody. How many have, while that is waited for.
    pub(super) fn said(&mut self, by: HsmId) -> Option<usize> {
        let sayers = self.sayers.as_mut()?;
        sayers.insert(by);
        Some(sayers.len())
    }

    /// Hears the leader, who says that this entry is in the store.
    pub(super) fn hear(&mut self, now: Millis, newest: Index) {
        self.heard_at = Some(now);
        self.heard = newest;
        self.deposed = 0;
    }

    /// Whether it has heard the leader within this time.
    pub(super) fn has_heard(&self, now: Millis, within_ms: u64) -> bool {
        self.heard_at.is_some_and(|at| now < at.after(within_ms))
    }

    /// The newest entry of which a leader said so.
    pub(super) const fn heard(&self) -> Index {
        self.heard
    }

    /// Its leadership has ended; whether it was one that lasted.
    pub(super) const fn led(&mut self, lasted: bool) {
        self.deposed = if lasted { 1 } else { self.deposed.saturating_add(1) };
    }

    /// Takes note of whether much time has passed at once, and returns whether that is new.
    pub(super) const fn woke(&mut self, slept: bool) -> bool {
        let before = std::mem::replace(&mut self.slept, slept);
        slept && !before
    }
}
