//! How many requests go into the HSM together, and how long it takes until what they change is committed.
//!
//! The lag alone would show a group at its best when it is at its worst: what is never committed has none. So its age is
//! shown while it waits, and it is counted when this member stops leading.

use super::label::GroupLabel;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use strongroom_proto::hsm::MAX_BATCH_REQUESTS;
use strongroom_proto::ids::{Index, Term};
use strongroom_replica::{CallId, Purpose};

type SecondsGauge = Gauge<f64, AtomicU64>;

/// Batches of all groups. A clone counts into the same.
#[derive(Clone, Debug)]
pub(super) struct BatchMetrics {
    requests: Histogram,
    lag: Histogram,
    abandoned: Counter,
    age: Family<GroupLabel, SecondsGauge>,
}

impl Default for BatchMetrics {
    fn default() -> Self {
        // From one request to the most in a batch, and from a millisecond to sixteen seconds.
        let buckets = MAX_BATCH_REQUESTS.ilog2() as u16 + 1;
        let requests = Histogram::new(exponential_buckets(1.0, 2.0, buckets));
        let lag = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self { requests, lag, abandoned: Counter::default(), age: Family::default() }
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
        let help = "Batches that made an entry of which this member did not learn that it is committed, because it \
                    stopped leading";
        log.register("batches_abandoned", help, self.abandoned.clone());
        let help = "How long ago the oldest batch went to the HSM whose entry is not committed, in groups that are \
                    led here; 0 without one";
        log.register_with_unit("uncommitted_age", help, Unit::Seconds, self.age.clone());
    }

    /// The group is not run here any more.
    pub(super) fn forget(&self, label: &GroupLabel) {
        self.age.remove(label);
    }
}

/// The batches of one group that are not committed.
#[derive(Debug)]
pub(super) struct Batches {
    metrics: BatchMetrics,
    age: SecondsGauge,
    /// The leadership of this member in which they were made.
    term: Option<Term>,
    /// The one that is with the HSM.
    asked: Option<(CallId, Instant)>,
    /// The one whose reply has come just now.
    replied: Option<Instant>,
    newest: Index,
    /// Entries, and when their batches went to the HSM.
    made: VecDeque<(Index, Instant)>,
}

impl Batches {
    pub(super) fn new(metrics: BatchMetrics, group: &GroupLabel) -> Self {
        let age = metrics.age.get_or_create(group).clone();
        let (term, asked, replied, newest, made) = (None, None, None, Index::ZERO, VecDeque::new());
        Self { metrics, age, term, asked, replied, newest, made }
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

    /// The group is so far now, and this member leads it in that term or not at all.
    pub(super) fn seen(&mut self, term: Option<Term>, newest: Index, committed: Index, now: Instant) {
        let replied = self.replied.take();
        let before = std::mem::replace(&mut self.newest, newest);
        if self.term != term {
            self.term = term;
            // The log may have other entries at their indexes by now.
            self.metrics.abandoned.inc_by(self.made.len() as u64);
            self.made.clear();
        } else if let Some(asked) = replied.filter(|_| term.is_some() && newest > before) {
            self.made.push_back((newest, asked));
        }
        let seconds = |asked| now.duration_since(asked).as_secs_f64();
        while let Some((_, asked)) = self.made.pop_front_if(|(index, _)| *index <= committed) {
            self.metrics.lag.observe(seconds(asked));
        }
        self.age.set(self.made.front().map_or(0.0, |(_, asked)| seconds(*asked)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use std::time::Duration;
    use strongroom_proto::ids::GroupId;

    const GROUP: GroupId = GroupId([7; 16]);
    const LED: Option<Term> = Some(Term([1; 16]));
    const LED_ANEW: Option<Term> = Some(Term([2; 16]));

    /// A group that is led here, with an entry at 11 whose batch went to the HSM at the start.
    fn waiting(start: Instant) -> (BatchMetrics, Batches) {
        let metrics = BatchMetrics::default();
        let mut batches = Batches::new(metrics.clone(), &GroupLabel::of(&GROUP));
        batches.seen(LED, Index(10), Index(10), start);
        batches.asks(CallId(1), Some(Purpose::Batch(3)), start);
        batches.seen(LED, Index(10), Index(10), start);
        batches.replied(CallId(1), true);
        batches.seen(LED, Index(11), Index(10), start + Duration::from_millis(500));
        (metrics, batches)
    }

    #[test]
    fn the_largest_batch_is_the_last_bucket() {
        let (metrics, mut registry, mut text) = (BatchMetrics::default(), Registry::default(), String::new());
        metrics.register(&mut registry);
        let mut batches = Batches::new(metrics, &GroupLabel::of(&GROUP));
        batches.asks(CallId(1), Some(Purpose::Batch(MAX_BATCH_REQUESTS)), Instant::now());
        encode(&mut text, &registry).expect("text");
        let buckets = text.lines().filter(|line| line.starts_with("hsm_batch_requests_bucket{"));
        let filled: Vec<bool> = buckets.map(|line| line.ends_with(" 1")).collect();
        assert_eq!(filled, [false, false, false, false, false, false, false, true, true], "{text}");
    }

    /// How many lags were observed, how many batches abandoned, and the age of the oldest that waits, as exported.
    fn exported(metrics: &BatchMetrics) -> [f64; 3] {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut text, &registry).expect("text");
        let names = [
            "log_commit_lag_seconds_count ",
            "log_batches_abandoned_total ",
            &format!("log_uncommitted_age_seconds{{group=\"{GROUP}\"}} "),
        ];
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
        names.map(|name| value(name).unwrap_or_else(|| panic!("no {name} in {text}")))
    }

    #[test]
    fn a_batch_grows_older_until_its_entry_is_committed_and_that_is_its_lag() {
        let start = Instant::now();
        let (metrics, mut batches) = waiting(start);
        assert_eq!(exported(&metrics), [0.0, 0.0, 0.5]);
        batches.seen(LED, Index(12), Index(10), start + Duration::from_secs(2));
        assert_eq!(exported(&metrics), [0.0, 0.0, 2.0]);
        batches.seen(LED, Index(12), Index(11), start + Duration::from_secs(3));
        assert_eq!(exported(&metrics), [1.0, 0.0, 0.0]);
        batches.seen(None, Index(12), Index::ZERO, start + Duration::from_secs(4));
        assert_eq!(exported(&metrics), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_batch_whose_leader_goes_is_abandoned_and_has_no_lag() {
        let start = Instant::now();
        let (metrics, mut batches) = waiting(start);
        batches.seen(None, Index(10), Index::ZERO, start + Duration::from_secs(2));
        assert_eq!(exported(&metrics), [0.0, 1.0, 0.0]);
        batches.seen(LED_ANEW, Index(12), Index(12), start + Duration::from_secs(3));
        assert_eq!(exported(&metrics), [0.0, 1.0, 0.0], "once");
    }

    #[test]
    fn what_another_leadership_committed_at_its_index_is_not_its_commit() {
        let start = Instant::now();
        let (metrics, mut batches) = waiting(start);
        batches.seen(LED_ANEW, Index(12), Index(12), start + Duration::from_secs(2));
        assert_eq!(exported(&metrics), [0.0, 1.0, 0.0]);
    }
}
