//! What a stored tree costs: builds one as a leading agent does, then reads random paths from it as requests do.

mod counted;
mod leader;
mod process;
mod progress;

use self::counted::Counted;
use self::leader::{GROUP, LEAF_BYTES, Leader, record};
use self::process::{cores, disk_bytes, memory, system, to_f64, told_memory};
use self::progress::Progress;
use crate::Error;
use futures::{TryStreamExt, pin_mut};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use strongroom_proto::prefix::Prefix;

/// How many records are requested at once.
const TOGETHER: u64 = 64;
/// How many records are requested in all, of a tree that has as many.
const ASKED: u64 = 20_000;
/// How many are requested of a leader that has just opened it.
const ASKED_COLD: u64 = 2_048;
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(86_400);

/// What a stored tree cost.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
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
    /// Memory of the process at most, in MiB, while one leader had the tree open.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Processor time for each of the first 150,000 changed records, in microseconds, with everything that this causes.
    #[serde(default)]
    pub first_change_us: Option<f64>,
    /// The same for the last 150,000.
    #[serde(default)]
    pub last_change_us: Option<f64>,
    /// Bytes on disk for each byte of a page or leaf that is not outdated, in the end.
    #[serde(default)]
    pub disk_per_live_byte: Option<f64>,
    /// The same without the files that are only kept for who reads them already.
    #[serde(default)]
    pub in_use_per_live_byte: Option<f64>,
    /// How long a new leader took to open the tree and read its first 64 records, in milliseconds.
    #[serde(default)]
    pub takeover_ms: Option<f64>,
    /// Reads of the store for each record that it then read at random.
    #[serde(default)]
    pub gets_per_cold_record: Option<f64>,
}

/// Builds a tree of this many records in a folder, reads from it, and prints the cost. For as long as `settle`, it changes
/// a few records now and then, and lets housekeeping catch up.
///
/// # Errors
/// An error of the folder or the tree.
pub async fn run(records: u64, folder: &Path, settle: Duration) -> Result<Cost, Error> {
    std::fs::create_dir_all(folder)?;
    let objects = Arc::new(Counted::new(LocalFileSystem::new_with_prefix(folder)?));
    let metrics = TreeMetrics::default();
    let store = tree(&objects, &metrics);
    if store.open().await?.is_some() {
        return Err("the folder holds a tree already; give an empty one".into());
    }
    println!("{}, {} cores; {records} records of {LEAF_BYTES} bytes", system(), cores());
    println!("memory of this process before: {}", told_memory());

    let mut leader = Leader::new(&store);
    let begun = Instant::now();
    let change_us = leader.build(records, &mut Progress::new(records, folder)?).await?;
    let mut cost = built(records, &metrics, begun.elapsed());
    (cost.first_change_us, cost.last_change_us) = change_us.unzip();
    if let Some((first, last)) = change_us {
        println!("processor time for a changed record: {first:.0} us at first, {last:.0} us in the end");
    }
    cost.disk_per_leaf_byte = to_f64(disk_bytes(folder)?) / (to_f64(records) * LEAF_BYTES as f64).max(1.0);
    println!("store calls: {objects}; memory: {}; on disk: {} MiB", told_memory(), disk_bytes(folder)? >> 20);

    objects.forget();
    read_warm(&store, &metrics, &mut cost).await?;
    println!("store calls: {objects}; memory: {}", told_memory());
    println!("decoded pages in the cache: {} MiB", store.cached_bytes() >> 20);
    leader.settle(records, settle).await?;
    cost.memory_mib = memory().map(|(_, most)| most);
    measure_disk(&store, folder, &mut cost).await?;
    drop(store);
    take_over(&objects, &mut cost).await?;
    Ok(cost)
}

/// Measures however slow the machine is: what an agent would have given up is reported, and ends nothing.
fn tree(objects: &Arc<Counted>, metrics: &TreeMetrics) -> TreeStore {
    let shared: Arc<dyn ObjectStore> = Arc::<Counted>::clone(objects);
    let settings = TreeSettings { timeouts: Timeouts::all(LONG), ..TreeSettings::default() };
    TreeStore::new(shared, &ObjectPath::from("bench"), GROUP, settings, metrics.clone())
}

