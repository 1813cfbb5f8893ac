//! The store seam over an object store that fails in every way a cloud's client knows.

use bytes::Bytes;
use futures::future::join_all;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::store::Store;
use strongroom_replica::{CreateOutcome, ReadOutcome};
use strongroom_testkit::faulty::{Call, Fault, Faults, Faulty};

const SEEDS: u64 = 300;
const ROUNDS: u64 = 4;
const WRITERS: u8 = 8;

fn name(round: u64) -> String {
    format!("groups/00/log/{round:016x}-00ff")
}

/// The bytes that writer `writer` wants to store.
fn bytes(writer: u8) -> Bytes {
    Bytes::from(vec![writer; 100])
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.len() == 100 && bytes.iter().all(|byte| byte == &bytes[0])
}

/// One writer: creates every name in turn, repeating each until it knows the outcome; now and then reads and lists.
async fn write(store: Store, writer: u8, seed: u64) -> Result<Vec<CreateOutcome>, String> {
    let mut rng = StdRng::seed_from_u64(seed ^ u64::from(writer) << 32);
    let mut outcomes = Vec::new();
    for round in 0..ROUNDS {
        let outcome = loop {
            match store.create(&name(round), bytes(writer)).await {
                CreateOutcome::Unknown if rng.random_bool(0.9) => {}
                settled => break settled,
            }
        };
        outcomes.push(outcome);
        match store.read(&name(round)).await {
            ReadOutcome::Found(found) if !is_whole(&found) => return Err(format!("read {found:?}")),
            ReadOutcome::Absent if outcome != CreateOutcome::Unknown => {
                return Err(format!("{outcome:?}, but nothing is there"));
            }
            _ => {}
        }
        // A listing that lags says less than it should, but nothing else.
        let listed = store.list("groups/00/log", "groups/00/log/0").await.unwrap_or_default();
        if !listed.is_sorted() || listed.iter().any(|found| !(0..ROUNDS).any(|round| *found == name(round))) {
            return Err(format!("listed {listed:?}"));
        }
    }
    Ok(outcomes)
}

/// Eight writers race for some names. Returns what was wrong with the outcomes, or how often each fault struck.
async fn race(seed: u64, planted: bool) -> Result<BTreeMap<Fault, u64>, String> {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faults =
        Faults { latency: Duration::from_millis(5), slow: Duration::from_secs(3), ..Faults::all(40) };
    let faulty = Faulty::new(Arc::clone(&objects), seed, faults);
    if planted {
        faulty.report_exists_as_success();
    }
    let store = Store::on(Arc::new(faulty.clone()));
    let writers = join_all((0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer, seed)))).await;
    let writers: Vec<_> =
        writers.into_iter().map(|outcomes| outcomes.expect("no panic")).collect::<Result<_, _>>()?;
    // What is still under way arrives.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let honest = Store::on(objects);
    for round in 0..ROUNDS {
        let ReadOutcome::Found(there) = honest.read(&name(round)).await else {
            return Err(format!("round {round}: nothing is there"));
        };
        for (writer, outcomes) in (0..).zip(&writers) {
            let ours = there == bytes(writer);
            let outcome = outcomes[usize::try_from(round).expect("small")];
            if (outcome == CreateOutcome::Created && !ours) || (outcome == CreateOutcome::Lost && ours) {
                return Err(format!("round {round}: writer {writer} was told {outcome:?}, ours: {ours}"));
            }
        }
    }
    Ok(faulty.hits())
}

#[tokio::test(start_paused = true)]
async fn through_every_fault_at_most_one_writer_wins_a_name_and_its_object_is_there() {
    let mut hits: BTreeMap<Fault, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        for (fault, count) in race(seed, false).await.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")) {
            *hits.entry(fault).or_default() += count;
        }
    }
    println!("{SEEDS} seeds: {hits:?}");
    for fault in Fault::ALL {
        assert!(hits.get(&fault).is_some_and(|count| *count > 100), "{fault:?} was hardly tried: {hits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_reports_exists_as_success_is_caught() {
    let mut caught = None;
    for seed in 0..10 {
        caught = caught.or(race(seed, true).await.err());
    }
    let caught = caught.expect("some race has a loser that is told it won");
    assert!(caught.contains("Created"), "{caught}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
    let run = async |seed| {
        let faulty = Faulty::new(Arc::new(InMemory::new()), seed, Faults::all(60));
        let store = Store::on(Arc::new(faulty.clone()));
        let mut outcomes = Vec::new();
        for round in 0..50 {
            outcomes.push((store.create(&name(round), bytes(1)).await, store.read(&name(round)).await));
        }
        (outcomes, faulty.hits(), faulty.calls())
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await.1, run(2).await.1);
}

#[tokio::test(start_paused = true)]
async fn a_planned_fault_hits_only_the_call_it_is_planned_for_and_create_settles_it() {
    for fault in Fault::ALL {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let faulty = Faulty::new(Arc::clone(&objects), 1, Faults::none());
        let store = Store::on(Arc::new(faulty.clone()));
        faulty.plan(1, fault);
        assert_eq!(store.create(&name(0), bytes(0)).await, CreateOutcome::Created);
        assert_eq!(faulty.hits(), BTreeMap::new());
        assert_eq!(store.create(&name(1), bytes(1)).await, CreateOutcome::Created, "{fault:?}");
        assert_eq!(store.create(&name(0), bytes(2)).await, CreateOutcome::Lost, "{fault:?}");
        let hits = if fault.befalls(Call::Put) { BTreeMap::from([(fault, 1)]) } else { BTreeMap::new() };
        assert_eq!(faulty.hits(), hits);
        let honest = Store::on(objects);
        assert_eq!(honest.read(&name(1)).await, ReadOutcome::Found(bytes(1).into()), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_writer_gave_up_may_arrive_later_and_the_same_bytes_settle_it() {
    let faulty =
        Faulty::new(Arc::new(InMemory::new()), 1, Faults { slow: Duration::from_secs(60), ..Faults::none() });
    let store = Store::on(Arc::new(faulty.clone()));
    // Three attempts, each a put and a read.
    for call in [0, 2, 4] {
        faulty.plan(call, Fault::Slow);
    }
    assert_eq!(store.create(&name(0), bytes(1)).await, CreateOutcome::Unknown);
    assert_eq!(store.read(&name(0)).await, ReadOutcome::Absent);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.read(&name(0)).await, ReadOutcome::Found(bytes(1).into()));
    assert_eq!(store.create(&name(0), bytes(2)).await, CreateOutcome::Lost);
    assert_eq!(store.create(&name(0), bytes(1)).await, CreateOutcome::Created);
}

#[tokio::test(start_paused = true)]
async fn half_an_object_is_not_an_object_and_a_listing_that_lags_catches_up() {
    let faulty = Faulty::new(Arc::new(InMemory::new()), 1, Faults::none());
    let store = Store::on(Arc::new(faulty.clone()));
    for round in 0..3 {
        assert_eq!(store.create(&name(round), bytes(0)).await, CreateOutcome::Created);
    }
    faulty.plan(0, Fault::Truncated);
    assert_eq!(store.read(&name(0)).await, ReadOutcome::Unavailable);
    assert_eq!(store.read(&name(0)).await, ReadOutcome::Found(bytes(0).into()));
    let list = async || store.list("groups/00/log", "groups/00/log/0").await.expect("no fault");
    faulty.plan(0, Fault::Lagging);
    assert_eq!(list().await, [name(0)]);
    assert_eq!(list().await, [name(0)], "for a while");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(list().await, [0, 1, 2].map(name));
}
