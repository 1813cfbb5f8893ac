//! Tells tenants what is committed in a group while it is led here, and has segments kept until they are told.

use super::asking::Orders;
use super::hsm_queue::Hsm;
use super::publishing::{Published, Publishing};
use crate::clock::Clock;
use crate::events::{OwnerKey, TellError, TellMetrics, Teller, Tells, WhoAsked};
use crate::store::Store;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{Settled, Telling};
use strongroom_proto::hsm::RealmStatus;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::ask::{self, Told, Unanswered};
use strongroom_replica::{Order, Ordered, Owner, Status};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How often tenants are told, if there is news.
const PERIOD: Duration = Duration::from_secs(2);
/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(300);
/// After so many failures in a row it is worth a warning.
const WARNS: u32 = 4;
/// How often old pages are deleted.
const EXPIRES: Duration = Duration::from_secs(3600);
const DAY_MS: u64 = 86_400_000;

/// How tenants are told.
#[derive(Clone, Debug)]
pub(crate) struct TellSettings {
    /// For how many days pages are kept; zero: none are written.
    pub(crate) keep_days: u16,
    /// Where it counts.
    pub(crate) metrics: TellMetrics,
    /// Whose turn it is, of the agent's groups, to have the HSM tell.
    pub(crate) turn: Arc<Semaphore>,
}

impl TellSettings {
    /// As an operator has it.
    pub(crate) fn new(keep_days: u16, metrics: &TellMetrics) -> Self {
        Self { keep_days, metrics: metrics.clone(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// What is noted of whose a request is, if anything is.
    pub(crate) fn owner(&self, realm: &RealmStatus, (tenant, user): (&str, &str), unix: u64) -> Owner {
        if self.keep_days == 0 {
            return Owner::default();
        }
        let who = WhoAsked { tenant: tenant.into(), user: user.into(), time: unix.saturating_mul(1000) };
        OwnerKey::of(&realm.record_id_key).seal(&who)
    }
}

/// A group whose tenants are told from here.
pub(super) struct Tale {
    pub(super) realm: RealmStatus,
    pub(super) group: GroupId,
    pub(super) status: Arc<Mutex<Status>>,
    pub(super) orders: Orders,
    pub(super) told: Published,
    pub(super) store: Store,
    pub(super) hsm: Hsm,
    pub(super) clock: Clock,
    pub(super) settings: TellSettings,
}

impl Tale {
    /// A group that is published from here.
    pub(super) fn beside(publishing: &Publishing, realm: RealmStatus, settings: TellSettings) -> Self {
        Self {
            realm,
            group: publishing.group,
            status: Arc::clone(&publishing.status),
            orders: publishing.orders.clone(),
            told: Published::new(),
            store: publishing.store.clone(),
            hsm: publishing.hsm.clone(),
            clock: Arc::clone(&publishing.clock),
            settings,
        }
    }

    /// Tells for as long as the replica runs.
    pub(super) async fn run(self) {
        if self.settings.keep_days == 0 {
            return self.told.tell_never();
        }
        let RealmStatus { realm, policy, record_id_key, .. } = &self.realm;
        let hsm = Asking { hsm: self.hsm.clone(), turn: Arc::clone(&self.settings.turn) };
        let mut teller = Teller::new((*realm, self.group), policy.clone(), record_id_key, &self.store, hsm);
        let _shown = Shown { group: self.group, metrics: self.settings.metrics.clone() };
        let (mut failures, mut expired, mut leads) = (0_u32, None::<Instant>, false);
        loop {
            let pause = PERIOD.saturating_mul(2_u32.saturating_pow(failures.min(8))).min(LONGEST);
            let wanted = self.told.pause(pause).await;
            if !self.status.lock().serving {
                // Whoever leads goes on from what the store has.
                teller.forget();
                self.told.tell(Index::ZERO);
                self.settings.metrics.forget(self.group);
                (failures, leads) = (0, false);
                continue;
            }
            if !leads {
                self.settings.metrics.begins(self.group, (self.clock)());
                leads = true;
            }
            match self.tell(&mut teller, wanted).await {
                Ok(()) => failures = 0,
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    teller.forget();
                    if failure.is_unknown_to_hsm() {
                        tracing::error!(group = %self.group, "this HSM's build tells tenants nothing: install a later one");
                        return self.told.tell_never();
                    }
                    if failures == WARNS {
                        tracing::warn!(group = %self.group, %failure, failures, "telling tenants fails, and goes on later");
                    } else {
                        tracing::debug!(group = %self.group, %failure, "telling tenants goes on later");
                    }
                    continue;
                }
            }
            if expired.is_none_or(|expired| expired.elapsed() >= EXPIRES) {
                expired = Some(Instant::now());
                let keep = u64::from(self.settings.keep_days).saturating_mul(DAY_MS);
                if let Err(failure) = teller.expire(self.now().saturating_sub(keep)).await {
                    tracing::debug!(group = %self.group, %failure, "old pages are deleted later");
                }
            }
        }
    }

    /// Milliseconds since 1970.
    fn now(&self) -> u64 {
        (self.clock)().saturating_mul(1000)
    }

    async fn tell(&self, teller: &mut Teller<Asking>, all: bool) -> Result<(), TellError> {
        let (now, committed) = ((self.clock)(), self.status.lock().committed);
        if committed == Index::ZERO {
            return Ok(());
        }
        if teller.reached() < committed || all {
            let shown = self.shown().await.ok_or(TellError::Deposed)?;
            teller.go_on(&shown, (self.now(), all), || self.status.lock().serving).await?;
            self.told.tell(teller.durable());
        }
        self.settings.metrics.is_current(self.group, teller.tenants(), now);
        Ok(())
    }

    /// What is committed, if this agent still leads.
    async fn shown(&self) -> Option<Evidence> {
        match self.orders.order(Order::Show { stored: false }).await? {
            Ordered::Done(shown) => Some(*shown),
            Ordered::Refused(_) | Ordered::NotLeader(_) | Ordered::Busy | Ordered::Unknown => None,
        }
    }
}

/// Shows nothing of a group any more when it is dropped.
struct Shown {
    group: GroupId,
    metrics: TellMetrics,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.metrics.forget(self.group);
    }
}

/// This agent's HSM, asked for one group after another: what clients wait for goes between.
struct Asking {
    hsm: Hsm,
    turn: Arc<Semaphore>,
}

impl Tells for Asking {
    async fn tell(
        &self,
        settled: Settled,
        entries: Vec<Entry>,
        telling: Option<Telling>,
    ) -> Result<Told, Unanswered> {
        let _turn = self.turn.acquire().await;
        self.hsm.ask(ask::Tell { settled, entries, telling }).await
    }
}
