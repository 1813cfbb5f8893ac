//! One episode from start to end: groups are made, then strategies and random steps take turns.

use super::hunt::Hunt;
use super::strategies::{ENDS, HEADS, STRATEGIES, TELLS, TRANSFERS};
use rand::RngExt;
use rand::seq::IndexedRandom;

impl Hunt {
    /// Runs to the end of the episode, or to the first broken rule.
    pub(super) fn run(&mut self) {
        self.make_groups();
        self.lead(0, 0);
        while !self.is_over() {
            let before = self.trace.len();
            if self.rng.random_ratio(1, 3) {
                for _ in 0..self.rng.random_range(1..12) {
                    self.random_step();
                }
            } else if let Some(strategy) = if self.has_ends && self.rng.random_ratio(1, 2) {
                ENDS
            } else if self.has_moves && self.rng.random_ratio(2, 3) {
                TRANSFERS
            } else if self.has_heads && self.rng.random_ratio(1, 2) {
                HEADS
            } else if self.has_tells && self.rng.random_ratio(1, 2) {
                TELLS
            } else {
                STRATEGIES
            }
            .choose(&mut self.rng)
            {
                strategy(self);
            }
            if self.trace.len() == before {
                self.random_step();
            }
        }
    }
}
