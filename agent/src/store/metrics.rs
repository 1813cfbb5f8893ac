//! What the store is asked to do and how many bytes that moves, by purpose and kind of call: what a bill is made of.

use crate::causes::causes;
use object_store::Error;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a call to the store is for.
///
/// A new one is a variant here, which the compiler then follows, and [`super::Store::with_purpose`] where its calls are
/// made; `docs/storage.md`, "What it costs", lists it for operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Segments of the log, and what has no purpose of its own: the founding, and the statement of a realm.
    Log,
    /// The stored tree, and the markers that name its generations.
    Tree,
    /// The check at the start whether the store can hold a log.
    Probe,
    /// What agents say about themselves, so that others find them.
    Agents,
    /// What is read to see whether it is sound, and how far that has come.
    Scrub,
    /// What tenants use.
    Usage,
    /// What outsiders can check of the log.
    Checkpoints,
    /// What tenants are told.
    Events,
    /// The same, read for whoever asks at the front door.
    Shown,
}

/// What a call to the store does, in the terms of a bill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Writes or copies an object, or a part of one; begins or ends an upload in parts.
    Put,
    /// Reads an object, a range of it, or what is known about it.
    Get,
    /// Lists up to [`LIST_PAGE`] objects.
    List,
    /// Deletes one object.
    Delete,
}

impl Purpose {
    /// Whether a call that fails is worth reporting to an operator. The tree's library gives up calls on purpose; nothing
    /// that is served rests on what agents say about themselves, count, or publish.
    const fn tells_trouble(self) -> bool {
        match self {
            Self::Log | Self::Probe => true,
            Self::Tree
            | Self::Agents
            | Self::Scrub
            | Self::Usage
            | Self::Checkpoints
            | Self::Events
            | Self::Shown => false,
        }
    }
}

impl EncodeLabelValue for Purpose {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Log => "log",
            Self::Tree => "tree",
            Self::Probe => "probe",
            Self::Agents => "agents",
            Self::Scrub => "scrub",
            Self::Usage => "usage",
            Self::Checkpoints => "checkpoints",
            Self::Events => "events",
            Self::Shown => "shown",
        };
        name.encode(encoder)
    }
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        };
        name.encode(encoder)
    }
}

impl Kind {
    const fn fails(self) -> &'static str {
        match self {
            Self::Put => "writes fail",
            Self::Get => "reads fail",
            Self::List => "listings fail",
            Self::Delete => "deletes fail",
        }
    }
}

/// How many objects one request of a listing brings. Stores that return more at once are asked less often than counted.
pub const LIST_PAGE: u64 = 1000;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    purpose: Purpose,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PurposeLabel {
    purpose: Purpose,
}

/// Counters of one [`super::Store`] and its clones. Cheap to clone; clones count together.
#[derive(Clone, Default, Debug)]
pub struct StoreMetrics {
    calls: Family<CallLabels, Counter>,
    failed: Family<CallLabels, Counter>,
    declined: Family<CallLabels, Counter>,
    sent: Family<PurposeLabel, Counter>,
    received: Family<PurposeLabel, Counter>,
    took: Took,
    trouble: Trouble,
}

/// How long calls took: from a millisecond to half a minute.
#[derive(Clone, Debug)]
struct Took(Family<CallLabels, Histogram>);

impl Default for Took {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))))
    }
}

/// How long a failure is reported if no call of its kind follows.
const TOLD: Duration = Duration::from_secs(60);

/// How the last call of each kind failed, if it did, and when; only for purposes that report failures.
#[derive(Clone, Default, Debug)]
struct Trouble(Arc<Mutex<BTreeMap<Kind, (Instant, String)>>>);

impl Trouble {
    fn ended(&self, kind: Kind, why: Option<String>) {
        if kind == Kind::Delete {
            // Nothing waits for a delete: what is not deleted only takes space.
            return;
        }
        let mut of = self.0.lock();
        match why {
            Some(why) => drop(of.insert(kind, (Instant::now(), why))),
            None => drop(of.remove(&kind)),
        }
    }
}

