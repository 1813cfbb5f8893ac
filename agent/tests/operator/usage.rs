//! Accounts of what tenants use: every request that reached the store counts once, whatever becomes of writes and agents.

use bytes::Bytes;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_agent::clock::Clock;
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::{Kind, Purpose, Store};
use strongroom_agent::usage::{
    BadSheet, Day, Ledger, MAX_SHEET_BYTES, MAX_SHEETS, Month, Operation, Place, Sheet, SheetName, Tallies,
    Usage, Used, newest, read_month, sheets,
};
use strongroom_proto::ids::{HsmId, RealmId};
use strongroom_replica::CreateOutcome;
use url::Url;

const REALM: RealmId = RealmId([1; 16]);
const HSM: HsmId = HsmId([2; 16]);
const DAY_S: u64 = 24 * 60 * 60;
/// 2026-11-30T23:59:59Z.
const LAST_SECOND: u64 = 1_796_083_199;
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

fn used(tenant: &str, operation: Operation, user: u64) -> Used<'_> {
    Used { tenant, operation, answered: true, user }
}

fn place(now: u64) -> Place {
    Place { realm: REALM, hsm: HSM, day: Day::at(now) }
}

fn november() -> Month {
    Day::at(LAST_SECOND).month()
}

/// Which objects of a month a reader adds up.
type Pick = fn(Vec<SheetName>) -> BTreeSet<SheetName>;

fn newest_of_each(names: Vec<SheetName>) -> BTreeSet<SheetName> {
    newest(names)
}

/// Planted: an edition whose creation had no answer is counted, and then the next, which holds the same.
fn every_edition(names: Vec<SheetName>) -> BTreeSet<SheetName> {
    names.into_iter().collect()
}

/// The number with which an agent starts counting.
type Number = fn(u64) -> u64;

fn own_number(run: u64) -> u64 {
    run << 32
}

/// Planted: an agent that starts again goes on with the names of before.
fn same_number(_: u64) -> u64 {
    7
}

/// One run of an agent, and a day.
type Run = (u64, Day);

struct Agent {
    hsm: HsmId,
    run: u64,
    ledger: Ledger,
}

