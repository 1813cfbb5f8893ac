//! Proofs as published vectors have them. No HSM can make one.

use super::{BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey, evaluate_with};
use crate::scalar::{InvalidScalar, SecretScalar};
use rand_core::CryptoRng;

/// [`evaluate`](super::evaluate) with the draw itself as the nonce of its proof, as in published vectors. For nothing
/// else.
///
/// # Errors
/// The nonce is zero.
#[doc(hidden)]
pub fn evaluate_with_nonce_as_drawn(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    rng: &mut impl CryptoRng,
) -> Result<(BlindedOutput, Proof), InvalidScalar> {
    evaluate_with(key, public_key, input, &SecretScalar::random(rng))
}
