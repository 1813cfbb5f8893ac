//! Reads without a write: an answer that no entry carries waits until a majority of the members has said, to a nonce
//! drawn after it, that the leader's chain is still the one.
//!
//! Keeps invariant 4, *replies last*, for such answers: they say nothing that is not committed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use strongroom_proto::hsm::{NoiseReply, ReadReply};
use strongroom_proto::ids::{Index, Nonce};

/// The answers of one leadership that wait, and the nonce that some of them wait for.
#[derive(Default)]
pub(crate) struct Reads {
    waiting: VecDeque<Waiting>,
    /// The number of the next answer.
    next: u64,
    nonce: Option<OpenNonce>,
}

struct Waiting {
    number: u64,
    /// The own entry that must be committed: the one that last changed what was read.
    since: Index,
    reply: NoiseReply,
}

struct OpenNonce {
    nonce: Nonce,
    /// It was drawn after the answers with lower numbers, and covers no others.
    covers: u64,
}

impl Reads {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps an answer, under the number that is returned.
    pub(crate) fn keep(&mut self, reply: NoiseReply, since: Index) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.waiting.push_back(Waiting { number, since, reply });
        number
    }

    /// Takes a nonce that was just drawn, in place of any other. It covers every answer that waits now.
    pub(crate) fn open(&mut self, nonce: Nonce) {
        self.nonce = Some(OpenNonce { nonce, covers: self.next });
    }

    pub(crate) fn nonce(&self) -> Option<&Nonce> {
        self.nonce.as_ref().map(|open| &open.nonce)
    }

    /// Uses the nonce up: what it covers leaves, if what it says is committed. The rest waits for another nonce.
    pub(crate) fn release(&mut self, committed: Index) -> Vec<ReadReply> {
        let covers = self.nonce.take().map_or(0, |open| open.covers);
        let mut released = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if waiting.number < covers && waiting.since <= committed {
                released.push(ReadReply { number: waiting.number, reply: waiting.reply });
            } else {
                self.waiting.push_back(waiting);
            }
        }
        if self.waiting.is_empty() {
            // Small devices lead many groups.
            self.waiting = VecDeque::new();
        }
        released
    }
}
