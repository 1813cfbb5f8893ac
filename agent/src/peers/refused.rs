//! Refused connections: all are counted, some are logged.

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often one is logged at most. Strangers must not fill the log.
const TOLD: Duration = Duration::from_secs(10);

/// Why a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub(crate) enum Reason {
    /// The HSM has no realm yet, so no caller can be known.
    NoRealm,
    /// No certificate of the realm, or no TLS at all.
    Handshake,
    /// Too many at once.
    Busy,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    reason: Reason,
}

/// Counts refused connections. Clones count into the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    count: Family<Labels, Counter>,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    since: u64,
}

impl Refused {
    /// Makes the counter known as `peer_connections_refused`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        for reason in [Reason::NoRealm, Reason::Handshake, Reason::Busy] {
            let _ = self.count.get_or_create(&Labels { reason });
        }
        registry.register(
            "peer_connections_refused",
            "Connections refused at the peer address",
            self.count.clone(),
        );
    }

    pub(super) fn note(&self, reason: Reason, address: IpAddr, why: &dyn fmt::Display) {
        self.count.get_or_create(&Labels { reason }).inc();
        if reason == Reason::NoRealm {
            // Logged once, where the HSM is asked, not for each peer that tries.
            tracing::debug!(%address, %why, "a connection to the peer address was refused");
            return;
        }
        let mut told = self.told.lock();
        if told.last.is_some_and(|last| last.elapsed() < TOLD) {
            told.since = told.since.saturating_add(1);
            return;
        }
        let more = std::mem::take(&mut told.since);
        told.last = Some(Instant::now());
        drop(told);
        tracing::warn!(%address, %why, more, "a connection to the peer address was refused");
    }
}
