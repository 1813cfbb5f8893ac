//! What every store must do, checked on each that is available.
//!
//! Memory, a folder and a small GCS server of the tests' own are always available. Others come from the file that the
//! environment variable `STRONGROOM_TEST_STORES` names, as `.ci/stores` writes it: `[{"name": "…", "url": "s3://…",
//! "options": {"…": "…"}, "refused": "never"}]`. Each one listed must work or, if so marked, be refused by the probe:
//! at once or, if a store is broken only now and then, by one of many probes.

#[path = "support/gcs.rs"]
mod gcs;

use bytes::Bytes;
use futures::future::join_all;
use gcs::Conditions;
use object_store::memory::InMemory;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::{Kind, Purpose, Store, StoreError, StoreMetrics, Timeouts};
use strongroom_replica::{CreateOutcome, ReadOutcome};
use url::Url;

/// How long a store may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);
const RACES: usize = 6;
const WRITERS: u8 = 8;
const LARGE: usize = 3 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct External {
    name: String,
    url: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    refused: Refused,
}

/// When the probe refuses a store.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
enum Refused {
    #[default]
    #[serde(rename = "never")]
    Never,
    #[serde(rename = "at once")]
    AtOnce,
    #[serde(rename = "in time")]
    InTime,
}

/// The stores of the environment, under a new prefix each time.
fn external() -> Vec<External> {
    strongroom_agent::tls::install_provider();
    let Some(path) = std::env::var_os("STRONGROOM_TEST_STORES") else { return Vec::new() };
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut stores: Vec<External> = serde_json::from_slice(&text).expect("a list of stores");
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).expect("randomness");
    for store in &mut stores {
        store.url = format!("{}/{}", store.url, hex::encode(salt));
    }
    stores
}

/// How often to ask a store that does not answer in time: one of the servers starts slowly.
const PROBES: u8 = 10;
/// How often to probe a store that lets two win now and then. One that does so in one of fifty races passes all of
/// these one time in ten thousand.
const MANY_PROBES: u8 = 90;

fn open(external: &External) -> Store {
    let url = Url::parse(&external.url).expect("a URL");
    let opened = Store::open(&url, &StoreOptions(external.options.clone()));
    opened.unwrap_or_else(|error| panic!("{}: {error}", external.name))
}

fn folder_store(folder: &std::path::Path) -> Store {
    let store = Store::open(&Url::from_file_path(folder).unwrap(), &StoreOptions::default()).unwrap();
    store.with_timeouts(Timeouts::all(PATIENCE))
}

/// Asks as an agent does: again, if the store did not answer in time.
async fn probed(store: &Store, salt: u8) -> Result<bool, StoreError> {
    for attempt in 0..PROBES {
        let answer = store.probe([salt.wrapping_add(attempt); 16]).await;
        if !matches!(answer, Ok(false)) {
            return answer;
        }
    }
    Ok(false)
}

async fn conforms(name: &str, store: &Store) {
    println!("conformance: {name}");
    let started = std::time::Instant::now();
    assert!(probed(store, 7).await.unwrap(), "{name}: the probe has an answer");
    creating_once(store).await;
    racing(store).await;
    listing(store).await;
    deleting(store).await;
    odd_names(store).await;
    replacing(store).await;
    let kinds = [Kind::Put, Kind::Get, Kind::List, Kind::Delete];
    let [calls, failed] = [StoreMetrics::calls, StoreMetrics::failed_calls]
        .map(|count| kinds.iter().map(|kind| count(store.metrics(), Purpose::Log, *kind)).sum::<u64>());
    println!(
        "conformance: {name}: all held, {} ms, {calls} calls, {failed} failed",
        started.elapsed().as_millis()
    );
}

async fn create(store: &Store, name: &str, bytes: &[u8]) -> CreateOutcome {
    store.create(name, Bytes::copy_from_slice(bytes)).await
}

async fn creating_once(store: &Store) {
    let large: Vec<u8> = (0..LARGE).map(|i| u8::try_from(i % 251).unwrap()).collect();
    for (name, bytes) in
        [("once/log/small", b"ours".to_vec()), ("once/log/none", vec![]), ("once/log/large", large)]
    {
        assert_eq!(store.read(name).await, ReadOutcome::Absent, "{name}");
        assert_eq!(create(store, name, &bytes).await, CreateOutcome::Created, "{name}");
        assert!(store.read(name).await == ReadOutcome::Found(bytes.clone()), "{name}");
        assert_eq!(
            store.list("once/log", "once/log/").await.unwrap().iter().filter(|n| *n == name).count(),
            1
        );
        assert_eq!(create(store, name, &bytes).await, CreateOutcome::Created, "our own object again: {name}");
        assert_eq!(create(store, name, b"other").await, CreateOutcome::Lost, "{name}");
        assert!(store.read(name).await == ReadOutcome::Found(bytes), "{name}");
    }
}

async fn racing(store: &Store) {
    for round in 0..RACES {
        let name = format!("race/log/{round:016x}");
        let write = |writer: u8| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move { create(&store, &name, &[writer; 1000]).await })
        };
        let outcomes = join_all((0..WRITERS).map(write)).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
        let winners: Vec<_> =
            (0..WRITERS).zip(&outcomes).filter(|(_, o)| **o == CreateOutcome::Created).collect();
        let losers = outcomes.iter().filter(|o| **o == CreateOutcome::Lost).count();
        assert_eq!((winners.len(), losers), (1, 7), "round {round}: {outcomes:?}");
        assert_eq!(store.read(&name).await, ReadOutcome::Found(vec![winners[0].0; 1000]));
        assert_eq!(store.list("race/log", "race/log/").await.unwrap().len(), round + 1);
    }
}

