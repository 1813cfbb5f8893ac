//! Requests of clients and the HSM: handshakes one by one, everything else in batches.
//!
//! Kept here: each outcome goes to the request that it is for; a batch that makes no entry has no reply that waits for
//! one. What changes nothing waits for no write: requests that look as if they only read go in batches of their own.

use super::{
    BUSY_MS, FULL_SEGMENT_BYTES, Kept, Leader, MAX_BATCH_BYTES, MAX_HANDSHAKES, OutOfStep, SESSION_GRACE_MS,
};
use crate::ask::{self, Asked};
use crate::clients::{Clients, Queued};
use crate::context::Context;
use crate::interface::{Answer, Millis, Owner, Ticket};
use crate::outbox::Call;
use crate::segment::SegmentName;
use std::collections::{BTreeSet, VecDeque};
use strongroom_proto::hsm::{
    BatchRequest, MAX_CAPTURE_ENTRIES, Made, NoiseMessage, Outcome, SessionRefusal, tree_nodes,
};
use strongroom_proto::ids::RecordId;

/// The longest message on a session that names a request and says no more: those change nothing, except a deletion.
const BRIEF_BYTES: usize = 32;

/// Whether a request looks as if it only reads. Its length shows it, or that it comes in a handshake. If it does change
/// its record after all, its batch makes an entry, and is like any other.
fn seems_to_read(request: &BatchRequest) -> bool {
    match &request.message {
        NoiseMessage::Handshake { .. } => true,
        NoiseMessage::Transport { ciphertext } => ciphertext.len() <= BRIEF_BYTES,
    }
}

/// Takes up to `room` requests that seem to read, or of the others, but none that comes after one about its record that
/// stays.
fn take(ready: &mut VecDeque<Queued>, reads: bool, room: usize) -> Vec<Queued> {
    let (mut batch, mut passed) = (Vec::new(), VecDeque::new());
    let mut passed_records: BTreeSet<RecordId> = BTreeSet::new();
    while batch.len() < room
        && let Some(queued) = ready.pop_front()
    {
        let record = queued.request.record;
        if seems_to_read(&queued.request) == reads && !passed_records.contains(&record) {
            batch.push(queued);
        } else {
            passed_records.insert(record);
            passed.push_back(queued);
        }
    }
    passed.append(ready);
    *ready = passed;
    batch
}

impl Leader {
    pub(super) fn handshake(&mut self, cx: &mut Context, clients: &mut Clients) {
        while self.handshaking < MAX_HANDSHAKES
            && let Some(queued) = clients.handshakes.pop_front()
        {
            if !clients.is_waiting(queued.ticket) {
                continue;
            }
            let record = &queued.request.record;
            if self.trees.prefix_of(record).is_none() || self.orders.holds(&queued.request) {
                clients.answer(cx, queued.ticket, Answer::NotCovered);
                continue;
            }
            self.handshaking += 1;
            let ask = ask::Handshake(cx.settings.group.group, queued.request);
            cx.out.ask(Call::Handshake(queued.ticket), ask);
        }
    }

    /// How many requests the next batch may have, or `None` if no batch may be sent now.
    pub(super) fn room(&self, cx: &Context) -> Option<usize> {
        let kept: usize = self.kept.iter().map(|kept| kept.tickets.len()).sum();
        let kept = kept.saturating_add(self.reads.waiting());
        let room = (cx.settings.limits.max_pending_replies as usize).saturating_sub(kept);
        let ready = self.processing.is_none()
            && self.busy_until <= cx.now
            && self.own.len() < cx.settings.limits.max_pending_entries as usize
            && self.collected.len() < MAX_CAPTURE_ENTRIES
            && self.collected_bytes < FULL_SEGMENT_BYTES
            // Without its first entry it could not take the snapshot that this waits for.
            && !(self.elected && self.is_full(&cx.settings));
        (ready && room > 0).then_some(room.min(cx.settings.limits.max_batch_requests as usize))
    }

    /// One batch at a time; the next one leaves the moment the reply to the previous one is in.
    pub(super) fn process(&mut self, cx: &mut Context, clients: &mut Clients) {
        let Some(room) = self.room(cx) else { return };
        if !self.elected {
            // The entry that makes this member the leader once it is in the store.
            if self.own.is_empty() {
                self.send_batch(cx, Vec::new());
            }
            return;
        }
        if !self.snapshots.are_open() {
            return;
        }
        self.send_away(cx, clients);
        let batch = self.next_batch(room, clients);
        if !batch.is_empty() {
            for queued in self.send_batch(cx, batch).into_iter().rev() {
                self.paths.ready.push_front(queued);
            }
        }
    }

    /// Takes up to `room` requests of the next kind: those that seem to read and the others take turns while both wait.
    /// Requests about one record keep their order; so a turn may find that all of its kind come after others, and passes.
    pub(super) fn next_batch(&mut self, room: usize, clients: &Clients) -> Vec<Queued> {
        let ready = &mut self.paths.ready;
        ready.retain(|queued| clients.is_waiting(queued.ticket));
        let Some(first) = ready.front() else { return Vec::new() };
        let first_reads = seems_to_read(&first.request);
        let both_wait = ready.iter().any(|q| seems_to_read(&q.request) != first_reads);
        self.read_last = if both_wait { !self.read_last } else { first_reads };
        let batch = take(ready, self.read_last, room);
        if !batch.is_empty() {
            return batch;
        }
        self.read_last = first_reads;
        take(ready, first_reads, room)
    }