impl StoreMetrics {
    /// How the newest calls failed, for each kind that has not succeeded since.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let of = self.trouble.0.lock();
        let lately = of.iter().filter(|(_, (at, _))| at.elapsed() < TOLD);
        // A folder that is gone fails all kinds in the same words, which are reported once.
        let mut said: Vec<(String, &str)> = Vec::new();
        for (kind, (_, why)) in lately {
            match said.iter_mut().find(|(_, same)| *same == why.as_str()) {
                Some((kinds, _)) => *kinds = format!("{kinds}, {}", kind.fails()),
                None => said.push((kind.fails().to_string(), why.as_str())),
            }
        }
        let said: Vec<String> = said.into_iter().map(|(kinds, why)| format!("{kinds}: {why}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// Makes the counters known under `store_…`.
    pub fn register(&self, registry: &mut Registry) {
        let told = [
            Purpose::Log,
            Purpose::Tree,
            Purpose::Probe,
            Purpose::Agents,
            Purpose::Usage,
            Purpose::Checkpoints,
            Purpose::Events,
            Purpose::Shown,
        ];
        for purpose in told {
            for kind in [Kind::Put, Kind::Get, Kind::List, Kind::Delete] {
                // From zero, or the first one is no increase.
                let _ = self.failed.get_or_create(&CallLabels { purpose, kind });
            }
        }
        let registry = registry.sub_registry_with_prefix("store");
        registry.register("calls", "Calls to the object store that have ended", self.calls.clone());
        registry.register(
            "failed_calls",
            "Calls to the object store that it did not answer, or that were given up before it did",
            self.failed.clone(),
        );
        registry.register(
            "declined_calls",
            "Calls that the object store answered with: it exists, it does not exist, or there is another version",
            self.declined.clone(),
        );
        registry.register_with_unit(
            "call_duration",
            "How long calls to the object store took that have ended",
            Unit::Seconds,
            self.took.0.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Object bytes sent to the object store",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "received",
            "Object bytes that the object store's answers announced",
            Unit::Bytes,
            self.received.clone(),
        );
    }

    /// How many calls have ended, failed and declined ones among them.
    #[must_use]
    pub fn calls(&self, purpose: Purpose, kind: Kind) -> u64 {
        self.calls.get_or_create(&CallLabels { purpose, kind }).get()
    }

    /// How many calls had no answer: an error that says nothing about the object, or the caller gave up.
    #[must_use]
    pub fn failed_calls(&self, purpose: Purpose, kind: Kind) -> u64 {
        self.failed.get_or_create(&CallLabels { purpose, kind }).get()
    }

    /// How many calls were answered with what already exists, or does not.
    #[must_use]
    pub fn declined_calls(&self, purpose: Purpose, kind: Kind) -> u64 {
        self.declined.get_or_create(&CallLabels { purpose, kind }).get()
    }

    /// How many bytes of objects were sent.
    #[must_use]
    pub fn bytes_sent(&self, purpose: Purpose) -> u64 {
        self.sent.get_or_create(&PurposeLabel { purpose }).get()
    }

    /// How many bytes of objects the answers announced.
    #[must_use]
    pub fn bytes_received(&self, purpose: Purpose) -> u64 {
        self.received.get_or_create(&PurposeLabel { purpose }).get()
    }

    pub(super) fn begin(&self, purpose: Purpose, kind: Kind) -> Call {
        self.begin_sending(purpose, kind, 0)
    }

    /// The same, for a call that sends this many bytes of an object.
    pub(super) fn begin_sending(&self, purpose: Purpose, kind: Kind, bytes: u64) -> Call {
        let (metrics, labels) = (self.clone(), CallLabels { purpose, kind });
        Call { metrics, labels, bytes, began: Instant::now(), ends: Ends::UnderWay, why: None }
    }

    pub(super) fn count_received(&self, purpose: Purpose, bytes: u64) {
        self.received.get_or_create(&PurposeLabel { purpose }).inc_by(bytes);
    }
}

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Not yet.
    UnderWay,
    /// Without a useful answer.
    Unanswered,
    Done,
    /// With an answer about the object.
    Declined,
    /// The store was not asked: its client cannot make such a call.
    Unasked,
}

impl Ends {
    const fn with(error: &Error) -> Self {
        match error {
            Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. } => Self::Declined,
            Error::NotImplemented { .. } | Error::NotSupported { .. } => Self::Unasked,
            _ => Self::Unanswered,
        }
    }
}

