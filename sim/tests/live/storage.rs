//! What a realm keeps in its object store, with real agents and HSMs, in a folder: segments are deleted, everything may
//! be lost at once, and what is damaged is named and rebuilt.

use crate::support::{PATIENCE, until};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use strongroom_agent::check::{self, AgentWitness, Findings, NoWitness, Problem, RebuildError, Unwatched};
use strongroom_agent::config::{Config, StoreOptions};
use strongroom_agent::store::{Kind, Purpose, Store, Timeouts};
use strongroom_agent::tree::{self, TreeMetrics, TreeSettings, TreeStore};
use strongroom_client::{Client, Error, ErrorKind, Pin, UserSecret};
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::Storage;
use strongroom_replica::segment::Segment;
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting};
use url::Url;

/// Writes of one recovery alone.
const COST_PUTS: u64 = 2;
const SECRET: &[u8] = b"what the user entrusts";

/// Snapshots after every few changes, segments deleted soon after.
const EAGER: Storage =
    Storage { snapshot_after_ms: 50, snapshot_records: 2, snapshot_segments: 4, grace_ms: 100 };
/// Snapshots soon, and every segment kept.
const KEEPING: Storage = Storage { grace_ms: u64::MAX, ..EAGER };

fn start(folder: &Path, storage: Storage) -> LocalRealm {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let setting = Setting { storage, ..Setting::patient() };
    LocalRealm::start_with(folder, any, setting).expect("starts")
}

async fn made(folder: &Path, storage: Storage) -> LocalRealm {
    let realm = start(folder, storage);
    realm.make_whole().await.expect("three new HSMs");
    realm.leader(None).await.expect("one leads");
    realm
}

async fn client(realm: &LocalRealm, user: &str) -> Client {
    realm.client(0, user).await.expect("a client")
}

async fn register(client: &Client, guesses: u8) {
    let secret = UserSecret::new(SECRET).expect("short");
    let guesses = NonZeroU8::new(guesses).expect("not 0");
    client.register(&Pin::from("4821"), &secret, b"info", guesses).await.expect("registers");
}

async fn guess_wrong(client: &Client) -> u16 {
    match client.recover(&Pin::from("0000"), b"info").await {
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => guesses_remaining,
        other => panic!("{other:?}"),
    }
}

async fn recover(client: &Client) {
    let secret = client.recover(&Pin::from("4821"), b"info").await.expect("recovers");
    assert_eq!(secret.as_bytes(), SECRET);
}

fn files(folder: &Path, below: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains(below) {
                found.insert(path);
            }
        }
    }
    found
}

fn segments(folder: &Path) -> BTreeSet<PathBuf> {
    files(&folder.join("store"), "/log/")
}

fn group(folder: &Path) -> GroupId {
    let groups = fs::read_dir(folder.join("store/groups")).expect("a store");
    let name = groups.map(|entry| entry.expect("readable").file_name()).next().expect("a group");
    name.to_string_lossy().parse().expect("a group's id")
}

fn opened(folder: &Path) -> (Store, TreeStore, GroupId) {
    let url = Url::from_directory_path(folder.join("store")).expect("a path");
    let store = Store::open(&url, &StoreOptions::default()).expect("opens");
    let (store, group) = (store.with_timeouts(Timeouts::all(PATIENCE)), group(folder));
    let timeouts = tree::Timeouts::all(PATIENCE);
    let (settings, metrics) = (TreeSettings { timeouts, ..TreeSettings::default() }, TreeMetrics::default());
    let tree = TreeStore::new(store.objects(), store.base(), group, settings, metrics);
    (store, tree, group)
}

async fn check_alone(folder: &Path) -> Findings {
    let (store, tree, group) = opened(folder);
    check::check(&store, &tree, group, &mut NoWitness, &Unwatched).await.expect("the check ends")
}

async fn snapshot_reached(realm: &LocalRealm) {
    until("a snapshot of all that there is", async || {
        let of_leader = (0..MEMBERS)
            .flat_map(|i| realm.groups(i))
            .find(|(_, s)| matches!(s.role, strongroom_replica::Role::Leader { .. }));
        of_leader.filter(|(_, s)| s.snapshot == s.tip && s.tip > Index::ZERO && s.waiting == 0)
    })
    .await;
}

