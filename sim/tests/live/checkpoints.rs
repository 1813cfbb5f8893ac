//! What outsiders can check of a log, with real agents and HSMs: every checkpoint is signed, the tree only grows, whoever leads, and
//! nothing is deleted before it is published.

use crate::support::until;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_agent::clock::system_clock;
use strongroom_agent::config::{Config, WitnessSettings};
use strongroom_agent::publish::{folder, verifier};
use strongroom_agent::store::Store;
use strongroom_client::{
    Cause, Client, Configuration, ErrorKind, ForgetfulMemory, HeadDemand, HeadError, HttpResponse, Https,
    Pin, Transport as _, UserSecret,
};
use strongroom_proto::checkpoint::origin;
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, TreeHash};
use strongroom_replica::segment::{Segment, SegmentName};
use strongroom_replica::{CreateOutcome, ReadOutcome, Role, Storage};
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting};
use strongroom_tlog::{
    AddCheckpoint, Checkpoint, ClaimedCheckpoint, Edge, KeyName, Note, Policy, RealmStatement, SignatureType,
    SigningKey, Tile, TileReader, VerifierKey, verify_consistency,
};
use strongroom_witness::serve::{Limits, serve};
use strongroom_witness::state::StateFolder;
use strongroom_witness::witness::{Answer, Witness};
use tokio::net::TcpListener;

/// Snapshots after every few changes, segments deleted soon after.
const EAGER: Storage =
    Storage { snapshot_after_ms: 50, snapshot_records: 2, snapshot_segments: 4, grace_ms: 100 };
const SECRET: &[u8] = b"what the user entrusts";

async fn register(client: &Client) {
    let (secret, guesses) = (UserSecret::new(SECRET).expect("short"), NonZeroU8::new(5).expect("not 0"));
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
}

async fn recover(client: &Client) {
    let secret = client.recover(&Pin::from("4821"), b"").await.expect("recovers");
    assert_eq!(secret.as_bytes(), SECRET);
}

/// A realm whose logs are published, and who looks at what is.
struct Scene {
    local: LocalRealm,
    bucket: Bucket,
    policy: Policy,
    group: GroupId,
    folder: tempfile::TempDir,
}

/// A bucket whose owner can take it back.
#[derive(Clone)]
struct Bucket(Arc<Mutex<Arc<InMemory>>>);

impl Default for Bucket {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Arc::new(InMemory::new()))))
    }
}

impl Bucket {
    fn store(&self) -> Store {
        Store::on(Arc::clone(&self.0.lock().expect("no test panics with it")) as Arc<dyn ObjectStore>)
    }

    fn copy(&self) -> Arc<InMemory> {
        Arc::new(self.0.lock().expect("no test panics with it").fork())
    }

    fn take_back(&self, to: Arc<InMemory>) {
        *self.0.lock().expect("no test panics with it") = to;
    }
}

impl Scene {
    async fn new(storage: Storage, witnesses: Vec<WitnessSettings>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bucket = Bucket::default();
        let opened = bucket.clone();
        let open = move |_: &Config| Ok(opened.store());
        let often = NonZeroU16::new(1);
        let setting =
            Setting { open: Box::new(open), storage, checkpoints: often, witnesses, ..Setting::patient() };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let local = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
        let realm = local.make_whole().await.expect("three new HSMs");
        let leader = local.leader(None).await.expect("one leads");
        let (group, _) = local.groups(leader).pop().expect("one group");
        // Any HSM of the realm says which key it is.
        let device = local.device((leader + 1) % MEMBERS).await.expect("it answers");
        let key = device.realm.expect("a realm").checkpoint_key.expect("a key");
        let key = verifier(&realm, &group, &key).expect("a good key");
        let policy = Policy::of_log(origin(&realm, &group), vec![key]).expect("one key");
        Self { local, bucket, policy, group, folder }
    }

    async fn kill_all(&mut self) {
        for i in 0..MEMBERS {
            self.local.kill(i).await;
        }
    }

    async fn restart_all(&mut self) {
        for i in 0..MEMBERS {
            self.local.restart(i).await.expect("its addresses are free");
        }
    }

    async fn client(&self, leader: usize) -> Client {
        self.local.fast_client(leader, "ada").await.expect("a client")
    }

    async fn fetch(&self, path: &str) -> Option<Vec<u8>> {
        match self.bucket.store().read(&format!("{}/{path}", folder(&self.group))).await {
            ReadOutcome::Found(bytes) => Some(bytes),
            ReadOutcome::Absent => None,
            ReadOutcome::Unavailable => panic!("a store in memory answers"),
        }
    }

    async fn claimed(&self) -> Option<ClaimedCheckpoint> {
        Some(ClaimedCheckpoint::parse(&self.fetch("checkpoint").await?).expect("a checkpoint"))
    }

