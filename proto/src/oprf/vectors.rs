//! Proofs as published vectors have them. No HSM can make one.

use super::{BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey, prove_with};
use crate::scalar::{InvalidScalar, SecretScalar};
use rand_core::CryptoRng;

/// [`prove`](super::prove) with the draw itself as the nonce, as in published vectors. For nothing else.
///
/// # Errors
/// The nonce is zero.
#[doc(hidden)]
pub fn prove_with_nonce_as_drawn(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    output: &BlindedOutput,
    rng: &mut impl CryptoRng,
) -> Result<Proof, InvalidScalar> {
    prove_with(key, public_key, input, output, &SecretScalar::random(rng))
}
