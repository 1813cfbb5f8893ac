//! Tenants are told every event once, in order, whatever fails: a real core makes a log, and several agents tell it through a store that
//! fails and to an HSM whose answers are lost, one after another and at once.

use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use strongroom_agent::events::{Bug, OwnerKey, TellError, Teller, Tells, WhoAsked};
use strongroom_agent::store::Store;
use strongroom_events::page::{self, Page};
use strongroom_events::tenant::key_object;
use strongroom_events::{SignedKey, Tenant, TenantSecret, What, told};
use strongroom_hsm::Config;
use strongroom_proto::change::Evidence;
use strongroom_proto::client::{HandshakeResponse, SecretsRequest};
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{Settled, Telling, TenantKey};
use strongroom_proto::hsm::{
    BatchRequest, NoiseMessage, NoiseReply, Outcome, PrefixTree, RealmStatus, Reply, Request, record_id,
};
use strongroom_proto::ids::{GroupId, Index, RecordId, SessionId};
use strongroom_proto::noise::{self, Transport};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::{ClaimedTree, Tree};
use strongroom_replica::ask::{Told, Unanswered};
use strongroom_replica::segment::{Segment, SegmentEntry};
use strongroom_replica::{CreateOutcome, ReadOutcome};
use strongroom_testkit::faulty::{Fault, Faults, Faulty};
use strongroom_testkit::founding::{found, sign};
use strongroom_testkit::{Custodians, Device, Hsm, registration};

/// Names that are no hexadecimal, and of which one begins like the other.
const TENANTS: [&str; 3] = ["acme", "acmex", "unsigned"];
const USERS: usize = 5;

/// A user with a session. Each registration has another number of guesses, by which its event is known.
struct User {
    tenant: usize,
    name: String,
    record: RecordId,
    session: SessionId,
    transport: Transport,
}

/// A log that a real core made, and what tenants are to be told of it.
struct Log {
    hsm: Arc<Mutex<Device>>,
    realm: RealmStatus,
    group: GroupId,
    entries: Vec<SegmentEntry>,
    committed: Vec<Committed>,
    /// For each tenant: index, place, user, guesses left.
    expected: [Vec<(Index, u8, String, u8)>; 3],
    keys: Vec<SignedKey>,
}

fn secret(tenant: usize) -> TenantSecret {
    TenantSecret::new([u8::try_from(tenant).expect("few") + 1; 32])
}

fn ask(hsm: &Mutex<Device>, request: &Request) -> Reply {
    hsm.lock().expect("no test panics with it").ask(request)
}

impl Log {
    fn new(seed: u64, entries: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let custodians = Custodians::two_of_three([0, 2]);
        let mut devices = vec![Device::new(seed, Config::software())];
        let (founded, statement) = found(&mut devices, &custodians);
        let realm = founded.realm.expect("it was made");
        let hsm = Arc::new(Mutex::new(devices.remove(0)));
        let group = statement.group;
        assert!(matches!(ask(&hsm, &Request::Lead(group, None)), Reply::Leading(_)));
        let key = |tenant: usize| {
            let name = TENANTS[tenant].as_bytes().to_vec().into();
            let key = TenantKey { tenant: name, key: secret(tenant).public() };
            let signers = if tenant == 2 { vec![0] } else { vec![0, 2] };
            let digest = key.digest(&realm.realm);
            let signatures = signers.into_iter().map(|i: usize| sign(&custodians.keys[i], &digest)).collect();
            SignedKey { key, signatures }
        };
        let keys = (0..TENANTS.len()).map(key).collect();
        let mut log = Self {
            hsm,
            realm,
            group,
            entries: Vec::new(),
            committed: Vec::new(),
            expected: [const { Vec::new() }; 3],
            keys,
        };
        let mut users: Vec<User> = (0..USERS).map(|i| log.user(i, &mut rng)).collect();
        let mut tree = Tree::new(Prefix::WHOLE);
        for _ in 0..entries {
            let count = if rng.random_ratio(1, 3) { rng.random_range(1..=4) } else { 0 };
            log.make(&mut tree, &mut users, count, &mut rng);
        }
        log
    }

