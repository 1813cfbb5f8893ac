//! Attacks on what tenants are told: what a guess came to before it is committed, and what is another tenant's business.

use super::common::{Device, Rig, User};
use super::whole;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use strongroom_hsm::Config;
use strongroom_hsm_planted::Bug;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{
    EntryEvents, MAX_NAME_BYTES, OwnedEvent, SealedEvents, Settled, Telling, TenantKey,
};
use strongroom_proto::hash::hash;
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Made, Refusal, Reply, Request, record_id};
use strongroom_proto::ids::{Digest, Index, Mac, X25519Public};
use strongroom_proto::statement::{Captured, Committed, Past};
use strongroom_proto::tree::Tree;
use strongroom_testkit::founding::{custodian_key, sign};
use x25519_dalek::{PublicKey, StaticSecret};
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::{Nonce, Xaes256Gcm};

const A: &str = "tenant-a";
const B: &str = "tenant-b";
const USER: &str = "someone";

/// What a tenant reads: entry, place, what happened, guesses left, time, user.
type Read = (u8, u8, u8, u8, u64, Vec<u8>);

/// Three HSMs, of which the first leads, and a user of each of two tenants, both registered.
struct Scene {
    rig: Rig,
    tree: Tree,
    users: [User; 2],
    made: Vec<Made>,
    committed: Vec<Committed>,
}

/// The tenant's key pair.
fn secret() -> StaticSecret {
    StaticSecret::from([0x3c; 32])
}

fn public(secret: &StaticSecret) -> X25519Public {
    X25519Public(PublicKey::from(secret).to_bytes())
}

impl Scene {
    fn new(bug: Option<Bug>) -> Self {
        let mut rig = Rig::new(3, bug);
        assert!(matches!(rig.lead(0, None), Reply::Leading(_)));
        let ids = rig.devices[0].status().realm.expect("made").record_id_key;
        let users = [(A, 1), (B, 2)].map(|(tenant, seed)| {
            let mut user = User::new(&rig, seed, 3);
            user.record = record_id(&ids, tenant, USER);
            rig.open(0, &mut user);
            user
        });
        let mut scene = Self { rig, tree: whole(), users, made: vec![], committed: vec![] };
        let requests: Vec<_> = scene.users.iter_mut().map(User::register2).collect();
        scene.make(&requests);
        scene
    }

    /// One more entry, which all capture.
    fn make(&mut self, requests: &[strongroom_proto::hsm::BatchRequest]) {
        let made = self.rig.make(0, &mut self.tree, requests);
        let entries = std::slice::from_ref(&made.entry);
        let statements: Vec<Captured> = (0..3).map(|d| self.rig.captured(d, entries)).collect();
        self.committed.push(self.rig.committed(0, &statements).0);
        self.made.push(made);
    }

    /// A guess of the first tenant's user.
    fn guess(&mut self) {
        let request = self.users[0].recover2();
        self.make(&[request]);
    }

    /// The same, in an entry that nobody captures.
    fn fork(&mut self) -> Made {
        let request = self.users[0].recover2();
        self.rig.make(0, &mut self.tree.clone(), &[request])
    }

    fn key(tenant: &str, key: X25519Public) -> TenantKey {
        TenantKey { tenant: tenant.as_bytes().to_vec().into(), key }
    }

    /// All events of an entry that are at these places, for a tenant with a key that two custodians signed.
    fn telling(&self, made: &Made, tenant: &str, places: &[u8]) -> Telling {
        let key = Self::key(tenant, public(&secret()));
        let signatures = [0, 2].map(|i| sign(&self.rig.custodians[i], &key.digest(&self.rig.realm))).to_vec();
        let owned = |place: &u8| OwnedEvent {
            place: *place,
            user: USER.as_bytes().to_vec().into(),
            time: 1_000 + u64::from(*place),
        };
        let of = EntryEvents { events: made.events.clone(), owned: places.iter().map(owned).collect() };
        Telling { key, signatures, entries: vec![of] }
    }