    /// The newest checkpoint, verified.
    async fn checkpoint(&self) -> Option<Checkpoint> {
        Some(self.claimed().await?.verify(&self.policy).expect("signed by the realm").checkpoint().clone())
    }

    /// The checkpoint that covers at least all that is committed now.
    async fn published(&self) -> Checkpoint {
        let committed = |(_, status): (GroupId, strongroom_replica::Status)| match status.role {
            Role::Leader { .. } => status.committed,
            _ => Index::ZERO,
        };
        let committed =
            (0..MEMBERS).flat_map(|i| self.local.groups(i)).map(committed).max().expect("members");
        until("everything is published", async || {
            self.checkpoint().await.filter(|checkpoint| checkpoint.size() >= committed.0)
        })
        .await
    }

    /// All tiles of a tree and the entries under them, from the store alone.
    async fn tiles(&self, size: u64) -> (BTreeMap<Tile, Vec<u8>>, Vec<EntryHash>) {
        let (mut tiles, mut entries) = (BTreeMap::new(), Vec::new());
        for tile in strongroom_tlog::tile::grown(0, size) {
            let full = tile.full();
            let bytes = match self.fetch(&tile.to_string()).await {
                Some(bytes) => bytes,
                None => self.fetch(&full.to_string()).await.expect("published"),
            };
            tiles.insert(tile, bytes);
            if let (Some(partial), Some(full)) = (tile.entries_path(), full.entries_path()) {
                let bundle = match self.fetch(&partial).await {
                    Some(bundle) => bundle,
                    None => self.fetch(&full).await.expect("published"),
                };
                let count = usize::from(tile.width());
                entries.extend(strongroom_tlog::entries::parse(&bundle, count).expect("a bundle"));
            }
        }
        (tiles, entries)
    }

    /// That the newer checkpoint continues the older one, by a proof from the tiles.
    async fn assert_continues(&self, older: &Checkpoint, newer: &Checkpoint) {
        let (tiles, _) = self.tiles(newer.size()).await;
        let fetch = |tile: Tile| tiles.get(&tile).cloned().ok_or("not published");
        let mut reader = TileReader::open(newer.size(), newer.root(), fetch).expect("an edge");
        let proof = reader.consistency(older.size()).expect("the tiles lead to the root");
        verify_consistency(older.size(), older.root(), newer.size(), newer.root(), &proof)
            .expect("it only grew");
    }

    /// The hashes of the entries that are still in the log.
    async fn log(&self) -> Vec<(Index, EntryHash)> {
        let log = SegmentName::folder(&self.group);
        let names = self
            .bucket
            .store()
            .list(&log, &SegmentName::offset(&self.group, Index::ZERO))
            .await
            .expect("listed");
        let mut entries = Vec::new();
        for name in names {
            let ReadOutcome::Found(bytes) = self.bucket.store().read(&name).await else { continue };
            let segment = Segment::decode(&bytes).expect("a segment");
            entries.extend(segment.entries().iter().map(|made| (made.entry.index, made.entry.hash())));
        }
        entries
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_published_whole_whoever_leads_and_though_its_segments_are_deleted() {
    let mut scene = Scene::new(EAGER, Vec::new()).await;
    let leader = scene.local.leader(None).await.expect("one leads");
    let mut seen = Vec::new();
    let ada = scene.client(leader).await;
    register(&ada).await;
    for _ in 0..10 {
        recover(&ada).await;
        seen.extend(scene.checkpoint().await);
    }
    seen.push(scene.published().await);
    scene.local.kill(leader).await;
    let next = scene.local.leader(Some(leader)).await.expect("another leads");
    let ada = scene.client(next).await;
    for _ in 0..10 {
        recover(&ada).await;
        seen.extend(scene.checkpoint().await);
    }
    let last = scene.published().await;
    until("segments are deleted", async || {
        let log = scene.log().await;
        log.first().filter(|(index, _)| *index > Index(1)).map(drop)
    })
    .await;

    for older in &seen {
        scene.assert_continues(older, &last).await;
    }
    let (_, entries) = scene.tiles(last.size()).await;
    let leaves: Vec<TreeHash> = entries.iter().map(strongroom_proto::tlog::leaf).collect();
    let mut edge = Edge::default();
    edge.append(&leaves).expect("few leaves");
    assert_eq!((edge.root(), edge.size()), (*last.root(), last.size()));
    // A leaf at place n is entry n + 1 of the log.
    let kept: Vec<_> = scene.log().await.into_iter().filter(|(index, _)| index.0 <= last.size()).collect();
    assert!(!kept.is_empty());
    for (Index(index), hash) in kept {
        assert_eq!(entries[index as usize - 1], hash, "entry {index}");
    }
    scene.local.shutdown().await;
}

/// A witness at a free port, and how agents find it.
struct Watching {
    listener: TcpListener,
    key: SigningKey,
    settings: WitnessSettings,
}

impl Watching {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let name = KeyName::new("witness.example").expect("a name");
        let key = SigningKey::from_seed(name, SignatureType::Cosignature, &[7; 32]).expect("a key");
        let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
        let settings = WitnessSettings { url, key: key.verifier().clone() };
        Self { listener, key, settings }
    }
}

/// A realm whose log a witness watches, and whose owner can take everything back.
struct Watched {
    scene: Scene,
    witness: Arc<Witness<StateFolder>>,
    verifier: VerifierKey,
    /// Wants the witness's cosignature.
    cosigned: Policy,
}

/// What HSMs remember, and the bucket.
struct Copies {
    memories: Vec<Vec<u8>>,
    bucket: Arc<InMemory>,
}

impl Watched {
    async fn new() -> Self {
        let watching = Watching::new().await;
        let verifier = watching.key.verifier().clone();
        let keeping = Storage { grace_ms: u64::MAX, ..EAGER };
        let scene = Scene::new(keeping, vec![watching.settings]).await;
        let state =
            StateFolder::create(&scene.folder.path().join("witness"), &verifier).expect("a new folder");
        let clock = system_clock();
        let witness = Witness::open(watching.key, [scene.policy.clone()], state, Box::new(move || clock()))
            .expect("it begins");
        let witness = Arc::new(witness);
        let limits = Limits::default();
        tokio::spawn(serve(watching.listener, Arc::clone(&witness), limits, std::future::pending()));
        let cosigned = scene.policy.clone().with_witnesses(vec![verifier.clone()], 1).expect("one witness");
        Self { scene, witness, verifier, cosigned }
    }

