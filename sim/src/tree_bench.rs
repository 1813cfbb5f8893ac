//! What a stored tree costs: builds one as a leading agent does, then reads random paths from it as requests do.

use crate::Error;
use async_trait::async_trait;
use futures::stream::BoxStream;
use indicatif::{ProgressBar, ProgressStyle};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as Stored,
};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strongroom_agent::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{Advance, Snapshot};

/// How long a sealed leaf is, in bytes.
const LEAF_BYTES: usize = 808;
/// How many records a snapshot changes.
const CHANGED: u64 = 4096;
/// How many records are requested at once.
const TOGETHER: u64 = 64;
/// How many records are requested in all, of a tree that has as many.
const ASKED: u64 = 20_000;
const GROUP: GroupId = GroupId([7; 16]);
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(86_400);

/// What a stored tree cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// How many records it has.
    pub records: u64,
    /// How long each snapshot took, of those that built it, in milliseconds.
    pub snapshot_ms: f64,
    /// How much each wrote, in KiB.
    pub snapshot_kib: f64,
    /// How long a load of 64 records at random took in the middle, in milliseconds.
    pub load_p50_ms: f64,
    /// How long 99 of 100 loads took at most.
    pub load_p99_ms: f64,
    /// Pages read for each record.
    pub pages_per_record: f64,
    /// Leaves read for each record.
    pub leaves_per_record: f64,
    /// Bytes on disk for each byte of a leaf, when the last snapshot was written.
    pub disk_per_leaf_byte: f64,
}

/// Builds a tree of this many records in a folder, reads from it, and prints the cost.
///
/// # Errors
/// An error of the folder or the tree.
pub async fn run(records: u64, folder: &Path) -> Result<Cost, Error> {
    std::fs::create_dir_all(folder)?;
    let objects = Arc::new(Counted::new(LocalFileSystem::new_with_prefix(folder)?));
    let metrics = TreeMetrics::default();
    let shared: Arc<dyn ObjectStore> = Arc::<Counted>::clone(&objects);
    // Measures however slow the machine is: what an agent would have given up is reported, and ends nothing.
    let settings = TreeSettings { timeouts: Timeouts::all(LONG), ..TreeSettings::default() };
    let store = TreeStore::new(shared, &ObjectPath::from("bench"), GROUP, settings, metrics.clone());
    if store.open().await?.is_some() {
        return Err("the folder holds a tree already; give an empty one".into());
    }
    println!("{}, {} cores; {records} records of {LEAF_BYTES} bytes", system(), cores());
    println!("memory of this process before: {}", memory());

    let begun = Instant::now();
    build(&store, records).await?;
    let took = begun.elapsed();
    let snapshots = metrics.snapshots.get().max(1);
    println!(
        "built in {:.1} s: {snapshots} snapshots, {:.0} ms and {} KiB each",
        took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 / to_f64(snapshots),
        metrics.snapshot_bytes.get() / snapshots / 1024
    );
    let disk = disk_bytes(folder)?;
    println!("store calls: {objects}; memory: {}; on disk: {} MiB", memory(), disk >> 20);

    objects.forget();
    let before = Reads::of(&metrics);
    let mut loads = read(&store, records).await?;
    // The loads are whole.
    let asked = loads.len() as u64 * TOGETHER;
    loads.sort_unstable();
    let reads = Reads::of(&metrics).since(&before);
    println!(
        "{asked} records, {TOGETHER} at a time: {:.1} ms in the middle, {:.1} ms for 99 of 100",
        millis(&loads, 50),
        millis(&loads, 99)
    );
    println!(
        "cache of pages: {:.1} % found; read per record: {:.2} pages, {:.2} leaves",
        100.0 * to_f64(reads.hits) / to_f64(reads.hits + reads.misses).max(1.0),
        to_f64(reads.pages) / to_f64(asked),
        to_f64(reads.leaves) / to_f64(asked)
    );
    println!("store calls: {objects}; memory: {}", memory());
    println!("decoded pages in the cache: {} MiB", store.cached_bytes() >> 20);
    store.close().await;
    Ok(Cost {
        records,
        snapshot_ms: took.as_secs_f64() * 1000.0 / to_f64(snapshots),
        snapshot_kib: to_f64(metrics.snapshot_bytes.get()) / to_f64(snapshots) / 1024.0,
        load_p50_ms: millis(&loads, 50),
        load_p99_ms: millis(&loads, 99),
        pages_per_record: to_f64(reads.pages) / to_f64(asked),
        leaves_per_record: to_f64(reads.leaves) / to_f64(asked),
        disk_per_leaf_byte: to_f64(disk) / (to_f64(records) * LEAF_BYTES as f64).max(1.0),
    })
}