    /// What the tenant reads of what the HSM seals.
    fn tell(
        &mut self,
        settled: impl Into<Settled>,
        entries: &[Entry],
        telling: &Telling,
    ) -> Result<Vec<Read>, Refusal> {
        let (settled, telling_to) = (settled.into(), Some(telling.clone()));
        let request = Request::Tell { settled, entries: entries.to_vec(), telling: telling_to };
        match self.rig.devices[2].ask(&request) {
            Reply::Told { sealed: Some(sealed), .. } => Ok(self.read(&entries[0], &sealed, &telling.key)),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn read(&self, entry: &Entry, sealed: &SealedEvents, key: &TenantKey) -> Vec<Read> {
        let shared = secret().diffie_hellman(&PublicKey::from(sealed.ephemeral.0));
        let key = hash("strongroom tenant events 2", &[shared.as_bytes(), &sealed.ephemeral.0, &key.key.0]);
        let context = [&entry.realm.0[..], &entry.group.0, &entry.index.0.to_be_bytes()].concat();
        let (nonce, ciphertext) = sealed.sealed.split_first_chunk::<24>().expect("a nonce");
        let opened = Xaes256Gcm::new(&key.0.into())
            .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: &context })
            .expect("sealed to this key, for this entry");
        assert_eq!(opened[0], 2, "the version");
        let (mut at, mut all) = (1, vec![]);
        while at < opened.len() {
            let name = usize::from(opened[at + 12]);
            let time = u64::from_be_bytes(opened[at + 4..at + 12].try_into().expect("eight bytes"));
            let user = opened[at + 13..at + 13 + name].to_vec();
            all.push((opened[at], opened[at + 1], opened[at + 2], opened[at + 3], time, user));
            let end = (at + 13 + name).next_multiple_of(32);
            assert!(opened[at + 13 + name..end].iter().all(|byte| *byte == 0));
            at = end;
        }
        all
    }

    /// Whether an HSM of the realm signed it, for this tenant.
    fn is_signed(&mut self, entry: &Entry, sealed: &SealedEvents, to: &TenantKey) -> bool {
        let key = self.rig.devices[1].status().realm.expect("joined").checkpoint_key.expect("it has one");
        let index = entry.index.0.to_be_bytes();
        let fields: [&[u8]; 7] = [
            &entry.realm.0,
            &entry.group.0,
            &index,
            &to.tenant,
            &to.key.0,
            &sealed.ephemeral.0,
            &sealed.sealed,
        ];
        let signature = Signature::from_bytes(&sealed.signature);
        let key = VerifyingKey::from_bytes(&key.0).expect("a key");
        key.verify_strict(&hash("strongroom told 2", &fields).0, &signature).is_ok()
    }

    /// What is sealed of the first entry for the first tenant.
    fn sealed(&mut self) -> (SealedEvents, TenantKey) {
        let (made, committed) = (self.made[0].clone(), self.committed[0]);
        let telling = self.telling(&made, A, &[0]);
        let key = telling.key.clone();
        let (settled, entries) = (Settled::Committed(committed), vec![made.entry]);
        let request = Request::Tell { settled, entries, telling: Some(telling) };
        match self.rig.devices[2].ask(&request) {
            Reply::Told { sealed: Some(sealed), .. } => (sealed, key),
            other => panic!("{other:?}"),
        }
    }

    fn past(&mut self, settled: impl Into<Settled>, entries: &[Entry]) -> Result<Past, Refusal> {
        let request = Request::Tell { settled: settled.into(), entries: entries.to_vec(), telling: None };
        match self.rig.devices[1].ask(&request) {
            Reply::Told { past, sealed: None } => Ok(past),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        self.made.iter().map(|made| made.entry.clone()).collect()
    }
}

pub(super) fn what_is_beside_the_committed_entry(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let fork = s.fork();
    s.rig.lead(0, Some(&s.made[0].entry.clone()));
    s.rig.open(0, &mut s.users[0]);
    s.guess();
    let telling = s.telling(&fork, A, &[0]);
    let (committed, made) = (s.committed[1], s.made[1].entry.clone());
    s.tell(Settled::Committed(committed), &[fork.entry, made], &telling).is_ok()
}

pub(super) fn what_nobody_stated_as_committed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let fork = s.fork();
    let telling = s.telling(&fork, A, &[0]);
    let Captured { hsm, index, hash, mac } = s.rig.captured(1, std::slice::from_ref(&fork.entry));
    let dressed = Committed { hsm, index, hash, mac };
    s.tell(Settled::Committed(dressed), &[fork.entry], &telling).is_ok()
}

