//! Publishes the log of a group while it is led here, and has segments kept until they are published.

use super::asking::Orders;
use super::hsm_queue::Hsm;
use crate::clock::Clock;
use crate::config::Config;
use crate::publish::{Led, Publication, PublishError, PublishMetrics, Signs, WitnessSettings, was_published};
use crate::store::Store;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{Ed25519Public, GroupId, Index, RealmId};
use strongroom_proto::statement::{Committed, Head};
use strongroom_replica::ask::{self, Unanswered};
use strongroom_replica::{Order, Ordered, Status};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// How long segments that may be deleted wait until they are published. After that they stay, until the next are to be deleted.
const KEEPS_WAITING: Duration = Duration::from_secs(60);
/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(600);
/// After so many failures in a row it is worth a warning.
const WARNS: u32 = 4;

/// How agents publish.
#[derive(Clone, Debug)]
pub(crate) struct PublishSettings {
    /// How often, if there is news; zero for never.
    pub(crate) period: Duration,
    /// Who cosigns, outside the realm.
    pub(crate) witnesses: Vec<WitnessSettings>,
    /// Whose turn it is, of the agent's groups, to have the HSM sum up.
    pub(crate) turn: Arc<Semaphore>,
    /// Where it counts.
    pub(crate) metrics: PublishMetrics,
}

impl PublishSettings {
    /// As an operator has it.
    pub(crate) fn new(config: &Config, metrics: &PublishMetrics) -> Self {
        let period = Duration::from_secs(config.checkpoint_period_s.into());
        let (witnesses, metrics) = (config.witnesses.clone(), metrics.clone());
        Self { period, witnesses, turn: Arc::new(Semaphore::new(1)), metrics }
    }
}

/// How far a log is published. A clone tells of the same.
#[derive(Clone)]
pub(super) struct Published(Arc<Inner>);

struct Inner {
    /// The last entry that no segment need be kept for.
    reached: watch::Sender<Index>,
    wanted: Notify,
}

impl Published {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { reached: watch::Sender::new(Index::ZERO), wanted: Notify::new() }))
    }

    /// Waits until every entry before this one is published. Returns whether that is so.
    pub(super) async fn reaches(&self, before: Index) -> bool {
        let mut reached = self.0.reached.subscribe();
        self.0.wanted.notify_one();
        let all = reached.wait_for(|reached| reached.0 >= before.0.saturating_sub(1));
        matches!(timeout(KEEPS_WAITING, all).await, Ok(Ok(_)))
    }

    pub(super) fn tell(&self, reached: Index) {
        self.0.reached.send_replace(reached);
    }

    /// The log is not published: nothing is kept for it.
    pub(super) fn tell_never(&self) {
        self.tell(Index(u64::MAX));
    }

    /// Waits so long, or until somebody waits for more: says which.
    pub(super) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => false,
            () = self.0.wanted.notified() => true,
        }
    }
}

/// A group whose log is published from here.
pub(super) struct Publishing {
    pub(super) realm: RealmId,
    pub(super) group: GroupId,
    /// What its HSM signs checkpoints with, if it does.
    pub(super) key: Option<Ed25519Public>,
    pub(super) status: Arc<Mutex<Status>>,
    pub(super) orders: Orders,
    pub(super) published: Published,
    pub(super) store: Store,
    pub(super) hsm: Hsm,
    pub(super) clock: Clock,
    pub(super) settings: PublishSettings,
}

impl Publishing {
    /// Publishes for as long as the replica runs.
    pub(super) async fn run(self) {
        let PublishSettings { period, metrics, .. } = &self.settings;
        let Some(mut publication) = self.publication().await else { return };
        let _shown = Shown { group: self.group, metrics: metrics.clone() };
        let (mut failures, mut leads) = (0_u32, false);
        loop {
            let pause = period.saturating_mul(2_u32.saturating_pow(failures.min(6)));
            self.published.pause(if failures > 0 { pause.min(LONGEST.max(*period)) } else { *period }).await;
            if !self.leads() {
                // Whoever leads goes on from what the store has.
                publication.forget();
                self.published.tell(Index::ZERO);
                metrics.forget(self.group);
                (failures, leads) = (0, false);
                continue;
            }
            if !leads {
                metrics.begins(self.group, (self.clock)());
                leads = true;
            }
            let Err(failure) = publication.round(&self, metrics).await else {
                failures = 0;
                continue;
            };
            failures = failures.saturating_add(1);
            if failures == WARNS {
                tracing::warn!(group = %self.group, %failure, failures, "publishing the log fails, and goes on later");
            } else {
                tracing::debug!(group = %self.group, %failure, "publishing the log goes on later");
            }
            if publication.gives_up(&failure) && self.leads() {
                tracing::error!(group = %self.group, %failure, "the log is not published any more");
                return self.published.tell_never();
            }
        }
    }

