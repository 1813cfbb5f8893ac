//! The MACs that only a client computes, against the golden file of the protocol.

use strongroom_client_crypto::registration::{
    EncryptionKeySeed, UnlockKey, encrypted_secret_commitment, encryption_key, unlock_key_tag,
};
use strongroom_proto::client::EncryptedSecret;
use strongroom_proto::ids::RealmId;
use strongroom_proto::scalar::SecretScalar;

const GOLDEN: &str = include_str!("../../../../proto/tests/preimages.golden");

/// The digest that the golden file lists under this label.
fn listed(label: &str) -> &'static str {
    let block = GOLDEN.split("\n\n").find(|block| block.lines().next() == Some(&format!("label    {label}")));
    let lines = block.unwrap_or_else(|| panic!("no line for {label}")).lines();
    lines.filter_map(|line| line.strip_prefix("digest   ")).next().expect("a digest")
}

#[test]
fn a_client_authenticates_what_the_golden_file_lists() {
    let mut share = [0; 32];
    share[0] = 0x15;
    let scalar = SecretScalar::from_bytes(&share).expect("canonical");
    let (key, realm, secret) =
        (UnlockKey::new([0x6b; 32]), RealmId([0x01; 16]), EncryptedSecret::new([0x16; 145]));
    let tag = unlock_key_tag(&key, &realm);
    assert_eq!(hex::encode(tag.as_bytes()), listed("Unlock Key Tag"));
    let commitment = encrypted_secret_commitment(&key, &realm, &scalar, &secret);
    assert_eq!(hex::encode(commitment.as_bytes()), listed("Encrypted User Secret Commitment"));
    let key = encryption_key(&EncryptionKeySeed::new([0x6b; 32]), &scalar);
    assert_eq!(hex::encode(key.as_bytes()), listed("User Secret Encryption Key"));
}
