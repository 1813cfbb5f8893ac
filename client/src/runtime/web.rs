//! In a JavaScript host, which has one thread and a clock of its own.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
pub(crate) use web_time::{Instant, SystemTime, UNIX_EPOCH};

/// A callback of the application.
pub(crate) type Callback<T> = dyn Fn(T);

/// Nothing came in time.
pub(crate) struct Elapsed;

/// Waits, for at most 24 days, which is what the host's timer can.
pub(crate) fn sleep(pause: Duration) -> TimeoutFuture {
    // Rounded up: what is waited for is never early.
    let millis = pause.as_micros().div_ceil(1000).min(i32::MAX as u128);
    TimeoutFuture::new(u32::try_from(millis).unwrap_or(u32::MAX))
}

/// Waits until then.
pub(crate) fn sleep_until(then: Instant) -> TimeoutFuture {
    sleep(then.saturating_duration_since(Instant::now()))
}

/// What a future says if it says it until then.
pub(crate) async fn timeout_at<F: Future + Unpin>(then: Instant, future: F) -> Result<F::Output, Elapsed> {
    match select(future, sleep_until(then)).await {
        Either::Left((said, _)) => Ok(said),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

/// Computes here and now, which holds everything up: there is no other thread. See [`Stretcher`](crate::Stretcher).
pub(crate) async fn compute<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Runs what outlives the call that began it.
pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(work);
}
