//! What a client derives, signs, authenticates and encrypts for a registration, and how each is checked
//! (client protocol, section 7).
//!
//! Realms get the results but hold no key to them: the secret's key takes the PIN and a threshold of realms.
//! A client trusts a realm's public key only under its registration's signature, and its share only under the unlock
//! key's MAC.

use crate::oprf::OprfOutput;
use blake2::digest::common::KeySizeUser;
use blake2::digest::typenum::{U16, U32};
use blake2::digest::{FixedOutput, KeyInit, Output, Update};
use blake2::{Blake2sMac, Blake2sMac256};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use core::fmt;
use ed25519_dalek::Signer;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use strongroom_proto::client::{
    EncryptedSecret, EncryptedSecretCommitment, Signature, SignedPublicKey, UnlockKeyCommitment,
    UnlockKeyTag, VerifyingKey,
};
use strongroom_proto::hash::absorb;
use strongroom_proto::ids::RealmId;
use strongroom_proto::oprf::PublicKey;
use strongroom_proto::scalar::SecretScalar;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const UNLOCK_KEY_TAG: &str = "Unlock Key Tag";
const ENCRYPTED_SECRET_COMMITMENT: &str = "Encrypted User Secret Commitment";
const ENCRYPTION_KEY: &str = "User Secret Encryption Key";

/// What the right PIN leads to, 32 bytes. Authenticates the client to the realms, and their shares to the client.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct UnlockKey([u8; 32]);

impl UnlockKey {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(…)")
    }
}

/// Splits SHA-512 of the OPRF's output into commitment and key.
#[must_use]
pub fn derive_unlock_key(output: &OprfOutput) -> (UnlockKeyCommitment, UnlockKey) {
    let digest: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(output.as_bytes()).into());
    let (mut commitment, mut key) = ([0; 32], UnlockKey([0; 32]));
    commitment.copy_from_slice(&digest[..32]);
    key.0.copy_from_slice(&digest[32..]);
    (UnlockKeyCommitment::new(commitment), key)
}

/// What shows a realm that the unlock key was derived. Each realm has a different one.
#[must_use]
pub fn unlock_key_tag(key: &UnlockKey, realm: &RealmId) -> UnlockKeyTag {
    UnlockKeyTag::new(mac::<Blake2sMac<U16>>(&key.0, UNLOCK_KEY_TAG, &[&realm.0]).into())
}

/// Commits a realm to its share and to the encrypted secret.
#[must_use]
pub fn encrypted_secret_commitment(
    key: &UnlockKey,
    realm: &RealmId,
    scalar_share: &SecretScalar,
    secret: &EncryptedSecret,
) -> EncryptedSecretCommitment {
    let fields: [&[u8]; 3] = [&realm.0, &*scalar_share.to_bytes(), secret.as_bytes()];
    EncryptedSecretCommitment::new(
        mac::<Blake2sMac<U16>>(&key.0, ENCRYPTED_SECRET_COMMITMENT, &fields).into(),
    )
}

/// The PIN's part of the encryption key, 32 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EncryptionKeySeed([u8; 32]);

impl EncryptionKeySeed {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKeySeed(…)")
    }
}

/// What the secret is encrypted with, 32 bytes. Fresh in each registration.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EncryptionKey([u8; 32]);

impl EncryptionKey {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

/// Combines the PIN's seed with the scalar that the realms share.
#[must_use]
pub fn encryption_key(seed: &EncryptionKeySeed, scalar: &SecretScalar) -> EncryptionKey {
    EncryptionKey(mac::<Blake2sMac256>(seed.as_bytes(), ENCRYPTION_KEY, &[&*scalar.to_bytes()]).into())
}

/// Keyed BLAKE2s (RFC 7693), whose output length goes into its state: 16 bytes are not a prefix of 32.
fn mac<M>(key: &[u8; 32], label: &str, fields: &[&[u8]]) -> Output<M>
where
    M: KeyInit + KeySizeUser<KeySize = U32> + Update + FixedOutput,
{
    let mut mac = M::new(&(*key).into());
    absorb(label, fields, |bytes| mac.update(bytes));
    mac.finalize_fixed()
}

/// What a user entrusts to the realms: at most 128 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct UserSecret(Padded);

/// Length, secret, zeros.
type Padded = [u8; 1 + UserSecret::MAX_LEN];

impl UserSecret {
    /// The longest secret, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Takes a secret.
    ///
    /// # Errors
    /// It is longer than [`UserSecret::MAX_LEN`].
    pub fn new(secret: &[u8]) -> Result<Self, SecretTooLong> {
        let len = u8::try_from(secret.len()).map_err(|_| SecretTooLong)?;
        let mut this = Self([0; 1 + Self::MAX_LEN]);
        let (head, rest) = this.0.split_at_mut(1);
        head.copy_from_slice(&[len]);
        rest.get_mut(..secret.len()).ok_or(SecretTooLong)?.copy_from_slice(secret);
        Ok(this)
    }