/// Puts records 0 to `records` into the tree. It holds only as much of the tree as the records at hand need.
async fn build(store: &TreeStore, records: u64) -> Result<(), Error> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} records, {eta} left")?;
    let progress = ProgressBar::new(records).with_style(style);
    let agent = Timeouts::default();
    let mut rng = StdRng::seed_from_u64(1);
    let mut root = Digest::EMPTY;
    let mut next = 0;
    while next < records {
        let until = records.min(next.saturating_add(CHANGED));
        let changed: Vec<RecordId> = (next..until).map(record).collect();
        let mut tree = Tree::closed(Prefix::WHOLE, root);
        for ids in changed.chunks(1024).filter(|_| root != Digest::EMPTY) {
            let begun = Instant::now();
            let loaded = store.load(ids.iter().map(|id| (Prefix::WHOLE, *id)).collect()).await?;
            tell_slow(&progress, "reading", begun.elapsed(), agent.load);
            loaded.pages.iter().for_each(|page| tree.open_page(page));
        }
        tree.update(changed.iter().map(|id| {
            let mut sealed = vec![0; LEAF_BYTES];
            rng.fill_bytes(&mut sealed);
            (*id, sealed.into())
        }))?;
        root = tree.root();
        let advance = Advance { snapshot: snapshot(until, root), trees: vec![tree], changed };
        let begun = Instant::now();
        store.advance(advance).await?;
        // If it is slow, compaction may be behind, and the snapshot waited for it.
        tell_slow(&progress, "a snapshot", begun.elapsed(), agent.advance);
        next = until;
        progress.set_position(next);
    }
    progress.finish_and_clear();
    Ok(())
}

fn tell_slow(progress: &ProgressBar, what: &str, took: Duration, limit: Duration) {
    if took > limit {
        let (took, limit) = (took.as_secs_f64(), limit.as_secs());
        progress.suspend(|| println!("{what} took {took:.1} s; an agent waits {limit} s"));
    }
}

/// Reads random paths. Returns how long each load took.
async fn read(store: &TreeStore, records: u64) -> Result<Vec<Duration>, Error> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut took = Vec::new();
    for _ in 0..(ASKED.min(records) / TOGETHER).max(1) {
        let ids = (0..TOGETHER).map(|_| (Prefix::WHOLE, record(rng.random_range(0..records))));
        let ids = ids.collect();
        let begun = Instant::now();
        let loaded = store.load(ids).await?;
        took.push(begun.elapsed());
        if let Some((id, damage)) = loaded.damaged.first() {
            return Err(format!("record {id}: {damage}").into());
        }
    }
    Ok(took)
}

fn record(at: u64) -> RecordId {
    let mut id = [0; 32];
    StdRng::seed_from_u64(at).fill_bytes(&mut id);
    RecordId(id)
}

fn snapshot(index: u64, root: Digest) -> Snapshot {
    let hsm = HsmId([3; 16]);
    let entry = Entry {
        realm: RealmId([1; 16]),
        group: GROUP,
        index: Index(index),
        prev: EntryHash([0; 32]),
        leader: hsm,
        term: Term([4; 16]),
        partitions: vec![Partition { prefix: Prefix::WHOLE, root }],
        transfers: 0,
        events_hash: Digest::EMPTY,
        mac: Mac(Digest::EMPTY),
    };
    let (index, hash) = (entry.index, entry.hash());
    Snapshot { entry, committed: Committed { hsm, index, hash, mac: Mac(Digest::EMPTY) } }
}

/// What loads have read.
struct Reads {
    hits: u64,
    misses: u64,
    pages: u64,
    leaves: u64,
}

impl Reads {
    fn of(metrics: &TreeMetrics) -> Self {
        let (hits, misses) = (metrics.hits.get(), metrics.misses.get());
        Self { hits, misses, pages: metrics.pages_read.get(), leaves: metrics.leaves_read.get() }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            pages: self.pages - before.pages,
            leaves: self.leaves - before.leaves,
        }
    }
}

fn to_f64(count: u64) -> f64 {
    count as f64
}

fn millis(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH)
}

/// Memory of this process, now and at most, if the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map_or_else(|| "?".into(), |kib| format!("{} MiB", kib >> 10))
    };
    format!("{} now, {} at most", of("VmRSS:"), of("VmHWM:"))
}

fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { disk_bytes(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

/// An object store that counts.
#[derive(Debug)]
struct Counted {
    under: LocalFileSystem,
    get: AtomicU64,
    put: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
}

impl Counted {
    fn new(under: LocalFileSystem) -> Self {
        let [get, put, list, delete] = [0; 4].map(AtomicU64::new);
        Self { under, get, put, list, delete }
    }

    fn forget(&self) {
        for calls in [&self.get, &self.put, &self.list, &self.delete] {
            calls.store(0, Ordering::Relaxed);
        }
    }
}

fn count(calls: &AtomicU64) {
    calls.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [get, put, list, delete] =
            [&self.get, &self.put, &self.list, &self.delete].map(|calls| calls.load(Ordering::Relaxed));
        write!(f, "{get} GET, {put} PUT, {list} LIST, {delete} DELETE")
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, at: &ObjectPath, bytes: PutPayload, options: PutOptions) -> Stored<PutResult> {
        count(&self.put);
        self.under.put_opts(at, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Stored<Box<dyn MultipartUpload>> {
        count(&self.put);
        self.under.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Stored<GetResult> {
        count(&self.get);
        self.under.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Stored<ObjectPath>>,
    ) -> BoxStream<'static, Stored<ObjectPath>> {
        count(&self.delete);
        self.under.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Stored<ObjectMeta>> {
        count(&self.list);
        self.under.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Stored<ListResult> {
        count(&self.list);
        self.under.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Stored<()> {
        count(&self.put);
        self.under.copy_opts(from, to, options).await
    }
}
