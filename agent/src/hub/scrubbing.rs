//! Scrubs a group while it is led here: a little at a time, beside everything else, and one group after another.

use super::damage::Damage;
use super::hsm_queue::Hsm;
use crate::check::{CheckError, Witness};
use crate::clock::Clock;
use crate::scrub::{Lane, Led, Looked, Scrub, ScrubMetrics, ScrubSettings, Stored};
use crate::store::Store;
use crate::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{EntryHash, GroupId, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::ask::{self, Unanswered};
use strongroom_replica::{Role, Status};
use tokio::time::{Instant, sleep, timeout};

/// How often to look whether anything is due. That costs no call.
const LOOK: Duration = Duration::from_secs(10);
/// An agent that begins to lead many groups at once begins to scrub them within this time, in milliseconds.
const STAGGER_MS: u64 = 60_000;
/// Between two things that are due lies at least this long, and as long as the last one took.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST: Duration = Duration::from_secs(600);
/// After so many failures in a row it is worth a warning: the pause has grown to minutes by then.
const WARNS: u32 = 4;
/// For one call to the store that waits for its turn, and for the opening that needs some of them.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many records that were found damaged wait to be looked at, at most.
const MAX_NOTICED: usize = 64;

/// What the rest of the agent knows of a group.
pub(super) struct Watched {
    pub(super) group: GroupId,
    pub(super) status: Arc<Mutex<Status>>,
    pub(super) tree: TreeStore,
    /// What was found wrong with the stored tree by who served from it.
    pub(super) damage: Arc<Mutex<Damage>>,
}

impl Watched {
    fn led(&self) -> Option<Led> {
        let status = self.status.lock();
        let (prefixes, reached) = (status.prefixes.clone(), (status.tip, status.tip_hash));
        status.serving.then(|| Led {
            prefixes,
            reached,
            captured: status.captured,
            snapshot: status.snapshot,
            bytes: self.tree.known_bytes(),
        })
    }

    /// Shows whether the tree is known to be damaged. Who does not serve the group leaves that to who does: its own knowledge is
    /// mended by nobody.
    fn show(&self, metrics: &ScrubMetrics, is_well: bool) {
        let serves = self.status.lock().serving;
        let damaged = !is_well || !self.damage.lock().is_none();
        metrics.set_tree_damaged(self.group, damaged && serves);
    }

    /// Shows that for as long as something goes on: a client's request may find damage meanwhile.
    async fn showing<T>(&self, metrics: &ScrubMetrics, is_well: bool, goes_on: impl Future<Output = T>) -> T {
        let mut goes_on = pin!(goes_on);
        loop {
            self.show(metrics, is_well);
            if let Ok(end) = timeout(LOOK, &mut goes_on).await {
                return end;
            }
        }
    }
}

/// Shows nothing of a group any more when it is dropped.
struct Shown {
    group: GroupId,
    metrics: ScrubMetrics,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.metrics.forget(self.group);
        self.metrics.forget_tree(self.group);
    }
}

/// Scrubs for as long as the replica runs.
pub(super) async fn scrub(watched: Watched, store: Store, hsm: Hsm, clock: Clock, settings: ScrubSettings) {
    let metrics = settings.metrics.clone();
    let _shown = Shown { group: watched.group, metrics: metrics.clone() };
    loop {
        watched.show(&metrics, true);
        sleep(LOOK).await;
        let term = watched.status.lock().role;
        if watched.led().is_some() {
            watched.showing(&metrics, true, sleep(stagger(watched.group))).await;
            let scrub = begin(&watched, &store, hsm.clone(), &clock, &settings, term);
            while_led(&watched, scrub, term, &settings).await;
            metrics.forget(watched.group);
        }
    }
}

/// How long a group waits before it begins: always the same, and another time than others.
fn stagger(group: GroupId) -> Duration {
    let drawn = group.0.first_chunk::<8>().map_or(0, |drawn| u64::from_be_bytes(*drawn));
    Duration::from_millis(drawn % STAGGER_MS)
}

type Begun<L> = Scrub<Stored<OwnHsm, L>>;

fn begin(
    watched: &Watched,
    store: &Store,
    hsm: Hsm,
    clock: &Clock,
    settings: &ScrubSettings,
    term: Role,
) -> Begun<impl Fn() -> bool + Send + Sync + use<>> {
    let (group, pace) = (watched.group, settings.lane.pace().clone());
    let (paced, objects) = store.paced(&pace);
    let timeouts = Timeouts::all(PATIENCE);
    let tree_settings = TreeSettings { timeouts, ..TreeSettings::default() };
    let tree = TreeStore::new(objects, store.base(), group, tree_settings, TreeMetrics::default());
    let status = Arc::clone(&watched.status);
    let leads = move || {
        let status = status.lock();
        status.serving && status.role == term
    };
    let parts = Stored { group, store: paced, tree, pace, witness: OwnHsm { hsm, group }, leads };
    Scrub::new(group, parts, store, Arc::clone(clock), settings.clone())
}

