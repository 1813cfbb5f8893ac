//! What the front door counts. It names no tenants, users or addresses.

use crate::limits::Over;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// Why a request got no further than the front door.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Its version is too old.
    Version,
    /// Its body is too large.
    TooLarge,
    /// Its body did not arrive, or not in time.
    Body,
    /// Its body makes no sense.
    Decoding,
    /// It is for a realm that is not served here.
    Realm,
    /// Its token is not good.
    Token,
    /// The user or the tenant is over its rate.
    Over(Over),
    /// Too many are being worked on.
    NoPlace,
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Version => "version",
            Self::TooLarge => "too_large",
            Self::Body => "body",
            Self::Decoding => "decoding",
            Self::Realm => "realm",
            Self::Token => "token",
            Self::Over(Over::User) => "user_rate",
            Self::Over(Over::Tenant) => "tenant_rate",
            Self::NoPlace => "no_place",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

/// Counters of one front door. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct FrontMetrics {
    /// Connections now.
    pub connections: Gauge,
    /// Connections that ended so that another could begin.
    pub connections_gave_way: Counter,
    /// Connections that were refused, since all of those that might have given way worked.
    pub connections_refused: Counter,
    /// Requests that are being worked on now.
    pub in_flight: Gauge,
    refused: Family<RefusalLabel, Counter>,
}

impl FrontMetrics {
    /// Enters all of them, under names that begin with `front_`.
    pub fn register(&self, registry: &mut Registry) {
        let front = registry.sub_registry_with_prefix("front");
        front.register("connections", "Connections of clients", self.connections.clone());
        front.register(
            "connections_gave_way",
            "Connections that ended so that another could begin",
            self.connections_gave_way.clone(),
        );
        front.register("connections_refused", "Connections refused", self.connections_refused.clone());
        front.register("requests_in_flight", "Requests being worked on", self.in_flight.clone());
        front.register("requests_refused", "Requests refused, by reason", self.refused.clone());
    }

    /// Counts a request that was refused.
    pub fn refuse(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// How many requests were refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get_or_create(&RefusalLabel { reason }).get()
    }
}

/// Counts one more on a gauge, until dropped.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
