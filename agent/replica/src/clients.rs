//! Client requests that wait for an answer.
//!
//! Kept here: every ticket is answered exactly once.

use super::context::Context;
use super::guesses::Guesses;
use super::interface::{Answer, Millis, Owner, Ticket};
use std::collections::{BTreeSet, VecDeque};
use strongroom_proto::hsm::BatchRequest;

/// The most requests that may wait for an answer at once.
const MAX_WAITING: usize = 4096;
/// How many arrivals are checked one by one, where assertions are on.
const FEW: usize = 64;
/// How long a request may wait.
const PATIENCE_MS: u64 = 10_000;

/// A request that has not gone to the HSM yet.
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) request: BatchRequest,
    pub(super) owner: Owner,
}

/// All requests without an answer.
#[derive(Default)]
pub(super) struct Clients {
    waiting: BTreeSet<Ticket>,
    arrivals: VecDeque<(Millis, Ticket)>,
    pub(super) handshakes: VecDeque<Queued>,
    pub(super) queue: VecDeque<Queued>,
    /// Users who may soon ask once more.
    pub(super) guesses: Guesses,
    /// How many were answered without an entry, and how many rounds that took.
    read: u64,
    rounds: u64,
}

impl Clients {
    /// Every ticket is answered exactly once: one that waits is listed by its arrival, and ends at the latest when its
    /// time is up.
    ///
    /// # Panics
    /// If one would wait forever.
    pub(super) fn assert_invariants(&self) {
        let (waiting, arrivals) = (self.waiting.len(), self.arrivals.len());
        let arrived = |(_, ticket): &&(Millis, Ticket)| self.waiting.contains(ticket);
        let is_known =
            arrivals > FEW || waiting == 0 || waiting == self.arrivals.iter().filter(arrived).count();
        assert!(waiting <= arrivals && is_known, "a client waits for an answer that never comes");
        let last_two = self.arrivals.iter().rev().take(2);
        assert!(
            last_two.is_sorted_by(|last, before| last.0 >= before.0),
            "the requests are not in the order of their arrival"
        );
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.handshakes.len() + self.queue.len()
    }

    /// Accepts a request; one too many is answered at once.
    pub(super) fn arrive(&mut self, cx: &mut Context, handshake_only: bool, queued: Queued) {
        if self.arrivals.len() >= 2 * MAX_WAITING {
            self.arrivals.retain(|(_, ticket)| self.waiting.contains(ticket));
        }
        if self.waiting.len() >= MAX_WAITING {
            cx.out.answer(queued.ticket, Answer::Busy);
            return;
        }
        let new = self.waiting.insert(queued.ticket);
        debug_assert!(new, "a ticket belongs to one request");
        self.arrivals.push_back((cx.now, queued.ticket));
        self.guesses.arrive(cx.now, queued.ticket, &queued.request);
        if handshake_only { self.handshakes.push_back(queued) } else { self.queue.push_back(queued) }
    }

    /// Whether it has no answer yet.
    pub(super) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.waiting.contains(&ticket)
    }

    /// Answers, unless it was answered before.
    pub(super) fn answer(&mut self, cx: &mut Context, ticket: Ticket, answer: Answer) {
        if self.waiting.remove(&ticket) {
            self.guesses.answer(cx.now, ticket, matches!(answer, Answer::Reply(_)));
            cx.out.answer(ticket, answer);
        }
    }

    /// Answers with what no entry carried, unless it was answered before.
    pub(super) fn answer_read(&mut self, cx: &mut Context, ticket: Ticket, answer: Answer) {
        self.read += u64::from(self.is_waiting(ticket));
        self.answer(cx, ticket, answer);
    }

    /// A round for such answers has succeeded.
    pub(super) const fn count_round(&mut self) {
        self.rounds += 1;
    }

    /// How many were answered without an entry, and how many rounds that took.
    pub(super) const fn read(&self) -> (u64, u64) {
        (self.read, self.rounds)
    }

    /// When the oldest has waited too long.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.arrivals.front().map(|(arrived, _)| arrived.after(PATIENCE_MS))
    }

    /// Gives up the requests that have waited too long.
    pub(super) fn expire(&mut self, cx: &mut Context) {
        while let Some((arrived, ticket)) = self.arrivals.front().copied() {
            if self.waiting.contains(&ticket) {
                if cx.now < arrived.after(PATIENCE_MS) {
                    break;
                }
                self.answer(cx, ticket, Answer::Unavailable);
            }
            self.arrivals.pop_front();
        }
        let waiting = &self.waiting;
        for queue in [&mut self.handshakes, &mut self.queue] {
            while queue.pop_front_if(|queued| !waiting.contains(&queued.ticket)).is_some() {}
        }
    }

    /// Gives up all of them.
    pub(super) fn give_up(&mut self, cx: &mut Context) {
        for ticket in std::mem::take(&mut self.waiting) {
            cx.out.answer(ticket, Answer::Unavailable);
        }
        self.guesses.clear();
        self.arrivals.clear();
        self.handshakes.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;
    use strongroom_proto::hsm::NoiseMessage;
    use strongroom_proto::ids::{RecordId, SessionId};

    fn two_wait() -> Clients {
        let (mut clients, mut cx) = (Clients::default(), context());
        for ticket in [1, 2] {
            let message = NoiseMessage::Transport { ciphertext: Vec::new().into() };
            let request =
                BatchRequest { record: RecordId([1; 32]), session: SessionId(2), message, time: None };
            let queued = Queued { ticket: Ticket(ticket), request, owner: Owner::default() };
            cx.now = Millis(ticket);
            clients.arrive(&mut cx, false, queued);
        }
        clients.assert_invariants();
        clients
    }

    #[test]
    #[should_panic(expected = "a client waits for an answer that never comes")]
    fn a_client_that_would_wait_for_ever_is_noticed() {
        let mut clients = two_wait();
        clients.arrivals.pop_front();
        clients.arrivals.push_back((Millis(3), Ticket(3)));
        clients.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "the requests are not in the order of their arrival")]
    fn arrivals_out_of_order_are_noticed() {
        let mut clients = two_wait();
        clients.arrivals.swap(0, 1);
        clients.assert_invariants();
    }
}
