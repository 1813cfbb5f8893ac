//! How often a peer is asked whether it is there.
//!
//! That keeps a connection to it, and tells requests that come here whether anybody is left to serve them. While none
//! come, it can wait: whoever is asked seldom costs little, and the first request has all peers asked at once.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How often to ask a peer that answers: while requests come, and while none do.
const PERIOD: Duration = Duration::from_secs(1);
const IDLE_PERIOD: Duration = Duration::from_secs(5);
/// How often to ask one that does not.
const RETRY: Duration = Duration::from_millis(100);

/// Whether requests come. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Greeting(Arc<Notify>);

impl Greeting {
    /// A request has come.
    pub(super) fn stir(&self) {
        self.0.notify_waiters();
    }

    /// Waits until it is time to ask again a peer that has just answered, or has not.
    pub(super) async fn pause(&self, answered: bool) {
        if !answered {
            return sleep(RETRY).await;
        }
        sleep(PERIOD).await;
        // Its time is up also if no request has come.
        let _ = timeout(IDLE_PERIOD - PERIOD, self.0.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_asked_seldom_while_no_request_comes_and_soon_when_one_does() {
        let greeting = Greeting::default();
        let began = Instant::now();
        greeting.pause(true).await;
        assert_eq!(began.elapsed(), IDLE_PERIOD);
        greeting.pause(false).await;
        assert_eq!(began.elapsed(), IDLE_PERIOD + RETRY);

        let pause = tokio::spawn({
            let greeting = greeting.clone();
            async move { greeting.pause(true).await }
        });
        tokio::task::yield_now().await;
        advance(PERIOD * 2).await;
        tokio::task::yield_now().await;
        assert!(!pause.is_finished());
        greeting.stir();
        pause.await.expect("does not panic");
        assert_eq!(began.elapsed(), IDLE_PERIOD + RETRY + PERIOD * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_have_a_peer_asked_no_more_often_than_its_period() {
        let greeting = Greeting::default();
        let stirring = greeting.clone();
        tokio::spawn(async move {
            loop {
                stirring.stir();
                sleep(Duration::from_millis(10)).await;
            }
        });
        let began = Instant::now();
        for _ in 0..10 {
            greeting.pause(true).await;
        }
        assert!((PERIOD * 10..PERIOD * 10 + Duration::from_millis(200)).contains(&began.elapsed()));
    }
}
