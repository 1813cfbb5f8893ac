//! Under tokio.

use std::future::Future;
use std::panic::resume_unwind;

pub(crate) use std::time::{SystemTime, UNIX_EPOCH};
pub(crate) use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// A callback of the application.
pub(crate) type Callback<T> = dyn Fn(T) + Send + Sync;

/// Computes on a thread where that holds nothing up.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let computed = tokio::task::spawn_blocking(work).await;
    // The task is never cancelled; if it panics, so does its caller.
    computed.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Runs what outlives the call that began it.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    // It runs to its end, or to that of tokio's runtime.
    drop(tokio::spawn(work));
}
