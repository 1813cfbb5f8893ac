//! What tenants are told, with real agents and HSMs: everything that was committed, once, in order, whoever leads, and nothing that is another's.

use crate::support::until;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use strongroom_agent::admin::sign;
use strongroom_agent::config::Config;
use strongroom_agent::store::Store;
use strongroom_client::{Client, Pin, UserSecret};
use strongroom_events::page::{self, Page};
use strongroom_events::tenant::key_object;
use strongroom_events::{SignedKey, Tenant, TenantSecret, Told, What, told};
use strongroom_proto::events::TenantKey;
use strongroom_proto::ids::{Ed25519Public, GroupId, Index, RealmId};
use strongroom_replica::segment::SegmentName;
use strongroom_replica::{CreateOutcome, ReadOutcome, Storage};
use strongroom_sim::local::{LocalRealm, Setting, TENANT};

/// Snapshots after every few changes, segments deleted soon after.
const EAGER: Storage =
    Storage { snapshot_after_ms: 50, snapshot_records: 2, snapshot_segments: 4, grace_ms: 100 };

struct Scene {
    local: LocalRealm,
    store: Store,
    realm: RealmId,
    group: GroupId,
    tenant: TenantSecret,
    checkpoint_key: Ed25519Public,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let opened = Arc::clone(&bucket);
        let open = move |_: &Config| Ok(Store::on(Arc::clone(&opened)));
        let (open, events) = (Box::new(open), NonZeroU16::new(30));
        let setting = Setting { open, storage: EAGER, events, ..Setting::patient() };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let local = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
        let realm = local.make_whole().await.expect("three new HSMs");
        let leader = local.leader(None).await.expect("one leads");
        let (group, _) = local.groups(leader).pop().expect("one group");
        let tenant = TenantSecret::new([7; 32]);
        let device = local.device(leader).await.expect("it answers");
        let checkpoint_key = device.realm.and_then(|realm| realm.checkpoint_key).expect("a key");
        Self { local, store: Store::on(bucket), realm, group, tenant, checkpoint_key, _folder: folder }
    }

    /// The custodian signs a key for a tenant, and the operator puts it into the bucket.
    async fn sign_key(&self, tenant: &str, secret: &TenantSecret) {
        let key = TenantKey { tenant: tenant.as_bytes().to_vec().into(), key: secret.public() };
        let custodian = self.local.custodian().expect("its key is in the folder");
        let signatures = vec![sign(&custodian, &key.digest(&self.realm))];
        let bytes = SignedKey { key, signatures }.encode();
        let kept = self.store.create(&key_object(&self.realm, tenant), bytes.into()).await;
        assert_eq!(kept, CreateOutcome::Created);
    }

    async fn pages(&self, tenant: &str) -> Vec<Page> {
        let folder = page::stream(&self.realm, tenant, &self.group);
        let names = self.store.list(&folder, &folder).await.expect("a store in memory answers");
        let mut pages = Vec::new();
        for (n, name) in names.iter().filter(|name| page::number(name).is_some()).enumerate() {
            assert_eq!(*name, page::name(&self.realm, tenant, &self.group, n as u64), "no page is missing");
            let ReadOutcome::Found(bytes) = self.store.read(name).await else { panic!("{name} is gone") };
            pages.push(Page::decode(&bytes).expect("a page"));
        }
        pages
    }

    /// All that the tenant is told, with positions; that pages follow each other is checked.
    async fn told(&self, tenant: &str, secret: &TenantSecret) -> Vec<(Index, Told)> {
        let pages = self.pages(tenant).await;
        for pair in pages.windows(2) {
            assert_eq!((pair[0].to, pair[0].next()), (pair[1].after, pair[1].first));
        }
        let mut all = Vec::new();
        for (page, entry) in pages.iter().flat_map(|page| page.entries.iter().map(move |entry| (page, entry)))
        {
            let tenant = Tenant::new(tenant, secret.clone(), self.checkpoint_key);
            let events = told::open(&tenant, &self.realm, (&page.group, entry.index), &entry.events);
            let events = events.expect("sealed to this tenant");
            assert_eq!(events.len(), usize::from(entry.count));
            let index = |event: &Told| Index(entry.index.0 + u64::from(event.after));
            all.extend(events.into_iter().map(|event| (index(&event), event)));
        }
        let positions: Vec<_> = all.iter().map(|(index, event)| (*index, event.place)).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "each once, and in order: {positions:?}");
        all
    }

    /// What happened, once the tenant was told so much.
    async fn happened(&self, at_least: usize) -> Vec<(String, What, u8)> {
        until("the tenant is told", async || {
            let told = self.told(TENANT, &self.tenant).await;
            let happened: Vec<_> = told
                .into_iter()
                .filter(|(_, event)| event.what != What::Nothing)
                .map(|(_, event)| (event.user, event.what, event.guesses_left))
                .collect();
            (happened.len() >= at_least).then_some(happened)
        })
        .await
    }

    async fn client(&self, leader: usize, user: &str) -> Client {
        self.local.fast_client(leader, user).await.expect("a client")
    }
}