    fn user(&self, i: usize, rng: &mut StdRng) -> User {
        let (tenant, name) = (i % TENANTS.len(), format!("user-{i}"));
        let record = record_id(&self.realm.record_id_key, TENANTS[tenant], &name);
        let session = SessionId(u32::try_from(i).expect("few"));
        let (handshake, sent) = noise::client_start(&self.realm.public_key, &[], rng).expect("a good key");
        let message = NoiseMessage::Handshake {
            ephemeral: sent.client_ephemeral_public.into(),
            ciphertext: sent.payload_ciphertext.into(),
        };
        let reply = ask(
            &self.hsm,
            &Request::Handshake(self.group, BatchRequest { record, session, message, time: None }),
        );
        let Reply::Handshaken(Outcome::Answered(NoiseReply::Handshake { ephemeral, ciphertext })) = reply
        else {
            panic!("{reply:?}")
        };
        let answer = HandshakeResponse {
            server_ephemeral_public: ephemeral.0.to_vec(),
            payload_ciphertext: ciphertext.to_vec(),
        };
        let (transport, _) = handshake.finish(&answer).expect("the realm's key");
        User { tenant, name, record, session, transport }
    }

    /// One more entry, in which so many users register, committed.
    fn make(&mut self, tree: &mut Tree, users: &mut [User], count: usize, rng: &mut StdRng) {
        let (mut requests, mut owners, index) = (Vec::new(), Vec::new(), self.entries.len() as u64 + 1);
        let owner_key = OwnerKey::of(&self.realm.record_id_key);
        for place in 0..count {
            let user = &mut users[rng.random_range(0..USERS)];
            let guesses = rng.random_range(1..=255);
            let registered = registration(&self.realm.realm, guesses, rng);
            let request = SecretsRequest::Register2(Box::new(registered));
            let ciphertext = user.transport.encrypt(&request.to_cbor()).expect("few messages").into();
            let message = NoiseMessage::Transport { ciphertext };
            requests.push(BatchRequest { record: user.record, session: user.session, message, time: None });
            let (tenant, name) = (TENANTS[user.tenant].to_owned(), user.name.clone());
            owners.push(owner_key.seal(&WhoAsked { tenant, user: name.clone(), time: index }).0.into());
            let left = u8::try_from(guesses).expect("at most 255");
            let place = u8::try_from(place).expect("few");
            self.expected[user.tenant].push((Index(index), place, name, left));
        }
        let ids: Vec<RecordId> = requests.iter().map(|request| request.record).collect();
        let partial = tree.partial(&ids).expect("the host's tree is whole").encode();
        let trees =
            vec![PrefixTree { prefix: Prefix::WHOLE, tree: ClaimedTree::decode(&partial).expect("decodes") }];
        let group = self.group;
        let reply = ask(&self.hsm, &Request::Process { group, trees, requests });
        let Reply::Processed { made: Some(made), .. } = reply else { panic!("{reply:?}") };
        let leaves = made.leaves.iter().map(|leaf| (leaf.record, Arc::from(leaf.sealed.as_slice())));
        tree.update(leaves).expect("the host's tree is whole");
        let Reply::Captured(captured) =
            ask(&self.hsm, &Request::capture(group, vec![made.entry.clone()])).of_one_group()
        else {
            panic!("not captured")
        };
        let commit = Request::Commit { group, statements: vec![captured] };
        let Reply::Committed { statement, .. } = ask(&self.hsm, &commit) else { panic!("not committed") };
        self.committed.push(statement);
        self.entries.push(SegmentEntry { owners, ..SegmentEntry::from(made) });
    }

    /// Puts the log into a store, in segments of any length, and the tenants' keys.
    async fn store(&self, store: &Store, rng: &mut StdRng) {
        let mut rest = self.entries.clone();
        while !rest.is_empty() {
            let behind = rest.split_off(rng.random_range(1..=40).min(rest.len()));
            let segment = Segment::new(std::mem::replace(&mut rest, behind)).expect("a chain");
            let bytes = segment.encode().expect("small").into();
            assert_eq!(store.create(&segment.name().to_string(), bytes).await, CreateOutcome::Created);
        }
        for (tenant, key) in TENANTS.iter().zip(&self.keys) {
            let name = key_object(&self.realm.realm, tenant);
            assert_eq!(store.create(&name, key.encode().into()).await, CreateOutcome::Created);
        }
    }

    fn evidence(&self, index: usize) -> Evidence {
        Evidence { entry: self.entries[index - 1].entry.clone(), committed: self.committed[index - 1] }
    }

