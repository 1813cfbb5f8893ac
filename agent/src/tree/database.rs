//! The database under a stored tree: how it is opened, how long anything may take, and what its errors mean.
//!
//! It writes nothing by itself except what housekeeping makes of snapshots that were taken: no write-ahead log, because
//! the group's log is one; no flush except ours. Its own retries never end; only our time limits bound them.

use super::clock::{FREE, TreeClock};
use super::gate::{Gate, ShutOnDrop};
use super::{TreePlace, key};
use futures::{FutureExt, try_join};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use slatedb::admin::Admin;
use slatedb::config::{
    CloseOptions, CompactionWorkerOptions, CompactorOptions, FlushOptions, FlushType,
    GarbageCollectorDirectoryOptions, GarbageCollectorOptions, Settings,
};
use slatedb::db_cache::moka::{MokaCache, MokaCacheOptions};
use slatedb::db_cache::{DbCache, SplitCache};
use slatedb::{
    BlockCachePolicy, CacheTarget, CloseReason, Db, DbReadOps, DbSnapshot, ErrorKind, SstBlockSize,
    VersionedCompactions, VersionedManifest, WriteBatch,
};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::leftover::Leftover;
use strongroom_replica::stored::{Snapshot, TreeDamage, TreeFailure};
use tokio::time::timeout;
use tracing::warn;

/// How often housekeeping looks for work while snapshots are taken.
const ROUND: Duration = FREE.saturating_add(Duration::from_secs(2));
const GARBAGE_ROUND: Duration = Duration::from_secs(60);
/// The same for those that hold pages and leaves: while much is written, they are most of what lies beside the tree.
const TABLE_ROUND: Duration = Duration::from_secs(15);
/// How long those stay after they were merged into others. Longer than an agent reads from any moment of the tree; who
/// reads for longer holds it.
const TABLE_GRACE: Duration = Duration::from_secs(60);
/// How long objects stay that only list the others. Longer than any request can be under way.
const RECORD_GRACE: Duration = Duration::from_secs(3600);

/// What is read of a table at once. Its index has an entry for each; of ten million records, all indexes and filters
/// must fit into their cache, or each page that is read costs a whole index too.
const BLOCK: SstBlockSize = SstBlockSize::Block16Kib;

/// How long unused entries stay in the database's caches.
const IDLE: Duration = Duration::from_secs(600);

/// How long a stored tree may take before that counts as no answer from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For opening it.
    pub open: Duration,
    /// For reading the paths to some records.
    pub load: Duration,
    /// For taking a snapshot.
    pub advance: Duration,
    /// For closing it. After this it is not waited for any longer, and still writes nothing.
    pub close: Duration,
    /// For one call to the store, plus a second for each MiB that it sends.
    pub call: Duration,
}

impl Timeouts {
    /// The same for everything.
    #[must_use]
    pub const fn all(limit: Duration) -> Self {
        Self { open: limit, load: limit, advance: limit, close: limit, call: limit }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            open: Duration::from_secs(30),
            load: Duration::from_secs(5),
            advance: Duration::from_secs(30),
            close: Duration::from_secs(5),
            call: Duration::from_secs(2),
        }
    }
}

/// How much memory and how much time a stored tree may take. An agent has one tree for each group of its HSM; see
/// [`Self::shared_by`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeSettings {
    /// For decoded pages, in bytes.
    pub page_cache_bytes: u64,
    /// For blocks of the database, in bytes.
    pub block_cache_bytes: u64,
    /// For its indexes and filters, in bytes.
    pub index_cache_bytes: u64,
    /// The time limits.
    pub timeouts: Timeouts,
    /// Whether what has left for other groups is deleted once it is stored there.
    pub sweeps: bool,
}

impl Default for TreeSettings {
    fn default() -> Self {
        Self {
            page_cache_bytes: 64 << 20,
            block_cache_bytes: 8 << 20,
            index_cache_bytes: 40 << 20,
            timeouts: Timeouts::default(),
            sweeps: false,
        }
    }
}

impl TreeSettings {
    /// The memory of the default, divided among the trees of one agent.
    #[must_use]
    pub fn shared_by(trees: usize) -> Self {
        let trees = u64::try_from(trees).unwrap_or(u64::MAX).max(1);
        let Self { page_cache_bytes, block_cache_bytes, index_cache_bytes, timeouts, sweeps } =
            Self::default();
        Self {
            page_cache_bytes: page_cache_bytes / trees,
            block_cache_bytes: block_cache_bytes / trees,
            index_cache_bytes: index_cache_bytes / trees,
            timeouts,
            sweeps,
        }
    }
}

