//! What is done for the requests of one replica, as spans and as log lines.
//!
//! Watches what a replica is told and what it does, and decides nothing. Of a request that is not traced nothing is kept,
//! unless the log is at `debug`. What an HSM call does for a request is known here, because this host put the request
//! into the batch; the HSM is not told, and says nothing about it.
//!
//! A span of an HSM call includes the wait in the queue in front of the HSM.

use crate::traces::{Attribute, Open, RequestId, Role, Stamp, Traces, Trail};
use std::collections::BTreeMap;
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_replica::segment::SegmentName;
use strongroom_replica::{Answer, CallId, CreateOutcome, Purpose, Replica, Ticket};
use tracing::Level;

/// How many other requests a span names that it was also for.
const MAX_LINKS: usize = 16;

/// The requests that wait at one replica, as far as they are watched.
pub(super) struct Trails {
    traces: Traces,
    group: GroupId,
    hsm: HsmId,
    /// Only if the log is at `debug`.
    ids: BTreeMap<Ticket, RequestId>,
    waiting: BTreeMap<Ticket, Waits>,
    calls: BTreeMap<CallId, Asked>,
    writes: BTreeMap<SegmentName, Written>,
    /// The call whose reply the replica is looking at, if that lets answers out: its name, when it began, and its outcome.
    letting_out: Option<(&'static str, Stamp, Attribute)>,
}

struct Waits {
    span: Open,
    /// The end of what was last done for it.
    since: Stamp,
    /// Whether the HSM has answered the batch that it went in.
    has_run: bool,
}

struct Asked {
    name: &'static str,
    began: Stamp,
    /// Whether it lets answers out that the HSM keeps.
    lets_out: bool,
    /// Those that it runs, and how many there are with those that are not traced.
    tickets: Vec<Ticket>,
    requests: usize,
}

struct Written {
    began: Stamp,
    tickets: Vec<Ticket>,
}

impl Trails {
    pub(super) const fn new(traces: Traces, group: GroupId, hsm: HsmId) -> Self {
        Self {
            traces,
            group,
            hsm,
            ids: BTreeMap::new(),
            waiting: BTreeMap::new(),
            calls: BTreeMap::new(),
            writes: BTreeMap::new(),
            letting_out: None,
        }
    }

    /// A request is given to the replica.
    pub(super) fn arrives(&mut self, ticket: Ticket, trail: &Trail) {
        if tracing::enabled!(Level::DEBUG) {
            self.ids.insert(ticket, trail.request);
        }
        let Some(mut span) = self.traces.begin(trail, "serve", Role::Internal) else { return };
        let Some(since) = self.traces.now() else { return };
        span.say(Attribute::Group(self.group));
        span.say(Attribute::Hsm(self.hsm));
        self.waiting.insert(ticket, Waits { span, since, has_run: false });
    }

    /// The replica asks the HSM something.
    pub(super) fn asks(&mut self, call: CallId, replica: &Replica) {
        if self.waiting.is_empty() && self.ids.is_empty() {
            return;
        }
        let Some(purpose) = replica.purpose(call) else { return };
        self.asks_for(call, purpose, replica.batch());
    }

    /// The same, with what it is for; `batch` is what is with the HSM as one.
    fn asks_for(&mut self, call: CallId, purpose: Purpose, batch: impl Iterator<Item = Ticket>) {
        let (name, tickets): (_, Vec<Ticket>) = match purpose {
            Purpose::Handshake(ticket) => ("hsm.handshake", vec![ticket]),
            Purpose::Batch(_) => ("hsm.process", batch.collect()),
            Purpose::Commit => ("hsm.commit", Vec::new()),
            Purpose::Confirm => ("hsm.confirm", Vec::new()),
            Purpose::Other => return,
        };
        let lets_out = matches!(purpose, Purpose::Commit | Purpose::Confirm);
        let ids: Vec<_> = tickets.iter().filter_map(|ticket| self.ids.get(ticket)).collect();
        if !ids.is_empty() {
            let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let n = tickets.len();
            tracing::debug!(group = %self.group, call = call.0, name, n, requests = ids, "requests go to the HSM");
        }
        let Some(began) = self.traces.now() else { return };
        let requests = tickets.len();
        let traced = tickets.into_iter().filter(|ticket| self.waiting.contains_key(ticket));
        let tickets: Vec<Ticket> = traced.collect();
        for ticket in &tickets {
            let Some(waits) = self.waiting.get_mut(ticket) else { continue };
            // It may have been there before, and sent back.
            waits.has_run = false;
            waits.span.did("queue", Role::Internal, (waits.since, began), |span| span);
        }
        self.calls.insert(call, Asked { name, began, lets_out, tickets, requests });
    }

    /// The HSM's reply has come, or is lost; the replica looks at it next.
    pub(super) fn replied(&mut self, call: CallId, came: bool) {
        let Some(Asked { name, began, lets_out, tickets, requests }) = self.calls.remove(&call) else {
            return;
        };
        let Some(now) = self.traces.now() else { return };
        let outcome = Attribute::Outcome(if came { "answered" } else { "lost" });
        self.letting_out = lets_out.then_some((name, began, outcome));
        for ticket in &tickets {
            let others = tickets.iter().filter(|other| *other != ticket);
            let others = others.filter_map(|other| self.waiting.get(other)?.span.trail());
            let others: Vec<Trail> = others.take(MAX_LINKS).collect();
            let Some(waits) = self.waiting.get_mut(ticket) else { continue };
            waits.span.did(name, Role::Client, (began, now), |span| {
                span.with(Attribute::Requests(requests)).with(outcome).also_for(others.into_iter())
            });
            waits.since = now;
            waits.has_run = came;
        }
    }