/// Three agents, a store that loses answers, and a model of what reached it.
struct World {
    rng: StdRng,
    now: u64,
    number: Number,
    agents: Vec<Agent>,
    runs: u64,
    store: BTreeMap<SheetName, Vec<u8>>,
    /// What was sent and may arrive later.
    late: Vec<(SheetName, Vec<u8>)>,
    asked: BTreeMap<Run, Vec<(&'static str, Operation, bool, u64)>>,
    /// How many of those an edition held when it was sent, and how many are in the store.
    sent: BTreeMap<SheetName, (Run, usize)>,
    stored: BTreeMap<Run, usize>,
}

impl World {
    fn new(seed: u64, number: Number) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            // Two days before a month ends.
            now: LAST_SECOND - 2 * DAY_S,
            number,
            agents: Vec::new(),
            runs: 0,
            store: BTreeMap::new(),
            late: Vec::new(),
            asked: BTreeMap::new(),
            sent: BTreeMap::new(),
            stored: BTreeMap::new(),
        };
        for n in 0..3 {
            let agent = world.start(HsmId([n; 16]));
            world.agents.push(agent);
        }
        world
    }

    fn start(&mut self, hsm: HsmId) -> Agent {
        self.runs += 1;
        Agent { hsm, run: self.runs, ledger: Ledger::new((self.number)(self.runs)) }
    }

    fn step(&mut self) {
        let at = self.rng.random_range(0..self.agents.len());
        match self.rng.random_range(0..24) {
            0..=14 => self.ask(at),
            15..=18 => self.write(at),
            19 | 20 => self.now += self.rng.random_range(0..DAY_S / 4),
            21 => self.now += self.rng.random_range(0..3 * DAY_S),
            22 => {
                if let Some((name, bytes)) = self.late.pop() {
                    self.arrive(name, bytes);
                }
            }
            // Nothing is written at its end, as when it is killed.
            _ => self.agents[at] = self.start(self.agents[at].hsm),
        }
    }

    fn ask(&mut self, at: usize) {
        let tenant = TENANTS[self.rng.random_range(0..TENANTS.len())];
        let operation = Operation::ALL[self.rng.random_range(0..Operation::ALL.len())];
        let (answered, user) = (self.rng.random_range(0..4) > 0, self.rng.random_range(0..200));
        let day = Day::at(self.now);
        let agent = &mut self.agents[at];
        let place = Place { realm: REALM, hsm: agent.hsm, day };
        agent.ledger.count(place, &Used { tenant, operation, answered, user });
        self.asked.entry((agent.run, day)).or_default().push((tenant, operation, answered, user));
    }

    fn write(&mut self, at: usize) {
        let run = self.agents[at].run;
        for edition in self.agents[at].ledger.editions() {
            let (name, bytes) = (edition.sheet.name, edition.sheet.to_bytes());
            let held = self.asked[&(run, name.day)].len();
            self.sent.insert(name, ((run, name.day), held));
            match self.rng.random_range(0..8) {
                0 => {}
                1 => self.late.push((name, bytes)),
                // The answer is lost.
                2 | 3 => {
                    self.arrive(name, bytes);
                }
                _ => {
                    if self.arrive(name, bytes) {
                        let older = self.agents[at].ledger.created(&edition);
                        older.iter().for_each(|name| drop(self.store.remove(name)));
                    }
                }
            }
        }
    }

    /// Creates it, unless the name is taken.
    fn arrive(&mut self, name: SheetName, bytes: Vec<u8>) -> bool {
        match self.store.entry(name) {
            Entry::Occupied(there) => *there.get() == bytes,
            Entry::Vacant(free) => {
                free.insert(bytes);
                let (run, held) = self.sent[&name];
                let stored = self.stored.entry(run).or_default();
                *stored = held.max(*stored);
                true
            }
        }
    }

    /// Whether the sums of all months are those of the requests that reached the store.
    fn adds_up(&self, pick: Pick) -> bool {
        let months: BTreeSet<Month> = self.asked.keys().map(|(_, day)| day.month()).collect();
        months.into_iter().all(|month| {
            let mut expected = Tallies::default();
            for (run, asked) in self.asked.iter().filter(|((_, day), _)| day.month() == month) {
                let stored = self.stored.get(run).copied().unwrap_or(0);
                for (tenant, operation, answered, user) in asked.iter().copied().take(stored) {
                    expected.count(&Used { tenant, operation, answered, user });
                }
            }
            let names = self.store.keys().copied().filter(|name| name.day.month() == month).collect();
            let mut found = Tallies::default();
            for name in pick(names) {
                found.add(&Sheet::read(&name, &self.store[&name]).expect("a sheet").tallies);
            }
            found == expected
        })
    }
}

/// The first seed and step at which the sums are wrong.
fn first_wrong(pick: Pick, number: Number) -> Option<(u64, u32)> {
    for seed in 0..200 {
        let mut world = World::new(seed, number);
        for step in 0..300 {
            world.step();
            if step % 10 == 9 && !world.adds_up(pick) {
                return Some((seed, step));
            }
        }
    }
    None
}

#[test]
fn whatever_becomes_of_writes_and_agents_each_request_that_reached_the_store_counts_once() {
    assert_eq!(first_wrong(newest_of_each, own_number), None);
}

#[test]
fn a_reader_that_counts_twice_after_a_lost_answer_and_an_agent_that_takes_old_names_are_caught() {
    assert!(first_wrong(every_edition, own_number).is_some());
    assert!(first_wrong(newest_of_each, same_number).is_some());
}

#[test]
fn while_the_store_fails_memory_is_bounded_and_what_is_kept_is_written_later() {
    let mut ledger = Ledger::new(5);
    let first = LAST_SECOND - 20 * DAY_S;
    for day in 0..10 {
        for _ in 0..100 {
            ledger.count(place(first + day * DAY_S), &used("acme", Operation::Recover2, day));
            // Each of them fails.
            assert!(!ledger.editions().is_empty());
        }
        assert!(ledger.sheets() <= MAX_SHEETS);
    }
    let kept = ledger.editions();
    assert_eq!(kept.len(), MAX_SHEETS);
    assert_eq!(ledger.take_lost(), 100 * (10 - MAX_SHEETS as u64), "whole days, and it is said");
    for edition in &kept {
        assert_eq!(edition.sheet.tallies.total(), 100);
        let older = ledger.created(edition);
        assert!(older.len() < 100 && older.iter().all(|name| name.edition < edition.sheet.name.edition));
    }
    assert_eq!((ledger.sheets(), ledger.take_lost()), (1, 0), "only the day that it is");
    assert!(ledger.editions().is_empty(), "and nothing of it is unwritten");
}

