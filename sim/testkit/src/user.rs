//! What a user's device registers if it does not matter which PIN and which secret.

use rand::RngExt;
use rand::rngs::StdRng;
use strongroom_client_crypto::oprf::random_key;
use strongroom_client_crypto::registration::RegistrationSigningKey;
use strongroom_proto::client::{
    EncryptedSecret, EncryptedSecretCommitment, Policy, Register2Request, RegistrationVersion,
    UnlockKeyCommitment, UnlockKeyTag,
};
use strongroom_proto::ids::RealmId;
use strongroom_proto::scalar::SecretScalar;

/// A registration that a realm accepts, drawn from `rng`.
pub fn registration(realm: &RealmId, num_guesses: u16, rng: &mut StdRng) -> Register2Request {
    let key = random_key(rng);
    let signing = RegistrationSigningKey::random(rng);
    Register2Request {
        version: RegistrationVersion(rng.random()),
        oprf_signed_public_key: signing.sign_public_key(realm, &key.public_key()),
        oprf_private_key: key,
        unlock_key_commitment: UnlockKeyCommitment::new(rng.random()),
        unlock_key_tag: UnlockKeyTag::new(rng.random()),
        encryption_key_scalar_share: SecretScalar::random(rng),
        encrypted_secret: EncryptedSecret::new([7; 145]),
        encrypted_secret_commitment: EncryptedSecretCommitment::new(rng.random()),
        policy: Policy { num_guesses },
    }
}