    /// The newest checkpoint, if the witness has cosigned it.
    async fn seen(&self) -> Option<Checkpoint> {
        Some(self.scene.claimed().await?.verify(&self.cosigned).ok()?.checkpoint().clone())
    }

    /// The checkpoint that covers at least all that is committed now, cosigned.
    async fn caught_up(&self) -> Checkpoint {
        let published = self.scene.published().await;
        until("the witness cosigns", async || {
            self.seen().await.filter(|seen| seen.size() >= published.size())
        })
        .await
    }

    fn memories(&self) -> Vec<PathBuf> {
        (0..MEMBERS).map(|i| self.scene.folder.path().join(format!("hsm-{}.nvram", i + 1))).collect()
    }

    /// What whoever owns all machines copies.
    async fn copy(&mut self) -> Copies {
        self.scene.kill_all().await;
        let read = |path: &PathBuf| std::fs::read(path).expect("readable");
        let copies =
            Copies { memories: self.memories().iter().map(read).collect(), bucket: self.scene.bucket.copy() };
        self.scene.restart_all().await;
        copies
    }

    /// The guesses are back, and so is everything else that an HSM could know. They sign what they are brought.
    async fn take_back(&mut self, copies: Copies) {
        self.scene.kill_all().await;
        for (path, copy) in self.memories().iter().zip(&copies.memories) {
            std::fs::write(path, copy).expect("writable");
        }
        self.scene.bucket.take_back(copies.bucket);
        self.scene.restart_all().await;
    }

    /// A client through whoever leads.
    async fn ada(&self) -> Client {
        let leader = self.scene.local.leader(None).await.expect("one leads");
        self.scene.client(leader).await
    }

    /// Recovers until the log has more entries than this checkpoint.
    async fn outgrow(&self, honest: &Checkpoint) -> Checkpoint {
        let ada = self.ada().await;
        loop {
            recover(&ada).await;
            let forked = self.scene.published().await;
            if forked.size() > honest.size() {
                break forked;
            }
        }
    }

    /// What the realm's custodian states of it, as it lies in the bucket and is shown at the front door.
    async fn statement(&self) -> String {
        let device = self.scene.local.device(0).await.expect("it answers").realm.expect("a realm");
        let name = KeyName::new(RealmStatement::name(&device.realm)).expect("a name");
        let custodian = SigningKey::from_seed(name, SignatureType::Ed25519, &[9; 32]).expect("a key");
        let statement = RealmStatement {
            realm: device.realm,
            version: 1,
            noise_key: device.public_key,
            checkpoint_key: device.checkpoint_key.expect("a key"),
            policy: RealmPolicy {
                custodians: vec![CustodianKey(Digest(custodian.verifier().public().0))],
                threshold: 1,
                smallest_group: None,
            },
            builds: vec![],
            witnesses: vec![self.verifier.clone()],
            cosignatures: 1,
        };
        let text = statement.to_string();
        let signature = custodian.sign(&text).expect("its type");
        let note = Note::new(text, vec![signature]).expect("a note").to_string();
        let shown = async || self.get("statement").await;
        assert_eq!(shown().await.status, 404);
        let object = format!("realms/{}/statement", device.realm);
        let created = self.scene.bucket.store().create(&object, note.clone().into()).await;
        assert_eq!(created, CreateOutcome::Created);
        let shown = shown().await;
        assert_eq!((shown.status, shown.body.as_slice()), (200, note.as_bytes()));
        note
    }