#[test]
fn a_clock_that_is_set_back_over_midnight_loses_nothing() {
    let mut ledger = Ledger::new(5);
    let mut store = BTreeMap::new();
    for n in 0..50 {
        let now = if n % 2 == 0 { LAST_SECOND } else { LAST_SECOND + 1 };
        ledger.count(place(now), &used("acme", Operation::Delete, n));
        if n % 5 == 0 {
            for edition in ledger.editions() {
                store.insert(edition.sheet.name, edition.sheet.clone());
                ledger.created(&edition).iter().for_each(|name| drop(store.remove(name)));
            }
        }
    }
    for edition in ledger.editions() {
        store.insert(edition.sheet.name, edition.sheet.clone());
        ledger.created(&edition);
    }
    let mut sum = Tallies::default();
    for name in newest(store.keys().copied()) {
        sum.add(&store[&name].tallies);
    }
    assert_eq!(sum.total(), 50);
    assert_eq!(sum.tenants()["acme"].users.estimate(), 50);
}

/// An agent's account on a store, and its clock.
fn account(store: &Store, number: u64) -> (Usage, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(LAST_SECOND));
    let told = Arc::clone(&now);
    let clock: Clock = Arc::new(move || told.load(Ordering::Relaxed));
    (Usage::new(store, clock, number), now)
}

fn count(usage: &Usage, hsm: HsmId, used: &Used<'_>) {
    usage.count(Place { realm: REALM, hsm, day: usage.today() }, used);
}

#[tokio::test]
async fn two_agents_and_a_restart_add_up_and_a_month_ends_at_midnight_in_utc() {
    let store = Store::on(Arc::new(InMemory::new()));
    let ((one, _), (two, _)) = (account(&store, 1), account(&store, 2));
    count(&one, HSM, &used("acme", Operation::Register2, 1));
    count(&two, HsmId([3; 16]), &used("acme", Operation::Recover2, 1));
    count(&two, HsmId([3; 16]), &used("acme", Operation::Recover2, 2));
    assert!(one.write().await && two.write().await);
    // Killed: what it counts from here to its end is lost, and nothing else.
    count(&one, HSM, &used("acme", Operation::Delete, 9));
    drop(one);
    let (again, later) = account(&store, 100);
    count(&again, HSM, &used("acme", Operation::Recover3, 3));
    assert!(again.write().await && again.write().await, "with nothing new, nothing is written");
    later.fetch_add(1, Ordering::Relaxed);
    count(&again, HSM, &used("acme", Operation::Recover1, 1));
    assert!(again.write().await);
    let read = read_month(&store, REALM, november()).await.expect("readable");
    let acme = &read.tallies.tenants()["acme"];
    assert_eq!((read.sheets, acme.users.estimate(), acme.counts.total()), (3, 3, 4));
    assert_eq!(acme.counts.get(Operation::Recover2, true), 2);
    assert!(read.passed_over.is_empty());
    let december = Day::at(LAST_SECOND + 1).month();
    let read = read_month(&store, REALM, december).await.expect("readable");
    assert_eq!((read.sheets, read.tallies.total()), (1, 1));
    assert_eq!(store.metrics().calls(Purpose::Usage, Kind::Put), 4);
}

#[tokio::test]
async fn an_edition_replaces_the_one_before() {
    let store = Store::on(Arc::new(InMemory::new()));
    let (usage, _) = account(&store, 1);
    for user in 0..20 {
        count(&usage, HSM, &used("acme", Operation::Recover2, user));
        assert!(usage.write().await);
        let left = store.hints(&sheets(REALM, november()), 100).await.expect("listed");
        assert_eq!(left.len(), 1);
        let read = read_month(&store, REALM, november()).await.expect("readable");
        assert_eq!((read.sheets, read.tallies.total()), (1, user + 1));
    }
}

