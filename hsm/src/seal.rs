//! XAES-256-GCM (C2SP `XAES-256-GCM.md`) with a random nonce: `nonce ‖ ciphertext ‖ tag`.
//!
//! Random nonces of 192 bits never repeat in practice, however many records one key seals.

use alloc::vec::Vec;
use rand_core::CryptoRng;
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::{Nonce, Xaes256Gcm};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// How much longer a sealed text is than its plaintext, in bytes.
pub(crate) const OVERHEAD: usize = NONCE_BYTES + TAG_BYTES;

/// Not sealed under this key for this purpose, or altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsealable;

pub(crate) fn seal(key: &[u8; 32], context: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    let cipher = Xaes256Gcm::new(&(*key).into());
    let ciphertext = cipher.encrypt(&Nonce::from(nonce), Payload { msg: plaintext, aad: context });
    debug_assert!(ciphertext.is_ok(), "fails only past 64 GiB");
    let mut sealed = nonce.to_vec();
    sealed.extend_from_slice(&ciphertext.unwrap_or_default());
    sealed
}

pub(crate) fn unseal(
    key: &[u8; 32],
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Unsealable)?;
    let cipher = Xaes256Gcm::new(&(*key).into());
    let plaintext = cipher.decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: context });
    plaintext.map(Zeroizing::new).map_err(|_| Unsealable)
}