pub(super) fn what_is_not_committed_yet(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let fork = s.fork();
    let (telling, committed) = (s.telling(&fork, A, &[0]), s.committed[0]);
    s.tell(Settled::Committed(committed), &[fork.entry], &telling).is_ok()
}

pub(super) fn what_is_sealed_to_a_key_of_the_hosts(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let (entry, committed) = (s.made[0].entry.clone(), s.committed[0]);
    let mut telling = s.telling(&s.made[0], A, &[0]);
    telling.signatures.truncate(1);
    let host = SigningKey::from_bytes(&[9; 32]);
    telling.signatures.push(sign(&host, &telling.key.digest(&s.rig.realm)));
    s.tell(Settled::Committed(committed), &[entry], &telling).is_ok()
}

pub(super) fn what_another_entry_at_the_same_index_says(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let fork = s.fork();
    s.rig.lead(0, Some(&s.made[0].entry.clone()));
    s.make(&[]);
    let (entry, committed) = (s.made[1].entry.clone(), s.committed[1]);
    let telling = s.telling(&fork, A, &[0]);
    s.tell(Settled::Committed(committed), &[entry], &telling).is_ok()
}

pub(super) fn what_happened_to_another_tenants_user(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let (entry, committed) = (s.made[0].entry.clone(), s.committed[0]);
    let telling = s.telling(&s.made[0], A, &[1]);
    s.tell(Settled::Committed(committed), &[entry], &telling).is_ok()
}

pub(super) fn what_happened_twice(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let (entry, committed) = (s.made[0].entry.clone(), s.committed[0]);
    let telling = s.telling(&s.made[0], A, &[0, 0]);
    s.tell(Settled::Committed(committed), &[entry], &telling).is_ok()
}

pub(super) fn what_anybody_could_have_sealed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let (sealed, key) = s.sealed();
    let entry = s.made[0].entry.clone();
    !s.is_signed(&entry, &sealed, &key)
}

/// An HSM with larger batches has made the entry.
pub(super) fn more_than_the_memory_is_for(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug);
    let (made, committed) = (s.made[0].clone(), s.committed[0]);
    let telling = s.telling(&made, A, &[0]);
    let mut config = Config::software();
    config.limits.max_batch_requests = 1;
    let mut small = Device::new(99, bug, config);
    s.rig.admit(&mut small);
    let request = Request::Tell {
        settled: Settled::Committed(committed),
        entries: vec![made.entry],
        telling: Some(telling),
    };
    matches!(small.ask(&request), Reply::Told { .. })
}

#[test]
fn what_is_sealed_is_signed_for_this_tenant_and_entry_alone() {
    let mut s = Scene::new(None);
    s.guess();
    let (sealed, key) = s.sealed();
    let [entry, other] = [0, 1].map(|at: usize| s.made[at].entry.clone());
    assert!(s.is_signed(&entry, &sealed, &key));
    assert!(!s.is_signed(&other, &sealed, &key));
    let of_b = TenantKey { tenant: B.as_bytes().to_vec().into(), ..key.clone() };
    assert!(!s.is_signed(&entry, &sealed, &of_b), "one key for two tenants");
    let another = SealedEvents { ephemeral: X25519Public([7; 32]), ..sealed.clone() };
    assert!(!s.is_signed(&entry, &another, &key));
    let mut another = sealed;
    another.sealed[30] ^= 1;
    assert!(!s.is_signed(&entry, &another, &key));
}