/// A database that is open for writing until it is dropped; after that, nothing in it touches the store.
pub(super) struct Database {
    db: Db,
    clock: TreeClock,
    gate: ShutOnDrop,
    close_timeout: Duration,
    stored: Mutex<Stored>,
}

/// What the tree says about itself, `None` while that is not known; how often that may have changed; and how many writes that change
/// it have begun and not ended.
#[derive(Default)]
struct Stored {
    known: Option<About>,
    changes: u64,
    writing: u32,
    /// Whether one has ended of which it is not known whether it is there, or will be.
    unsettled: bool,
}

impl Stored {
    /// Whether what is read now is what it says until the next write.
    const fn is_settled(&self) -> bool {
        self.writing == 0 && !self.unsettled
    }
}

/// A write that changes what the tree says about itself. Until it has ended, however it ends, nothing that is read counts as what
/// the tree says later.
struct Changing<'a> {
    stored: &'a Mutex<Stored>,
    is_done: bool,
}

impl<'a> Changing<'a> {
    fn begin(stored: &'a Mutex<Stored>) -> Self {
        stored.lock().writing += 1;
        Self { stored, is_done: false }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut stored = self.stored.lock();
        (stored.known, stored.changes) = (None, stored.changes.wrapping_add(1));
        stored.writing = stored.writing.saturating_sub(1);
        stored.unsettled = !self.is_done;
    }
}

/// What a stored tree says about itself.
#[derive(Clone, Default)]
pub(super) struct About {
    /// What it reaches.
    pub(super) snapshot: Option<Snapshot>,
    /// What has left, and is still here.
    pub(super) leftovers: Vec<Leftover>,
}

impl About {
    /// The prefixes of the trees in it.
    pub(super) fn tops(&self) -> Vec<Prefix> {
        self.snapshot.as_ref().map(Snapshot::prefixes).unwrap_or_default()
    }
}

impl Database {
    /// Opens it, or begins it, and closes it for everything else that has it open.
    pub(super) async fn open(
        objects: Arc<dyn ObjectStore>,
        place: &TreePlace,
        settings: &TreeSettings,
    ) -> Result<Self, TreeFailure> {
        // Shut when an opening is given up: nothing it leaves behind may go on working.
        let Timeouts { call, close: close_timeout, .. } = settings.timeouts;
        let gate = ShutOnDrop(Gate::new(objects, call));
        let clock = TreeClock::new();
        let generation = in_use(&gate.0, place).await?;
        place.has_database(&gate.0, generation).await?;
        let cache = SplitCache::new()
            .with_block_cache(Some(moka(settings.block_cache_bytes)))
            .with_meta_cache(Some(moka(settings.index_cache_bytes)));
        // What a snapshot changes is cached as pages; its blocks would evict what is read.
        let policy =
            BlockCachePolicy::default().with_flush_targets(&[CacheTarget::Index, CacheTarget::Filters]);
        let path = place.database(generation);
        // Merging begins with the opening.
        let admin = Admin::builder(path.clone(), Arc::new(gate.0.clone())).build();
        let (manifest, merges) =
            try_join!(admin.read_manifest(None), admin.read_compactions(None)).map_err(failure)?;
        clock.not_before(manifest.as_ref().map_or(0, newest_ms));
        clock.not_before(merges.as_ref().map_or(0, newest_merge_ms));
        let db = Db::builder(path.clone(), Arc::new(gate.0.clone()))
            .with_settings(database_settings())
            .with_sst_block_size(BLOCK)
            .with_db_cache(Arc::new(cache), 0)
            .with_block_cache_policy(policy)
            .with_system_clock(Arc::new(clock.clone()))
            .build()
            .await
            .map_err(failure)?;
        // What was written between those two.
        clock.not_before(newest_ms(&db.manifest()));
        Ok(Self { db, clock, gate, close_timeout, stored: Mutex::default() })
    }

    /// The whole of it as it is now.
    pub(super) fn now(&self) -> Result<Arc<DbSnapshot>, TreeFailure> {
        self.db.snapshot().map_err(failure)
    }

    /// The database itself, for reading what is newest.
    pub(super) const fn newest(&self) -> &Db {
        &self.db
    }

    /// How many bytes the files have that it uses now. Those that were merged into others stay for a while beside them.
    pub(super) fn file_bytes(&self) -> u64 {
        self.db.manifest().all_sst_views().map(|view| view.estimate_size()).sum()
    }