/// A realm with some users, whole in its snapshot, all processes gone.
async fn stopped(folder: &Path, storage: Storage) {
    let realm = made(folder, storage).await;
    for user in ["ada", "bob", "cyd"] {
        register(&client(&realm, user).await, 9).await;
    }
    assert_eq!(guess_wrong(&client(&realm, "ada").await).await, 8);
    snapshot_reached(&realm).await;
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_segments_are_deleted_and_a_realm_that_lost_every_process_goes_on_from_its_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut realm = made(folder.path(), EAGER).await;
    let (ada, first) = (client(&realm, "ada").await, segments(folder.path()));
    register(&ada, 9).await;
    assert_eq!(guess_wrong(&ada).await, 8);
    until("the first segments are deleted", async || {
        segments(folder.path()).is_disjoint(&first).then_some(())
    })
    .await;
    // All at once, whatever they are doing.
    for member in 0..MEMBERS {
        realm.kill(member).await;
    }
    drop(realm);

    let realm = start(folder.path(), EAGER);
    realm.leader(None).await.expect("one leads");
    let ada = client(&realm, "ada").await;
    assert_eq!(guess_wrong(&ada).await, 7);
    recover(&ada).await;

    // The log begins later than with entry 1, an HSM vouches for it, and everything that is there fits together.
    snapshot_reached(&realm).await;
    let (store, tree, group) = opened(folder.path());
    let mut hsm = AgentWitness { agent: realm.admin(0).await.expect("an agent"), group };
    let found = check::check(&store, &tree, group, &mut hsm, &Unwatched).await.expect("the check ends");
    assert_eq!(found.problems, Vec::new());
    assert!(found.entries.0 > Index(1) && found.authentic > Some(0), "{found:?}");
    assert_eq!(found.leaves, 1);
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_any_user_has_a_whole_snapshot_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let realm = made(folder.path(), EAGER).await;
    snapshot_reached(&realm).await;
    realm.shutdown().await;
    let found = check_alone(folder.path()).await;
    assert_eq!((found.problems, found.leaves), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_while_its_segments_were_deleted_comes_back_and_carries_the_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut realm = made(folder.path(), EAGER).await;
    let leader = realm.leader(None).await.expect("one leads");
    let away = (leader + 1) % MEMBERS;
    let ada = realm.client(leader, "ada").await.expect("a client");
    let known = segments(folder.path());
    realm.kill(away).await;
    register(&ada, 9).await;
    assert_eq!(guess_wrong(&ada).await, 8);
    until("the segments that it knew are deleted", async || {
        segments(folder.path()).is_disjoint(&known).then_some(())
    })
    .await;
    realm.restart(away).await.expect("starts again");
    // Now the group needs the one that was away.
    realm.kill(leader).await;
    let next = realm.leader(Some(leader)).await.expect("the two go on");
    let ada = realm.client(next, "ada").await.expect("a client");
    recover(&ada).await;
    realm.shutdown().await;
}

/// What the agents of a realm have asked of its store, for any purpose except the probe.
fn calls(stores: &[Store], kind: Kind) -> u64 {
    let of = |purpose| stores.iter().map(|store| store.metrics().calls(purpose, kind)).sum::<u64>();
    of(Purpose::Log) + of(Purpose::Tree)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_alone_costs_two_writes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let stores: Arc<Mutex<Vec<Store>>> = Arc::default();
    let opened = Arc::clone(&stores);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = Box::new(move |_: &Config| {
        let store = Store::on(Arc::clone(&objects));
        opened.lock().expect("not poisoned").push(store.clone());
        Ok(store)
    });
    let setting = Setting { open, ..Setting::patient() };
    let realm = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
    realm.make_whole().await.expect("three new HSMs");
    let leader = realm.leader(None).await.expect("one leads");
    let ada = realm.client(leader, "ada").await.expect("a client");
    register(&ada, 9).await;
    let stores = stores.lock().expect("not poisoned").clone();
    let kinds = [Kind::Put, Kind::Get, Kind::List, Kind::Delete];
    let before = kinds.map(|kind| calls(&stores, kind));
    recover(&ada).await;
    let after = kinds.map(|kind| calls(&stores, kind));
    let cost: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    // The first of its three requests changes nothing. Each of the others waits for an entry of its own, and, being alone,
    // for a segment of its own.
    assert_eq!(cost, [COST_PUTS, 0, 0, 0], "puts, gets, listings, deletes");
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_that_is_damaged_or_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped(folder.path(), KEEPING).await;
    let clean = check_alone(folder.path()).await;
    assert_eq!(clean.problems, Vec::new());
    assert_eq!((clean.entries.0, clean.leaves), (Index(1), 3));
    for segment in segments(folder.path()) {
        let bytes = fs::read(&segment).expect("readable");
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&segment, &flipped).expect("writable");
            let found = check_alone(folder.path()).await;
            let named = found.problems.iter().any(|problem| problem.to_string().contains(&name));
            assert!(named, "{name}, byte {at}: {:?}", found.problems);
        }
        fs::write(&segment, &bytes).expect("writable");
    }
    // Names sort as the log does. A log without its first segments looks like one whose beginning was deleted in time.
    for segment in segments(folder.path()).into_iter().skip(1) {
        let bytes = fs::read(&segment).expect("readable");
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        fs::remove_file(&segment).expect("removable");
        let found = check_alone(folder.path()).await;
        let named = found.problems.iter().any(|problem| problem.to_string().contains(&name));
        // After the stored tree, only an HSM can tell the end of the log from the loss of its last segment.
        assert!(named || found.snapshot < Some(found.entries.1), "{name}: {:?}", found.problems);
        fs::write(&segment, &bytes).expect("writable");
    }
    let mut named = 0;
    for object in files(&folder.path().join("store"), "/compacted/") {
        let bytes = fs::read(&object).expect("readable");
        let name = object.file_name().expect("a name").to_string_lossy().into_owned();
        fs::remove_file(&object).expect("removable");
        let found = check_alone(folder.path()).await;
        let is_named =
            found.problems.iter().any(|p| matches!(p, Problem::Tree(_)) && p.to_string().contains(&name));
        // A file of the tree that was merged into another is there for a while, but not needed.
        assert!(is_named || found.problems.is_empty(), "{name}: {:?}", found.problems);
        named += usize::from(is_named);
        fs::write(&object, &bytes).expect("writable");
    }
    assert!(named > 0, "no file of the tree was needed");
    assert_eq!(check_alone(folder.path()).await.problems, Vec::new());
}