    /// Sends as many of these requests, from the front, as fit in one frame, and returns the others.
    fn send_batch(&mut self, cx: &mut Context, mut batch: Vec<Queued>) -> Vec<Queued> {
        let max_bytes = (cx.settings.limits.max_frame_bytes as usize).min(MAX_BATCH_BYTES);
        let mut beyond = Vec::new();
        loop {
            let trees = self.trees.partial(batch.iter().map(|q| q.request.record)).unwrap_or_default();
            let small = tree_nodes(&trees) <= cx.settings.limits.max_tree_nodes as usize;
            let (of, requests): (Vec<(Ticket, Owner)>, Vec<BatchRequest>) =
                batch.into_iter().map(|queued| ((queued.ticket, queued.owner), queued.request)).unzip();
            let (request, requests) = Asked::batch(cx.settings.group.group, trees, requests);
            let queued = of.into_iter().zip(requests);
            batch = queued.map(|((ticket, owner), request)| Queued { ticket, request, owner }).collect();
            let fits = small && request.bytes().len() <= max_bytes;
            if fits || batch.len() <= 1 {
                self.processing = Some(batch);
                cx.out.hsm(Call::Process, request);
                return beyond;
            }
            let mut second_half = batch.split_off(batch.len() / 2);
            second_half.append(&mut beyond);
            beyond = second_half;
        }
    }

    /// The requests of the batch that is with the HSM.
    pub(crate) fn batch(&self) -> &[Queued] {
        self.processing.as_deref().unwrap_or_default()
    }

    /// The requests whose answers wait for an entry of this segment, which is being written.
    pub(crate) fn kept_in(&self, name: &SegmentName) -> impl Iterator<Item = Ticket> {
        let entries = self.flights.entries_of(name);
        let in_it = move |kept: &&Kept| {
            entries.is_some_and(|(first, last)| first <= kept.index && kept.index <= last)
        };
        self.kept.iter().filter(in_it).flat_map(|kept| kept.tickets.iter().copied())
    }

    /// Handles the outcome of a handshake.
    pub(crate) fn handshaken(
        &mut self,
        cx: &mut Context,
        ticket: Ticket,
        outcome: Option<Outcome>,
        clients: &mut Clients,
    ) {
        self.handshaking = self.handshaking.saturating_sub(1);
        let answer = outcome.map_or(Answer::Unavailable, |outcome| self.answer(cx.now, outcome));
        clients.answer(cx, ticket, answer);
    }

    /// What a client hears at once.
    fn answer(&self, now: Millis, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Answered(reply) => Answer::Reply(reply),
            Outcome::Refused(SessionRefusal::MissingSession) if now < self.since.after(SESSION_GRACE_MS) => {
                Answer::Unavailable
            }
            Outcome::Refused(refusal) => Answer::Refused(refusal),
            // The HSM keeps the reply, and here nothing will ever let it out.
            Outcome::Kept | Outcome::Read(_) => Answer::Unavailable,
        }
    }

    /// Handles the outcome of a batch.
    pub(crate) fn processed(
        &mut self,
        cx: &mut Context,
        outcomes: Vec<Outcome>,
        made: Option<Made>,
        clients: &mut Clients,
    ) -> Result<(), OutOfStep> {
        let batch = self.processing.take().unwrap_or_default();
        if outcomes.len() != batch.len() {
            return Err(OutOfStep);
        }
        let (mut kept, mut owners) = (Vec::new(), Vec::new());
        for (queued, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Kept => {
                    kept.push(queued.ticket);
                    owners.push(queued.owner);
                }
                Outcome::Read(_) if made.is_some() => return Err(OutOfStep),
                Outcome::Read(number) => self.reads.wait(number, queued.ticket).ok_or(OutOfStep)?,
                outcome => clients.answer(cx, queued.ticket, self.answer(cx.now, outcome)),
            }
        }
        match made {
            None if kept.is_empty() && self.elected => Ok(()),
            None => Err(OutOfStep),
            Some(made) => self.made(cx.now, made, kept, owners),
        }
    }

    /// The HSM cannot make an entry now: the batch goes first next time.
    pub(crate) fn busy(&mut self, now: Millis) {
        for queued in self.processing.take().unwrap_or_default().into_iter().rev() {
            self.paths.ready.push_front(queued);
        }
        self.read_last = !self.read_last;
        self.busy_until = now.after(BUSY_MS);
    }

    /// The HSM refused the batch, and the leader can go on without it.
    pub(crate) fn refused(&mut self, cx: &mut Context, clients: &mut Clients) {
        for queued in self.processing.take().unwrap_or_default() {
            clients.answer(cx, queued.ticket, Answer::Unavailable);
        }
    }
}
