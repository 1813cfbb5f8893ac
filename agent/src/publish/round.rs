//! Rounds of publishing: what is published next, and what a failure means.
//!
//! Kept here: what was committed when a round began counts as published only once a checkpoint of it, or of more, is in the store; and
//! publishing is given up only after it has failed again and again, each time from what the store has.

use super::bug::Bug;
use super::{Publication, PublishError, PublishMetrics, Signs};
use strongroom_proto::change::Evidence;
use strongroom_proto::ids::Index;

/// After more than so many failures that no later try can mend, and no success between, they are believed.
const BELIEVED: u32 = 4;

/// A group that is led here.
pub trait Led: Sync {
    /// The last entry that is known to be committed.
    fn committed(&self) -> Index;

    /// Whether it is still led here.
    fn leads(&self) -> bool;

    /// An entry that is committed by now, and that it is. `None` if another leads.
    fn shown(&self) -> impl Future<Output = Option<Evidence>> + Send;

    /// What time it is, in seconds since 1970.
    fn now(&self) -> u64;

    /// Hears that no segment need be kept for the entries up to this one.
    fn reached(&self, reached: Index);
}

impl<S: Signs> Publication<S> {
    /// Publishes what is committed, if there is news, and counts it as current if all is published that was committed when this began:
    /// while clients ask, the log goes on meanwhile.
    ///
    /// # Errors
    /// [`PublishError`]: the next round goes on from where this one came to.
    pub async fn round(&mut self, led: &impl Led, metrics: &PublishMetrics) -> Result<(), PublishError> {
        let (now, committed) = (led.now(), led.committed());
        if committed == Index::ZERO {
            return Ok(());
        }
        if self.has_published(committed) {
            self.refresh().await?;
        } else {
            // The first entry of a leader comes after all that was published before.
            let reached = self.reached().await?;
            if reached > committed {
                self.forget();
                return Err(PublishError::OtherLog(reached));
            }
            let shown = led.shown().await.ok_or(PublishError::Deposed)?;
            let reached = self.go_on(&shown, || led.leads()).await?;
            led.reached(reached);
            self.store_checkpoint().await?;
        }
        self.hopeless = 0;
        if let Some(published) = self.published().filter(|published| *published >= committed) {
            metrics.is_current(self.group, published, now);
        }
        Ok(())
    }

    /// Takes note of a round that failed. Returns whether there is no hope that another will do better.
    pub fn gives_up(&mut self, failure: &PublishError) -> bool {
        if !failure.is_final() {
            return false;
        }
        let hopeless = self.hopeless.saturating_add(1);
        // What was remembered may be old: another may have led, published and deleted meanwhile.
        self.forget();
        self.hopeless = hopeless;
        self.hopeless > BELIEVED || self.planted.has(Bug::GoneAtOnce)
    }
}