async fn while_led<L: Fn() -> bool + Send + Sync>(
    watched: &Watched,
    mut scrub: Begun<L>,
    term: Role,
    ScrubSettings { metrics, lane, .. }: &ScrubSettings,
) {
    let mut noticed = BTreeSet::new();
    let mut failures = 0_u32;
    loop {
        // In this order: a record is noticed before its damage is told.
        let told = watched.damage.lock().clone();
        let room = MAX_NOTICED.saturating_sub(noticed.len());
        noticed.extend(watched.tree.noticed().into_iter().take(room));
        let is_anywhere = !noticed.is_empty();
        noticed.extend(told.records());
        let began = Instant::now();
        // What was found before is shown while it waits for other groups. If this fails, so does the look.
        let _ = watched.showing(metrics, scrub.tree_is_well(), scrub.recall()).await;
        let is_well = scrub.tree_is_well();
        let looked = look_in_turn(watched, &mut scrub, term, lane, &noticed);
        let looked = watched.showing(metrics, is_well, looked).await;
        let all = matches!(&looked, Ok(Some(looked)) if looked.round_ended && looked.tree_is_well);
        // What may be anywhere is where the scrub was led, or where it found something that is well now.
        let anywhere = looked.is_ok() && scrub.tree_is_well() && (is_anywhere || !is_well);
        let is_well_now =
            |below: Option<&Prefix>| all || below.map_or(anywhere, |below| scrub.found_well(below));
        watched.damage.lock().take_back(&told, is_well_now);
        noticed.retain(|id| looked.is_err() && !scrub.has_read(id));
        let pause = match looked {
            Ok(None) => return,
            Ok(Some(looked)) => {
                failures = 0;
                if looked.was_due { PAUSE.max(began.elapsed()) } else { LOOK }
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                if failures >= WARNS {
                    tracing::warn!(group = %watched.group, %failure, failures, "scrubbing fails, and goes on later");
                } else {
                    tracing::debug!(group = %watched.group, %failure, "scrubbing goes on later");
                }
                LOOK.saturating_mul(2_u32.saturating_pow(failures.min(6))).min(LONGEST)
            }
        };
        watched.showing(metrics, scrub.tree_is_well(), sleep(pause)).await;
    }
}

/// Looks when no other group of this agent does. Returns nothing if it is not led any more.
async fn look_in_turn<L: Fn() -> bool + Send + Sync>(
    watched: &Watched,
    scrub: &mut Begun<L>,
    term: Role,
    lane: &Lane,
    noticed: &BTreeSet<RecordId>,
) -> Result<Option<Looked>, CheckError> {
    let _turn = lane.turn().await;
    match watched.led().filter(|_| watched.status.lock().role == term) {
        Some(led) => scrub.look(&led, noticed).await.map(Some),
        None => Ok(None),
    }
}

/// The HSM of this agent, for entries that it has captured long ago: to capture these again changes nothing.
#[derive(Clone)]
struct OwnHsm {
    hsm: Hsm,
    group: GroupId,
}

impl Witness for OwnHsm {
    async fn captured(&mut self) -> Result<Option<(Index, EntryHash)>, String> {
        Ok(None)
    }

    async fn captured_by_others(&mut self) -> Index {
        Index::ZERO
    }

    async fn vouches(&mut self, entries: Vec<Entry>) -> Result<bool, String> {
        match self.hsm.ask(ask::Capture(self.group, entries)).await {
            Ok(_) => Ok(true),
            Err(Unanswered::Refused(Refusal::NotAuthentic | Refusal::NotConsecutive)) => Ok(false),
            Err(Unanswered::Refused(refusal)) => Err(refusal.to_string()),
            Err(Unanswered::Senseless | Unanswered::Lost) => Err("it does not answer".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::driver::Group;
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;
    use strongroom_replica::stored::TreeDamage;

    const GROUP: GroupId = GroupId([7; 16]);

    fn watched() -> Watched {
        let status = Status { serving: true, ..Group::idle_status() };
        let (objects, settings) = (Arc::new(InMemory::new()), TreeSettings::default());
        let tree = TreeStore::new(objects, &ObjectPath::default(), GROUP, settings, TreeMetrics::default());
        Watched { group: GROUP, status: Arc::new(Mutex::new(status)), tree, damage: Arc::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn damage_that_is_told_is_shown_however_long_a_look_takes() {
        let (watched, metrics) = (watched(), ScrubMetrics::default());
        let told = async {
            sleep(LOOK / 2).await;
            assert!(!metrics.tree_damaged(GROUP));
            watched.damage.lock().tell(&TreeDamage::Snapshot);
            sleep(LOOK).await;
            assert!(metrics.tree_damaged(GROUP), "not while it looks");
        };
        let look = sleep(LONGEST);
        tokio::join!(told, watched.showing(&metrics, true, look));
    }

    #[test]
    fn groups_begin_at_their_own_times() {
        let times: BTreeSet<Duration> = (0..100_u8).map(|id| stagger(GroupId([id; 16]))).collect();
        assert!(times.len() > 90, "{times:?}");
        assert!(times.iter().all(|time| *time < Duration::from_millis(STAGGER_MS)));
    }

    #[test]
    fn only_who_serves_shows_damage() {
        let (watched, metrics) = (watched(), ScrubMetrics::default());
        watched.damage.lock().tell(&TreeDamage::Snapshot);
        for is_well in [true, false] {
            for serves in [true, false] {
                watched.status.lock().serving = serves;
                watched.show(&metrics, is_well);
                assert_eq!(metrics.tree_damaged(GROUP), serves, "{is_well}");
            }
        }
    }
}
