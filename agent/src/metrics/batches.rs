//! How many requests go into the HSM together, and how long it takes until what they change is committed.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::VecDeque;
use std::time::Instant;
use strongroom_proto::ids::Index;
use strongroom_replica::{CallId, Purpose, Status};

/// Batches of all groups. A clone counts into the same.
#[derive(Clone, Debug)]
pub(super) struct BatchMetrics {
    requests: Histogram,
    lag: Histogram,
}

impl Default for BatchMetrics {
    fn default() -> Self {
        // From one request to 512, and from a millisecond to sixteen seconds.
        let requests = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        Self { requests, lag: Histogram::new(exponential_buckets(0.001, 2.0, 15)) }
    }
}

impl BatchMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Client requests that went into the HSM as one batch";
        registry.sub_registry_with_prefix("hsm").register("batch_requests", help, self.requests.clone());
        let help =
            "How long after a batch went to the HSM its entry was committed, in groups that are led here";
        let log = registry.sub_registry_with_prefix("log");
        log.register_with_unit("commit_lag", help, Unit::Seconds, self.lag.clone());
    }
}

/// The batches of one group that are not committed.
#[derive(Debug)]
pub(super) struct Batches {
    metrics: BatchMetrics,
    /// The one that is with the HSM.
    asked: Option<(CallId, Instant)>,
    /// The one whose reply has come just now.
    replied: Option<Instant>,
    newest: Index,
    /// Entries, and when their batches went to the HSM.
    made: VecDeque<(Index, Instant)>,
}

impl Batches {
    pub(super) const fn new(metrics: BatchMetrics) -> Self {
        Self { metrics, asked: None, replied: None, newest: Index::ZERO, made: VecDeque::new() }
    }

    pub(super) fn asks(&mut self, call: CallId, purpose: Option<Purpose>, now: Instant) {
        if let Some(Purpose::Batch(requests)) = purpose {
            self.asked = Some((call, now));
            // The first entry of a leadership is made by a batch of none.
            if let Some(requests) = u32::try_from(requests).ok().filter(|requests| *requests > 0) {
                self.metrics.requests.observe(requests.into());
            }
        }
    }

    pub(super) fn replied(&mut self, call: CallId, came: bool) {
        let asked = self.asked.take_if(|(asked, _)| *asked == call);
        self.replied = asked.filter(|_| came).map(|(_, at)| at);
    }

    /// The group is so far now.
    pub(super) fn seen(&mut self, leads: bool, status: &Status, now: Instant) {
        let (newest, replied) = (status.newest, self.replied.take());
        let before = std::mem::replace(&mut self.newest, newest);
        if !leads {
            self.made.clear();
            return;
        }
        if let Some(asked) = replied.filter(|_| newest > before) {
            self.made.push_back((newest, asked));
        }
        while let Some((_, asked)) = self.made.pop_front_if(|(index, _)| *index <= status.committed) {
            self.metrics.lag.observe(now.duration_since(asked).as_secs_f64());
        }
    }
}
