//! A tenant's key: whose signatures make it count.

use ed25519_dalek::{Signer as _, SigningKey};
use strongroom_events::{SignedKey, TenantSecret};
use strongroom_proto::enrolment::{CustodianKey, CustodianSignature, MAX_CUSTODIANS, RealmPolicy};
use strongroom_proto::events::TenantKey;
use strongroom_proto::ids::{Digest, RealmId};

const REALM: RealmId = RealmId([1; 16]);

fn custodian(i: u8) -> SigningKey {
    SigningKey::from_bytes(&[i; 32])
}

fn policy(threshold: u8) -> RealmPolicy {
    let key = |i| CustodianKey(Digest(custodian(i).verifying_key().to_bytes()));
    RealmPolicy { custodians: [1, 2, 3].map(key).into(), threshold, smallest_group: None }
}

fn key(tenant: &str) -> TenantKey {
    TenantKey { tenant: tenant.as_bytes().to_vec().into(), key: TenantSecret::new([7; 32]).public() }
}

fn sign(i: u8, digest: &Digest) -> CustodianSignature {
    let (key, signature) = (custodian(i), custodian(i).sign(&digest.0).to_bytes());
    CustodianSignature {
        custodian: CustodianKey(Digest(key.verifying_key().to_bytes())),
        signature: signature.into(),
    }
}

fn signed(by: &[u8]) -> SignedKey {
    let key = key("acme");
    let signatures = by.iter().map(|i| sign(*i, &key.digest(&REALM))).collect();
    SignedKey { key, signatures }
}

#[test]
fn a_key_counts_once_enough_custodians_signed_it_for_this_tenant_and_realm() {
    for (by, threshold, counts) in [
        (&[1, 2][..], 2, true),
        (&[3, 1], 2, true),
        (&[1, 2, 3], 3, true),
        (&[2], 1, true),
        (&[], 1, false),
        (&[1], 2, false),
        (&[1, 2], 3, false),
        // The same one twice, and a stranger.
        (&[1, 1], 2, false),
        (&[1, 9], 2, false),
        (&[9, 8, 1, 2], 2, true),
        // A realm that is closed.
        (&[1, 2, 3], 0, false),
    ] {
        assert_eq!(signed(by).is_signed(&REALM, &policy(threshold)), counts, "{by:?}, {threshold}");
    }
    let good = signed(&[1, 2]);
    assert!(!good.is_signed(&RealmId([2; 16]), &policy(2)));
    let planted: [fn(&mut SignedKey); 4] = [
        |key| key.key.key.0[31] ^= 1,
        |key| key.key.tenant[0] ^= 1,
        |key| key.key.tenant.push(0),
        |key| key.signatures[1].signature[0] ^= 1,
    ];
    for (number, mistake) in planted.into_iter().enumerate() {
        let mut wrong = good.clone();
        mistake(&mut wrong);
        assert!(!wrong.is_signed(&REALM, &policy(2)), "mistake {number}");
    }
}

#[test]
fn a_key_is_read_as_it_was_written_and_for_its_tenant_alone() {
    let good = signed(&[1, 2]);
    let bytes = good.encode();
    assert_eq!(SignedKey::decode("acme", &bytes), Some(good));
    for tenant in ["", "acm", "acmee", "Acme"] {
        assert_eq!(SignedKey::decode(tenant, &bytes), None, "{tenant:?}");
    }
    for cut in 0..bytes.len() {
        assert_eq!(SignedKey::decode("acme", &bytes[..cut]), None, "{cut} bytes");
    }
    assert_eq!(SignedKey::decode("acme", &[&bytes[..], &[0]].concat()), None);
    let many = |count| signed(&vec![1; count]).encode();
    assert!(SignedKey::decode("acme", &many(MAX_CUSTODIANS)).is_some());
    assert_eq!(SignedKey::decode("acme", &many(MAX_CUSTODIANS + 1)), None);
}

#[test]
fn a_secret_has_the_public_key_of_rfc_7748_and_does_not_show_itself() {
    // Section 6.1: Alice's.
    let secret = hex::decode("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a").unwrap();
    let secret = TenantSecret::new(secret.try_into().unwrap());
    let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    assert_eq!(secret.public().to_string(), public);
    let shown = format!("{:?}", TenantSecret::new([0xab; 32]));
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, "), "{shown}");
}
