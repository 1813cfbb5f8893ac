//! Whatever is damaged of what a group has stored is found by its scrub within one round, and nothing else is.
//!
//! Time stands still but where it is said to pass.

use crate::tree_model::{GROUP, Model, Objects, patient, stated};
use object_store::{ObjectStore, ObjectStoreExt};
use slatedb::config::{FlushOptions, FlushType, Settings};
use slatedb::{Db, WriteBatch};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strongroom_agent::check::{CheckError, LogPart, Problem, TreePart, Witness, tree_part_by};
use strongroom_agent::scrub::{Lane, Led, Looked, Parts, Place, Scrub, ScrubMetrics, ScrubSettings, Stored};
use strongroom_agent::store::{Kind, Limit, Pace, Purpose, Store};
use strongroom_agent::tree::{TreeMetrics, TreePlace, TreeReader, TreeStore};
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::ids::{EntryHash, Index, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;
use strongroom_replica::segment::{Segment, SegmentEntry, SegmentName};
use strongroom_replica::stored::TreeDamage;

const DAY: u64 = 86_400;
const PERIOD: u64 = 30 * DAY;
const PART_BITS: u32 = 5;
const BEGAN: u64 = 1_900_000_000;

/// An HSM that has made everything, or nothing.
#[derive(Clone)]
struct Hsm(bool);

impl Witness for Hsm {
    async fn captured(&mut self) -> Result<Option<(Index, EntryHash)>, String> {
        Ok(None)
    }

    async fn captured_by_others(&mut self) -> Index {
        Index::ZERO
    }

    async fn vouches(&mut self, _: Vec<Entry>) -> Result<bool, String> {
        Ok(self.0)
    }
}

/// A bug that a scrub may have, or trouble.
enum Planted {
    /// It leaves out every other part.
    Skips,
    /// It reads what somebody else has read before.
    Remembers(Box<TreeReader>),
    /// No bug: the log cannot be read.
    LogFails,
    /// No bug: each part lacks so many records.
    Lacks(u8),
    /// No bug: each part lacks a record, which is another one each time.
    Varies,
}

type Real = Stored<Hsm, fn() -> bool>;

/// What a store holds, read with a bug or without.
struct Watched {
    parts: Real,
    planted: Option<Planted>,
    read: Arc<AtomicU64>,
}

impl Parts for Watched {
    async fn tree(&self, within: Prefix) -> Result<TreePart, CheckError> {
        let read = self.read.fetch_add(1, Ordering::Relaxed);
        match &self.planted {
            Some(Planted::Skips) if read % 2 == 1 => {
                let snapshot = self.parts.tree.read_snapshot().await.unwrap();
                Ok(TreePart { snapshot, ..TreePart::default() })
            }
            Some(Planted::Remembers(reader)) => tree_part_by(reader, within).await,
            Some(Planted::Varies) => {
                let id = RecordId([u8::try_from(read % 256).unwrap(); 32]);
                let problems = vec![Problem::Tree(TreeDamage::NoLeaf(id))];
                Ok(TreePart { problems, ..TreePart::default() })
            }
            Some(Planted::Lacks(many)) => {
                let ids = (0..*many).map(|id| RecordId([id; 32]));
                let problems = ids.map(|id| Problem::Tree(TreeDamage::NoLeaf(id))).collect();
                Ok(TreePart { problems, ..TreePart::default() })
            }
            _ => self.parts.tree(within).await,
        }
    }

    async fn log(&self, reached: (Index, EntryHash), captured: Index) -> Result<LogPart, CheckError> {
        match &self.planted {
            Some(Planted::LogFails) => Err(CheckError::Store),
            _ => self.parts.log(reached, captured).await,
        }
    }

    fn leads(&self) -> bool {
        self.parts.leads()
    }

    fn keep_to(&self, limit: Limit) {
        self.parts.keep_to(limit);
    }
}

/// A group with a tree and a log, and a scrub of it.
struct Realm {
    objects: Arc<Objects>,
    store: Store,
    tree: TreeStore,
    model: Model,
    last: Option<Entry>,
    segments: Vec<SegmentName>,
    now: Arc<AtomicU64>,
    metrics: ScrubMetrics,
    /// How many parts of the tree were read.
    read: Arc<AtomicU64>,
    hsm: Hsm,
}

impl Realm {
    async fn new(seed: u64, prefixes: &[Prefix], snapshots: usize) -> Self {
        let objects = Objects::memory();
        let store = Store::on(Arc::<Objects>::clone(&objects));
        let tree = TreeStore::new(store.objects(), store.base(), GROUP, patient(), TreeMetrics::default());
        tree.open().await.unwrap();
        let mut realm = Self {
            objects,
            store,
            tree,
            model: Model::new(seed, prefixes),
            last: None,
            segments: Vec::new(),
            now: Arc::new(AtomicU64::new(BEGAN)),
            metrics: ScrubMetrics::default(),
            read: Arc::default(),
            hsm: Hsm(true),
        };
        for _ in 0..snapshots {
            realm.advance(20).await;
        }
        // What comes after the stored tree.
        for _ in 0..4 {
            realm.append().await;
        }
        realm
    }

    /// The next entry after the last one.
    fn entry(&self) -> Entry {
        let index = self.last.as_ref().map_or(1, |last| last.index.0 + 1);
        let prev = self.last.as_ref().map_or(EntryHash::ZERO, Entry::hash);
        let of = self.model.snapshot().entry;
        Entry { index: Index(index), prev, events_hash: events_hash([]), ..of }
    }

    async fn append(&mut self) -> Entry {
        let entry = self.entry();
        let segment = segment(entry.clone());
        self.segments.push(segment.name());
        let _ = self.store.create(&segment.name().to_string(), segment.encode().unwrap().into()).await;
        self.last = Some(entry.clone());
        entry
    }

    /// Changes records, and takes a snapshot.
    async fn advance(&mut self, records: usize) {
        let mut advance = self.model.change(records);
        let entry = self.append().await;
        advance.snapshot = stated(entry);
        self.tree.advance(advance).await.unwrap();
    }

    fn led(&self) -> Led {
        let last = self.last.as_ref().unwrap();
        let prefixes = self.model.trees.iter().map(Tree::prefix).collect();
        let (reached, snapshot) = ((last.index, last.hash()), self.model.snapshot().entry.index);
        Led { prefixes, reached, captured: last.index, snapshot, bytes: 1 << 20 }
    }

    fn scrub(&self, planted: Option<Planted>) -> Scrub<Watched> {
        let pace = Pace::default();
        let (store, objects) = self.store.paced(&pace);
        let tree = TreeStore::new(objects, store.base(), GROUP, patient(), TreeMetrics::default());
        let leads: fn() -> bool = || true;
        let parts = Stored { group: GROUP, store, tree, pace, witness: self.hsm.clone(), leads };
        let parts = Watched { parts, planted, read: Arc::clone(&self.read) };
        let now = Arc::clone(&self.now);
        let clock: strongroom_agent::clock::Clock = Arc::new(move || now.load(Ordering::Relaxed));
        let (period, metrics) = (Duration::from_secs(PERIOD), self.metrics.clone());
        let settings = ScrubSettings { period, part_bits: PART_BITS, metrics, lane: Lane::default() };
        Scrub::new(GROUP, parts, &self.store, clock, settings)
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn look(&self, scrub: &mut Scrub<Watched>) -> Looked {
        let looked = scrub.look(&self.led(), &BTreeSet::new()).await.unwrap();
        if !looked.was_due {
            self.pass(DAY / 4);
        }
        looked
    }

    /// Goes on to the end of the round, and returns what is found by then.
    async fn round(&self, scrub: &mut Scrub<Watched>) -> Vec<(Place, String)> {
        while !self.look(scrub).await.round_ended {}
        found(scrub)
    }

    /// Writes to the tree's database what no agent writes; `None` deletes.
    async fn overwrite(&self, key: Vec<u8>, value: Option<&[u8]>) {
        let place = TreePlace::new(self.store.base(), GROUP).database(0);
        // With the usual limit it would wait for merges, which nobody makes here.
        let settings = Settings {
            wal_enabled: false,
            compactor_options: None,
            l0_max_ssts: 48,
            l0_max_ssts_per_key: 48,
            ..Settings::default()
        };
        let under: Arc<dyn ObjectStore> = Arc::clone(&self.objects.under);
        let db = Db::builder(place, under).with_settings(settings).build().await.unwrap();
        let mut batch = WriteBatch::new();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        db.write(batch).await.unwrap();
        db.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await.unwrap();
        db.close().await.unwrap();
    }

    fn a_record(&self) -> RecordId {
        *self.model.leaves.keys().nth(self.model.leaves.len() / 2).unwrap()
    }
}

fn segment(entry: Entry) -> Segment {
    Segment::new(vec![SegmentEntry { entry, leaves: Vec::new(), events: Vec::new(), owners: Vec::new() }])
        .unwrap()
}

fn found(scrub: &Scrub<Watched>) -> Vec<(Place, String)> {
    let findings = scrub.position().map(|position| position.findings.clone()).unwrap_or_default();
    findings.into_iter().flat_map(|(at, found)| found.into_iter().map(move |f| (at, f.what))).collect()
}

fn leaf_key(id: &RecordId) -> Vec<u8> {
    [b"l", &id.0[..]].concat()
}

/// The key of the page four levels down on the way to a record.
fn page_key(id: &RecordId) -> Vec<u8> {
    vec![b'p', 0, 4, id.0[0] & 0xf0]
}

/// Ways in which the stored tree may be damaged.
const OF_TREE: [&str; 4] = ["leaf altered", "leaf missing", "page altered", "page missing"];

async fn damage_tree(realm: &Realm, how: &str) -> &'static str {
    let id = realm.a_record();
    match how {
        "leaf altered" => realm.overwrite(leaf_key(&id), Some(b"no such bytes")).await,
        "leaf missing" => realm.overwrite(leaf_key(&id), None).await,
        "page altered" => realm.overwrite(page_key(&id), Some(b"no page")).await,
        _ => realm.overwrite(page_key(&id), None).await,
    }
    match how {
        "leaf altered" => "are not those that its page names",
        "leaf missing" => "are missing",
        "page altered" => "is damaged",
        _ => "is missing",
    }
}

#[tokio::test(start_paused = true)]
async fn damage_of_a_stored_tree_is_found_within_a_round_and_stays_known_until_it_is_mended() {
    for how in OF_TREE {
        let realm = Realm::new(1, &[Prefix::WHOLE], 12).await;
        let mut scrub = realm.scrub(None);
        assert!(realm.round(&mut scrub).await.is_empty(), "{how}: it is sound yet");
        let before = realm.objects.all().await;
        let says = damage_tree(&realm, how).await;
        let found = realm.round(&mut scrub).await;
        assert!(!found.is_empty(), "{how}: not found");
        assert!(found.iter().any(|(place, what)| *place != Place::Log && what.contains(says)), "{found:?}");
        let id = realm.a_record();
        if how.starts_with("leaf") {
            assert!(found.iter().all(|(_, what)| what.contains(&id.to_string())), "{found:?}");
        }
        assert!(realm.metrics.unresolved(GROUP, "tree") > 0);
        // Another leader knows it, before it has read anything again.
        let mut next = realm.scrub(None);
        next.look(&realm.led(), &BTreeSet::new()).await.unwrap();
        assert_eq!(found.len(), self::found(&next).len(), "{how}");
        // It is restored.
        let key = if how.starts_with("leaf") { leaf_key(&id) } else { page_key(&id) };
        let value = value_in(before, &realm, &key).await;
        realm.overwrite(key, Some(&value)).await;
        realm.pass(1_000);
        let places = next.position().map_or(0, |position| position.findings.len());
        for _ in 0..places {
            next.look(&realm.led(), &BTreeSet::new()).await.unwrap();
        }
        assert!(next.tree_is_well(), "{how}: {:?}", self::found(&next));
        assert_eq!(realm.metrics.unresolved(GROUP, "tree"), 0);
    }
}

/// What was stored under a key.
async fn value_in(
    objects: std::collections::BTreeMap<object_store::path::Path, bytes::Bytes>,
    realm: &Realm,
    key: &[u8],
) -> Vec<u8> {
    let before = Objects::of(&objects).await;
    let place = TreePlace::new(realm.store.base(), GROUP).database(0);
    let under: Arc<dyn ObjectStore> = Arc::clone(&before.under);
    let settings = Settings { wal_enabled: false, compactor_options: None, ..Settings::default() };
    let db = Db::builder(place, under).with_settings(settings).build().await.unwrap();
    let value = db.get(key).await.unwrap().unwrap().to_vec();
    db.close().await.unwrap();
    value
}

#[tokio::test(start_paused = true)]
async fn damage_of_a_log_is_found_within_a_round_and_named() {
    for how in ["damaged", "missing", "forked", "end missing", "forged"] {
        let mut realm = Realm::new(2, &[Prefix::WHOLE], 3).await;
        assert!(realm.round(&mut realm.scrub(None)).await.is_empty(), "{how}: it is sound yet");
        let at = if how == "end missing" { realm.segments.len() - 1 } else { realm.segments.len() - 3 };
        let name = realm.segments[at].to_string();
        match how {
            "forged" => realm.hsm = Hsm(false),
            "missing" | "end missing" => realm.store.delete(&name).await.unwrap(),
            _ => {
                let mut bytes = b"no segment".to_vec();
                if how == "forked" {
                    let strongroom_replica::ReadOutcome::Found(read) = realm.store.read(&name).await else {
                        panic!("it is there")
                    };
                    let entry = Segment::decode(&read).unwrap().first().clone();
                    let other = Entry { term: Term([9; 16]), ..entry };
                    bytes = segment(other).encode().unwrap();
                }
                realm.store.delete(&name).await.unwrap();
                let _ = realm.store.create(&name, bytes.into()).await;
            }
        }
        let mut scrub = realm.scrub(None);
        let found = realm.round(&mut scrub).await;
        assert!(found.iter().all(|(place, _)| *place == Place::Log), "{how}: {found:?}");
        assert!(found.iter().any(|(_, what)| what.contains(&name)), "{how}: {name} is not in {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_while_records_change_and_prefixes_are_split_and_merged() {
    let halves = Prefix::WHOLE.children().unwrap();
    let mut realm = Realm::new(3, &[halves.0, halves.1], 4).await;
    let mut scrub = realm.scrub(None);
    let mut rounds = 0;
    for step in 0.. {
        if step % 3 == 0 {
            realm.model.split_or_merge();
        }
        realm.advance(10).await;
        rounds += u32::from(realm.look(&mut scrub).await.round_ended);
        assert!(found(&scrub).is_empty(), "step {step}: {:?}", found(&scrub));
        if rounds == 2 {
            break;
        }
    }
    assert!(realm.metrics.leaves.get() > 500 && realm.metrics.segments.get() > 60);
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_one_part_at_most() {
    let realm = Realm::new(4, &[Prefix::WHOLE], 4).await;
    let mut restarts = 0;
    let mut scrub = realm.scrub(None);
    loop {
        let looked = realm.look(&mut scrub).await;
        if looked.round_ended {
            break;
        }
        if looked.was_due {
            scrub = realm.scrub(None);
            restarts += 1;
        }
    }
    assert!(restarts > 60, "{restarts}");
    assert_eq!(realm.read.load(Ordering::Relaxed), 1 << PART_BITS, "no part is read twice");
}

#[tokio::test(start_paused = true)]
async fn what_a_store_does_not_answer_is_checked_later() {
    let realm = Realm::new(5, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(None);
    for _ in 0..10 {
        realm.look(&mut scrub).await;
    }
    realm.pass(2 * DAY);
    realm.objects.hangs.store(true, Ordering::Relaxed);
    let failed = scrub.look(&realm.led(), &BTreeSet::new()).await;
    assert!(matches!(failed, Err(CheckError::Store)), "{failed:?}");
    realm.objects.hangs.store(false, Ordering::Relaxed);
    assert!(realm.round(&mut scrub).await.is_empty());
    assert_eq!(realm.metrics.leaves.get(), realm.model.leaves.len() as u64, "all, and none twice");
}

/// What a round costs besides the leaves and pages themselves, as `docs/performance.md` says.
#[tokio::test(start_paused = true)]
async fn a_round_costs_what_is_written_down() {
    let realm = Realm::new(6, &[Prefix::WHOLE], 8).await;
    let mut scrub = realm.scrub(None);
    let calls = |purpose, kind| realm.store.metrics().calls(purpose, kind);
    realm.round(&mut scrub).await;
    let [gets, lists, puts, deletes] =
        [Kind::Get, Kind::List, Kind::Put, Kind::Delete].map(|kind| calls(Purpose::Scrub, kind));
    let (parts, logs, segments) = (1 << PART_BITS, 32, 5);
    println!(
        "{} leaves: {gets} gets, {lists} lists, {puts} puts, {deletes} deletes",
        realm.model.leaves.len()
    );
    assert!(puts <= parts + logs && deletes <= parts + logs, "{puts} puts, {deletes} deletes");
    assert!(lists <= (parts + logs) * 6 + 1, "{lists} lists");
    assert!(gets <= parts * 40 + logs * (10 + 2 * segments), "{gets} gets");
}

#[tokio::test(start_paused = true)]
async fn a_scrub_that_leaves_out_parts_or_reads_what_is_remembered_does_not_pass() {
    for planted in [None, Some("skips"), Some("remembers")] {
        let realm = Realm::new(7, &[Prefix::WHOLE], 12).await;
        let reader = realm.tree.reader().await.unwrap().unwrap();
        let bug = planted.map(|bug| match bug {
            "skips" => Planted::Skips,
            _ => Planted::Remembers(Box::new(reader)),
        });
        let ids: Vec<RecordId> = realm.model.leaves.keys().copied().collect();
        let damaged: Vec<&RecordId> = ids.iter().step_by(ids.len() / 8).collect();
        for id in &damaged {
            realm.overwrite(leaf_key(id), None).await;
        }
        let found = realm.round(&mut realm.scrub(bug)).await;
        let all = damaged.iter().all(|id| found.iter().any(|(_, what)| what.contains(&id.to_string())));
        assert_eq!(all, planted.is_none(), "{planted:?}: {found:?}");
    }
}

/// The object in which it is kept how far a scrub has come.
fn shelf(number: u64) -> String {
    format!("groups/{GROUP}/scrub/{number:016x}")
}

#[tokio::test(start_paused = true)]
async fn what_was_found_stays_known_when_it_could_not_be_kept() {
    let realm = Realm::new(8, &[Prefix::WHOLE], 12).await;
    let mut scrub = realm.scrub(None);
    realm.look(&mut scrub).await;
    damage_tree(&realm, "leaf missing").await;
    let id = realm.a_record();
    // Somebody else has written under the next number.
    let _ = realm.store.create(&shelf(2), b"no position".to_vec().into()).await;
    let failed = scrub.look(&realm.led(), &BTreeSet::from([id])).await;
    assert!(matches!(failed, Err(CheckError::Store)), "it must wait before it reads that again: {failed:?}");
    assert!(!scrub.tree_is_well(), "what was found is forgotten");
    let looked = scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
    assert!(!looked.tree_is_well && !scrub.tree_is_well());
    assert_eq!(realm.metrics.findings("tree"), 1, "it is new once");
    let mut next = realm.scrub(None);
    next.look(&realm.led(), &BTreeSet::new()).await.unwrap();
    assert!(found(&next).iter().any(|(_, what)| what.contains(&id.to_string())), "it was kept the next time");
}

#[tokio::test(start_paused = true)]
async fn a_round_ends_though_the_clock_was_wrong_for_a_while() {
    let realm = Realm::new(9, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(None);
    for wrong in [100 * DAY, 400 * DAY] {
        realm.pass(wrong);
        for _ in 0..50 {
            realm.look(&mut scrub).await;
        }
        realm.now.fetch_sub(wrong, Ordering::Relaxed);
        let now = realm.now.load(Ordering::Relaxed);
        scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
        assert!(scrub.position().is_some_and(|position| position.began <= now));
        realm.round(&mut scrub).await;
        let took = realm.now.load(Ordering::Relaxed) - now;
        assert!(took <= PERIOD + DAY, "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_keeps_no_part_of_the_tree_waiting_and_shows() {
    let realm = Realm::new(10, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(Some(Planted::LogFails));
    let began = realm.metrics.last_check(GROUP);
    assert_eq!(u64::try_from(began), Ok(BEGAN), "shown before anything is read");
    for _ in 0..4 * PERIOD / DAY {
        let failed = scrub.look(&realm.led(), &BTreeSet::new()).await;
        assert!(matches!(failed, Err(CheckError::Store)), "{failed:?}");
        realm.pass(DAY / 4);
    }
    assert_eq!(realm.metrics.leaves.get(), realm.model.leaves.len() as u64, "all of the tree is checked");
    assert_eq!(realm.metrics.last_check(GROUP), began, "not all was checked that was due");
    let mut scrub = realm.scrub(None);
    realm.look(&mut scrub).await;
    assert!(realm.metrics.last_check(GROUP) > began);
}

#[tokio::test(start_paused = true)]
async fn where_more_is_wrong_than_is_kept_nothing_is_new_again() {
    let realm = Realm::new(11, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(Some(Planted::Lacks(20)));
    // In the first part, which is the one that is due as well.
    scrub.look(&realm.led(), &BTreeSet::from([RecordId([0; 32])])).await.unwrap();
    assert_eq!(realm.metrics.findings("tree"), 16);
    realm.pass(1_000);
    scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
    assert_eq!(realm.metrics.findings("tree"), 16, "nothing is new");
    assert!(realm.read.load(Ordering::Relaxed) >= 4, "it was read again");
}

#[tokio::test(start_paused = true)]
async fn of_what_was_found_one_place_is_read_again_in_a_look_and_each_in_its_turn() {
    let realm = Realm::new(12, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(Some(Planted::Lacks(1)));
    let four = [0x00, 0x08, 0x10, 0x18].map(|first| RecordId([first; 32]));
    scrub.look(&realm.led(), &four.into()).await.unwrap();
    scrub.look(&realm.led(), &four.into()).await.unwrap();
    // All four, and the first once more, as it is due. Each is read twice.
    let read = || realm.read.load(Ordering::Relaxed);
    assert_eq!(read(), 10, "what is known already is not new");
    realm.pass(1_000);
    for looks in 1..=4 {
        scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
        assert_eq!(read(), 10 + 2 * looks);
    }
    scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
    assert_eq!(read(), 18, "each has had its turn");
    realm.pass(1_000);
    scrub.look(&realm.led(), &BTreeSet::new()).await.unwrap();
    assert_eq!(read(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_is_not_there_is_not_sound() {
    let realm = Realm::new(13, &[Prefix::WHOLE], 4).await;
    realm.tree.close().await;
    for name in realm.objects.names().await.iter().filter(|name| name.as_ref().contains("/tree/")) {
        realm.objects.under.delete(name).await.unwrap();
    }
    let found = realm.round(&mut realm.scrub(None)).await;
    assert!(
        found.iter().any(|(place, what)| *place != Place::Log && what.contains("no stored tree")),
        "{found:?}"
    );
    // A group that has stored none has lost none.
    let mut none = realm.led();
    none.snapshot = Index::ZERO;
    let mut scrub = realm.scrub(None);
    scrub.look(&none, &BTreeSet::new()).await.unwrap();
    assert_eq!(self::found(&scrub).len(), found.len() - 1, "one part was read again");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_wrong_in_another_way_each_time_is_not_passed() {
    let realm = Realm::new(14, &[Prefix::WHOLE], 4).await;
    let mut scrub = realm.scrub(Some(Planted::Varies));
    realm.look(&mut scrub).await;
    for _ in 0..3 {
        let failed = scrub.look(&realm.led(), &BTreeSet::new()).await;
        assert!(matches!(failed, Err(CheckError::Varies)), "{failed:?}");
    }
    // What is well is read again from there on.
    let mut scrub = realm.scrub(None);
    assert!(realm.round(&mut scrub).await.is_empty());
    assert_eq!(realm.metrics.leaves.get(), realm.model.leaves.len() as u64, "no part was passed");
}

#[tokio::test(start_paused = true)]
async fn a_look_says_which_places_it_has_found_well() {
    let realm = Realm::new(15, &[Prefix::WHOLE], 12).await;
    let mut scrub = realm.scrub(None);
    realm.look(&mut scrub).await;
    damage_tree(&realm, "leaf missing").await;
    let damaged = realm.a_record();
    let below = |id: &RecordId| Prefix::of(id, 256).unwrap();
    let elsewhere = *realm.model.leaves.keys().find(|id| id.0[0] >> 3 != damaged.0[0] >> 3).unwrap();
    scrub.look(&realm.led(), &BTreeSet::from([elsewhere])).await.unwrap();
    assert!(scrub.found_well(&below(&elsewhere)) && scrub.has_read(&elsewhere));
    assert!(!scrub.found_well(&below(&damaged)), "it has not looked there");
    scrub.look(&realm.led(), &BTreeSet::from([damaged])).await.unwrap();
    assert!(scrub.has_read(&damaged) && !scrub.found_well(&below(&damaged)));
    assert!(!scrub.has_read(&elsewhere), "that was the look before");
}
