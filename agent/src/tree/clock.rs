//! The clock of the tree's database: its housekeeping runs at its normal pace while snapshots are taken, and nearly
//! stops while none are.
//!
//! The database looks for work by reading the store: is there something to compact, to delete, a new manifest? Without
//! a new snapshot there is not, and every look costs requests. So rounds longer than [`FREE`] wait for the next
//! snapshot, though not forever. Shorter ones ask nothing of the store unless a compaction runs, which they keep alive.

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use slatedb_common::clock::{DefaultSystemClock, SystemClock, SystemClockTicker};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Rounds up to this long cost nothing while there is nothing to do.
pub(super) const FREE: Duration = Duration::from_secs(10);
/// How long after a snapshot housekeeping keeps its normal pace, for the work that follows from it.
const BUSY: Duration = Duration::from_secs(120);
/// How long a round may be put off.
const IDLE_ROUND: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct TreeClock {
    rounds: Arc<Rounds>,
}

/// What tickers run on.
#[derive(Debug)]
struct Rounds {
    time: DefaultSystemClock,
    ahead: Mutex<TimeDelta>,
    snapshot: watch::Sender<Option<Instant>>,
}

impl TreeClock {
    pub(super) fn new() -> Self {
        let rounds = Rounds {
            time: DefaultSystemClock::new(),
            ahead: Mutex::new(TimeDelta::zero()),
            snapshot: watch::Sender::new(None),
        };
        Self { rounds: Arc::new(rounds) }
    }

    /// A snapshot is being taken.
    pub(super) fn busy(&self) {
        self.rounds.snapshot.send_replace(Some(Instant::now()));
    }

    /// From now on the time is at least `time`. The database refuses what is older than what it holds, and the
    /// clock of the host that led before may have been ahead of this one.
    pub(super) fn not_before(&self, time_ms: i64) {
        let now = self.rounds.time.now().timestamp_millis();
        let ahead = TimeDelta::try_milliseconds(time_ms.saturating_sub(now)).unwrap_or_default();
        let mut held = self.rounds.ahead.lock();
        *held = ahead.max(*held);
    }
}

impl SystemClock for TreeClock {
    fn now(&self) -> DateTime<Utc> {
        self.rounds.now()
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(sleep(duration))
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        if duration > FREE { self.rounds.ticker(duration) } else { SystemClockTicker::new(self, duration) }
    }
}

impl SystemClock for Rounds {
    fn now(&self) -> DateTime<Utc> {
        let ahead = *self.ahead.lock();
        let now = self.time.now();
        now.checked_add_signed(ahead).unwrap_or(now)
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let begun = Instant::now();
            sleep(duration).await;
            let mut snapshot = self.snapshot.subscribe();
            let busy = snapshot.wait_for(|at| at.is_some_and(|at| at.elapsed() < BUSY));
            tokio::select! {
                _ = busy => {}
                () = sleep_until(begun + IDLE_ROUND) => {}
            }
        })
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        SystemClockTicker::new(self, duration)
    }
}
