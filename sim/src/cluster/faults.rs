//! What goes wrong in a cluster, and how often.

use super::lies::Lie;
use super::store::StoreFault;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Something that happens to a member between two messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// Its HSM loses its RAM.
    RestartHsm(usize),
    /// Its agent starts again.
    RestartAgent(usize),
}

/// What a store returns in place of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRead {
    /// Its first half.
    Cut,
    /// A page that says what is wrong.
    ErrorPage,
    /// The bytes with one bit flipped: this one, counted from the end.
    Flipped(usize),
}

impl BadRead {
    /// Turns a segment into what is returned in its place.
    pub fn spoil(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::ErrorPage => *bytes = b"<html>503 Service Unavailable</html>".to_vec(),
            Self::Flipped(bit) => {
                let at = bytes.len().saturating_sub(1 + bit / 8);
                bytes[at] ^= 1 << (bit % 8);
            }
        }
    }
}

/// What goes wrong. Chances are from 0 to 1; the default is that nothing does.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    /// The chance that a message between agents is lost.
    pub lose_message: f64,
    /// The chance that it arrives twice.
    pub repeat_message: f64,
    /// The chance that it takes up to half a second.
    pub delay_message: f64,
    /// The chance that a user's message does not arrive.
    pub lose_user_message: f64,
    /// The chance that the answer to one does not arrive.
    pub lose_user_answer: f64,
    /// The chance that an HSM's reply is lost.
    pub lose_hsm_reply: f64,
    /// The replies of HSMs that are lost, counted from the first one of the cluster, which is 1.
    pub lost_hsm_replies: BTreeSet<u64>,
    /// The chance that the store does what it is asked and its answer is lost.
    pub lose_store_answer: f64,
    /// The chance that the store does not do what it is asked.
    pub store_unavailable: f64,
    /// The chance that the store does not answer a write, and carries it out up to 20 s later.
    pub late_store: f64,
    /// The chance that a request to the store, or its answer, takes up to two seconds.
    pub delay_store: f64,
    /// How long a listing lacks what was written.
    pub listing_lag_ms: u64,
    /// What goes wrong with requests to the store, counted from the first one of the cluster, which is 1.
    pub store_faults: BTreeMap<u64, StoreFault>,
    /// What goes wrong with the next requests to the store, before any chance.
    pub next_store_faults: VecDeque<StoreFault>,
    /// Members whose writes do not reach the store until they are let through.
    pub held_writes: BTreeSet<usize>,
    /// Members whose listings do not reach the store until they are let through: listing takes forever.
    pub held_listings: BTreeSet<usize>,
    /// Members that cannot reach the store.
    pub without_store: BTreeSet<usize>,
    /// Members that get something other than the segments that they read.
    pub bad_reads: BTreeMap<usize, BadRead>,
    /// Members that no other member reaches, and that reach none.
    pub alone: BTreeSet<usize>,
    /// Pairs of members of which the first does not reach the second.
    pub cuts: BTreeSet<(usize, usize)>,
    /// Members whose HSM does not answer.
    pub without_hsm: BTreeSet<usize>,
    /// Members whose HSM is stalled: calls end when the link gives them up, one after another.
    pub silent_hsm: BTreeSet<usize>,
    /// Members whose HSM takes this much longer for each call, in milliseconds.
    pub slow_hsm: BTreeMap<usize, u64>,
    /// Members whose agents lie, and about what.
    pub liars: BTreeMap<usize, BTreeSet<Lie>>,
    /// What happens when this many messages have arrived.
    pub interrupt: Option<(u64, Interrupt)>,
}

impl Faults {
    /// What goes wrong by chance alone.
    #[must_use]
    pub fn chances(&self) -> Self {
        Self {
            lose_message: self.lose_message,
            repeat_message: self.repeat_message,
            delay_message: self.delay_message,
            lose_user_message: self.lose_user_message,
            lose_user_answer: self.lose_user_answer,
            lose_hsm_reply: self.lose_hsm_reply,
            lose_store_answer: self.lose_store_answer,
            store_unavailable: self.store_unavailable,
            late_store: self.late_store,
            delay_store: self.delay_store,
            listing_lag_ms: self.listing_lag_ms,
            ..Self::default()
        }
    }

    /// From now on, nothing goes wrong by chance.
    pub const fn forget_chances(&mut self) {
        self.lose_message = 0.0;
        self.repeat_message = 0.0;
        self.delay_message = 0.0;
        self.lose_user_message = 0.0;
        self.lose_user_answer = 0.0;
        self.lose_hsm_reply = 0.0;
        self.lose_store_answer = 0.0;
        self.store_unavailable = 0.0;
        self.late_store = 0.0;
        self.delay_store = 0.0;
        self.listing_lag_ms = 0;
    }

    /// Delays of the copies of a message that arrive.
    pub(super) fn deliveries(&self, rng: &mut StdRng, from: usize, to: usize) -> Vec<u64> {
        let cut = self.cuts.contains(&(from, to)) || self.alone.contains(&from) || self.alone.contains(&to);
        let copies = if cut || rng.random_bool(self.lose_message) {
            0
        } else if rng.random_bool(self.repeat_message) {
            2
        } else {
            1
        };
        let mut delay = || {
            let longest = if rng.random_bool(self.delay_message) { 500 } else { 5 };
            rng.random_range(1..=longest)
        };
        (0..copies).map(|_| delay()).collect()
    }

    /// Whether messages from one member to another keep their order where their transport does.
    pub(super) fn keeps_order(&self) -> bool {
        self.lose_message == 0.0 && self.repeat_message == 0.0 && self.delay_message == 0.0
    }

    pub(super) fn store_delay(&self, rng: &mut StdRng) -> u64 {
        let longest = if rng.random_bool(self.delay_store) { 2_000 } else { 15 };
        rng.random_range(2..=longest)
    }

    pub(super) fn store(&mut self, rng: &mut StdRng, nth: u64, member: usize) -> StoreFault {
        if self.without_store.contains(&member) {
            return StoreFault::Unavailable;
        }
        if let Some(fault) = self.store_faults.get(&nth) {
            return *fault;
        }
        if let Some(next) = self.next_store_faults.pop_front() {
            return next;
        }
        if rng.random_bool(self.store_unavailable) {
            StoreFault::Unavailable
        } else if rng.random_bool(self.lose_store_answer) {
            StoreFault::AnswerLost
        } else if self.late_store > 0.0 && rng.random_bool(self.late_store) {
            StoreFault::Late
        } else {
            StoreFault::None
        }
    }

    pub(super) fn loses_reply(&self, rng: &mut StdRng, nth: u64) -> bool {
        self.lost_hsm_replies.contains(&nth) || rng.random_bool(self.lose_hsm_reply)
    }
}