    /// What it says about itself, as of now. While that is being written, it may be what it was before.
    pub(super) async fn about(&self) -> Result<About, TreeFailure> {
        let (changes, settled) = {
            let stored = self.stored.lock();
            let settled = stored.is_settled();
            if let Some(known) = stored.known.as_ref().filter(|_| settled) {
                return Ok(known.clone());
            }
            (stored.changes, settled)
        };
        let now = self.now()?;
        let leftovers = match leftovers(&*now).await {
            // Then nothing is deleted, and records are read all the same.
            Err(TreeFailure::Damaged(_)) => Vec::new(),
            read => read?,
        };
        let read = About { snapshot: snapshot(&*now).await?, leftovers };
        let mut stored = self.stored.lock();
        if settled && stored.is_settled() && stored.changes == changes {
            stored.known = Some(read.clone());
        }
        Ok(read)
    }

    /// Writes what changes with a snapshot, the snapshot and what is left over then, in one atomic step. If that fails, it may be
    /// there or not.
    pub(super) async fn write_snapshot(
        &self,
        mut batch: WriteBatch,
        snapshot: &Snapshot,
        leftovers: &[Leftover],
    ) -> Result<(), TreeFailure> {
        batch.put(key::SNAPSHOT, snapshot.to_bytes());
        self.write_leftovers(batch, leftovers).await
    }

    /// Writes this, and what is left over then, in one atomic step; the snapshot stays what it is by then, which may be a newer one
    /// than the caller has seen. If that fails, it may be there or not.
    pub(super) async fn write_leftovers(
        &self,
        mut batch: WriteBatch,
        leftovers: &[Leftover],
    ) -> Result<(), TreeFailure> {
        if leftovers.is_empty() {
            batch.delete(key::LEFTOVERS);
        } else {
            batch.put(key::LEFTOVERS, minicbor::to_vec(leftovers).unwrap_or_default());
        }
        let mut changing = Changing::begin(&self.stored);
        self.write(batch).await?;
        changing.is_done = true;
        Ok(())
    }

    /// Learns what others have done to it since.
    pub(super) async fn refresh(&self) -> Result<(), TreeFailure> {
        self.db.refresh_manifest().await.map_err(failure)
    }

    /// Writes all of it in one atomic step.
    // Durable: only a completed flush puts the batch into the store, as one object that one manifest names.
    pub(super) async fn write(&self, batch: WriteBatch) -> Result<(), TreeFailure> {
        self.clock.busy();
        self.db.write(batch).await.map_err(failure)?;
        self.flush().await
    }

    /// Has everything durable that was written.
    pub(super) async fn flush(&self) -> Result<(), TreeFailure> {
        let flush = FlushOptions { flush_type: FlushType::MemTable };
        self.db.flush_with_options(flush).await.map_err(failure)
    }

    /// From now on, nothing in it touches the store.
    pub(super) fn shut(&self) {
        self.gate.0.shut();
    }

    /// Closes it and waits until nothing in it works any more.
    pub(super) async fn close(&self) {
        self.shut();
        close(self.db.clone(), self.close_timeout).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.shut();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(close(self.db.clone(), self.close_timeout));
        }
    }
}

/// The newest time of any write or object in a database, in milliseconds since 1970. It refuses what is older than the last of its
/// kind.
fn newest_ms(manifest: &VersionedManifest) -> i64 {
    let views = manifest.all_sst_views().flat_map(|view| [view.id, view.sst.id.value()]);
    let objects = views.chain(manifest.last_compacted_l0_sst_view_id());
    let newest = objects.map(|id| id.timestamp_ms()).max().unwrap_or_default();
    manifest.last_l0_clock_tick().max(i64::try_from(newest).unwrap_or_default())
}

/// The same of any merging of objects that has begun.
fn newest_merge_ms(merges: &VersionedCompactions) -> i64 {
    let newest = merges.recent_compactions().map(|merge| merge.id().timestamp_ms()).max().unwrap_or_default();
    i64::try_from(newest).unwrap_or_default()
}

/// Ends the background work of a database that can no longer write.
async fn close(db: Db, limit: Duration) {
    let options = CloseOptions::default().with_flush_type(None);
    let closing = AssertUnwindSafe(db.close_with_options(options)).catch_unwind();
    // Being closed already, or fenced, is just as good.
    let _closed = timeout(limit, closing).await;
}

/// Where the database in use is, if there is one.
pub(super) async fn existing(
    objects: &dyn ObjectStore,
    place: &TreePlace,
) -> Result<Option<ObjectPath>, TreeFailure> {
    let generation = in_use(objects, place).await?;
    let exists = place.has_database(objects, generation).await?;
    Ok(exists.then(|| place.database(generation)))
}

async fn in_use(objects: &dyn ObjectStore, place: &TreePlace) -> Result<u64, TreeFailure> {
    place.in_use(objects).await.map_err(|error| {
        warn!(%error, "cannot list the stored trees");
        TreeFailure::Unavailable
    })
}