    fn teller(&self, store: &Store, seed: u64, lost: u32) -> Teller<Way> {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let way = Way { hsm: Arc::clone(&self.hsm), rng, lost };
        let RealmStatus { realm, policy, record_id_key, .. } = &self.realm;
        Teller::new((*realm, self.group), policy.clone(), record_id_key, store, way)
    }

    /// What a tenant can read in this store, and what its pages cover: everything is checked on the way.
    async fn read(&self, store: &Store, tenant: usize) -> (Vec<(Index, u8, String, u8)>, Index) {
        let (name, realm) = (TENANTS[tenant], &self.realm.realm);
        let key = self.realm.checkpoint_key.expect("it has one");
        let (mut before, mut all) = (None::<Page>, Vec::new());
        for number in 0.. {
            let found = store.read(&page::name(realm, name, &self.group, number)).await;
            let ReadOutcome::Found(bytes) = found else { break };
            let page = Page::decode(&bytes).expect("a page");
            let begins = before.as_ref().map_or((Index::ZERO, 0), |before| (before.to.index, before.next()));
            assert_eq!((page.after.index, page.first), begins, "page {number} goes on from the one before");
            assert!(before.as_ref().is_none_or(|before| before.to == page.after));
            for entry in &page.entries {
                let events = told::open(
                    &Tenant::new(name, secret(tenant), key),
                    realm,
                    (&page.group, entry.index),
                    &entry.events,
                );
                let events = events.expect("sealed to this tenant");
                assert_eq!(events.len(), usize::from(entry.count));
                for event in events {
                    let index = Index(entry.index.0 + u64::from(event.after));
                    assert!(index <= entry.last);
                    assert_eq!((event.what, event.time), (What::Registered, index.0));
                    all.push((index, event.place, event.user, event.guesses_left));
                }
            }
            before = Some(page);
        }
        (all, before.map_or(Index::ZERO, |page| page.to.index))
    }
}

/// The way to the HSM, on which one question or answer in so many is lost.
struct Way {
    hsm: Arc<Mutex<Device>>,
    rng: Mutex<StdRng>,
    lost: u32,
}

impl Tells for Way {
    async fn tell(
        &self,
        settled: Settled,
        entries: Vec<Entry>,
        telling: Option<Telling>,
    ) -> Result<Told, Unanswered> {
        tokio::task::yield_now().await;
        if self.lost > 0 && self.rng.lock().expect("no panic").random_ratio(1, self.lost) {
            return Err(Unanswered::Lost);
        }
        match ask(&self.hsm, &Request::Tell { settled, entries, telling }) {
            Reply::Told { past, sealed } => Ok(Told { past, sealed }),
            Reply::Refused(refusal) => Err(Unanswered::Refused(refusal)),
            other => panic!("{other:?}"),
        }
    }
}

/// All but a listing that leaves out the newest for a while, which no store of a realm does: that is checked.
fn faults(per_mille: u32) -> Faults {
    let mut faults = Faults::all(per_mille);
    faults.per_mille.remove(&Fault::Lagging);
    faults
}

/// Two agents tell, each as far as it knows, through a store that fails; and one of them is replaced now and then.
async fn told_by_two(seed: u64, entries: usize, bug: Option<Bug>) -> Log {
    let log = Log::new(seed, entries);
    let mut rng = StdRng::seed_from_u64(seed ^ 0x7e11);
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let calm = Store::on(Arc::clone(&bucket));
    log.store(&calm, &mut rng).await;
    let faulty = Faulty::new(Arc::clone(&bucket), seed, faults(25));
    let store = Store::on(Arc::new(faulty.clone()));
    let planted = |seed| {
        let mut teller = log.teller(&store, seed, 25);
        bug.into_iter().for_each(|bug| teller.plant(bug));
        teller
    };
    let mut tellers = [0, 1].map(|i| planted(seed + i));
    let mut reached = [1, 1];
    for round in 0..24_u64 {
        // Now and then hardly anything succeeds.
        faulty.set(faults(if rng.random_ratio(1, 4) { 100 } else { 25 }));
        if rng.random_ratio(1, 6) {
            tellers[rng.random_range(0..2)] = planted(seed + round);
        }
        for known in &mut reached {
            *known = (*known + rng.random_range(0..entries / 6)).min(entries);
        }
        let shown = reached.map(|known| log.evidence(known));
        let all = rng.random_ratio(1, 8);
        let [one, two] = &mut tellers;
        let (a, b) = tokio::join!(
            one.go_on(&shown[0], (round, all), || true),
            two.go_on(&shown[1], (round, all), || true)
        );
        for (teller, outcome) in [(&mut *one, a), (&mut *two, b)] {
            match outcome {
                Ok(()) => {}
                // What the agent does: it forgets, and goes on later.
                Err(
                    TellError::Store | TellError::Hsm(_) | TellError::Overtaken(_) | TellError::Damaged(_),
                ) => {
                    teller.forget();
                }
                Err(other) => panic!("seed {seed}, round {round}: {other}"),
            }
        }
        for tenant in 0..2 {
            let (read, covered) = log.read(&calm, tenant).await;
            assert!(log.expected[tenant].starts_with(&read), "seed {seed}, round {round}");
            for teller in tellers.iter().filter(|teller| teller.tenants() > 0) {
                assert!(teller.durable() <= covered, "seed {seed}, round {round}: segments would be missed");
            }
        }
    }
    let mut last = log.teller(&calm, seed, 0);
    last.go_on(&log.evidence(entries), (99, true), || true).await.expect("nothing fails any more");
    assert_eq!((last.reached(), last.durable()), (Index(entries as u64), Index(entries as u64)));
    for tenant in 0..2 {
        assert_eq!(log.read(&calm, tenant).await.0, log.expected[tenant], "seed {seed}");
    }
    assert!(log.read(&calm, 2).await.0.is_empty(), "too few custodians signed its key");
    log
}