/// Shorter than any time limit on a call. A caller that lets go of one before that has something else to do, such as
/// closing the tree, and did not give up on the store.
const LET_GO: Duration = Duration::from_secs(1);

/// A call under way, counted when it ends. Dropped without an end, it has failed: the caller gave up.
#[must_use]
pub(super) struct Call {
    metrics: StoreMetrics,
    labels: CallLabels,
    bytes: u64,
    began: Instant,
    ends: Ends,
    /// Why it was not answered.
    why: Option<String>,
}

impl Call {
    pub(super) fn end<T>(mut self, result: &Result<T, Error>) {
        self.why = result.as_ref().err().map(|error| causes(error));
        self.ends = result.as_ref().err().map_or(Ends::Done, Ends::with);
    }

    pub(super) fn succeed(mut self) {
        self.ends = Ends::Done;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Self { metrics, labels, bytes, began, ends, why } = self;
        if *ends == Ends::Unasked {
            return;
        }
        metrics.calls.get_or_create(labels).inc();
        metrics.took.0.get_or_create(labels).observe(began.elapsed().as_secs_f64());
        if *bytes > 0 {
            metrics.sent.get_or_create(&PurposeLabel { purpose: labels.purpose }).inc_by(*bytes);
        }
        let trouble = match ends {
            Ends::UnderWay if began.elapsed() < LET_GO => return,
            Ends::UnderWay => Some("it does not answer in time".into()),
            Ends::Unanswered => why.take(),
            Ends::Declined | Ends::Done | Ends::Unasked => None,
        };
        match ends {
            Ends::UnderWay | Ends::Unanswered => _ = metrics.failed.get_or_create(labels).inc(),
            Ends::Declined => _ = metrics.declined.get_or_create(labels).inc(),
            Ends::Done | Ends::Unasked => {}
        }
        if labels.purpose.tells_trouble() {
            metrics.trouble.ended(labels.kind, trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Result<(), Error> {
        Err(Error::Generic { store: "folder", source: "No space left on device".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_until_a_call_of_that_kind_succeeds() {
        let metrics = StoreMetrics::default();
        assert_eq!(metrics.trouble(), None);
        metrics.begin(Purpose::Log, Kind::Put).end(&full());
        metrics.begin(Purpose::Log, Kind::Get).succeed();
        let said = metrics.trouble().expect("writes fail");
        assert!(said.starts_with("writes fail: ") && said.contains("No space left on device"), "{said}");
        metrics.begin(Purpose::Log, Kind::Get).end(&full());
        let said = metrics.trouble().expect("both fail");
        assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
        metrics.begin(Purpose::Log, Kind::Get).succeed();
        let list = metrics.begin(Purpose::Log, Kind::List);
        tokio::time::advance(LET_GO).await;
        drop(list);
        assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
        assert!(
            metrics.trouble().is_some_and(|said| said.contains("listings fail: it does not answer in time"))
        );
        metrics.begin(Purpose::Log, Kind::Put).end(&Ok(()));
        metrics.begin(Purpose::Probe, Kind::List).succeed();
        assert_eq!(metrics.trouble(), None);
    }

    #[test]
    fn what_the_tree_gives_up_is_not_reported() {
        let metrics = StoreMetrics::default();
        drop(metrics.begin(Purpose::Tree, Kind::Put));
        assert_eq!(metrics.trouble(), None);
    }
}
