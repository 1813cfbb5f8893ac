//! How long the client keeps asking a realm that does not answer.
//!
//! Five attempts within a few milliseconds are what clients in the field make. A realm whose leader has just died
//! answers `Unavailable` for some seconds, so this client goes on with growing pauses, but only while the phase
//! still needs that realm: a realm that is down must not slow down a user whom the others can serve. The pauses stay
//! short: a user who waits for a realm notices within half a second that it is back.

use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::{Instant, sleep};

/// Pauses between the attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first four pauses are 1, 2, 3 and 4 times this.
    pub quick_step: Duration,
    /// After those, while the realm is needed and less than this has passed since the first attempt, the client
    /// waits 100 ms, then twice as long each time, at most 500 ms. Zero: it gives up after five attempts.
    pub patience: Duration,
    /// A request that stays without an answer for this long is sent a second time over a connection of its own, and
    /// after three times as long a third time. The first answer counts. `None`: never. No such copy costs a guess: it
    /// is the same ciphertext in the same session, or a request that changes nothing.
    pub copy_after: Option<Duration>,
    /// How long the client goes on, after an operation has answered, with realms that it could answer without. Zero: they are
    /// abandoned.
    pub straggling: Duration,
}

impl RetryPolicy {
    /// What clients in the field do: five attempts, pauses of 5, 10, 15 and 20 ms, and no copies.
    #[must_use]
    pub const fn deployed() -> Self {
        Self {
            quick_step: Duration::from_millis(5),
            patience: Duration::ZERO,
            copy_after: None,
            straggling: FINISHING,
        }
    }
}

impl Default for RetryPolicy {
    /// As [`RetryPolicy::deployed`], with a patience of ten seconds, and copies after one second and after three.
    fn default() -> Self {
        let copy_after = Some(Duration::from_secs(1));
        Self { patience: Duration::from_secs(10), copy_after, ..Self::deployed() }
    }
}

/// How long a client goes on with stragglers by default.
const FINISHING: Duration = Duration::from_secs(5);
const QUICK_PAUSES: u32 = 4;
const PATIENT_PAUSE: Duration = Duration::from_millis(100);
/// After this time, a realm that is not needed gets no further attempt, and is not waited for any longer: each could
/// run into a time-out.
pub(crate) const STRAGGLING: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pauses of one request.
///
/// Written by hand: the pauses grow first linearly, then exponentially, and end early once the phase needs no more
/// answers. A library such as `backon` would replace one line of [`Backoff::pause`].
pub(crate) struct Backoff {
    policy: RetryPolicy,
    started: Instant,
    failures: u32,
    /// True once the phase can do without this realm.
    enough: watch::Receiver<bool>,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy, enough: watch::Receiver<bool>) -> Self {
        Self { policy, started: Instant::now(), failures: 0, enough }
    }

    /// How long ago the first attempt began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits before the next attempt. Returns false if there must be none.
    pub(crate) async fn pause(&mut self) -> bool {
        if self.quick_pause().await {
            return true;
        }
        if self.started.elapsed() >= self.policy.patience || *self.enough.borrow() {
            return false;
        }
        let doublings = self.failures.saturating_sub(QUICK_PAUSES + 1).min(8);
        let pause = (PATIENT_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        // A sender that is gone means that the phase is over: this realm is not needed.
        tokio::select! {
            () = sleep(pause) => true,
            _ = self.enough.wait_for(|enough| *enough) => false,
        }
    }

    /// Like [`Backoff::pause`], without the patient part.
    pub(crate) async fn quick_pause(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures > QUICK_PAUSES || *self.enough.borrow() && self.started.elapsed() > STRAGGLING {
            return false;
        }
        let pause = self.policy.quick_step.saturating_mul(self.failures);
        if !pause.is_zero() {
            sleep(pause).await;
        }
        true
    }

    /// Counts an attempt that is repeated at once. Returns false if there must be none.
    pub(crate) fn retry_at_once(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures <= QUICK_PAUSES
    }
}