    /// The replica has looked at an event, and all that it does about it was said here.
    pub(super) const fn settled(&mut self) {
        self.letting_out = None;
    }

    /// The replica gives a segment to the store.
    pub(super) fn writes(&mut self, name: SegmentName, replica: &Replica) {
        if self.waiting.is_empty() {
            return;
        }
        let traced = replica.kept_in(&name).filter(|ticket| self.waiting.contains_key(ticket));
        let tickets: Vec<Ticket> = traced.collect();
        if let Some(began) = self.traces.now().filter(|_| !tickets.is_empty()) {
            self.writes.insert(name, Written { began, tickets });
        }
    }

    /// The store has answered.
    pub(super) fn wrote(&mut self, name: &SegmentName, outcome: CreateOutcome) {
        let Some(Written { began, tickets }) = self.writes.remove(name) else { return };
        let Some(now) = self.traces.now() else { return };
        let outcome = Attribute::Outcome(match outcome {
            CreateOutcome::Created => "created",
            CreateOutcome::Lost => "lost",
            CreateOutcome::Unknown => "unknown",
        });
        for ticket in tickets {
            let Some(waits) = self.waiting.get_mut(&ticket) else { continue };
            waits.span.did("store.put", Role::Client, (began, now), |span| span.with(outcome));
            waits.since = now;
        }
    }

    /// The replica answers a request.
    pub(super) fn answers(&mut self, ticket: Ticket, answer: &Answer) {
        self.ids.remove(&ticket);
        let Some(Waits { span, since, has_run }) = self.waiting.remove(&ticket) else { return };
        // A reply that is lost ends a leadership, and so answers those too that it was never about.
        let letting_out = self.letting_out.filter(|_| has_run);
        if let (Some((name, began, outcome)), Some(now)) = (letting_out, self.traces.now()) {
            span.did("members.confirm", Role::Internal, (since, began.max(since)), |span| span);
            span.did(name, Role::Client, (began, now), |span| span.with(outcome));
        }
        let (outcome, well) = match answer {
            Answer::Reply(_) => ("answered", true),
            Answer::Refused(_) => ("refused", true),
            Answer::Unavailable => ("unavailable", false),
            Answer::Busy => ("busy", false),
            Answer::NotLeader(_) => ("not_leader", true),
            Answer::NotCovered => ("not_covered", true),
        };
        span.end(outcome, well);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::Span;
    use std::iter::{empty, from_fn, once};
    use tokio::sync::mpsc::Receiver;

    /// A request whose answer the HSM keeps, and one that waits for its turn.
    fn waiting() -> (Trails, Receiver<Span>) {
        let (traces, mut spans) = Traces::kept();
        let mut trails = Trails::new(traces, GroupId([1; 16]), HsmId([2; 16]));
        for n in [1, 2] {
            let trail = Trail { request: RequestId::new(n, n), parent: 0, sampled: true };
            trails.arrives(Ticket(n), &trail);
        }
        trails.asks_for(CallId(1), Purpose::Batch(1), once(Ticket(1)));
        trails.replied(CallId(1), true);
        trails.settled();
        assert_eq!(ended(&mut spans), [("queue", None), ("hsm.process", Some("answered"))]);
        (trails, spans)
    }

    /// What has ended since the last time, and how.
    fn ended(spans: &mut Receiver<Span>) -> Vec<(&'static str, Option<&'static str>)> {
        from_fn(|| spans.try_recv().ok()).map(|span| span.said()).collect()
    }

    #[test]
    fn an_answer_is_let_out_by_a_call_with_an_outcome_and_one_that_the_hsm_has_not_is_not() {
        for (purpose, name) in [(Purpose::Commit, "hsm.commit"), (Purpose::Confirm, "hsm.confirm")] {
            for (came, outcome) in [(true, "answered"), (false, "lost")] {
                let (mut trails, mut spans) = waiting();
                trails.asks_for(CallId(2), purpose, empty());
                trails.replied(CallId(2), came);
                trails.answers(Ticket(1), &Answer::Unavailable);
                trails.answers(Ticket(2), &Answer::Unavailable);
                trails.settled();
                let serve = ("serve", Some("unavailable"));
                let all = [("members.confirm", None), (name, Some(outcome)), serve, serve];
                assert_eq!(ended(&mut spans), all);
            }
        }
    }

    #[test]
    fn the_batch_that_makes_the_first_entry_of_a_leadership_lets_no_answer_out() {
        for came in [true, false] {
            let (mut trails, mut spans) = waiting();
            trails.asks_for(CallId(2), Purpose::Batch(0), empty());
            trails.replied(CallId(2), came);
            trails.answers(Ticket(1), &Answer::Unavailable);
            assert_eq!(ended(&mut spans), [("serve", Some("unavailable"))]);
        }
    }
}
