//! How much the front door takes on, by tenant and in all.
//!
//! A tenant over its rate gets `RateLimitExceeded` and costs no HSM time; other tenants do not notice. Buckets exist
//! only for tenants whose token was verified, so the tenants file bounds their number.

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::Deserialize;
use std::num::NonZeroU32;

/// The `[limits]` table of `agent.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second of one tenant, in the long run. Handshakes without a request do not count.
    pub requests_per_second: NonZeroU32,
    /// Requests of one tenant at once after a pause.
    pub requests_burst: NonZeroU32,
    /// Handshakes a second of one tenant, in the long run, with a request inside or not.
    pub handshakes_per_second: NonZeroU32,
    /// Handshakes of one tenant at once after a pause.
    pub handshakes_burst: NonZeroU32,
    /// Connections to the front door. More wait in the kernel.
    pub max_connections: NonZeroU32,
    /// Requests that are being worked on. More are answered `Unavailable`.
    pub max_requests_in_flight: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).expect("the defaults are not zero");
        Self {
            requests_per_second: count(1000),
            requests_burst: count(2000),
            handshakes_per_second: count(1000),
            handshakes_burst: count(2000),
            max_connections: count(4096),
            max_requests_in_flight: count(4096),
        }
    }
}

type Buckets<C> = RateLimiter<String, HashMapStateStore<String>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The rate limits of every tenant.
#[derive(Debug)]
pub struct RateLimits<C: Clock = DefaultClock> {
    requests: Buckets<C>,
    handshakes: Buckets<C>,
}

impl RateLimits {
    /// Full buckets of the sizes in `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    /// As [`RateLimits::new`], by a clock of the caller's.
    #[must_use]
    pub fn with_clock(limits: &Limits, clock: &C) -> Self {
        let buckets = |per_second, burst| -> Buckets<C> {
            let quota = Quota::per_second(per_second).allow_burst(burst);
            RateLimiter::new(quota, HashMapStateStore::default(), clock.clone())
        };
        Self {
            requests: buckets(limits.requests_per_second, limits.requests_burst),
            handshakes: buckets(limits.handshakes_per_second, limits.handshakes_burst),
        }
    }

    /// Counts one request of `tenant`. False if that is too many.
    #[must_use]
    pub fn allows_request(&self, tenant: &String) -> bool {
        self.requests.check_key(tenant).is_ok()
    }

    /// Counts one handshake of `tenant`. False if that is too many.
    #[must_use]
    pub fn allows_handshake(&self, tenant: &String) -> bool {
        self.handshakes.check_key(tenant).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use std::time::Duration;

    #[test]
    fn a_tenant_over_its_rate_waits_and_others_do_not_notice() {
        let two = NonZeroU32::new(2).expect("two");
        let limits = Limits { requests_per_second: two, requests_burst: two, ..Limits::default() };
        let clock = FakeRelativeClock::default();
        let rates = RateLimits::with_clock(&limits, &clock);
        let (acme, other) = ("acme".to_owned(), "other".to_owned());
        assert!(rates.allows_request(&acme) && rates.allows_request(&acme));
        assert!(!rates.allows_request(&acme));
        assert!(rates.allows_request(&other), "another tenant has its own bucket");
        assert!(rates.allows_handshake(&acme), "handshakes have their own bucket");
        clock.advance(Duration::from_millis(500));
        assert!(rates.allows_request(&acme), "half a second gives one of two a second");
        assert!(!rates.allows_request(&acme));
    }
}
