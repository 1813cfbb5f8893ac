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
    /// The call whose reply the replica is looking at, if that lets answers out.
    letting_out: Option<(&'static str, Stamp)>,
}

struct Waits {
    span: Open,
    /// The end of what was last done for it.
    since: Stamp,
}

struct Asked {
    name: &'static str,
    began: Stamp,
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
        self.waiting.insert(ticket, Waits { span, since });
    }

    /// The replica asks the HSM something.
    pub(super) fn asks(&mut self, call: CallId, replica: &Replica) {
        if self.waiting.is_empty() && self.ids.is_empty() {
            return;
        }
        let (name, tickets): (_, Vec<Ticket>) = match replica.purpose(call) {
            Some(Purpose::Handshake(ticket)) => ("hsm.handshake", vec![ticket]),
            Some(Purpose::Batch(_)) => ("hsm.process", replica.batch().collect()),
            Some(Purpose::Commit) => ("hsm.commit", Vec::new()),
            Some(Purpose::Confirm) => ("hsm.confirm", Vec::new()),
            Some(Purpose::Other) | None => return,
        };
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
        for waits in tickets.iter().filter_map(|ticket| self.waiting.get(ticket)) {
            waits.span.did("queue", Role::Internal, (waits.since, began), |span| span);
        }
        self.calls.insert(call, Asked { name, began, tickets, requests });
    }

    /// The HSM's reply has come, or is lost; the replica looks at it next.
    pub(super) fn replied(&mut self, call: CallId, came: bool) {
        let Some(Asked { name, began, tickets, requests }) = self.calls.remove(&call) else { return };
        let Some(now) = self.traces.now() else { return };
        self.letting_out = (requests == 0).then_some((name, began));
        let outcome = Attribute::Outcome(if came { "answered" } else { "lost" });
        for ticket in &tickets {
            let others = tickets.iter().filter(|other| *other != ticket);
            let others = others.filter_map(|other| self.waiting.get(other)?.span.trail());
            let others: Vec<Trail> = others.take(MAX_LINKS).collect();
            let Some(waits) = self.waiting.get_mut(ticket) else { continue };
            waits.span.did(name, Role::Client, (began, now), |span| {
                span.with(Attribute::Requests(requests)).with(outcome).also_for(others.into_iter())
            });
            waits.since = now;
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
        let Some(Waits { span, since }) = self.waiting.remove(&ticket) else { return };
        if let (Some((name, began)), Some(now)) = (self.letting_out, self.traces.now()) {
            span.did("members.confirm", Role::Internal, (since, began.max(since)), |span| span);
            span.did(name, Role::Client, (began, now), |span| span);
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