async fn register(client: &Client, guesses: u8) {
    let secret = UserSecret::new(b"what the user entrusts").expect("short");
    let guesses = NonZeroU8::new(guesses).expect("not 0");
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
}

async fn right(client: &Client) {
    client.recover(&Pin::from("4821"), b"").await.expect("recovers");
}

async fn wrong(client: &Client) {
    client.recover(&Pin::from("0000"), b"").await.expect_err("it is another PIN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_told_all_that_happened_once_whoever_leads_and_though_segments_are_deleted() {
    let mut scene = Scene::new().await;
    scene.sign_key(TENANT, &scene.tenant).await;
    let leader = scene.local.leader(None).await.expect("one leads");
    let (ada, bob) = (scene.client(leader, "ada").await, scene.client(leader, "bob").await);
    register(&ada, 5).await;
    wrong(&ada).await;
    right(&ada).await;
    register(&bob, 2).await;
    let by = |user: &str, what, left| (user.to_owned(), what, left);
    let mut expected = vec![
        by("ada", What::Registered, 5),
        by("ada", What::GuessUsed, 4),
        by("ada", What::GuessUsed, 3),
        by("ada", What::Recovered, 5),
        by("bob", What::Registered, 2),
    ];
    assert_eq!(scene.happened(expected.len()).await, expected);
    // Something that no page tells of yet, and the leader is gone.
    wrong(&bob).await;
    scene.local.kill(leader).await;
    let next = scene.local.leader(Some(leader)).await.expect("another leads");
    let (ada, bob) = (scene.client(next, "ada").await, scene.client(next, "bob").await);
    wrong(&bob).await;
    for _ in 0..8 {
        right(&ada).await;
    }
    ada.delete().await.expect("deletes");
    expected.extend([by("bob", What::GuessUsed, 1), by("bob", What::LastGuessUsed, 0)]);
    for _ in 0..8 {
        expected.extend([by("ada", What::GuessUsed, 4), by("ada", What::Recovered, 5)]);
    }
    expected.push(by("ada", What::Deleted, 0));
    assert_eq!(scene.happened(expected.len()).await, expected);
    until("segments are deleted", async || {
        let log = SegmentName::folder(&scene.group);
        let names = scene.store.list(&log, &SegmentName::offset(&scene.group, Index::ZERO)).await;
        let first = names.expect("listed").first().and_then(|name| name.parse::<SegmentName>().ok());
        first.filter(|name| name.first > Index(1)).map(drop)
    })
    .await;
    assert_eq!(scene.happened(expected.len()).await, expected, "nothing is told twice");
    scene.local.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_key_comes_later_is_told_what_is_still_there_and_another_tenant_nothing() {
    let scene = Scene::new().await;
    let leader = scene.local.leader(None).await.expect("one leads");
    let ada = scene.client(leader, "ada").await;
    register(&ada, 5).await;
    let stranger = TenantSecret::new([8; 32]);
    scene.sign_key("stranger", &stranger).await;
    scene.sign_key(TENANT, &scene.tenant).await;
    wrong(&ada).await;
    let told = scene.happened(1).await;
    assert_eq!(told.last(), Some(&("ada".to_owned(), What::GuessUsed, 4)));
    assert!(scene.told("stranger", &stranger).await.is_empty());
    scene.local.shutdown().await;
}