    /// What is published, if it can be from here.
    async fn publication(&self) -> Option<Publication<Summing>> {
        let PublishSettings { period, witnesses, turn, .. } = &self.settings;
        if period.is_zero() {
            self.published.tell_never();
            return None;
        }
        let Some(key) = self.key else {
            if was_published(&self.store, &self.group).await {
                // A newer build of another member has begun: what it still has to read stays.
                tracing::warn!(group = %self.group, "this HSM's build signs no checkpoints: its log is kept, and published once another leads");
            } else {
                self.published.tell_never();
            }
            return None;
        };
        let hsm = Summing { hsm: self.hsm.clone(), turn: Arc::clone(turn) };
        let publication = Publication::new(self.realm, self.group, &key, &self.store, hsm, witnesses);
        publication
            .inspect_err(|failure| {
                tracing::error!(group = %self.group, %failure, "the log is not published");
                self.published.tell_never();
            })
            .ok()
    }
}

impl Led for Publishing {
    fn committed(&self) -> Index {
        self.status.lock().committed
    }

    fn leads(&self) -> bool {
        self.status.lock().serving
    }

    async fn shown(&self) -> Option<Evidence> {
        match self.orders.order(Order::Show { stored: false }).await? {
            Ordered::Done(shown) => Some(*shown),
            Ordered::Refused(_) | Ordered::NotLeader(_) | Ordered::Busy | Ordered::Unknown => None,
        }
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }

    fn reached(&self, reached: Index) {
        self.published.tell(reached);
    }
}

/// A group that has retired: nobody leads it any more who would publish the rest of its log.
pub(super) struct Ended {
    pub(super) realm: RealmId,
    pub(super) group: GroupId,
    pub(super) key: Ed25519Public,
    pub(super) store: Store,
    pub(super) hsm: Hsm,
    pub(super) settings: PublishSettings,
}

impl Ended {
    /// Publishes its log up to its last entry. The log stays in the store, so what fails here can be done again.
    pub(super) async fn publish(self, last: &Evidence) {
        let Self { realm, group, key, store, hsm, settings } = self;
        let published = async {
            let hsm = Summing { hsm, turn: settings.turn };
            let mut publication = Publication::new(realm, group, &key, &store, hsm, &settings.witnesses)?;
            publication.go_on(last, || true).await?;
            publication.store_checkpoint().await
        };
        let failure = match timeout(KEEPS_WAITING, published).await {
            Ok(Ok(())) => {
                let entries = last.entry.index.0;
                tracing::info!(%group, entries, "the retired group's log is published up to its last entry");
                return;
            }
            Ok(Err(PublishError::Gone(Index::ZERO))) => {
                tracing::info!(%group, "the retired group's log was never published, and its beginning is gone");
                return;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "it takes longer than a minute".into(),
        };
        tracing::warn!(%group, failure, "the retired group's log is not published up to its last entry; retire the group again");
    }
}

/// Shows nothing of a group any more when it is dropped.
struct Shown {
    group: GroupId,
    metrics: PublishMetrics,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.metrics.forget(self.group);
    }
}

/// This agent's HSM, asked for one group after another: what clients wait for goes between.
struct Summing {
    hsm: Hsm,
    turn: Arc<Semaphore>,
}

impl Signs for Summing {
    async fn extend_head(&self, from: Option<Head>, entries: Vec<Entry>) -> Result<Head, Unanswered> {
        let _turn = self.turn.acquire().await;
        self.hsm.ask(ask::ExtendHead { from, entries }).await
    }

    async fn sign_head(&self, head: Head, committed: Committed) -> Result<[u8; 64], Unanswered> {
        let _turn = self.turn.acquire().await;
        self.hsm.ask(ask::SignHead { head, committed }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn segments_wait_until_they_are_published_and_not_for_ever() {
        let published = Published::new();
        assert!(!published.reaches(Index(5)).await, "nobody publishes");
        assert!(published.reaches(Index(1)).await, "there is nothing before entry 1");
        let waits = {
            let published = published.clone();
            async move { published.reaches(Index(5)).await }
        };
        let tells = async {
            published.pause(Duration::from_secs(3600)).await;
            published.tell(Index(3));
            sleep(Duration::from_secs(1)).await;
            published.tell(Index(4));
        };
        let (waited, ()) = tokio::join!(waits, tells);
        assert!(waited, "who waits wakes who publishes");
        published.tell_never();
        assert!(published.reaches(Index(u64::MAX)).await);
    }
}