fn built(records: u64, metrics: &TreeMetrics, took: Duration) -> Cost {
    let snapshots = metrics.snapshots.get().max(1);
    println!(
        "built in {:.1} s: {snapshots} snapshots, {:.0} ms and {} KiB each",
        took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 / to_f64(snapshots),
        metrics.snapshot_bytes.get() / snapshots / 1024
    );
    Cost {
        records,
        snapshot_ms: took.as_secs_f64() * 1000.0 / to_f64(snapshots),
        snapshot_kib: to_f64(metrics.snapshot_bytes.get()) / to_f64(snapshots) / 1024.0,
        ..Cost::default()
    }
}

/// Random reads by the leader that has built it.
async fn read_warm(store: &TreeStore, metrics: &TreeMetrics, cost: &mut Cost) -> Result<(), Error> {
    let before = Reads::of(metrics);
    let mut loads = read(store, cost.records, ASKED, 2).await?;
    // The loads are whole.
    let asked = loads.len() as u64 * TOGETHER;
    loads.sort_unstable();
    let reads = Reads::of(metrics).since(&before);
    (cost.load_p50_ms, cost.load_p99_ms) = (millis(&loads, 50), millis(&loads, 99));
    cost.pages_per_record = to_f64(reads.pages) / to_f64(asked);
    cost.leaves_per_record = to_f64(reads.leaves) / to_f64(asked);
    println!(
        "{asked} records, {TOGETHER} at a time: {:.1} ms in the middle, {:.1} ms for 99 of 100",
        cost.load_p50_ms, cost.load_p99_ms
    );
    println!(
        "cache of pages: {:.1} % found; read per record: {:.2} pages, {:.2} leaves",
        100.0 * to_f64(reads.hits) / to_f64(reads.hits + reads.misses).max(1.0),
        cost.pages_per_record,
        cost.leaves_per_record
    );
    Ok(())
}

/// What is on disk, what of that the database still uses, and what of that is not outdated.
async fn measure_disk(store: &TreeStore, folder: &Path, cost: &mut Cost) -> Result<(), Error> {
    let (disk, in_use) = (disk_bytes(folder)?, store.file_bytes().await?);
    let mut live = cost.records * LEAF_BYTES as u64;
    let reader = store.reader().await?.ok_or("the tree is gone")?;
    let pages = reader.pages();
    pin_mut!(pages);
    while let Some(page) = pages.try_next().await? {
        live += page.encode().len() as u64;
    }
    let per_live = |bytes| to_f64(bytes) / to_f64(live.max(1));
    (cost.disk_per_live_byte, cost.in_use_per_live_byte) = (Some(per_live(disk)), Some(per_live(in_use)));
    println!(
        "on disk: {} MiB, {:.2} bytes for each live one; files in use: {} MiB, {:.2} for each; live: {} MiB",
        disk >> 20,
        per_live(disk),
        in_use >> 20,
        per_live(in_use),
        live >> 20
    );
    Ok(())
}

/// Opens it as the next leader does, who has nothing in memory.
async fn take_over(objects: &Arc<Counted>, cost: &mut Cost) -> Result<(), Error> {
    let store = tree(objects, &TreeMetrics::default());
    let begun = Instant::now();
    store.open().await?;
    let opened = begun.elapsed().as_secs_f64() * 1000.0;
    read(&store, cost.records, TOGETHER, 3).await?;
    let served = begun.elapsed().as_secs_f64() * 1000.0;
    objects.forget();
    let asked = read(&store, cost.records, ASKED_COLD, 4).await?.len() as u64 * TOGETHER;
    let gets = to_f64(objects.gets()) / to_f64(asked);
    (cost.takeover_ms, cost.gets_per_cold_record) = (Some(served), Some(gets));
    println!("a new leader: open after {opened:.0} ms, {TOGETHER} records read after {served:.0} ms");
    println!("then {asked} records at random: {gets:.2} GETs each");
    store.close().await;
    Ok(())
}

/// Reads this many random paths. Returns how long each load took.
async fn read(store: &TreeStore, records: u64, asked: u64, seed: u64) -> Result<Vec<Duration>, Error> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut took = Vec::new();
    for _ in 0..(asked.min(records) / TOGETHER).max(1) {
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

fn millis(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}
