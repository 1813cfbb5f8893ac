//! Deletes what has left a group, once the group that it went to has stored it.
//!
//! Beside everything else that the agent does, a little at a time. Whether something may go is decided in
//! [`strongroom_replica::leftover`], and what must not happen meanwhile is kept by [`crate::tree`].

use crate::store::Store;
use crate::tree::{Sweep, Swept, TreeStore};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::leftover::{Leftover, deletable};
use strongroom_replica::segment::{Segment, SegmentName};
use strongroom_replica::stored::{Snapshot, TreeFailure};
use strongroom_replica::{ReadOutcome, Status};
use tokio::time::{Instant, sleep};

/// How often to look whether anything is left over. That costs no call; if there is, it costs some, and is done less and
/// less often while nothing comes of it.
const LOOK: Duration = Duration::from_secs(30);
const SELDOM: Duration = Duration::from_secs(3600);
/// How many pages and leaves are deleted in one step: as much work as a snapshot of so many records.
const STEP: usize = 4_096;
/// Between two steps lies at least this long, and so many times what the last one took: requests go first.
const PAUSE: Duration = Duration::from_secs(1);
const REST: u32 = 4;

/// Deletes what is left over in a group's stored tree, while it is led here.
pub(super) async fn sweep(tree: TreeStore, store: Store, status: Arc<Mutex<Status>>) {
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        pause = match sweep_once(&tree, &store, &status).await {
            Ok(true) => LOOK,
            Ok(false) => pause.saturating_mul(2).min(SELDOM),
            Err(failure) => {
                tracing::debug!(%failure, "what has left is deleted later");
                LOOK
            }
        };
    }
}

/// Deletes what may be deleted now. Returns whether nothing is left over that may not.
async fn sweep_once(tree: &TreeStore, store: &Store, status: &Mutex<Status>) -> Result<bool, TreeFailure> {
    if !status.lock().serving {
        return Ok(true);
    }
    let (Some(own), leftovers) = tree.leftovers().await? else { return Ok(true) };
    let is_over = |leftover: &&Leftover| own.entry.open.iter().all(|open| open.id() != leftover.id);
    let over: Vec<Leftover> = leftovers.iter().filter(is_over).copied().collect();
    let stored = stored_there(tree, store, &over).await;
    let there = |group: &GroupId| stored.iter().find(|there| there.entry.group == *group);
    let go = deletable(&leftovers, &own.entry, there);
    let mut all = go.len() == over.len();
    for leftover in &go {
        let Some(there) = there(&leftover.destination) else { continue };
        all &= delete(tree, status, leftover, there).await?;
    }
    Ok(all)
}

/// Deletes all of it, unless something comes between. Returns whether nothing has.
async fn delete(
    tree: &TreeStore,
    status: &Mutex<Status>,
    leftover: &Leftover,
    there: &Snapshot,
) -> Result<bool, TreeFailure> {
    let Leftover { prefix, destination, .. } = leftover;
    let mut sweep = Sweep::new(*leftover);
    loop {
        let begun = Instant::now();
        match tree.sweep(&mut sweep, there, |prefix| is_free(&status.lock(), prefix), STEP).await? {
            Swept::Kept => return Ok(false),
            Swept::Some => sleep(PAUSE.max(begun.elapsed().saturating_mul(REST))).await,
            Swept::All => break,
        }
    }
    let Sweep { deleted, bytes, .. } = sweep;
    tracing::info!(%prefix, to = %destination, deleted, bytes, "what had left is deleted where it was: it is stored where it went");
    Ok(true)
}

/// Whether, by its newest entry, a group that is led here neither has nor awaits anything below a prefix.
fn is_free(status: &Status, prefix: &Prefix) -> bool {
    let open = status.open.iter().map(strongroom_proto::transfer::Transfer::prefix);
    let mut all = status.prefixes.iter().copied().chain(open);
    status.serving && !all.any(|other| other.overlaps(prefix))
}

/// What the groups have stored that something went to, as far as their trees can be read, and their logs say the same.
pub(super) async fn stored_there(tree: &TreeStore, store: &Store, leftovers: &[Leftover]) -> Vec<Snapshot> {
    let groups: BTreeSet<GroupId> = leftovers.iter().map(|leftover| leftover.destination).collect();
    let mut stored = Vec::new();
    for group in groups {
        let read = tree.of_group(store.base(), group).read_snapshot().await;
        let Ok(Some(snapshot)) = read else {
            tracing::debug!(%group, "what the group has stored cannot be read: what went there stays where it was");
            continue;
        };
        if snapshot.entry.group == group && is_in_log(store, &snapshot).await {
            stored.push(snapshot);
        } else {
            // It may have been changing just then.
            tracing::debug!(%group, "what the group has stored is not in its log: what went there stays where it was");
        }
    }
    stored
}

/// Whether the log of a group has the entry that its tree reaches. The segment that has it stays as long as that is so.
async fn is_in_log(store: &Store, Snapshot { entry, .. }: &Snapshot) -> bool {
    let (group, hash) = (entry.group, entry.hash());
    let offset = |index: u64| SegmentName::offset(&group, Index(index));
    let most = strongroom_proto::hsm::MAX_CAPTURE_ENTRIES as u64;
    let (from, until) = (offset(entry.index.0.saturating_sub(most)), offset(entry.index.0.saturating_add(1)));
    let Ok(names) = store.list_until(&SegmentName::folder(&group), &from, &until).await else { return false };
    for name in names.iter().rev() {
        let ReadOutcome::Found(bytes) = store.read(name).await else { return false };
        let Ok(segment) = Segment::decode(&bytes) else { return false };
        if segment.entries().iter().any(|made| made.entry.hash() == hash) {
            return true;
        }
    }
    false
}
