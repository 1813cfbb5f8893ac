//! The keys and digests that only an HSM computes, against the golden file of the protocol.
//!
//! Each is derived here from its parts, and shown to be what the core uses: it opens what the core sealed, or is what
//! the core says. The fields must be those of `proto/tests/preimages.golden`.
//!
//! One cannot be seen from outside: the digest of a session's last request never leaves the leader's RAM.

use crate::common::{Rig, User, apply};
use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use strongroom_hsm::{Config, SEALED_EVENT_BYTES, SEALED_RECORD_BYTES};
use strongroom_hsm_planted::Revealed;
use strongroom_proto::events::{EntryEvents, OwnedEvent, Settled, Telling, TenantKey};
use strongroom_proto::hash::{hash, label, mac};
use strongroom_proto::hsm::{AgentSecret, Made, RealmPolicy, Reply, Request, record_id};
use strongroom_proto::ids::{Digest, Ed25519Public, X25519Public};
use strongroom_proto::noise::StaticKey;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::MemberStatement;
use strongroom_proto::tree::Tree;
use strongroom_testkit::founding::sign;
use x25519_dalek::{PublicKey, StaticSecret};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};

const GOLDEN: &str = include_str!("../../../proto/tests/preimages.golden");
const SEED: [u8; 32] = [0x5e; 32];

/// Named fields of a preimage, as the golden file must list them.
type Fields<'a> = &'a [(&'a str, &'a [u8])];

fn check_golden(label: &str, function: &str, fields: Fields<'_>) {
    let listed: Vec<String> = fields.iter().map(|(name, bytes)| format!("{name}: {}", bytes.len())).collect();
    let block = GOLDEN.split("\n\n").find(|block| block.lines().next() == Some(&format!("label    {label}")));
    let mut lines = block.unwrap_or_else(|| panic!("no line for {label}")).lines().skip(1);
    assert!(lines.next().is_some_and(|line| line.starts_with(&format!("function {function}"))), "{label}");
    assert_eq!(lines.next(), Some(format!("fields   {}", listed.join("; ")).as_str()), "{label}");
}

fn hash_listed(label: &str, fields: Fields<'_>) -> Digest {
    check_golden(label, "BLAKE2s-256", fields);
    hash(label, &fields.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>())
}

fn mac_listed(key: &[u8; 32], label: &str, fields: Fields<'_>) -> [u8; 32] {
    check_golden(label, "keyed BLAKE2s-256", fields);
    mac(key, label, &fields.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>()).0.0
}

/// `nonce 24 ‖ ciphertext ‖ tag 16`, XAES-256-GCM.
fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<24>()?;
    Xaes256Gcm::new(&(*key).into()).decrypt(&(*nonce).into(), Payload { msg, aad: context }).ok()
}

#[test]
fn every_key_of_a_realm_is_derived_from_its_seed_as_the_golden_file_says() {
    let mut device = crate::common::Device::new(1, None, Config::software());
    device.env.rng.script.extend([vec![0x1d; 16], SEED.to_vec()]);
    let Reply::Device(status) = device.ask(&Request::NewRealm(RealmPolicy::closed())) else { panic!() };
    let realm = status.realm.expect("just made");
    assert_eq!(realm.realm.0, [0x1d; 16]);
    let key = |label| mac_listed(&SEED, label, &[("realm", &realm.realm.0)]);
    assert_eq!(realm.public_key, StaticKey::from_secret(&key(label::KEY_NOISE)).public());
    assert_eq!(realm.record_id_key.0, key(label::KEY_RECORD_IDS));
    for epoch in [0, 1, u32::MAX] {
        let fields: Fields<'_> = &[("realm", &realm.realm.0), ("be4(epoch)", &epoch.to_be_bytes())];
        let secret = AgentSecret(mac_listed(&SEED, label::KEY_AGENTS, fields));
        assert_eq!(device.ask(&Request::AgentSecret(epoch)), Reply::AgentSecret(secret));
    }
    let checkpoint_key = SigningKey::from_bytes(&key(label::KEY_CHECKPOINTS)).verifying_key();
    assert_eq!(realm.checkpoint_key, Some(Ed25519Public(checkpoint_key.to_bytes())));
    let statement_key = key(label::KEY_STATEMENTS);
    assert_eq!(realm.member, MemberStatement::new(&statement_key, &realm.realm, status.hsm));

    let Reply::Group(statement) = device.ask(&Request::NewGroup(vec![realm.member])) else { panic!() };
    let mut rig = Rig {
        devices: vec![device],
        custodians: vec![],
        realm: realm.realm,
        public_key: realm.public_key,
        group: statement.group,
        statement,
    };
    let (user, made) = registered(&mut rig, 2);
    let hash = made.entry.hash();
    assert!(made.entry.is_authentic(&statement_key, &hash));
    let of_record = [&realm.realm.0[..], &user.record.0].concat();
    assert!(open(&key(label::KEY_RECORDS), &of_record, &made.leaves[0].sealed).is_some());
    assert_eq!(made.leaves[0].sealed.len(), SEALED_RECORD_BYTES);
    let of_group = [realm.realm.0, rig.group.0].concat();
    assert!(open(&key(label::KEY_EVENTS), &of_group, &made.events[0]).is_some());
    assert_eq!(made.events[0].len(), SEALED_EVENT_BYTES);
}

/// A user who has registered and, in the same batch, charged the only guess if there is one alone.
fn registered(rig: &mut Rig, guesses: u16) -> (User, Made) {
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(rig, 1, guesses);
    rig.open(0, &mut user);
    let requests = [user.register2(), user.recover2()];
    let reply = rig.process(0, &tree, &requests);
    let Reply::Processed { made: Some(made), .. } = reply else { panic!("{reply:?}") };
    apply(&mut tree, &made);
    (user, made)
}

