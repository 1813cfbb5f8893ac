//! What an operator asks a leader: to show what its group owns, to change it, and to have another member lead.
//!
//! Each change is an entry of its own, made by the HSM, and done once that is committed. Everything here ends with the
//! leadership, because then nobody knows what became of what was not committed; whoever asked looks again.
//!
//! Kept here: every order ends exactly once; one change at a time is with the HSM.

use super::bug::Bug;
use super::context::Context;
use super::guesses::{Guesses, is_guess};
use super::interface::{Action, Millis, Order, Ordered, Ticket};
use super::yielding::Yielding;
use std::collections::VecDeque;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, Refusal};
use strongroom_proto::ids::{Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// The most orders that wait at once.
const MAX_WAITING: usize = 64;
/// How long one may wait.
const PATIENCE_MS: u64 = 10_000;
/// Before a prefix leaves, no session about it is opened any more and no guess taken, until nothing has come in those that are
/// open for so long, or at the latest after so long: they end when it leaves, and a client whose last request waits for its answer
/// then would not know what became of it.
const QUIET_MS: u64 = 400;
const LEAVING_MS: u64 = 3_000;

/// A prefix that is about to leave.
struct Leaving {
    prefix: Prefix,
    quiet_at: Millis,
    latest: Millis,
}

impl Leaving {
    /// When it may.
    fn at(&self) -> Millis {
        self.quiet_at.min(self.latest)
    }
}

/// All orders of one leadership that have not ended.
#[derive(Default)]
pub(super) struct Orders {
    queue: VecDeque<(Millis, Ticket, Order)>,
    /// The change that is with the HSM.
    asked: Option<(Millis, Ticket)>,
    /// Changes whose entries are not committed.
    made: VecDeque<(Millis, Ticket, Index)>,
    /// Those that want this entry stored.
    unstored: VecDeque<(Millis, Ticket, Index)>,
    /// What was committed last.
    newest: Option<Evidence>,
    leaving: Option<Leaving>,
    /// Whether the leadership is to end.
    yields: Option<Yielding>,
    /// The tree whose path was asked for, so that it can be split or merged.
    pub(super) opening: Option<Prefix>,
}

impl Orders {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.asked.is_none() && self.made.is_empty() && self.unstored.is_empty()
    }

    /// Takes an order; one too many ends at once.
    pub(super) fn arrive(&mut self, cx: &mut Context, ticket: Ticket, order: Order) {
        if order == Order::Yield {
            self.yields.get_or_insert_with(|| Yielding::new(cx.now));
            self.made.push_back((cx.now, ticket, Index(u64::MAX)));
            return;
        }
        let waiting = self.queue.len() + self.made.len() + self.unstored.len();
        if waiting >= MAX_WAITING {
            return end(cx, ticket, Ordered::Busy);
        }
        self.queue.push_back((cx.now, ticket, order));
    }

    /// Ends what only shows, as far as it can. Returns what is to be stored for the others.
    pub(super) fn show(&mut self, cx: &mut Context, stored: Index) -> Option<Index> {
        while let Some(newest) = &self.newest
            && let Some((since, ticket, Order::Show { stored: wanted })) =
                self.queue.pop_front_if(|(.., order)| matches!(order, Order::Show { .. }))
        {
            if wanted && newest.entry.index > stored {
                self.unstored.push_back((since, ticket, newest.entry.index));
            } else {
                end(cx, ticket, Ordered::Done(Box::new(newest.clone())));
            }
        }
        self.end_stored(cx, stored);
        self.unstored.back().map(|(.., index)| *index)
    }

    fn end_stored(&mut self, cx: &mut Context, stored: Index) {
        let Some(newest) = &self.newest else { return };
        while let Some((_, ticket, _)) = self.unstored.pop_front_if(|(.., index)| *index <= stored) {
            end(cx, ticket, Ordered::Done(Box::new(newest.clone())));
        }
    }

    /// The change that is next, if none is with the HSM.
    pub(super) fn next(&self) -> Option<&Order> {
        let next = self.queue.front().map(|(.., order)| order);
        next.filter(|order| self.asked.is_none() && !matches!(order, Order::Show { .. }))
    }

    /// Whether the next change may go to the HSM. What is to leave has a while to end its sessions.
    pub(super) fn may_go(&mut self, now: Millis) -> bool {
        if self.yields.is_some() {
            return false;
        }
        let Some(Order::Step(step)) = self.next() else { return true };
        let Change::Out(id, to) = &**step else { return true };
        let awaited = to.entry.open.iter().find(|transfer| transfer.id() == *id);
        // Anything else the HSM refuses.
        let Some(prefix) = awaited.map(Transfer::prefix) else { return true };
        let new = Leaving { prefix, quiet_at: now.after(QUIET_MS), latest: now.after(LEAVING_MS) };
        now >= self.leaving.get_or_insert(new).at()
    }

    /// Goes on with the end of the leadership, if it is to end.
    pub(super) fn look(&mut self, cx: &Context, guesses: &Guesses) {
        let Some(yielding) = &mut self.yields else { return };
        if cx.bugs.has(Bug::GuessesCut) {
            return yielding.look(cx.now, &Guesses::default());
        }
        yielding.look(cx.now, guesses);
    }

    /// Whether nothing more is taken, because the leadership is about to end.
    pub(super) fn is_ending(&self) -> bool {
        self.yields.as_ref().is_some_and(Yielding::is_ending)
    }

    /// Whether it must end now, whatever is under way.
    pub(super) fn must_end(&self, now: Millis) -> bool {
        self.yields.as_ref().is_some_and(|yielding| yielding.must_end(now))
    }

    /// When there is something to do about what is about to leave or to end, if that is after now.
    pub(super) fn ends_at(&self, now: Millis) -> Option<Millis> {
        let ending = self.yields.as_ref().and_then(|yielding| yielding.due(now));
        self.leaves_at().filter(|at| *at > now).into_iter().chain(ending).min()
    }

    /// Whether a request waits for the next leader, or for this one to have time: it would begin what would be cut off.
    pub(super) fn holds(&self, request: &BatchRequest) -> bool {
        // A client may go on to its next guess in the session of the last one, and its session would never be quiet.
        let begins = matches!(request.message, NoiseMessage::Handshake { .. }) || is_guess(request);
        let closed = self.yields.as_ref().is_some_and(Yielding::is_closed);
        begins && (closed || self.is_leaving(&request.record))
    }

    /// Whether no session about a record is to be opened, because it is about to leave.
    fn is_leaving(&self, record: &RecordId) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.prefix.contains(record))
    }

    /// When what is about to leave may.
    pub(super) fn leaves_at(&self) -> Option<Millis> {
        self.leaving.as_ref().map(Leaving::at)
    }

    /// Something has come about a record, in a session that was open before.
    pub(super) fn goes_on(&mut self, now: Millis, record: &RecordId) {
        if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.prefix.contains(record)) {
            leaving.quiet_at = now.after(QUIET_MS);
        }
    }

    /// It goes to the HSM.
    pub(super) fn ask(&mut self) {
        self.opening = None;
        self.asked = self.queue.pop_front().map(|(since, ticket, _)| (since, ticket));
    }

    /// It cannot be done.
    pub(super) fn refuse_next(&mut self, cx: &mut Context, refusal: Refusal) {
        self.opening = None;
        if let Some((_, ticket, _)) = self.queue.pop_front() {
            end(cx, ticket, Ordered::Refused(refusal));
        }
    }

    /// The HSM made this entry for it.
    pub(super) fn made(&mut self, index: Index) {
        self.leaving = None;
        self.made.extend(self.asked.take().map(|(since, ticket)| (since, ticket, index)));
    }

    /// The HSM refused it.
    pub(super) fn refused(&mut self, cx: &mut Context, refusal: Refusal) {
        self.leaving = None;
        if let Some((_, ticket)) = self.asked.take() {
            end(cx, ticket, Ordered::Refused(refusal));
        }
    }

    /// This entry is committed.
    pub(super) fn committed(&mut self, cx: &mut Context, shown: Evidence) {
        while let Some((_, ticket, _)) = self.made.pop_front_if(|(.., index)| *index <= shown.entry.index) {
            end(cx, ticket, Ordered::Done(Box::new(shown.clone())));
        }
        self.newest = Some(shown);
    }

    /// When the one that has waited longest has waited too long.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let since = [
            self.queue.front().map(|(since, ..)| *since),
            self.asked.map(|(since, _)| since),
            self.made.front().map(|(since, ..)| *since),
            self.unstored.front().map(|(since, ..)| *since),
        ];
        since.into_iter().flatten().min().map(|since| since.after(PATIENCE_MS))
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&mut self, cx: &mut Context) {
        let late = |since: Millis| cx.now >= since.after(PATIENCE_MS);
        let mut over: Vec<Ticket> = Vec::new();
        while let Some((_, ticket, _)) = self.queue.pop_front_if(|(since, ..)| late(*since)) {
            (self.opening, self.leaving) = (None, None);
            over.push(ticket);
        }
        for waiting in [&mut self.made, &mut self.unstored] {
            while let Some((_, ticket, _)) = waiting.pop_front_if(|(since, ..)| late(*since)) {
                over.push(ticket);
            }
        }
        over.extend(self.asked.take_if(|(since, _)| late(*since)).map(|(_, ticket)| ticket));
        over.into_iter().for_each(|ticket| end(cx, ticket, Ordered::Unknown));
    }

    /// Gives up all of them.
    pub(super) fn give_up(&mut self, cx: &mut Context) {
        let queued = self.queue.drain(..).map(|(_, ticket, _)| ticket);
        let asked = self.asked.take().map(|(_, ticket)| ticket);
        let others = self.made.drain(..).chain(self.unstored.drain(..)).map(|(_, ticket, _)| ticket);
        queued.chain(asked).chain(others).for_each(|ticket| end(cx, ticket, Ordered::Unknown));
    }
}

fn end(cx: &mut Context, ticket: Ticket, ordered: Ordered) {
    cx.out.push(Action::Ordered { ticket, ordered });
}
