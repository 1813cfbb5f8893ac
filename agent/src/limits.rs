//! How much the front door accepts, by tenant, by user, by address and in all.
//!
//! A tenant over its rate gets `RateLimitExceeded` and costs no HSM time; other tenants do not notice. Neither do other
//! users when one user is over its own rate: what a user is refused does not count for the tenant.
//!
//! Nothing is remembered about anyone that no token vouched for. Tenants are bounded by the tenants file, the users of
//! each by [`MAX_USERS`], whatever a tenant signs.

mod waits;

use self::waits::Waits;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The `[limits]` table of `agent.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per second of one tenant, in the long run. Handshakes without a request do not count.
    pub requests_per_second: NonZeroU32,
    /// Requests that one tenant may send at once after a pause.
    pub requests_burst: NonZeroU32,
    /// Handshakes per second of one tenant, in the long run, with or without a request inside.
    pub handshakes_per_second: NonZeroU32,
    /// Handshakes that one tenant may send at once after a pause.
    pub handshakes_burst: NonZeroU32,
    /// Requests per second of one user, in the long run.
    pub user_requests_per_second: NonZeroU32,
    /// Requests that one user may send at once after a pause.
    pub user_requests_burst: NonZeroU32,
    /// Handshakes per second of one user, in the long run.
    pub user_handshakes_per_second: NonZeroU32,
    /// Handshakes that one user may send at once after a pause.
    pub user_handshakes_burst: NonZeroU32,
    /// How long one user waits after a guess before the next, in seconds; twice as long after each further one. 0 is no
    /// wait. No part of what a realm promises: an agent cannot tell a wrong guess from a right one, counts alone, and
    /// forgets at a restart.
    pub guess_delay_s: u32,
    /// The longest such wait, in seconds. One guess is forgiven for each that passes without one.
    pub guess_delay_max_s: NonZeroU32,
    /// Connections to the front door. One more takes the place of one that waits.
    pub max_connections: NonZeroU32,
    /// Connections of one address, which is 64 bits of an IPv6 address. 0 is no limit of its own, for where all
    /// connections come from one load balancer.
    pub max_connections_per_address: u32,
    /// Requests in flight. More are answered `Unavailable`.
    pub max_requests_in_flight: NonZeroU32,
    /// Requests in flight of one tenant.
    pub tenant_requests_in_flight: NonZeroU32,
    /// Answers under way to those who read, without a token, what is published of the logs. 0: they are told that there is nothing.
    pub public_reads_in_flight: u32,
    /// Answers with events under way to tenants that read theirs, in all. 0: they are told that there is nothing.
    pub event_reads_in_flight: u32,
    /// The same of one tenant.
    pub tenant_event_reads_in_flight: NonZeroU32,
    /// Tenants' requests that wait for a page of events which is not there yet, in all.
    pub event_polls: u32,
    /// The same of one tenant.
    pub tenant_event_polls: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).expect("the defaults are not zero");
        Self {
            requests_per_second: count(1000),
            requests_burst: count(2000),
            handshakes_per_second: count(1000),
            handshakes_burst: count(2000),
            // A recovery takes three requests and up to three handshakes, and in a bad network five times as many.
            user_requests_per_second: count(10),
            user_requests_burst: count(100),
            user_handshakes_per_second: count(10),
            user_handshakes_burst: count(100),
            guess_delay_s: 0,
            guess_delay_max_s: count(3600),
            max_connections: count(4096),
            max_connections_per_address: 256,
            max_requests_in_flight: count(4096),
            // However slow the realm becomes, one tenant does not take all places.
            tenant_requests_in_flight: count(2048),
            // At most 64 KiB each.
            public_reads_in_flight: 256,
            // At most 16 MiB each, and seldom above 4.
            event_reads_in_flight: 16,
            tenant_event_reads_in_flight: count(4),
            // A connection each, of `max_connections`.
            event_polls: 1024,
            tenant_event_polls: count(64),
        }
    }
}

/// The most users of one tenant that are remembered at once.
pub const MAX_USERS: usize = 1 << 17;
/// How often a full table is searched for users who need not be remembered any longer.
const SWEEP: Duration = Duration::from_secs(1);

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Over {
    /// The user is over its rate.
    User,
    /// The user guesses again too soon.
    Guess,
    /// The tenant is over its rate.
    Tenant,
    /// The tenant has too many requests in flight.
    Places,
}

/// The rate limits of every tenant and every user.
pub struct RateLimits<C: Clock = DefaultClock> {
    requests: Rate,
    handshakes: Rate,
    delay: Delay,
    clock: C,
    places: usize,
    tenants: Mutex<HashMap<String, Arc<Tenant<C>>>>,
    // Secret: an attacker who knew it could find users that share a bucket.
    hasher: RandomState,
}

/// How often something may be requested.
#[derive(Clone, Copy)]
struct Rate {
    tenant: Quota,
    user: Quota,
    max_users: usize,
}

/// How long users wait between guesses.
#[derive(Clone, Copy)]
struct Delay {
    first: Duration,
    longest: Duration,
}

struct Tenant<C: Clock> {
    requests: Buckets<C>,
    handshakes: Buckets<C>,
    guesses: Waits<C::Instant>,
    places: Arc<Semaphore>,
}

impl RateLimits {
    /// Full buckets of the sizes in `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    /// As [`RateLimits::new`], with the caller's clock.
    #[must_use]
    pub fn with_clock(limits: &Limits, clock: &C) -> Self {
        let quota = |per_second, burst| Quota::per_second(per_second).allow_burst(burst);
        Self {
            requests: Rate::new(
                quota(limits.requests_per_second, limits.requests_burst),
                quota(limits.user_requests_per_second, limits.user_requests_burst),
            ),
            handshakes: Rate::new(
                quota(limits.handshakes_per_second, limits.handshakes_burst),
                quota(limits.user_handshakes_per_second, limits.user_handshakes_burst),
            ),
            delay: Delay {
                first: Duration::from_secs(limits.guess_delay_s.into()),
                longest: Duration::from_secs(limits.guess_delay_max_s.get().into()),
            },
            clock: clock.clone(),
            places: usize::try_from(limits.tenant_requests_in_flight.get())
                .unwrap_or(usize::MAX)
                .min(Semaphore::MAX_PERMITS),
            tenants: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one request of `user`.
    ///
    /// # Errors
    /// [`Over`]: it is one too many.
    pub fn count_request(&self, tenant: &str, user: &str) -> Result<(), Over> {
        self.tenant(tenant).requests.count(self.hasher.hash_one(user), &self.clock)
    }

    /// Counts one handshake of `user`.
    ///
    /// # Errors
    /// [`Over`]: it is one too many.
    pub fn count_handshake(&self, tenant: &str, user: &str) -> Result<(), Over> {
        self.tenant(tenant).handshakes.count(self.hasher.hash_one(user), &self.clock)
    }

    /// Counts one guess of `user`, whose request was counted.
    ///
    /// # Errors
    /// [`Over::Guess`]: it comes too soon after the one before. It does not count as a guess.
    pub fn count_guess(&self, tenant: &str, user: &str) -> Result<(), Over> {
        let waited = self.tenant(tenant).guesses.guess(self.hasher.hash_one(user), self.clock.now());
        if waited { Ok(()) } else { Err(Over::Guess) }
    }

    /// A place for a request in flight, until it is dropped.
    ///
    /// # Errors
    /// [`Over::Places`]: the tenant has no more.
    pub fn place(&self, tenant: &str) -> Result<OwnedSemaphorePermit, Over> {
        let places = Arc::clone(&self.tenant(tenant).places);
        places.try_acquire_owned().map_err(|_| Over::Places)
    }

    fn tenant(&self, name: &str) -> Arc<Tenant<C>> {
        let mut tenants = self.tenants.lock();
        if let Some(tenant) = tenants.get(name) {
            return Arc::clone(tenant);
        }
        let tenant = Arc::new(Tenant {
            requests: Buckets::new(self.requests, &self.clock),
            handshakes: Buckets::new(self.handshakes, &self.clock),
            guesses: Waits::new(self.delay.first, self.delay.longest, MAX_USERS, self.clock.now()),
            places: Arc::new(Semaphore::new(self.places)),
        });
        tenants.insert(name.to_owned(), Arc::clone(&tenant));
        tenant
    }
}

impl Rate {
    fn new(tenant: Quota, user: Quota) -> Self {
        // This many different users can be admitted in the time that one is kept. When more have come, the tenant is
        // over its rate anyway.
        let kept = user.burst_size_replenished_in() + user.replenish_interval() + SWEEP;
        let users = kept.as_nanos() / tenant.replenish_interval().as_nanos().max(1);
        let users = users.saturating_add(tenant.burst_size().get().into());
        let max_users = usize::try_from(users).unwrap_or(usize::MAX).min(MAX_USERS);
        Self { tenant, user, max_users }
    }
}

type OfTenant<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;
type OfUsers<C> = RateLimiter<u64, Table, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The buckets of one tenant and its users.
struct Buckets<C: Clock> {
    tenant: OfTenant<C>,
    users: OfUsers<C>,
    max_users: usize,
    swept: Mutex<C::Instant>,
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(rate: Rate, clock: &C) -> Self {
        Self {
            tenant: RateLimiter::direct_with_clock(rate.tenant, clock.clone()),
            users: RateLimiter::new(rate.user, Table::new(rate.max_users), clock.clone()),
            max_users: rate.max_users,
            swept: Mutex::new(clock.now()),
        }
    }

    /// The user first: one over its rate takes nothing from its tenant.
    fn count(&self, user: u64, clock: &C) -> Result<(), Over> {
        if self.users.len() >= self.max_users {
            self.sweep(clock.now());
        }
        self.users.check_key(&user).map_err(|_| Over::User)?;
        self.tenant.check().map_err(|_| Over::Tenant)
    }

    /// Forgets users whose buckets are full again. Not on every call, because that looks at all of them.
    fn sweep(&self, now: C::Instant) {
        let mut swept = self.swept.lock();
        if now.duration_since(*swept) >= Nanos::from(SWEEP) {
            self.users.retain_recent();
            *swept = now;
        }
    }
}

/// When each user's bucket will be full again, for a bounded number of users.
struct Table {
    full_at: Mutex<HashMap<u64, Nanos>>,
    most: usize,
}

impl Table {
    fn new(most: usize) -> Self {
        Self { full_at: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Nanos>> {
        self.full_at.lock()
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = self.lock();
        let known = table.get(key).copied();
        if known.is_none() && table.len() >= self.most {
            // A user for whom there is no room is treated as one who has used up everything.
            return measure(Some(Nanos::new(u64::MAX))).map(|(outcome, _)| outcome);
        }
        let (outcome, full_at) = measure(known)?;
        table.insert(*key, full_at);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<u64> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut table = self.lock();
        table.retain(|_, full_at| *full_at > drop_below);
        table.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn per_second(tenant: u32, user: u32) -> Limits {
        let count = |n| NonZeroU32::new(n).expect("not zero");
        let (tenant, user) = (count(tenant), count(user));
        Limits {
            requests_per_second: tenant,
            requests_burst: tenant,
            handshakes_per_second: tenant,
            handshakes_burst: tenant,
            user_requests_per_second: user,
            user_requests_burst: user,
            user_handshakes_per_second: user,
            user_handshakes_burst: user,
            ..Limits::default()
        }
    }

    #[test]
    fn a_tenant_over_its_rate_waits_and_others_do_not_notice() {
        let clock = FakeRelativeClock::default();
        let rates = RateLimits::with_clock(&per_second(2, 100), &clock);
        assert_eq!(rates.count_request("acme", "a"), Ok(()));
        assert_eq!(rates.count_request("acme", "b"), Ok(()));
        assert_eq!(rates.count_request("acme", "c"), Err(Over::Tenant));
        assert_eq!(rates.count_request("other", "a"), Ok(()), "another tenant has its own bucket");
        assert_eq!(rates.count_handshake("acme", "a"), Ok(()), "handshakes have their own bucket");
        clock.advance(Duration::from_millis(500));
        assert_eq!(rates.count_request("acme", "d"), Ok(()), "half a second gives one of two a second");
        assert_eq!(rates.count_request("acme", "e"), Err(Over::Tenant));
    }

    #[test]
    fn a_user_over_its_rate_waits_and_takes_nothing_from_its_tenant() {
        type Count = fn(&RateLimits<FakeRelativeClock>, &str) -> Result<(), Over>;
        let counts: [Count; 2] = [
            |rates, user| rates.count_request("acme", user),
            |rates, user| rates.count_handshake("acme", user),
        ];
        for count in counts {
            let clock = FakeRelativeClock::default();
            let rates = RateLimits::with_clock(&per_second(10, 2), &clock);
            for n in 0..1000 {
                assert_eq!(count(&rates, "greedy"), if n < 2 { Ok(()) } else { Err(Over::User) });
            }
            for user in ["a", "b", "c", "d"] {
                assert_eq!((count(&rates, user), count(&rates, user)), (Ok(()), Ok(())), "{user}");
            }
            clock.advance(Duration::from_millis(500));
            assert_eq!((count(&rates, "greedy"), count(&rates, "greedy")), (Ok(()), Err(Over::User)));
        }
    }

    #[test]
    fn however_many_users_a_tenant_names_the_table_is_bounded_and_only_that_tenant_notices() {
        let clock = FakeRelativeClock::default();
        let rates = RateLimits::with_clock(&per_second(100, 2), &clock);
        let kept = |rates: &RateLimits<_>| rates.tenant("acme").requests.users.len();
        let most = rates.requests.max_users;
        assert_eq!(most, 350, "a burst, and as many as come while one is kept");
        for user in 0..10_000 {
            let _ = rates.count_request("acme", &user.to_string());
            assert!(kept(&rates) <= most);
        }
        assert_eq!(kept(&rates), most);
        assert_eq!(rates.count_request("acme", "new"), Err(Over::User), "there is no room");
        assert_eq!(rates.count_request("other", "new"), Ok(()));
        clock.advance(Duration::from_secs(2));
        assert_eq!(rates.count_request("acme", "new"), Ok(()), "all buckets are full again");
        assert_eq!(kept(&rates), 1);
    }

    #[test]
    fn a_tenant_within_its_rate_always_finds_room_for_its_users() {
        let clock = FakeRelativeClock::default();
        let rates = RateLimits::with_clock(&per_second(100, 2), &clock);
        for user in 0..5_000 {
            clock.advance(Duration::from_millis(10));
            assert_eq!(rates.count_request("acme", &user.to_string()), Ok(()), "user {user}");
        }
    }

    #[test]
    fn a_user_is_not_forgotten_before_its_bucket_is_full() {
        let clock = FakeRelativeClock::default();
        let four = NonZeroU32::new(4).expect("four");
        let limits = Limits { user_requests_burst: four, ..per_second(4, 2) };
        let rates = RateLimits::with_clock(&limits, &clock);
        let spent =
            |user: &str| (0..9).take_while(|_| rates.count_request("acme", user) != Err(Over::User)).count();
        assert_eq!(spent("a"), 4);
        for user in 0..rates.requests.max_users {
            let _ = rates.count_request("acme", &user.to_string());
        }
        // A sweep is due, and the bucket of `a` is half a second from full.
        clock.advance(Duration::from_millis(1500));
        let _ = rates.count_request("acme", "new");
        assert_eq!(spent("a"), 3);
    }

    #[test]
    fn limits_of_any_size_make_a_table_of_bounded_size() {
        let limits = Limits { user_requests_burst: NonZeroU32::MAX, ..per_second(u32::MAX, 1) };
        let rates = RateLimits::with_clock(&limits, &FakeRelativeClock::default());
        assert_eq!(rates.requests.max_users, MAX_USERS);
        assert_eq!(rates.count_request("acme", "a"), Ok(()));
    }
}