    /// What a front door shows at this path.
    async fn get(&self, path: &str) -> HttpResponse {
        let configuration: Configuration =
            self.scene.local.configuration(1).await.expect("one").parse().expect("good");
        let url = configuration.realms()[0].address().join(path).expect("a path");
        Https::new().expect("a transport").get(&url, &[], 64 * 1024).await.expect("an answer")
    }

    /// A client that sends no PIN before it has seen a head of the log, through any agent.
    async fn demanding(&self, statement: &str) -> Client {
        let configuration = self.scene.local.configuration(0).await.expect("one");
        let configuration = configuration.replace("Standard2019", "FastInsecure");
        let demand = HeadDemand::new(statement, Duration::from_secs(600)).expect("signed");
        let builder = self.scene.local.builder(&configuration, "ada").expect("a user");
        let builder = builder.demand_heads([demand], ForgetfulMemory::default()).expect("of this realm");
        builder.build().expect("a transport")
    }
}

/// Why a realm does not get the PIN.
async fn refused(client: &Client) -> HeadError {
    let error = client.recover(&Pin::from("0000"), b"").await.expect_err("a wrong PIN");
    assert_eq!(error.kind, ErrorKind::HeadRefused, "{error:?}");
    match error.causes.first().map(|error| &error.cause) {
        Some(Cause::Head(refused)) => refused.clone(),
        other => panic!("{other:?}"),
    }
}

/// Spends a guess, and returns how many are left.
async fn guess(client: &Client) -> u16 {
    match client.recover(&Pin::from("0000"), b"").await.expect_err("a wrong PIN").kind {
        ErrorKind::InvalidPin { guesses_remaining } => guesses_remaining,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_of_hsms_that_was_taken_back_is_caught_by_the_witness() {
    let mut watched = Watched::new().await;
    register(&watched.ada().await).await;
    watched.caught_up().await;
    let copies = watched.copy().await;
    let ada = watched.ada().await;
    recover(&ada).await;
    recover(&ada).await;
    let honest = watched.caught_up().await;
    watched.take_back(copies).await;
    let forked = watched.outgrow(&honest).await;
    // Whoever asks, and with the best proof that there is.
    let (tiles, _) = watched.scene.tiles(forked.size()).await;
    let fetch = |tile: Tile| tiles.get(&tile).cloned().ok_or("not published");
    let proof =
        TileReader::open(forked.size(), forked.root(), fetch).expect("an edge").consistency(honest.size());
    let checkpoint = watched.scene.claimed().await.expect("published");
    let request = AddCheckpoint { old: honest.size(), proof: proof.expect("smaller"), checkpoint };
    let answer = watched.witness.add_checkpoint(request.to_string().as_bytes());
    assert!(matches!(answer, Answer::Refuted(_)), "{answer:?}");
    let remembered: Vec<u64> = watched.witness.sizes().map(|(_, size)| size).collect();
    assert_eq!(remembered, [honest.size()]);
    assert!(watched.seen().await.is_none(), "whoever wants a cosignature refuses");
    watched.scene.local.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_demands_heads_spends_no_guess_at_hsms_that_were_taken_back() {
    let mut watched = Watched::new().await;
    let statement = watched.statement().await;
    register(&watched.ada().await).await;
    watched.caught_up().await;
    let demanding = watched.demanding(&statement).await;
    recover(&demanding).await;
    let copies = watched.copy().await;
    watched.ada().await;
    watched.caught_up().await;
    // The log has grown since: its tiles show that it goes on.
    for _ in 0..3 {
        recover(&demanding).await;
    }
    assert_eq!(guess(&demanding).await, 4, "it asks as every client");
    recover(&demanding).await;
    let honest = watched.caught_up().await;

    watched.take_back(copies).await;
    let plain = watched.ada().await;
    let error = refused(&demanding).await;
    assert!(matches!(error, HeadError::WentBack(_)), "{error:?}");
    assert_eq!(guess(&plain).await, 4, "the refused one cost nothing, and this one what it costs");
    recover(&plain).await;
    let forked = watched.outgrow(&honest).await;
    until("the fork is shown", async || {
        let shown = watched.scene.checkpoint().await?;
        (shown.size() >= forked.size()).then_some(())
    })
    .await;
    let error = refused(&demanding).await;
    assert_eq!(error, HeadError::NotCosigned { found: 0, needed: 1 });
    assert_eq!(guess(&plain).await, 4);
    watched.scene.local.shutdown().await;
}
