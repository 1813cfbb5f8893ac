//! What it takes to copy the stored tree of one group into that of another, as a move does before the prefix changes hands,
//! with nothing else in the process:
//!
//! ```text
//! cargo run --release -p strongroom-sim --example copy -- fill DIR RECORDS
//! cargo run --release -p strongroom-sim --example copy -- copy DIR
//! ```
//!
//! The first makes a tree of leaves that mean nothing, in a folder. The second copies it, and prints how long that took, how
//! much memory of its own the process had before and at most, and how late a task was that wanted to run every five
//! milliseconds: what requests would have waited for.

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strongroom_agent::memory::{resident, use_one_arena};
use strongroom_agent::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{Advance, Snapshot};

const LEAF_BYTES: usize = 1704;
/// How many records a snapshot adds.
const AT_ONCE: u64 = 32_768;
const FROM: GroupId = GroupId([7; 16]);
const TO: GroupId = GroupId([8; 16]);
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(86_400);
/// How often the other task wants to run.
const EVERY: Duration = Duration::from_millis(5);

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    use_one_arena();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments[..] {
        ["fill", folder, records] => runtime.block_on(fill(folder, records.parse()?)),
        ["copy", folder] => runtime.block_on(copy(folder)),
        _ => Err("usage: copy fill DIR RECORDS, then copy copy DIR".into()),
    }
}

fn tree(folder: &str, group: GroupId, timeouts: Timeouts) -> Result<TreeStore, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let objects: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    // An agent in two groups.
    let settings = TreeSettings { timeouts, ..TreeSettings::shared_by(2) };
    Ok(TreeStore::new(objects, &ObjectPath::from("copied"), group, settings, TreeMetrics::default()))
}

async fn fill(folder: &str, records: u64) -> Outcome {
    // It is filled faster than any group writes, and so waits for compaction.
    let store = tree(folder, FROM, Timeouts::all(LONG))?;
    store.open().await?;
    let (mut rng, mut root, mut done) = (StdRng::seed_from_u64(1), Digest::EMPTY, 0);
    while done < records {
        let mut leaves = Vec::new();
        for _ in 0..AT_ONCE.min(records - done) {
            let (mut id, mut sealed) = ([0; RecordId::LEN], vec![0; LEAF_BYTES]);
            rng.fill_bytes(&mut id);
            rng.fill_bytes(&mut sealed);
            leaves.push((RecordId(id), Arc::<[u8]>::from(sealed)));
        }
        let changed: Vec<RecordId> = leaves.iter().map(|(id, _)| *id).collect();
        let mut tree = Tree::closed(Prefix::WHOLE, root);
        for ids in changed.chunks(1024).filter(|_| root != Digest::EMPTY) {
            let loaded = store.load(ids.iter().map(|id| (Prefix::WHOLE, *id)).collect()).await?;
            loaded.pages.iter().for_each(|page| tree.open_page(page));
        }
        tree.update(leaves)?;
        (root, done) = (tree.root(), done + changed.len() as u64);
        store.advance(Advance { snapshot: snapshot(done, root), trees: vec![tree], changed }).await?;
        println!("{done} of {records}");
    }
    store.close().await;
    Ok(())
}

fn snapshot(index: u64, root: Digest) -> Snapshot {
    let hsm = HsmId([3; 16]);
    let entry = Entry {
        realm: RealmId([1; 16]),
        group: FROM,
        index: Index(index),
        prev: EntryHash([0; 32]),
        leader: hsm,
        term: Term([4; 16]),
        partitions: vec![Partition { prefix: Prefix::WHOLE, root }],
        transfers: 0,
        open: Vec::new(),
        last: false,
        events_hash: Digest::EMPTY,
        mac: Mac(Digest::EMPTY),
    };
    let (index, hash) = (entry.index, entry.hash());
    Snapshot { entry, committed: Committed { hsm, index, hash, mac: Mac(Digest::EMPTY) } }
}

async fn copy(folder: &str) -> Outcome {
    let [from, to] = [FROM, TO].map(|group| tree(folder, group, Timeouts::default()));
    let (from, to) = (from?, to?);
    to.open().await?;
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let own = || resident(None).map_or(0, |memory| memory.own_bytes);
    let late = tokio::spawn({
        let (over, most) = (Arc::clone(&over), Arc::clone(&most));
        async move {
            let mut late_ms = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                tokio::time::sleep(EVERY).await;
                late_ms.push(begun.elapsed().saturating_sub(EVERY).as_secs_f64() * 1e3);
                most.fetch_max(own(), Ordering::Relaxed);
            }
            late_ms
        }
    });
    let (before, begun) = (own(), Instant::now());
    let adopted = to.adopt(Prefix::WHOLE, &from).await?;
    let took = begun.elapsed();
    over.store(true, Ordering::Relaxed);
    let mut late_ms = late.await?;
    late_ms.sort_unstable_by(f64::total_cmp);
    let of = |percent: usize| late_ms.get(late_ms.len() * percent / 100).copied().unwrap_or(0.0);
    println!("{} records copied in {:.1} s", adopted.records, took.as_secs_f64());
    println!("memory: {} MiB before, {} MiB at most", before >> 20, most.load(Ordering::Relaxed) >> 20);
    let longest = late_ms.last().copied().unwrap_or(0.0);
    println!(
        "another task was late by {:.1} ms (p50), {:.1} ms (p95), {:.1} ms (p99), {longest:.0} ms at most",
        of(50),
        of(95),
        of(99)
    );
    to.close().await;
    Ok(())
}
