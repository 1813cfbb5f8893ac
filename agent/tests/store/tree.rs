//! The stored tree against a model of it: what is read, whatever happened before, is what was written, or is reported
//! as damaged.
//!
//! Where calls to the store or its objects are counted, time stands still: housekeeping would add its own.

use crate::tree_model::{GROUP, Model, Objects, patient};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt, path::Path as ObjectPath};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use slatedb::Db;
use slatedb::admin::Admin;
use slatedb::config::{CompactorOptions, FlushOptions, FlushType, Settings};
use slatedb_common::clock::{DefaultSystemClock, SystemClock, SystemClockTicker};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strongroom_agent::check::{self, Unwatched};
use strongroom_agent::tree::{AdoptError, TreeMetrics, TreePlace, TreeSettings, TreeStore};
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{TreeDamage, TreeFailure};

fn prefixes(lens: &[(u8, u16)]) -> Vec<Prefix> {
    lens.iter().map(|(first, len)| Prefix::of(&RecordId([*first; 32]), *len).unwrap()).collect()
}

/// The record ids that begin with 0, those that begin with 10, and those that begin with 11000.
fn three() -> Vec<Prefix> {
    prefixes(&[(0x00, 1), (0x80, 2), (0xc0, 5)])
}

async fn round_trips(objects: &Arc<Objects>, model: &mut Model, snapshots: usize) {
    let mut tree = objects.tree();
    let mut reached = tree.open().await.unwrap();
    for at in 0..snapshots {
        let advance = model.change(1 + at % 60);
        reached = Some(advance.snapshot.clone());
        tree.advance(advance).await.unwrap();
        if at % 7 == 6 {
            // As after a crash: nothing is closed.
            tree = objects.tree();
            assert_eq!(tree.open().await.unwrap(), reached);
        }
        let records = model.everything(20);
        let loaded = tree.load(records.clone()).await.unwrap();
        assert_eq!(model.check(&loaded, &records), 0);
    }
    tree.close().await;
    assert_eq!(objects.tree().read_snapshot().await.unwrap(), reached);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_snapshots_wrote_in_memory_is_read() {
    for (seed, prefixes) in [(1, vec![Prefix::WHOLE]), (2, three())] {
        round_trips(&Objects::memory(), &mut Model::new(seed, &prefixes), 16).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_snapshots_wrote_in_a_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let under = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    round_trips(&Objects::over(Arc::new(under)), &mut Model::new(3, &three()), 10).await;
}

#[tokio::test]
async fn a_tree_that_nobody_began_is_empty_and_reading_it_begins_nothing() {
    let objects = Objects::memory();
    let tree = objects.tree();
    assert_eq!(tree.read_snapshot().await, Ok(None));
    assert!(tree.reader().await.unwrap().is_none());
    assert!(objects.names().await.is_empty());
    assert_eq!(tree.open().await, Ok(None));
    assert_eq!(objects.tree().read_snapshot().await, Ok(None));
}

#[tokio::test]
async fn a_tree_that_is_not_open_answers_fenced() {
    let tree = Objects::memory().tree();
    assert_eq!(tree.load(Vec::new()).await.unwrap_err(), TreeFailure::Fenced);
    let advance = Model::new(4, &[Prefix::WHOLE]).change(1);
    assert_eq!(tree.advance(advance).await, Err(TreeFailure::Fenced));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_tree_has_a_snapshot_and_no_leaf() {
    let objects = Objects::memory();
    let tree = objects.tree();
    tree.open().await.unwrap();
    let mut model = Model::new(5, &three());
    let advance = model.change(0);
    tree.advance(advance).await.unwrap();
    let records = model.everything(10);
    assert_eq!(model.check(&tree.load(records.clone()).await.unwrap(), &records), 0);
    assert_eq!(objects.tree().read_snapshot().await.unwrap(), Some(model.snapshot()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_to_open_writes_and_the_one_before_is_fenced_until_it_opens_again() {
    let objects = Objects::memory();
    let mut model = Model::new(6, &three());
    let (first, second) = (objects.tree(), objects.tree());
    first.open().await.unwrap();
    first.advance(model.change(30)).await.unwrap();
    assert_eq!(second.open().await.unwrap(), Some(model.snapshot()));
    let kept = model.snapshot();
    let mut other = Model::new(7, &three());
    assert_eq!(first.advance(other.change(3)).await, Err(TreeFailure::Fenced));
    assert_eq!(first.load(Vec::new()).await.unwrap_err(), TreeFailure::Fenced);
    assert_eq!(objects.tree().read_snapshot().await.unwrap(), Some(kept));
    second.advance(model.change(30)).await.unwrap();
    assert_eq!(first.open().await.unwrap(), Some(model.snapshot()));
    assert_eq!(second.advance(model.change(1)).await, Err(TreeFailure::Fenced));
}

#[tokio::test(start_paused = true)]
async fn reading_a_snapshot_fences_nobody_and_writes_nothing() {
    let objects = Objects::memory();
    let mut model = Model::new(8, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    for _ in 0..3 {
        tree.advance(model.change(10)).await.unwrap();
        objects.calls.take();
        assert_eq!(objects.tree().read_snapshot().await.unwrap(), Some(model.snapshot()));
        let [get, put, list, delete] = objects.calls.take();
        assert_eq!((put, delete), (0, 0));
        assert!(get + list <= 24, "{get} reads, {list} listings");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_whole_or_absent_wherever_a_crash_cuts_it_short() {
    let objects = Objects::memory();
    let mut model = Model::new(9, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(model.change(40)).await.unwrap();
    let (before, old) = (objects.all().await, model.snapshot());
    let old_records = model.everything(10);
    let old_trees = model.trees.clone();
    let old_leaves = model.leaves.clone();
    tree.advance(model.change(40)).await.unwrap();
    let after = objects.all().await;
    let new = model.snapshot();
    // In the order in which it was written: tables, then the manifest.
    let mut written: Vec<_> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    written.sort_by_key(|name| name.as_ref().contains("manifest"));
    for kept in 0..=written.len() {
        let mut crashed = before.clone();
        crashed.extend(written[..kept].iter().map(|name| ((*name).clone(), after[*name].clone())));
        let tree = Objects::of(&crashed).await.tree();
        let reached = tree.open().await.unwrap();
        if reached.as_ref() == Some(&new) {
            assert_eq!(kept, written.len());
            let records = model.everything(10);
            assert_eq!(model.check(&tree.load(records.clone()).await.unwrap(), &records), 0);
        } else {
            assert_eq!(reached.as_ref(), Some(&old));
            let mut was = Model::new(9, &three());
            was.trees.clone_from(&old_trees);
            was.leaves.clone_from(&old_leaves);
            assert_eq!(was.check(&tree.load(old_records.clone()).await.unwrap(), &old_records), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_answer_ends_in_time_and_may_be_tried_again() {
    let objects = Objects::memory();
    let mut model = Model::new(10, &three());
    let tree = objects.tree_as_deployed();
    objects.hangs.store(true, Ordering::Relaxed);
    assert_eq!(tree.open().await, Err(TreeFailure::Unavailable));
    assert_eq!(tree.read_snapshot().await, Err(TreeFailure::Unavailable));
    objects.hangs.store(false, Ordering::Relaxed);
    assert_eq!(tree.open().await, Ok(None));
    tree.advance(model.change(20)).await.unwrap();
    objects.hangs.store(true, Ordering::Relaxed);
    let advance = model.change(20);
    assert_eq!(tree.advance(advance.clone()).await, Err(TreeFailure::Unavailable));
    objects.hangs.store(false, Ordering::Relaxed);
    // A request that hangs, hangs forever. It is given up, and a new one is answered.
    tree.advance(advance.clone()).await.unwrap();
    assert!(tree.open().await.unwrap().is_some());
    tree.advance(advance).await.unwrap();
    let records = model.everything(5);
    assert_eq!(model.check(&tree.load(records.clone()).await.unwrap(), &records), 0);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_was_given_up_never_asks_the_store_again() {
    for calls in (0..40).step_by(3) {
        let objects = Objects::memory();
        let first = objects.tree();
        first.open().await.unwrap();
        first.advance(Model::new(11, &three()).change(9)).await.unwrap();
        objects.calls.take();
        let given_up = objects.tree();
        {
            let opening = given_up.open();
            tokio::pin!(opening);
            // Gives up after this many calls.
            loop {
                tokio::select! {
                    biased;
                    _ = &mut opening => break,
                    () = tokio::task::yield_now() => {}
                }
                let [get, put, list, delete] = objects.calls.take();
                objects.calls.get.fetch_add(get + put + list + delete, Ordering::Relaxed);
                if get + put + list + delete > calls {
                    break;
                }
            }
        }
        given_up.close().await;
        let third = objects.tree();
        third.open().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut model = Model::new(11, &three());
        third.advance(model.change(9)).await.unwrap();
        drop((first, third));
        tokio::time::sleep(Duration::from_secs(30)).await;
        objects.calls.take();
        tokio::time::sleep(Duration::from_secs(4000)).await;
        assert_eq!(objects.calls.take(), [0; 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_tree_asks_the_store_next_to_nothing() {
    let objects = Objects::memory();
    let mut model = Model::new(12, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    for _ in 0..20 {
        tree.advance(model.change(20)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    objects.calls.take();
    let hours = 6;
    tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
    let calls: u64 = objects.calls.take().iter().sum();
    assert!(calls <= hours * 3600 / 20, "{calls} calls in {hours} hours");
    tree.advance(model.change(20)).await.unwrap();
}

// Time runs in the database but not in the store, where every object is as old as the test: what may be deleted is
// deleted at once.
#[tokio::test(start_paused = true)]
async fn what_nothing_refers_to_any_more_is_deleted() {
    let objects = Objects::memory();
    let mut model = Model::new(13, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    for _ in 0..200 {
        tree.advance(model.change(1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    let names = objects.names().await;
    let of = |kind: &str| names.iter().filter(|name| name.as_ref().contains(kind)).count();
    assert!(of("/compacted/") <= 60, "{} tables", of("/compacted/"));
    assert!(names.len() <= 250, "{} objects", names.len());
    let records = model.everything(10);
    assert_eq!(model.check(&tree.load(records.clone()).await.unwrap(), &records), 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_and_a_load_cost_few_calls() {
    let objects = Objects::memory();
    let mut model = Model::new(14, &[Prefix::WHOLE]);
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(model.change(1000)).await.unwrap();
    objects.calls.take();
    // One table, one manifest; what is read of the table before it is read once.
    tree.advance(model.change(50)).await.unwrap();
    let [get, put, list, delete] = objects.calls.take();
    assert_eq!((put, list, delete), (2, 0, 0));
    assert!(get <= 40, "{get}");
    tree.close().await;

    let tree = objects.tree();
    objects.calls.take();
    tree.open().await.unwrap();
    let [get, put, list, delete] = objects.calls.take();
    assert!(get <= 40 && put <= 6 && list <= 6 && delete == 0, "{get} {put} {list} {delete}");
    // Nothing is cached: filters and indexes of two tables, three pages and a leaf.
    let one = model.everything(0)[500..501].to_vec();
    tree.load(one.clone()).await.unwrap();
    let [get, put, list, delete] = objects.calls.take();
    assert!(get <= 10, "{get}");
    assert_eq!((put, list, delete), (0, 0, 0));
    tree.load(one).await.unwrap();
    assert_eq!(objects.calls.take(), [0; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_beside_snapshots_are_never_damaged() {
    let objects = Objects::memory();
    let mut model = Model::new(15, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(model.change(200)).await.unwrap();
    let records = model.everything(10);
    for _ in 0..10 {
        let loads = (0..6).map(|at| {
            let (tree, records) = (tree.clone(), records[at * 20..(at + 1) * 20].to_vec());
            tokio::spawn(async move { tree.load(records).await.unwrap() })
        });
        let loads: Vec<_> = loads.collect();
        tree.advance(model.change(50)).await.unwrap();
        for load in loads {
            assert!(load.await.unwrap().damaged.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_of_pages_holds_no_more_than_it_may_and_what_it_does_not_hold_is_read() {
    let objects = Objects::memory();
    let metrics = TreeMetrics::default();
    let settings = TreeSettings { page_cache_bytes: 100_000, ..patient() };
    let tree = objects.tree_with(settings, metrics.clone());
    let mut model = Model::new(16, &three());
    tree.open().await.unwrap();
    for _ in 0..5 {
        tree.advance(model.change(150)).await.unwrap();
        for records in model.everything(10).chunks(100) {
            assert_eq!(model.check(&tree.load(records.to_vec()).await.unwrap(), records), 0);
        }
        assert!(tree.cached_bytes() <= 100_000);
    }
    assert!(tree.cached_bytes() > 50_000);
    assert!(metrics.hits.get() > 0 && metrics.misses.get() > 0);
    assert_eq!(metrics.snapshots.get(), 5);
    assert!(metrics.leaves_read.get() >= metrics.records.get());
    assert_eq!(metrics.damaged.get(), 0);
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("tree_snapshots_total 5\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gives_every_page_and_every_leaf() {
    let objects = Objects::memory();
    let mut model = Model::new(17, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    for _ in 0..5 {
        tree.advance(model.change(100)).await.unwrap();
    }
    let reader = tree.reader().await.unwrap().unwrap();
    assert_eq!(reader.snapshot(), Some(&model.snapshot()));
    let leaves: Vec<_> = reader.leaves().try_collect().await.unwrap();
    assert!(leaves.iter().map(|(id, sealed)| (id, sealed)).eq(&model.leaves));
    let mut trees: Vec<_> = model.trees.iter().map(|tree| Tree::closed(tree.prefix(), tree.root())).collect();
    let pages: Vec<_> = reader.pages().try_collect().await.unwrap();
    for page in &pages {
        trees.iter_mut().for_each(|tree| tree.open_page(page));
        assert_eq!(reader.page(page.prefix()).await.unwrap().digest(), page.digest());
    }
    let opened = trees.iter().flat_map(Tree::leaves).map(|leaf| leaf.record_id());
    assert!(opened.eq(model.leaves.keys().copied()));
    let (id, sealed) = model.leaves.first_key_value().unwrap();
    assert_eq!(reader.leaf(id).await.unwrap().as_ref(), Some(sealed));
}

/// A leader at work: a snapshot of few records now and then.
async fn goes_on(tree: &TreeStore, model: &mut Model, snapshots: usize, pause: Duration) {
    for _ in 0..snapshots {
        tree.advance(model.change(2)).await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_gives_pages_and_leaves_of_one_moment_while_a_leader_goes_on() {
    let objects = Objects::memory();
    let mut model = Model::new(23, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(model.change(100)).await.unwrap();
    let reader = objects.tree().reader().await.unwrap().unwrap();
    let (reached, then) = (model.snapshot(), model.leaves.clone());
    goes_on(&tree, &mut model, 3, Duration::from_secs(15)).await;
    assert_eq!(reader.snapshot(), Some(&reached));
    let leaves: Vec<_> = reader.leaves().try_collect().await.unwrap();
    assert!(leaves.iter().map(|(id, sealed)| (id, sealed)).eq(&then));
    let pages: Vec<_> = reader.pages().try_collect().await.unwrap();
    let roots: Vec<_> = pages.iter().filter(|page| three().contains(&page.prefix())).collect();
    let of = |prefix: Prefix| reached.entry.partitions.iter().find(|p| p.prefix == prefix).unwrap().root;
    assert!(!roots.is_empty() && roots.iter().all(|page| page.digest() == of(page.prefix())));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_stays_until_it_is_released_and_no_longer_and_what_is_not_held_goes() {
    let objects = Objects::memory();
    let mut model = Model::new(24, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    goes_on(&tree, &mut model, 10, Duration::from_secs(5)).await;
    let held = objects.tree().held_reader().await.unwrap().unwrap();
    let not_held = objects.tree().reader().await.unwrap().unwrap();
    let then = model.leaves.clone();
    let before = objects.names().await;
    goes_on(&tree, &mut model, 100, Duration::from_secs(40)).await;

    let leaves: Vec<_> = held.leaves().try_collect().await.unwrap();
    assert!(leaves.iter().map(|(id, sealed)| (id, sealed)).eq(&then));
    assert!(held.release().await);
    goes_on(&tree, &mut model, 20, Duration::from_secs(40)).await;
    assert!(not_held.leaves().try_collect::<Vec<_>>().await.is_err());
    assert!(!not_held.release().await);
    let now = objects.names().await;
    let stay = before.iter().filter(|name| name.as_ref().contains("/compacted/") && now.contains(name));
    assert_eq!(stay.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_takes_longer_than_merged_files_stay_finds_nothing_wrong() {
    let objects = Objects::memory();
    let mut model = Model::new(25, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    goes_on(&tree, &mut model, 10, Duration::from_secs(5)).await;
    let slow = Objects::over(Arc::clone(&objects.under));
    slow.read_ms.store(4_000, Ordering::Relaxed);
    let checked = slow.tree();
    let mut writes = 0;
    // On a busy machine the files may be merged so late that the check is in time without a hold.
    for _ in 0..20 {
        let found = tokio::select! {
            found = check::stored_tree(&checked, &Unwatched) => found.unwrap(),
            () = goes_on(&tree, &mut model, 1000, Duration::from_secs(15)) => panic!("the check does not end"),
        };
        assert_eq!(found.problems, Vec::new());
        assert!(found.snapshot.is_some_and(|snapshot| snapshot.entry.index < model.snapshot().entry.index));
        let [_, put, _, delete] = slow.calls.take();
        assert_eq!(delete, 0);
        writes = put;
        if writes > 0 {
            break;
        }
    }
    // Once it was too slow; then it wrote a hold, and ended that.
    assert!((2..=20).contains(&writes), "{writes} writes");
}

/// Opens the tree and reads all of it. Whatever is wrong with it, it is reported, or what is read is what the model
/// has.
async fn reads_right_or_says(objects: &Arc<Objects>, model: &Model, damaged: &ObjectPath) -> bool {
    let names_it = |failure: &TreeDamage| match failure {
        TreeDamage::Object(text) => {
            assert!(text.contains(damaged.as_ref()), "{text:?} does not name {damaged}");
        }
        other => panic!("{damaged}: {other}"),
    };
    let tree = objects.tree();
    match tree.open().await {
        Ok(reached) => assert_eq!(reached, Some(model.snapshot())),
        Err(TreeFailure::Damaged(damage)) => {
            names_it(&damage);
            return true;
        }
        Err(failure) => panic!("{damaged}: {failure}"),
    }
    let records = model.everything(10);
    let loaded = tree.load(records.clone()).await.unwrap();
    loaded.damaged.iter().for_each(|(_, damage)| names_it(damage));
    tree.close().await;
    model.check(&loaded, &records) > 0
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_or_a_missing_table_is_named_and_never_a_wrong_answer() {
    let objects = Objects::memory();
    let mut model = Model::new(18, &three());
    let tree = objects.tree();
    tree.open().await.unwrap();
    for _ in 0..3 {
        tree.advance(model.change(25)).await.unwrap();
    }
    tree.close().await;
    let whole = objects.all().await;
    let mut rng = StdRng::seed_from_u64(19);
    let (mut found, mut tries) = (0, 0);
    for name in whole.keys().filter(|name| name.as_ref().contains("/compacted/")) {
        let mut without = whole.clone();
        let bytes = without.remove(name).unwrap();
        assert!(reads_right_or_says(&Objects::of(&without).await, &model, name).await);
        for _ in 0..10 {
            let mut bytes = bytes.to_vec();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            without.insert(name.clone(), bytes.into());
            tries += 1;
            found += u32::from(reads_right_or_says(&Objects::of(&without).await, &model, name).await);
        }
    }
    assert!(found * 2 > tries, "{found} of {tries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_manifests_are_named_and_not_taken_for_an_empty_tree() {
    let objects = Objects::memory();
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(Model::new(20, &three()).change(25)).await.unwrap();
    tree.close().await;
    for name in objects.names().await.iter().filter(|name| name.as_ref().contains("/manifest/")) {
        objects.under.delete(name).await.unwrap();
    }
    for failure in [tree.open().await.unwrap_err(), tree.read_snapshot().await.unwrap_err()] {
        let TreeFailure::Damaged(TreeDamage::Object(text)) = failure else { panic!("{failure}") };
        assert!(text.contains("/tree/0000000000000000/manifest/"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_in_use_is_the_highest_that_was_put_in_use() {
    let objects = Objects::memory();
    let place = TreePlace::new(&ObjectPath::from("realm"), GROUP);
    let store = &*objects.under;
    assert_eq!(place.in_use(store).await.unwrap(), 0);
    let tree = objects.tree();
    let mut model = Model::new(21, &three());
    tree.open().await.unwrap();
    tree.advance(model.change(5)).await.unwrap();
    for generation in [1, 0x10, 3] {
        place.use_from_now(store, generation).await.unwrap();
        place.use_from_now(store, generation).await.unwrap();
    }
    let folder = format!("realm/groups/{GROUP}/tree");
    assert_eq!(place.database(16).as_ref(), format!("{folder}/0000000000000010"));
    for other in ["current-", "current-11", "current-00000000000000FF", "other-0000000000000020"] {
        let name = ObjectPath::from(format!("{folder}/{other}"));
        store.put(&name, "".into()).await.unwrap();
    }
    assert_eq!(place.in_use(store).await.unwrap(), 16);
    assert_eq!(tree.open().await, Ok(None));
}

/// A clock that runs so many hours ahead.
#[derive(Debug)]
struct Ahead(DefaultSystemClock, u64);

impl SystemClock for Ahead {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.0.now() + Duration::from_secs(3600 * self.1)
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.0.sleep(duration)
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        SystemClockTicker::new(self, duration)
    }
}

/// A leader that stores some tables is an hour ahead, and then one that only merges them is two.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_is_behind_its_predecessors_takes_snapshots_and_merges_them() {
    let objects = Objects::memory();
    let place = TreePlace::new(&ObjectPath::from("realm"), GROUP).database(0);
    for (hours, tables, compactor_options) in [(1, 8, None), (2, 0, Some(CompactorOptions::default()))] {
        let settings = Settings { wal_enabled: false, compactor_options, ..Settings::default() };
        let before = Db::builder(place.clone(), Arc::clone(&objects.under))
            .with_settings(settings)
            .with_system_clock(Arc::new(Ahead(DefaultSystemClock::new(), hours)))
            .build()
            .await
            .unwrap();
        for _ in 0..tables {
            before.put(b"l", b"").await.unwrap();
            before.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        before.close().await.unwrap();
    }
    let tree = objects.tree();
    tree.open().await.unwrap();
    let mut model = Model::new(22, &three());
    for _ in 0..24 {
        tree.advance(model.change(5)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let records = model.everything(5);
    assert_eq!(model.check(&tree.load(records.clone()).await.unwrap(), &records), 0);
    tree.close().await;
    let stored = Admin::builder(place, Arc::clone(&objects.under)).build().read_manifest(None).await.unwrap();
    assert!(stored.unwrap().l0().len() < 12, "nothing was merged");
}

/// Up to three splits and merges before each snapshot, which stores some changes or none.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_split_and_merged_is_read_and_nothing_else_stays() {
    for seed in 20..22 {
        let objects = Objects::memory();
        let mut model = Model::new(seed, &[Prefix::WHOLE]);
        let mut tree = objects.tree();
        tree.open().await.unwrap();
        tree.advance(model.change(60)).await.unwrap();
        for at in 0..16 {
            for _ in 0..1 + at % 3 {
                model.split_or_merge();
            }
            let mut records = model.everything(10);
            records.retain(|(prefix, _)| !model.merged.contains(prefix));
            let loaded = tree.load(records.clone()).await.unwrap();
            assert_eq!(model.check(&loaded, &records), 0, "seed {seed}: before the snapshot");
            tree.advance(model.change(at % 4 * 3)).await.unwrap();
            if at % 5 == 4 {
                tree = objects.tree();
                tree.open().await.unwrap();
            }
            let records = model.everything(10);
            let loaded = tree.load(records.clone()).await.unwrap();
            assert_eq!(model.check(&loaded, &records), 0, "seed {seed}: after the snapshot");
            let found = check::stored_tree(&objects.tree(), &Unwatched).await.unwrap();
            assert!(found.problems.is_empty(), "seed {seed}, snapshot {at}: {:?}", found.problems);
        }
    }
}

/// Each copy is given up at some point, or not, with the source going on; in the end all of it is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_adopted_is_the_whole_of_it_however_often_that_was_given_up() {
    let mut given_up = 0;
    for seed in 30..32 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (objects, other) = (Objects::memory(), Objects::memory());
        let [moves, stays] = prefixes(&[(0x80, 1), (0x00, 1)])[..] else { panic!("two") };
        let (mut source, mut own) = (Model::new(seed, &[moves]), Model::new(seed + 100, &[stays]));
        let (from, mut to) = (other.tree(), objects.tree());
        from.open().await.unwrap();
        to.open().await.unwrap();
        assert!(to.adopt(moves, &from).await.is_err(), "nothing is stored there yet");
        from.advance(source.change(200)).await.unwrap();
        to.advance(own.change(50)).await.unwrap();
        assert_eq!(to.adopt(stays, &from).await, Err(AdoptError::Overlaps));
        for round in 0..6 {
            let us = rng.random_range(0..20_000);
            let copying = to.adopt(moves, &from);
            if tokio::time::timeout(Duration::from_micros(us), copying).await.is_err() {
                given_up += 1;
                to = objects.tree();
                to.open().await.unwrap();
            }
            from.advance(source.change(1 + round % 3 * 20)).await.unwrap();
        }
        let adopted = to.adopt(moves, &from).await.unwrap();
        assert_eq!(adopted.root, source.trees[0].root());
        assert_eq!(to.adopt(moves, &from).await.unwrap().records, 0, "there is nothing left to copy");
        for (model, absent) in [(&source, 20), (&own, 20)] {
            let records = model.everything(absent);
            let loaded = to.load(records.clone()).await.unwrap();
            assert_eq!(model.check(&loaded, &records), 0, "seed {seed}");
        }
        // What lies beside is nobody's damage.
        let found = check::stored_tree(&objects.tree(), &Unwatched).await.unwrap();
        assert!(found.problems.is_empty(), "seed {seed}: {:?}", found.problems);
    }
    assert!(given_up > 0, "{given_up} copies were given up");
}
