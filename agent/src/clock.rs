//! Where the agent takes the time from.

use std::sync::Arc;
use std::time::{Instant, SystemTime};
use strongroom_replica::Millis;

/// Unix time in seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()))
}

/// Where an agent takes the time from.
#[derive(Clone)]
pub struct Time {
    /// For tokens: Unix time.
    pub unix: Clock,
    /// For replicas: a clock that never goes backwards; where it starts does not matter.
    pub steady: Arc<dyn Fn() -> Millis + Send + Sync>,
}

impl Time {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        let started = Instant::now();
        let steady = move || Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        Self { unix: system_clock(), steady: Arc::new(steady) }
    }
}
