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
/// How often to ask one that does not: at least while requests come, and else the less often the longer it has not.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(10);
const SILENCE_PER_RETRY: u32 = 60;

/// Whether requests come. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Greeting(Arc<Notify>);

impl Greeting {
    /// A request has come.
    pub(super) fn stir(&self) {
        self.0.notify_waiters();
    }

    /// Waits until it is time to ask again a peer that has just answered, or has not for so long.
    pub(super) async fn pause(&self, silence: Option<Duration>) {
        if let Some(silence) = silence {
            sleep(RETRY).await;
            let more = (silence / SILENCE_PER_RETRY).min(MAX_RETRY).saturating_sub(RETRY);
            if !more.is_zero() {
                let _ = timeout(more, self.0.notified()).await;
            }
            return;
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
        greeting.pause(None).await;
        assert_eq!(began.elapsed(), IDLE_PERIOD);
        greeting.pause(Some(Duration::ZERO)).await;
        assert_eq!(began.elapsed(), IDLE_PERIOD + RETRY);

        let pause = tokio::spawn({
            let greeting = greeting.clone();
            async move { greeting.pause(None).await }
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
            greeting.pause(None).await;
        }
        assert!((PERIOD * 10..PERIOD * 10 + Duration::from_millis(200)).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_gone_is_asked_seldom_and_soon_when_a_request_comes() {
        let greeting = Greeting::default();
        for (minutes, pause_s) in [(1, 1), (5, 5), (600, 10)] {
            let began = Instant::now();
            greeting.pause(Some(Duration::from_secs(60 * minutes))).await;
            assert_eq!(began.elapsed(), Duration::from_secs(pause_s));
        }
        let began = Instant::now();
        let stirring = greeting.clone();
        tokio::spawn(async move {
            sleep(RETRY * 2).await;
            stirring.stir();
        });
        greeting.pause(Some(Duration::from_secs(3600))).await;
        assert_eq!(began.elapsed(), RETRY * 2);
    }
}
