//! How long the HSM takes, and how often it does not answer.

use super::{Link, Lost};
use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Instant;

/// What is counted of the calls of one link. A clone counts into the same.
#[derive(Clone, Debug)]
pub struct HsmMetrics {
    took: Histogram,
    lost: Counter,
    answers: Gauge,
}

impl Default for HsmMetrics {
    fn default() -> Self {
        // From a quarter of a millisecond to eight seconds.
        let took = Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self { took, lost: Counter::default(), answers: Gauge::default() }
    }
}

impl HsmMetrics {
    /// Enters them, under names that begin with `hsm_`.
    pub fn register(&self, registry: &mut Registry) {
        let hsm = registry.sub_registry_with_prefix("hsm");
        let help = "How long the HSM took to answer, its link included";
        hsm.register_with_unit("call_duration", help, Unit::Seconds, self.took.clone());
        hsm.register("lost_calls", "Calls that the HSM did not answer", self.lost.clone());
        hsm.register("answers", "Whether the HSM answered the last call: 1 or 0", self.answers.clone());
    }

    /// Whether the HSM answered the last call.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.answers.get() == 1
    }
}

/// A link whose calls are timed.
pub struct TimedLink {
    link: Arc<dyn Link>,
    metrics: HsmMetrics,
}

impl TimedLink {
    /// The same link, timed.
    #[must_use]
    pub fn new(link: Arc<dyn Link>, metrics: HsmMetrics) -> Self {
        Self { link, metrics }
    }
}

#[async_trait]
impl Link for TimedLink {
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let began = Instant::now();
        let reply = self.link.call(request).await;
        self.metrics.took.observe(began.elapsed().as_secs_f64());
        self.metrics.answers.set(reply.is_ok().into());
        if reply.is_err() {
            self.metrics.lost.inc();
        }
        reply
    }
}