async fn listing(store: &Store) {
    let name = |index: u64| format!("listed/log/{index:016x}-00ff");
    assert_eq!(store.list("listed/log", "listed/log/0").await.unwrap(), Vec::<String>::new());
    let indices = [9, 3, 16, 1, 255, 4096, 7, 2];
    let write = async |index: u64| create(store, &name(index), b"x").await;
    let created = join_all(indices.map(write)).await;
    assert!(created.iter().all(|outcome| *outcome == CreateOutcome::Created), "{created:?}");
    for other in ["listed/log/below/0000000000000001-00ff", "listed/log2/0000000000000001-00ff", "listed/0"] {
        assert_eq!(create(store, other, b"x").await, CreateOutcome::Created);
    }
    let all = [1, 2, 3, 7, 9, 16, 255, 4096];
    let list = async |after: String| store.list("listed/log", &after).await.unwrap();
    assert_eq!(list("listed/log/0".into()).await, all.map(name));
    assert_eq!(
        list(format!("listed/log/{:016x}", 9)).await,
        all[4..].iter().map(|i| name(*i)).collect::<Vec<_>>()
    );
    assert_eq!(list(name(9)).await, all[5..].iter().map(|i| name(*i)).collect::<Vec<_>>());
    assert_eq!(list(name(8)).await, all[4..].iter().map(|i| name(*i)).collect::<Vec<_>>());
    assert_eq!(list(name(4096)).await, Vec::<String>::new());
}

async fn deleting(store: &Store) {
    let name = "deleted/log/0000000000000001-00ff";
    assert_eq!(store.delete(name).await, Ok(()), "there is none");
    assert_eq!(create(store, name, b"first").await, CreateOutcome::Created);
    assert_eq!(create(store, "deleted/log/0000000000000002-00ff", b"x").await, CreateOutcome::Created);
    assert_eq!(store.delete(name).await, Ok(()));
    assert_eq!(store.read(name).await, ReadOutcome::Absent);
    let left = store.list("deleted/log", "deleted/log/0").await.unwrap();
    assert_eq!(left, ["deleted/log/0000000000000002-00ff"]);
    assert_eq!(store.delete(name).await, Ok(()), "again");
    assert_eq!(create(store, name, b"second").await, CreateOutcome::Created, "the name is free again");
    assert_eq!(store.read(name).await, ReadOutcome::Found(b"second".to_vec()));
}

/// What the library that keeps the tree also needs: replacing one version of an object, only once.
async fn replacing(store: &Store) {
    let objects = store.objects();
    let path = store.base().clone().join("replaced").join("object");
    let put = async |text: String, mode: PutMode| {
        objects.put_opts(&path, text.into(), PutOptions::from(mode)).await
    };
    put("first".into(), PutMode::Create).await.unwrap();
    let mut stale = None;
    for round in 0..3 {
        let meta = objects.head(&path).await.unwrap();
        let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
        put(format!("round {round}"), PutMode::Update(version.clone())).await.unwrap();
        for version in stale.replace(version.clone()).into_iter().chain([version]) {
            let refused = put("stale".into(), PutMode::Update(version)).await;
            assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
        }
        let there = objects.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(there, format!("round {round}"));
    }
}

async fn odd_names(store: &Store) {
    for name in ["", "odd//name", "../odd", "odd/../name", "odd/./name"] {
        assert_eq!(create(store, name, b"x").await, CreateOutcome::Unknown, "{name:?}");
        assert!(!matches!(store.read(name).await, ReadOutcome::Found(_)), "{name:?}");
        assert!(store.delete(name).await.is_err(), "{name:?}");
    }
    for name in ["odd/a b", "odd/a%2Fb", "odd/ä+&=?", "odd/<x>"] {
        if create(store, name, name.as_bytes()).await == CreateOutcome::Created {
            assert_eq!(store.read(name).await, ReadOutcome::Found(name.into()), "{name:?}");
            assert_eq!(store.delete(name).await, Ok(()), "{name:?}");
        }
        assert_eq!(store.read(name).await, ReadOutcome::Absent, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conforms("memory", &Store::on(Arc::new(InMemory::new()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms("folder", &folder_store(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gcs_server_conforms() {
    strongroom_agent::tls::install_provider();
    conforms(
        "GCS (the tests' own)",
        &gcs::store(Conditions::Honoured).await.with_timeouts(Timeouts::all(PATIENCE)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gcs_server_that_ignores_conditions_is_refused() {
    strongroom_agent::tls::install_provider();
    let store = gcs::store(Conditions::Ignored).await.with_timeouts(Timeouts::all(PATIENCE));
    let refused = store.probe([8; 16]).await;
    assert!(matches!(refused, Err(StoreError::OverwritesOnCreate)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_of_the_environment_conform() {
    let stores = external();
    let check = async |external: &External| {
        let store = open(external);
        let salts = match external.refused {
            Refused::Never => return conforms(&external.name, &store).await,
            Refused::AtOnce => 107..=107,
            Refused::InTime => 107..=107 + MANY_PROBES,
        };
        for salt in salts.clone() {
            let answer =
                if salts.len() == 1 { probed(&store, salt).await } else { store.probe([salt; 16]).await };
            if matches!(answer, Err(StoreError::OverwritesOnCreate)) {
                let probes = salt - salts.start() + 1;
                return println!("conformance: {}: refused by probe {probes}, as it must be", external.name);
            }
        }
        panic!("{}: not refused", external.name);
    };
    join_all(stores.iter().map(check)).await;
    println!("conformance: {} stores of the environment", stores.len());
}
