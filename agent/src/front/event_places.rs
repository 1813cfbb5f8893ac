//! How many tenants read events at once, and how many wait for them.
//!
//! **Memory.** Whoever reads takes a place, of the tenant's and of all, until the answer is sent or its connection has ended. An answer has at
//! most [`MAX_PAGE_BYTES`](strongroom_events::page::MAX_PAGE_BYTES), so all together have at most 256 MiB by default, and seldom above a quarter of that. Whoever waits holds no answer.
//! These places are no others' places: readers keep nobody from a recovery.

use super::metrics::{Counted, FrontMetrics, Refusal};
use crate::limits::{Limits, Over};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long one that would read waits for a place.
const PATIENCE: Duration = Duration::from_secs(2);

/// The places of all tenants that read events.
pub(super) struct EventPlaces {
    reads: Arc<Semaphore>,
    polls: Arc<Semaphore>,
    /// Whether there are none, on purpose.
    pub(super) closed: bool,
    reads_of_one: usize,
    polls_of_one: usize,
    /// Bounded by the tenants file: nobody is in it whose token was not verified.
    tenants: Mutex<HashMap<String, Tenant>>,
    waiting: Gauge,
}

#[derive(Clone)]
struct Tenant {
    reads: Arc<Semaphore>,
    polls: Arc<Semaphore>,
}

/// A place, until dropped: the tenant's, and one of all.
pub(super) type Place = [OwnedSemaphorePermit; 2];

/// The place of one that waits for a page, until dropped.
pub(super) struct Poll {
    _place: Place,
    _counted: Counted,
}

impl EventPlaces {
    pub(super) fn new(limits: &Limits, metrics: &FrontMetrics) -> Self {
        let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            reads: Arc::new(Semaphore::new(size(limits.event_reads_in_flight))),
            polls: Arc::new(Semaphore::new(size(limits.event_polls))),
            closed: limits.event_reads_in_flight == 0,
            reads_of_one: size(limits.tenant_event_reads_in_flight.get()),
            polls_of_one: size(limits.tenant_event_polls.get()),
            tenants: Mutex::default(),
            waiting: metrics.event_polls.clone(),
        }
    }

    /// A place for an answer. Waits a moment for one: reads are short.
    ///
    /// # Errors
    /// There is none: of the tenant's, or of all.
    pub(super) async fn read(&self, tenant: &str) -> Result<Place, Refusal> {
        let own = self.tenant(tenant).reads;
        let own = timeout(PATIENCE, own.acquire_owned()).await.map_err(|_| Refusal::Over(Over::Places))?;
        let one = timeout(PATIENCE, Arc::clone(&self.reads).acquire_owned()).await;
        let one = one.map_err(|_| Refusal::NoPlace)?;
        // None of these semaphores is ever closed.
        Ok([own.map_err(|_| Refusal::NoPlace)?, one.map_err(|_| Refusal::NoPlace)?])
    }

    /// A place to wait in.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn poll(&self, tenant: &str) -> Result<Poll, Refusal> {
        let own = self.tenant(tenant).polls.try_acquire_owned();
        let own = own.map_err(|_| Refusal::Over(Over::Places))?;
        let one = Arc::clone(&self.polls).try_acquire_owned().map_err(|_| Refusal::NoPlace)?;
        Ok(Poll { _place: [own, one], _counted: Counted::on(&self.waiting) })
    }

    fn tenant(&self, name: &str) -> Tenant {
        let mut tenants = self.tenants.lock();
        if let Some(tenant) = tenants.get(name) {
            return tenant.clone();
        }
        let new = |places| Arc::new(Semaphore::new(places));
        let tenant = Tenant { reads: new(self.reads_of_one), polls: new(self.polls_of_one) };
        tenants.insert(name.to_owned(), tenant.clone());
        tenant
    }
}