#[test]
fn a_tenant_reads_what_happened_to_its_users_and_how_many_guesses_are_left() {
    let mut s = Scene::new(None);
    s.guess();
    let right = s.users[0].recover3(true);
    s.make(&[right]);
    (0..3).for_each(|_| s.guess());
    let wrong = s.users[0].recover3(false);
    s.make(&[wrong]);
    let entries = s.entries();
    let mut read = vec![];
    for (at, entry) in entries.iter().enumerate() {
        let telling = s.telling(&s.made[at], A, &[0]);
        let told = s.tell(Settled::Committed(s.committed[at]), std::slice::from_ref(entry), &telling);
        read.extend(told.expect("all is as it should be"));
    }
    let told: Vec<(u8, u8)> = read.iter().map(|(_, _, what, left, ..)| (*what, *left)).collect();
    assert_eq!(told, [(1, 3), (2, 2), (4, 3), (2, 2), (2, 1), (3, 0), (5, 0)]);
    assert!(read.iter().all(|(at, place, _, _, time, user)| (*at, *place, *time, user.as_slice())
        == (0, 0, 1_000, USER.as_bytes())));
    // The other tenant has one event, at the second place.
    let telling = s.telling(&s.made[0], B, &[1]);
    let told = s.tell(Settled::Committed(s.committed[0]), &entries[..1], &telling);
    assert_eq!(told, Ok(vec![(0, 1, 1, 3, 1_001, USER.as_bytes().to_vec())]));
}

#[test]
fn several_entries_are_told_at_once_each_with_all_its_own_events() {
    let mut s = Scene::new(None);
    s.guess();
    s.make(&[]);
    let right = s.users[0].recover3(true);
    s.make(&[right]);
    let (entries, newest) = (s.entries(), Settled::Committed(s.committed[3]));
    let mut all = s.telling(&s.made[0], A, &[0]);
    for at in [1, 2, 3] {
        let places: &[u8] = if at == 2 { &[] } else { &[0] };
        all.entries.extend(s.telling(&s.made[at], A, places).entries);
    }
    let told = s.tell(newest, &entries, &all).expect("all is as it should be");
    let told: Vec<(u8, u8, u8)> = told.iter().map(|(at, place, what, ..)| (*at, *place, *what)).collect();
    assert_eq!(told, [(0, 0, 1), (1, 0, 2), (3, 0, 4)]);
    let mut refused = |change: &dyn Fn(&mut Telling)| {
        let mut telling = all.clone();
        change(&mut telling);
        s.tell(newest, &entries, &telling).expect_err("something is wrong")
    };
    assert_eq!(refused(&|t| t.entries.swap(1, 3)), Refusal::NotAuthentic);
    assert_eq!(refused(&|t| t.entries.swap(2, 3)), Refusal::NotAuthentic);
    assert_eq!(refused(&|t| t.entries[3].events.clear()), Refusal::NotAuthentic);
    assert_eq!(refused(&|t| t.entries[1].owned[0].user = b"another".to_vec().into()), Refusal::NotCovered);
    assert_eq!(refused(&|t| t.entries.push(t.entries[0].clone())), Refusal::Malformed);
    let event = all.entries[0].events[0].clone();
    assert_eq!(refused(&|t| t.entries[2].events = vec![event.clone(); 128]), Refusal::TooLarge);
    // Nor more to be told than there can be, however it is spread.
    let owned = all.entries[0].owned[0].clone();
    let many = |t: &mut Telling| t.entries.iter_mut().for_each(|of| of.owned = vec![owned.clone(); 50]);
    assert_eq!(refused(&many), Refusal::TooLarge);
    // What is told of nothing need not be brought.
    all.entries[2].events.clear();
    assert_eq!(s.tell(newest, &entries, &all).map(|told| told.len()), Ok(3));
}

