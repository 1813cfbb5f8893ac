use crate::support::{Script, array, bytes, cases};
use strongroom_client_crypto::registration::{RegistrationSigningKey, verify_signed_public_key};
use strongroom_proto::client::{Signature, SignedPublicKey, VerifyingKey};
use strongroom_proto::ids::RealmId;
use strongroom_proto::oprf::PublicKey;

#[test]
fn public_keys_are_signed_and_judged_as_the_vectors_say() {
    let cases = cases("signing", 14);
    for case in &cases {
        let realm = RealmId(array(case, "realm_id"));
        let signed = SignedPublicKey {
            public_key: PublicKey(array(case, "public_key")),
            verifying_key: VerifyingKey(array(case, "verifying_key")),
            signature: Signature(array(case, "signature")),
        };
        assert_eq!(verify_signed_public_key(&realm, &signed).is_ok(), case["valid"], "{}", case["name"]);
        if case["valid"] == true {
            let key = RegistrationSigningKey::random(&mut Script::new([bytes(case, "signing_key_seed")]));
            assert_eq!(key.sign_public_key(&realm, &signed.public_key), signed, "{}", case["name"]);
        }
    }
    assert_eq!(cases.iter().filter(|c| c["valid"] == true).count(), 5);
}

#[test]
fn a_signature_with_any_bit_flipped_is_refused() {
    let (realm, public_key) = (RealmId([7; 16]), PublicKey([9; 32]));
    let key = RegistrationSigningKey::random(&mut Script::new([vec![3; 32]]));
    let signed = key.sign_public_key(&realm, &public_key);
    assert_eq!(verify_signed_public_key(&realm, &signed), Ok(()));
    for bit in 0..512 {
        let mut altered = signed.clone();
        altered.signature.0[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_signed_public_key(&realm, &altered).is_err(), "bit {bit}");
    }
}