/// Reads what a stored tree says about itself.
pub(super) async fn snapshot(db: &(impl DbReadOps + Sync)) -> Result<Option<Snapshot>, TreeFailure> {
    let Some(bytes) = db.get(key::SNAPSHOT).await.map_err(failure)? else { return Ok(None) };
    let snapshot = Snapshot::from_bytes(&bytes).ok_or(TreeDamage::Snapshot)?;
    Ok(Some(snapshot))
}

/// Reads what a stored tree says has left and is still here. What makes no sense is nothing, and so is never deleted.
pub(super) async fn leftovers(db: &(impl DbReadOps + Sync)) -> Result<Vec<Leftover>, TreeFailure> {
    let bytes = db.get(key::LEFTOVERS).await.map_err(failure)?;
    Ok(bytes.and_then(|bytes| minicbor::decode(&bytes).ok()).unwrap_or_default())
}

/// Runs it within the time given, and turns a panic of the database into damage: it met something that makes no sense.
pub(super) async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, TreeFailure>>,
) -> Result<T, TreeFailure> {
    match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => done,
        Ok(Err(_panic)) => Err(TreeDamage::Object("the database cannot make sense of it".into()).into()),
        Err(_elapsed) => Err(TreeFailure::Unavailable),
    }
}

/// What an error of the database means. One that is closed is no longer ours to write, whoever closed it.
pub(super) fn failure(error: slatedb::Error) -> TreeFailure {
    match error.kind() {
        ErrorKind::Closed(CloseReason::Fenced) => TreeFailure::Fenced,
        ErrorKind::Closed(_) => {
            warn!(%error, "the database of the tree is closed");
            TreeFailure::Fenced
        }
        ErrorKind::Data => TreeDamage::Object(error.to_string()).into(),
        _ => {
            warn!(%error, "the database of the tree does not answer");
            TreeFailure::Unavailable
        }
    }
}

/// Snapshots and their merging leave blocks, indexes and filters of objects that have since been deleted. Nothing asks
/// for those again, and each takes more than the bytes that the bound counts, so they must not stay until the bound is
/// reached.
pub(super) fn moka(max_capacity: u64) -> Arc<dyn DbCache> {
    let options = MokaCacheOptions { max_capacity, time_to_idle: Some(IDLE), ..MokaCacheOptions::default() };
    Arc::new(MokaCache::new_with_opts(options))
}

fn database_settings() -> Settings {
    Settings {
        flush_interval: None,
        wal_enabled: false,
        manifest_poll_interval: ROUND,
        // Filters even for small tables: without them a read asks every table.
        min_filter_keys: 1,
        l0_sst_size_bytes: 64 << 20,
        max_unflushed_bytes: 128 << 20,
        // Compaction begins at four, and has half a minute to end before snapshots wait for it.
        l0_max_ssts: 48,
        l0_max_ssts_per_key: 48,
        l0_flush_parallelism: 1,
        compactor_options: Some(compactor_options()),
        garbage_collector_options: Some(garbage_options()),
        ..Settings::default()
    }
}

/// A little at a time: what compaction holds in memory comes on top of the caches.
fn compactor_options() -> CompactorOptions {
    CompactorOptions {
        poll_interval: ROUND,
        commit_compacted_interval: Duration::from_secs(1),
        max_concurrent_compactions: 2,
        checkpoint_lifetime: TABLE_GRACE,
        scheduler_options: HashMap::from([("max_compaction_sources".into(), "12".into())]),
        worker: Some(CompactionWorkerOptions {
            max_concurrent_compactions: 2,
            compactions_poll_interval: ROUND,
            heartbeat_interval: FREE,
            max_sst_size: 32 << 20,
            max_fetch_tasks: 1,
            bytes_to_fetch: 256 << 10,
            max_subcompactions: 1,
            min_filter_keys: 1,
            ..CompactionWorkerOptions::default()
        }),
        ..CompactorOptions::default()
    }
}

fn garbage_options() -> GarbageCollectorOptions {
    let after = |min_age, interval| {
        Some(GarbageCollectorDirectoryOptions { interval: Some(interval), min_age, dry_run: false })
    };
    GarbageCollectorOptions {
        manifest_options: after(RECORD_GRACE, GARBAGE_ROUND),
        wal_options: None,
        // Opening leaves an empty object where the write-ahead log would be.
        wal_fence_options: after(RECORD_GRACE, GARBAGE_ROUND),
        compacted_options: after(TABLE_GRACE, TABLE_ROUND),
        compactions_options: after(RECORD_GRACE, GARBAGE_ROUND),
        detach_options: None,
        // Not every store can replace an object only if it has not changed; the grace time stands in for that.
        boundary_files_enabled: false,
        ..GarbageCollectorOptions::default()
    }
}