/// The segment with one bit of its first leaf altered: it reads as before. `None` if it has none.
fn with_another_leaf(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut entries = Segment::decode(bytes).expect("a segment").entries().to_vec();
    let leaf = entries.iter_mut().flat_map(|made| &mut made.leaves).next()?;
    *leaf.sealed.last_mut().expect("not empty") ^= 1;
    Some(Segment::new(entries).expect("as before").encode().expect("as long"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_damages_at_once_each_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped(folder.path(), KEEPING).await;
    let all: Vec<PathBuf> = segments(folder.path()).into_iter().collect();
    let last = all.len() - 1;
    assert!(last > 3, "{last}");
    let first_half = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.split_inclusive('-').next().expect("one half").to_owned()
    };
    let neighbours = (1..last).map(|at| (at, at + 1));
    for (one, other) in neighbours.chain([(1, last), (2, last - 1)]) {
        let (one, other) = (&all[one], &all[other]);
        let whole = [one, other].map(|path| fs::read(path).expect("readable"));
        let cut = |bytes: &[u8]| Some(bytes[..bytes.len() - 1].to_vec());
        let altered = whole.each_ref().map(|bytes| with_another_leaf(bytes));
        // What is there in place of each, if anything is.
        let damages =
            [[None, cut(&whole[1])], [cut(&whole[0]), None], [cut(&whole[0]), cut(&whole[1])], altered];
        for (kind, damaged) in damages.iter().enumerate() {
            let both = [one, other].into_iter().zip(damaged).zip(&whole);
            for ((path, bytes), _) in both.clone() {
                match bytes {
                    Some(bytes) => fs::write(path, bytes).expect("writable"),
                    // Some segments change no leaf.
                    None if kind == damages.len() - 1 => {}
                    None => fs::remove_file(path).expect("removable"),
                }
            }
            let found = check_alone(folder.path()).await;
            for ((path, bytes), whole) in both {
                let name = first_half(path);
                let unproven = |problem: &Problem| match problem {
                    Problem::Unproven { first, last, .. } => {
                        let at = Segment::decode(whole).expect("a segment").name();
                        (*first..=*last).contains(&at)
                    }
                    problem => problem.to_string().contains(&name),
                };
                let sound = bytes.is_none() && kind == damages.len() - 1;
                assert!(sound || found.problems.iter().any(unproven), "{kind} {name}: {:?}", found.problems);
                fs::write(path, whole).expect("writable");
            }
            let accused = |problem: &&Problem| !matches!(problem, Problem::Unproven { .. });
            assert!(found.problems.iter().filter(accused).count() <= 2, "{:?}", found.problems);
        }
    }
    assert_eq!(check_alone(folder.path()).await.problems, Vec::new());
}

/// Where the newest leaf of each record is: the segment, and the places of its entry and of the leaf in that.
fn newest_leaves(folder: &Path) -> Vec<(PathBuf, usize, usize)> {
    let mut newest = BTreeMap::new();
    for path in segments(folder) {
        let segment = Segment::decode(&fs::read(&path).expect("readable")).expect("a segment");
        for (at, made) in segment.entries().iter().enumerate() {
            let places = made.leaves.iter().enumerate();
            newest.extend(places.map(|(leaf, of)| (of.record, (path.clone(), at, leaf))));
        }
    }
    newest.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_a_repair_would_need_is_compared_with_the_stored_tree_where_the_log_begins_later() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped(folder.path(), KEEPING).await;
    let newest = newest_leaves(folder.path());
    assert_eq!(newest.len(), 3, "of three users");
    fs::remove_file(segments(folder.path()).first().expect("one")).expect("removable");
    let clean = check_alone(folder.path()).await;
    assert!(clean.problems.is_empty() && clean.entries.0 > Index(1), "{clean:?}");
    for (path, at, leaf) in newest {
        let bytes = fs::read(&path).expect("readable");
        let mut entries = Segment::decode(&bytes).expect("a segment").entries().to_vec();
        let sealed = &mut entries[at].leaves[leaf].sealed;
        *sealed.last_mut().expect("not empty") ^= 1;
        let altered = Segment::new(entries).expect("as before").encode().expect("as long");
        fs::write(&path, altered).expect("writable");
        let found = check_alone(folder.path()).await;
        let [Problem::Spare { object, .. }] = found.problems[..] else { panic!("{:?}", found.problems) };
        assert!(object.to_string().ends_with(&*path.file_name().expect("a name").to_string_lossy()));
        fs::write(&path, &bytes).expect("writable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_whose_files_are_all_lost_is_rebuilt_from_the_log_and_the_realm_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped(folder.path(), KEEPING).await;
    for object in files(&folder.path().join("store"), "/tree/") {
        fs::remove_file(object).expect("removable");
    }
    let (store, tree, group) = opened(folder.path());
    let rebuilt = check::rebuild(&store, &tree, group, &Unwatched).await.expect("the log is whole");
    assert_eq!((rebuilt.reaches, rebuilt.leaves), (Index::ZERO, 0));
    let realm = start(folder.path(), KEEPING);
    realm.leader(None).await.expect("one leads");
    let ada = client(&realm, "ada").await;
    assert_eq!(guess_wrong(&ada).await, 7);
    recover(&ada).await;
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_lost_some_leaves_is_rebuilt_from_the_segments_that_have_them() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped(folder.path(), KEEPING).await;
    // What one file of the tree held is damaged: one that was not merged into another yet.
    let mut damaged = false;
    for object in files(&folder.path().join("store"), "/compacted/") {
        let whole = fs::read(&object).expect("readable");
        let mut flipped = whole.clone();
        flipped[whole.len() / 4] ^= 1;
        fs::write(&object, flipped).expect("writable");
        damaged = !check_alone(folder.path()).await.problems.is_empty();
        if damaged {
            break;
        }
        fs::write(&object, whole).expect("writable");
    }
    assert!(damaged, "no file of the tree was needed");
    let (store, tree, group) = opened(folder.path());
    let rebuilt = check::rebuild(&store, &tree, group, &Unwatched).await;
    let rebuilt = rebuilt.expect("the segments have what is lost");
    assert_eq!(rebuilt.generation, 1);
    assert_eq!(check_alone(folder.path()).await.problems, Vec::new());
    let realm = start(folder.path(), KEEPING);
    realm.leader(None).await.expect("one leads");
    let ada = client(&realm, "ada").await;
    recover(&ada).await;
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_lost_with_the_beginning_of_the_log_is_not_rebuilt_and_nothing_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let realm = made(folder.path(), EAGER).await;
    let first = segments(folder.path());
    register(&client(&realm, "ada").await, 9).await;
    until("the first segments are deleted", async || {
        segments(folder.path()).is_disjoint(&first).then_some(())
    })
    .await;
    realm.shutdown().await;
    for object in files(&folder.path().join("store"), "/tree/") {
        fs::remove_file(object).expect("removable");
    }
    let before = files(&folder.path().join("store"), "/current-");
    let (store, tree, group) = opened(folder.path());
    let refused = check::rebuild(&store, &tree, group, &Unwatched).await;
    assert!(matches!(refused, Err(RebuildError::NoSnapshot(_))), "{refused:?}");
    assert_eq!(files(&folder.path().join("store"), "/current-"), before);
    let found = check_alone(folder.path()).await;
    assert!(matches!(found.problems[..], [Problem::NoTree(_)]), "{:?}", found.problems);
}