#[test]
fn an_entry_long_past_is_reached_in_steps_from_a_committed_one() {
    let mut s = Scene::new(None);
    for _ in 0..MAX_CAPTURE_ENTRIES * 2 {
        s.make(&[]);
    }
    let entries = s.entries();
    let newest = Settled::Committed(*s.committed.last().expect("some"));
    let step = MAX_CAPTURE_ENTRIES - 1;
    let mut from = entries.len() - 1 - step;
    let mut past = s.past(newest, &entries[from..]).expect("it leads there");
    while from > 0 {
        let to = from;
        from = from.saturating_sub(step);
        past = s.past(Settled::Past(past), &entries[from..=to]).expect("it leads there");
        assert_eq!((past.index, past.hash), (entries[from].index, entries[from].hash()));
    }
    let telling = s.telling(&s.made[0], A, &[0]);
    assert_eq!(s.tell(Settled::Past(past), &entries[..1], &telling).map(|read| read.len()), Ok(1));
    let (group, device) = (s.rig.group, &mut s.rig.devices[0]);
    assert!(!is_good_for_anything_else(device, group, past, &entries[0]), "it is no other statement");
}

/// Whether what is stated of the past passes for what is stated of an entry that is committed, or captured.
fn is_good_for_anything_else(
    device: &mut Device,
    group: strongroom_proto::ids::GroupId,
    past: Past,
    entry: &Entry,
) -> bool {
    let Past { hsm, index, hash, mac } = past;
    let jumps = device.ask(&Request::Jump(entry.clone(), Committed { hsm, index, hash, mac }));
    let captured = Captured { hsm, index, hash, mac };
    let counts = device.ask(&Request::Commit { group, statements: vec![captured] });
    (jumps, counts) != (Reply::Refused(Refusal::NotAuthentic), Reply::Refused(Refusal::NotAuthentic))
}

#[test]
fn a_chain_that_does_not_lead_to_what_is_stated_is_refused() {
    let mut s = Scene::new(None);
    (0..3).for_each(|_| s.make(&[]));
    let entries = s.entries();
    let (c0, c3) = (s.committed[0], s.committed[3]);
    let past = s.past(Settled::Committed(c3), &entries).expect("it leads there");
    assert_eq!((past.index, past.hash), (Index(1), entries[0].hash()));
    for (settled, entries, refusal) in [
        (Settled::Committed(c3), &entries[..3], Refusal::NotCommitted),
        (Settled::Committed(c0), &entries[..2], Refusal::NotCommitted),
        (Settled::Committed(c3), &[entries[0].clone(), entries[2].clone()][..], Refusal::NotConsecutive),
        (Settled::Committed(c3), &[entries[3].clone(), entries[3].clone()][..], Refusal::NotConsecutive),
        (Settled::Committed(c3), &[], Refusal::Malformed),
        (Settled::Committed(Committed { index: Index(3), ..c3 }), &entries[..], Refusal::NotAuthentic),
        (Settled::Past(Past { index: Index(2), ..past }), &entries[..1], Refusal::NotAuthentic),
        (Settled::Past(Past { mac: c0.mac, ..past }), &entries[..1], Refusal::NotAuthentic),
        (Settled::Past(Past { mac: Mac(Digest([0; 32])), ..past }), &entries[..1], Refusal::NotAuthentic),
        (Settled::Past(past), &entries[..2], Refusal::NotCommitted),
    ] {
        assert_eq!(s.past(settled, entries), Err(refusal), "{settled:?}");
    }
    let other_group = Entry { group: strongroom_proto::ids::GroupId([9; 16]), ..entries[3].clone() };
    assert_eq!(s.past(Settled::Committed(c3), &[other_group]), Err(Refusal::NotAuthentic));
    assert_eq!(s.past(Settled::Committed(c3), &vec![entries[3].clone(); 65]), Err(Refusal::TooLarge));
}