/// A sheet of another agent.
fn other_sheet(hsm: u8) -> Sheet {
    let mut ledger = Ledger::new(1000);
    let place = Place { hsm: HsmId([hsm; 16]), ..place(LAST_SECOND) };
    ledger.count(place, &used("acme", Operation::Recover2, 77));
    ledger.editions().remove(0).sheet
}

#[tokio::test]
async fn whatever_is_put_beside_the_sheets_is_passed_over_by_name_and_the_rest_is_still_summed() {
    let store = Store::on(Arc::new(InMemory::new()));
    let (usage, _) = account(&store, 1);
    count(&usage, HSM, &used("acme", Operation::Recover2, 1));
    assert!(usage.write().await);
    let december = other_sheet(8).name.to_string().replace("2026-11-30", "2026-12-01");
    let bytes = |hsm| other_sheet(hsm).to_bytes();
    let newer = |mut bytes: Vec<u8>| {
        assert_eq!(bytes[1], 1, "the version");
        bytes[1] = 2;
        bytes
    };
    let hostile: Vec<(String, Vec<u8>, BadSheet)> = vec![
        ("readme.txt".into(), b"hello".to_vec(), BadSheet::Name),
        (december, bytes(8), BadSheet::Name),
        (other_sheet(9).name.to_string(), bytes(10), BadSheet::OtherName),
        (other_sheet(11).name.to_string(), bytes(11)[..20].to_vec(), BadSheet::Form),
        (other_sheet(12).name.to_string(), newer(bytes(12)), BadSheet::OtherVersion),
        (other_sheet(13).name.to_string(), vec![0; MAX_SHEET_BYTES + 1], BadSheet::TooLong),
        (other_sheet(14).name.to_string(), Vec::new(), BadSheet::Form),
    ];
    let folder = sheets(REALM, november());
    for (name, bytes, _) in &hostile {
        let created = store.create(&format!("{folder}/{name}"), Bytes::from(bytes.clone())).await;
        assert_eq!(created, CreateOutcome::Created, "{name}");
    }
    let read = read_month(&store, REALM, november()).await.expect("readable");
    assert_eq!((read.sheets, read.tallies.total()), (1, 1));
    let said: BTreeMap<String, BadSheet> =
        read.passed_over.iter().map(|passed| (passed.object.clone(), passed.why)).collect();
    let expected: BTreeMap<String, BadSheet> =
        hostile.into_iter().map(|(name, _, why)| (name, why)).collect();
    assert_eq!((said, read.passed_over.len()), (expected, 7));
}

#[tokio::test]
async fn the_command_shows_a_month_and_fails_if_something_is_in_no_sum() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = Url::from_file_path(folder.path().join("store")).expect("a path from the root");
    let store = Store::open(&url, &StoreOptions::default()).expect("usable");
    let (usage, _) = account(&store, 1);
    for (tenant, user) in [("acme", 1), ("acme", 2), ("globex", 3)] {
        count(&usage, HSM, &used(tenant, Operation::Recover2, user));
    }
    assert!(usage.write().await);
    let text = format!("hsm = 'unix:hsm.sock'\nstore = '{url}'\ntenants = 'tenants.toml'\n");
    fs::write(folder.path().join("agent.toml"), text).expect("writable");
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
        command.current_dir(folder.path()).env_remove("RUST_LOG");
        command.args(["tenant", "usage", "--month", "2026-11"]).args(more);
        command.output().expect("the program is built")
    };
    let shown = run(&["--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["month"], "2026-11");
    assert_eq!(shown["sheets"], 1);
    assert_eq!(shown["tenants"][0]["tenant"], "acme");
    assert_eq!(shown["tenants"][0]["active_users"], 2);
    assert_eq!(shown["tenants"][1]["operations"]["recover2"]["answered"], 1);
    let shown = run(&["--tenant", "globex"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("globex") && !text.contains("acme"), "{text}");
    let stray = format!("{}/stray", sheets(REALM, november()));
    assert_eq!(store.create(&stray, Bytes::from_static(b"x")).await, CreateOutcome::Created);
    let shown = run(&[]);
    let (out, err) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.code() == Some(1) && out.contains("acme"), "{out}{err}");
    assert!(err.contains("passed over stray: its name is not that of a sheet"), "{err}");
}
