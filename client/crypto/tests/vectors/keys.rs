use crate::support::{array, bytes, cases, text};
use proptest::prelude::*;
use serde_json::Value;
use strongroom_client_crypto::oprf::unoblivious_output;
use strongroom_proto::client::EncryptedSecret;
use strongroom_proto::ids::RealmId;
use strongroom_proto::oprf::PrivateKey;

use strongroom_client_crypto::registration::{
    DecryptError, EncryptionKey, EncryptionKeySeed, UnlockKey, UserSecret, decrypt_secret, derive_unlock_key,
    encrypt_secret, encrypted_secret_commitment, encryption_key, unlock_key_tag,
};
use strongroom_proto::scalar::SecretScalar;

#[test]
fn keys_are_derived_as_the_vectors_say() {
    for case in &cases("keys", 25) {
        match text(case, "kind") {
            "unlock_key" => unlock_key(case),
            "unlock_key_tag" => tag(case),
            "encrypted_secret_commitment" => commitment(case),
            "encryption_key" => key(case),
            "encrypted_secret" => secret(case),
            "encrypted_secret_invalid" => {
                let refused = decrypt_secret(&encryption_key_of(case), &encrypted_secret_of(case));
                assert_eq!(refused.err(), Some(DecryptError), "{}", case["name"]);
            }
            other => panic!("unknown kind {other}"),
        }
    }
}

fn unlock_key(case: &Value) {
    let private_key = PrivateKey::from_bytes(&array(case, "oprf_private_key")).unwrap();
    let output = unoblivious_output(&private_key, &bytes(case, "access_key"));
    assert_eq!(output.as_bytes(), &array(case, "oprf_output"), "{}", case["name"]);
    let (commitment, key) = derive_unlock_key(&output);
    assert_eq!(commitment.as_bytes(), &array(case, "unlock_key_commitment"), "{}", case["name"]);
    assert_eq!(key.as_bytes(), &array(case, "unlock_key"), "{}", case["name"]);
}

fn tag(case: &Value) {
    let tag = unlock_key_tag(&UnlockKey::new(array(case, "unlock_key")), &RealmId(array(case, "realm_id")));
    assert_eq!(tag.as_bytes(), &array(case, "unlock_key_tag"), "{}", case["name"]);
}

fn commitment(case: &Value) {
    let commitment = encrypted_secret_commitment(
        &UnlockKey::new(array(case, "unlock_key")),
        &RealmId(array(case, "realm_id")),
        &SecretScalar::from_bytes(&array(case, "encryption_key_scalar_share")).unwrap(),
        &encrypted_secret_of(case),
    );
    assert_eq!(commitment.as_bytes(), &array(case, "encrypted_secret_commitment"), "{}", case["name"]);
}

fn key(case: &Value) {
    let seed = EncryptionKeySeed::new(array(case, "encryption_key_seed"));
    let scalar = SecretScalar::from_bytes(&array(case, "encryption_key_scalar")).unwrap();
    assert_eq!(encryption_key(&seed, &scalar).as_bytes(), &array(case, "encryption_key"), "{}", case["name"]);
}

fn secret(case: &Value) {
    let plain = bytes(case, "secret");
    let encrypted = encrypt_secret(&encryption_key_of(case), &UserSecret::new(&plain).unwrap());
    assert_eq!(encrypted, encrypted_secret_of(case), "{}", case["name"]);
    let decrypted = decrypt_secret(&encryption_key_of(case), &encrypted).unwrap();
    assert_eq!(decrypted.as_bytes(), plain, "{}", case["name"]);
}

fn encryption_key_of(case: &Value) -> EncryptionKey {
    EncryptionKey::new(array(case, "encryption_key"))
}

fn encrypted_secret_of(case: &Value) -> EncryptedSecret {
    EncryptedSecret::new(array(case, "encrypted_secret"))
}

#[test]
fn secrets_longer_than_128_bytes_are_refused() {
    for len in [129, 130, 255, 256, 257, 70_000] {
        assert!(UserSecret::new(&vec![1; len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_secret_whose_inner_length_is_above_the_bound_is_refused() {
    use chacha20poly1305::aead::{Aead, KeyInit};
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(&[8; 32].into());
    for (len, decrypts) in [(128, true), (129, false), (255, false)] {
        let mut padded = [5; 129];
        padded[0] = len;
        let encrypted = cipher.encrypt(&Default::default(), &padded[..]).unwrap();
        let encrypted = EncryptedSecret::new(encrypted.try_into().unwrap());
        assert_eq!(decrypt_secret(&EncryptionKey::new([8; 32]), &encrypted).is_ok(), decrypts, "{len}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let printed = [
        format!("{:?}", UnlockKey::new([0xab; 32])),
        format!("{:?}", EncryptionKey::new([0xab; 32])),
        format!("{:?}", EncryptionKeySeed::new([0xab; 32])),
        format!("{:?}", UserSecret::new(&[0xab; 32]).unwrap()),
        format!("{:?}", EncryptedSecret::new([0xab; 145])),
        format!("{:?}", SecretScalar::from_bytes(&[0x0b; 32]).unwrap()),
        format!("{:?}", PrivateKey::from_bytes(&[0x0b; 32]).unwrap()),
    ];
    for text in printed {
        assert!(
            text.contains('…') && !text.contains("ab") && !text.contains("171") && !text.contains("11"),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn every_secret_survives_encryption(key: [u8; 32], plain in prop::collection::vec(any::<u8>(), 0..=128)) {
        let encrypted = encrypt_secret(&EncryptionKey::new(key), &UserSecret::new(&plain).unwrap());
        let decrypted = decrypt_secret(&EncryptionKey::new(key), &encrypted).unwrap();
        prop_assert_eq!(decrypted.as_bytes(), plain);
    }
}