#[test]
fn events_are_told_for_names_and_keys_that_are_right_in_every_part() {
    let mut s = Scene::new(None);
    let (entry, committed) = (s.made[0].entry.clone(), Settled::Committed(s.committed[0]));
    let good = s.telling(&s.made[0], A, &[0]);
    let mut refused = |change: &dyn Fn(&mut Telling)| {
        let mut telling = good.clone();
        change(&mut telling);
        s.tell(committed, std::slice::from_ref(&entry), &telling).expect_err("something is wrong")
    };
    assert_eq!(
        refused(&|t| t.entries[0].owned[0].user = b"someone else".to_vec().into()),
        Refusal::NotCovered
    );
    assert_eq!(refused(&|t| t.entries[0].owned[0].place = 1), Refusal::NotCovered);
    assert_eq!(refused(&|t| t.entries[0].owned[0].place = 2), Refusal::Malformed);
    assert_eq!(refused(&|t| t.entries[0].owned[0].place = 255), Refusal::Malformed);
    assert_eq!(refused(&|t| t.key.tenant = B.as_bytes().to_vec().into()), Refusal::NotApproved);
    assert_eq!(refused(&|t| t.key.key = X25519Public([7; 32])), Refusal::NotApproved);
    assert_eq!(refused(&|t| t.signatures.clear()), Refusal::NotApproved);
    assert_eq!(refused(&|t| t.signatures[1] = t.signatures[0].clone()), Refusal::NotApproved);
    assert_eq!(refused(&|t| t.entries[0].events.clear()), Refusal::NotAuthentic);
    assert_eq!(refused(&|t| t.entries[0].events.swap(0, 1)), Refusal::NotAuthentic);
    assert_eq!(
        refused(&|t| t.entries[0].owned = vec![t.entries[0].owned[0].clone(); 129]),
        Refusal::TooLarge
    );
    let long = vec![b'a'; MAX_NAME_BYTES + 1];
    assert_eq!(refused(&|t| t.entries[0].owned[0].user = long.clone().into()), Refusal::TooLarge);
    assert_eq!(refused(&|t| t.key.tenant = long.clone().into()), Refusal::TooLarge);
    // Split otherwise between tenant and user, the same bytes are other names.
    assert_eq!(
        refused(&|t| {
            t.entries[0].owned[0].user = [b"a", USER.as_bytes()].concat().into();
        }),
        Refusal::NotCovered
    );
}

#[test]
fn a_key_that_everybody_has_the_secret_of_gets_nothing_though_custodians_signed_it() {
    let mut s = Scene::new(None);
    let (entry, committed) = (s.made[0].entry.clone(), Settled::Committed(s.committed[0]));
    let mut telling = s.telling(&s.made[0], A, &[0]);
    telling.key.key = X25519Public([0; 32]);
    let digest = telling.key.digest(&s.rig.realm);
    telling.signatures = [0, 2].map(|i| sign(&s.rig.custodians[i], &digest)).to_vec();
    assert_eq!(s.tell(committed, &[entry], &telling), Err(Refusal::NotApproved));
}

#[test]
fn custodians_of_another_realm_vouch_for_nothing_here() {
    let mut s = Scene::new(None);
    let (entry, committed) = (s.made[0].entry.clone(), Settled::Committed(s.committed[0]));
    let mut telling = s.telling(&s.made[0], A, &[0]);
    let elsewhere = Rig::seeded(9, 1).realm;
    let digest = telling.key.digest(&elsewhere);
    telling.signatures = [0, 2].map(|i| sign(&s.rig.custodians[i], &digest)).to_vec();
    assert!(
        telling.signatures.iter().all(|by| s
            .rig
            .custodians
            .iter()
            .any(|key| custodian_key(key) == by.custodian))
    );
    assert_eq!(s.tell(committed, &[entry], &telling), Err(Refusal::NotApproved));
}

#[test]
fn what_is_sealed_has_a_length_that_follows_from_names_alone() {
    let mut s = Scene::new(None);
    s.guess();
    let right = s.users[0].recover3(true);
    s.make(&[right]);
    let mut lengths = vec![];
    for at in 0..3 {
        let (made, committed) = (s.made[at].clone(), s.committed[at]);
        let telling = Some(s.telling(&made, A, &[0]));
        let request =
            Request::Tell { settled: Settled::Committed(committed), entries: vec![made.entry], telling };
        let Reply::Told { sealed: Some(sealed), .. } = s.rig.devices[1].ask(&request) else { panic!() };
        lengths.push(sealed.sealed.len());
    }
    assert_eq!(lengths, [24 + 32 + 16; 3]);
}