    /// The secret, without padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let [len, rest @ ..] = &self.0;
        rest.get(..usize::from(*len)).unwrap_or_default()
    }
}

impl fmt::Debug for UserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserSecret(…)")
    }
}

/// A secret is longer than [`UserSecret::MAX_LEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretTooLong;

impl fmt::Display for SecretTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret is too long: keep it to {} bytes, such as a key", UserSecret::MAX_LEN)
    }
}

impl core::error::Error for SecretTooLong {}

/// Encrypts a secret: ChaCha20-Poly1305 (RFC 8439) under a nonce of zeros, which is safe because the key is used once.
#[must_use]
pub fn encrypt_secret(key: &EncryptionKey, secret: &UserSecret) -> EncryptedSecret {
    let mut out = [0; EncryptedSecret::LEN];
    let (ciphertext, tag) = out.split_at_mut(secret.0.len());
    ciphertext.copy_from_slice(&secret.0);
    let sealed = cipher(key).encrypt_inout_detached(&Nonce::default(), &[], ciphertext.into());
    tag.copy_from_slice(&sealed.expect("129 bytes are far below the cipher's bound"));
    EncryptedSecret::new(out)
}

/// An encrypted secret does not decrypt under the derived key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecryptError;

impl fmt::Display for DecryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the secret does not decrypt: it was altered, or registered by a faulty client; register again",
        )
    }
}

impl core::error::Error for DecryptError {}

/// Decrypts a secret.
///
/// # Errors
/// It was altered, the key is wrong, or the length inside is above [`UserSecret::MAX_LEN`].
pub fn decrypt_secret(key: &EncryptionKey, secret: &EncryptedSecret) -> Result<UserSecret, DecryptError> {
    let mut padded = UserSecret([0; 1 + UserSecret::MAX_LEN]);
    let (ciphertext, tag) = secret.as_bytes().split_at(padded.0.len());
    padded.0.copy_from_slice(ciphertext);
    let tag = tag.try_into().map_err(|_| DecryptError)?;
    let opened =
        cipher(key).decrypt_inout_detached(&Nonce::default(), &[], padded.0.as_mut_slice().into(), tag);
    opened.map_err(|_| DecryptError)?;
    if usize::from(padded.0[0]) <= UserSecret::MAX_LEN { Ok(padded) } else { Err(DecryptError) }
}

fn cipher(key: &EncryptionKey) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&key.0.into())
}

/// The Ed25519 key (RFC 8032) that signs one registration's public keys and is then discarded.
pub struct RegistrationSigningKey(ed25519_dalek::SigningKey);

impl RegistrationSigningKey {
    /// Draws a key: 32 bytes at once.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Signs a realm's OPRF public key for that realm.
    #[must_use]
    pub fn sign_public_key(&self, realm: &RealmId, public_key: &PublicKey) -> SignedPublicKey {
        SignedPublicKey {
            public_key: *public_key,
            verifying_key: VerifyingKey(self.0.verifying_key().to_bytes()),
            signature: Signature(self.0.sign(&signed_message(realm, public_key)).to_bytes()),
        }
    }
}

impl fmt::Debug for RegistrationSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationSigningKey(…)")
    }
}

/// `be2(16) ‖ realm ‖ be2(32) ‖ public key`.
fn signed_message(realm: &RealmId, public_key: &PublicKey) -> [u8; 52] {
    let mut message = [0; 52];
    message[..2].copy_from_slice(&16u16.to_be_bytes());
    message[2..18].copy_from_slice(&realm.0);
    message[18..20].copy_from_slice(&32u16.to_be_bytes());
    message[20..].copy_from_slice(&public_key.0);
    message
}

/// A signature over a realm's public key does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSignature;

impl fmt::Display for InvalidSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the public key's signature does not verify for this realm: do not use it")
    }
}

impl core::error::Error for InvalidSignature {}

/// Verifies that a registration's key signed this public key for this realm. Strictly: canonical S, no points of
/// small order.
///
/// # Errors
/// It does not verify. The public key itself is not checked.
pub fn verify_signed_public_key(realm: &RealmId, signed: &SignedPublicKey) -> Result<(), InvalidSignature> {
    let key =
        ed25519_dalek::VerifyingKey::from_bytes(&signed.verifying_key.0).map_err(|_| InvalidSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signed.signature.0);
    key.verify_strict(&signed_message(realm, &signed.public_key), &signature).map_err(|_| InvalidSignature)
}