#[tokio::test(start_paused = true)]
async fn every_event_is_told_once_and_in_order_whatever_fails() {
    for seed in 0..40 {
        told_by_two(seed, 60, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn telling_with_a_rule_left_out_is_noticed() {
    for bug in [Bug::OthersPageIsOwn, Bug::PageUnsettled, Bug::ReadIsTold] {
        let mut seed = 0;
        while AssertUnwindSafe(told_by_two(seed, 60, Some(bug))).catch_unwind().await.is_ok() {
            seed += 1;
            assert!(seed < 40, "{bug:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_not_told_for_long_is_told_from_its_beginning() {
    let log = told_by_two(100, 700, None).await;
    let events: usize = log.expected.iter().map(Vec::len).sum();
    assert!(events > 300, "there is something to tell");
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_noted_wrongly_is_told_to_nobody_and_the_rest_is() {
    let mut log = Log::new(7, 40);
    let liar = OwnerKey::of(&log.realm.record_id_key);
    let at = log.entries.iter().position(|made| made.owners.len() > 2).expect("there is one");
    let note = WhoAsked { tenant: TENANTS[0].into(), user: "someone else".into(), time: 0 };
    log.entries[at].owners[0] = liar.seal(&note).0.into();
    let index = Index(at as u64 + 1);
    log.expected.iter_mut().for_each(|all| all.retain(|(i, place, ..)| (*i, *place) != (index, 0)));
    let store = Store::on(Arc::new(InMemory::new()));
    log.store(&store, &mut StdRng::seed_from_u64(1)).await;
    let mut teller = log.teller(&store, 1, 0);
    teller.go_on(&log.evidence(40), (1, false), || true).await.expect("nothing fails");
    for tenant in 0..2 {
        assert_eq!(log.read(&store, tenant).await.0, log.expected[tenant]);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_old_are_deleted_but_never_the_last() {
    let log = Log::new(8, 60);
    let store = Store::on(Arc::new(InMemory::new()));
    log.store(&store, &mut StdRng::seed_from_u64(1)).await;
    let mut teller = log.teller(&store, 1, 0);
    for (now, index) in [(10, 20), (20, 40), (30, 60)] {
        teller.go_on(&log.evidence(index), (now, true), || true).await.expect("nothing fails");
    }
    let there = async |number| {
        let name = page::name(&log.realm.realm, TENANTS[0], &log.group, number);
        matches!(store.read(&name).await, ReadOutcome::Found(_))
    };
    teller.expire(20).await.expect("the store answers");
    assert_eq!([there(0).await, there(1).await, there(2).await], [false, true, true]);
    teller.expire(u64::MAX).await.expect("the store answers");
    assert_eq!([there(0).await, there(1).await, there(2).await], [false, false, true]);
    // The next leader goes on from the last page.
    let mut next = log.teller(&store, 2, 0);
    next.go_on(&log.evidence(60), (40, true), || true).await.expect("nothing fails");
    assert!(!there(3).await, "there is nothing new");
}