#[test]
fn the_secrets_of_a_locked_record_are_wrapped_as_the_golden_file_says() {
    let mut rig = Rig::new(1, None);
    let (user, made) = registered(&mut rig, 1);
    let revealed = rig.devices[0].reader().reveal(&user.record, &made.leaves[0].sealed);
    let Some(Revealed::LastGuess(record)) = revealed else { panic!("{revealed:?}") };
    let (tag, version) = (user.registration.unlock_key_tag.as_bytes(), user.registration.version);
    let fields: Fields<'_> = &[
        ("unlock key tag", tag),
        ("realm", &rig.realm.0),
        ("record id", &user.record.0),
        ("registration version", &version.0),
    ];
    let tag_hash = hash_listed(label::LAST_GUESS_TAG, fields).0;
    let at = record.windows(32).position(|window| window == tag_hash).expect("the hash of the tag");
    let mut decoder = minicbor::Decoder::new(&record[at + 32..]);
    let wrapped = decoder.bytes().expect("what follows the hash are the wrapped secrets");
    let key = hash_listed(label::LAST_GUESS_KEY, fields).0;
    let secrets = open(&key, &user.record.0, wrapped).expect("wrapped under the key of the tag");
    let private_key = user.registration.oprf_private_key.scalar().to_bytes();
    assert!(secrets.windows(32).any(|window| window == *private_key));
}

#[test]
fn a_seed_travels_under_the_key_that_the_golden_file_says() {
    let mut rig = Rig::new(2, None);
    // A new device draws its id and then its key; here with the seed of a generator that this test knows.
    let mut importer = crate::common::Device::new(7, None, Config::software());
    let (mut id, mut secret) = ([0; 16], [0; 32]);
    let mut rng = StdRng::seed_from_u64(7);
    rng.fill_bytes(&mut id);
    rng.fill_bytes(&mut secret);
    let (status, secret) = (importer.status(), StaticSecret::from(secret));
    assert_eq!((status.hsm.0, status.device_key.0), (id, PublicKey::from(&secret).to_bytes()));

    let nonce = importer.import_nonce();
    let approval = rig.approval_for(&status, nonce);
    let sealed = rig.export(approval);
    let shared = secret.diffie_hellman(&PublicKey::from(sealed.ephemeral.0));
    let fields: Fields<'_> = &[
        ("X25519 result", shared.as_bytes()),
        ("ephemeral key", &sealed.ephemeral.0),
        ("device key", &status.device_key.0),
    ];
    let key = hash_listed(label::EXPORT_KEY, fields).0;
    let context = [sealed.realm.0, sealed.exporter.0, id].concat();
    assert!(open(&key, &context, &sealed.sealed).is_some());
}

#[test]
fn a_tenant_is_told_under_the_key_that_the_golden_file_says() {
    let mut rig = Rig::new(1, None);
    let ids = rig.devices[0].status().realm.expect("made").record_id_key;
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 2);
    user.record = record_id(&ids, "tenant", "user");
    rig.open(0, &mut user);
    let request = user.register2();
    let made = rig.make(0, &mut tree, &[request]);
    let captured = rig.captured(0, std::slice::from_ref(&made.entry));
    let (committed, _) = rig.committed(0, &[captured]);
    let secret = StaticSecret::from([0x3c; 32]);
    let tenant = X25519Public(PublicKey::from(&secret).to_bytes());
    let key = TenantKey { tenant: b"tenant".to_vec().into(), key: tenant };
    let signatures = [0, 2].map(|i| sign(&rig.custodians[i], &key.digest(&rig.realm))).to_vec();
    let owned = vec![OwnedEvent { place: 0, user: b"user".to_vec().into(), time: 7 }];
    let telling =
        Some(Telling { key, signatures, entries: vec![EntryEvents { events: made.events, owned }] });
    let (entries, settled) = (vec![made.entry.clone()], Settled::Committed(committed));
    let reply = rig.devices[0].ask(&Request::Tell { settled, entries, telling });
    let Reply::Told { sealed: Some(sealed), .. } = reply else { panic!("{reply:?}") };
    let shared = secret.diffie_hellman(&PublicKey::from(sealed.ephemeral.0));
    let fields: Fields<'_> = &[
        ("X25519 result", shared.as_bytes()),
        ("ephemeral key", &sealed.ephemeral.0),
        ("tenant's key", &tenant.0),
    ];
    let key = hash_listed(label::TENANT_EVENTS, fields).0;
    let context = [&rig.realm.0[..], &rig.group.0, &made.entry.index.0.to_be_bytes()].concat();
    assert!(open(&key, &context, &sealed.sealed).is_some());
}

#[test]
fn a_record_in_nvram_is_checked_as_the_golden_file_says() {
    let device = crate::common::Device::new(1, None, Config::software());
    // The first record: a mark of 8 bytes, a head of 12, a check of 8, the body.
    let unit = &device.env.flash.units()[0];
    let (head, check) = (&unit[8..20], &unit[20..28]);
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let body = &unit[28..28 + len];
    assert_eq!(hash(label::NVRAM, &[head, body]).0[..8], *check);
    // Its body is shorter in the golden file.
    let name = "kind 1 ‖ format 1 ‖ be2(length) ‖ be8(sequence number)";
    check_golden(label::NVRAM, "BLAKE2s-256", &[(name, head), ("body", &[0; 40])]);
}
