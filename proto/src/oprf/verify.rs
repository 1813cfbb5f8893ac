//! The client's side of a proof: whether the realm used the key that it says.

use super::{BlindedInput, BlindedOutput, Proof, PublicKey, challenge, decode};
use core::fmt;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;

/// A proof does not show what it should: the realm answered falsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidProof;

impl fmt::Display for InvalidProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the realm's proof does not verify: do not use its answer")
    }
}

impl core::error::Error for InvalidProof {}

/// Verifies a realm's proof. The client's side; all values are public, so the time may vary.
///
/// # Errors
/// The proof does not verify, or it or the public key is not validly encoded, or the public key is the identity.
#[expect(clippy::arithmetic_side_effects, reason = "arithmetic in a field has no overflow")]
pub fn verify(
    public_key: &PublicKey,
    input: &BlindedInput,
    output: &BlindedOutput,
    proof: &Proof,
) -> Result<(), InvalidProof> {
    let canonical = |bytes| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).ok_or(InvalidProof);
    let (c, beta_z) = (canonical(proof.c)?, canonical(proof.beta_z)?);
    let v = decode(&public_key.0).map_err(|_| InvalidProof)?;
    let commitment =
        |base, image| RistrettoPoint::vartime_multiscalar_mul([beta_z, -c], [base, image]).compress();
    let v_t = commitment(RISTRETTO_BASEPOINT_POINT, v);
    let w_t = commitment(*input.point(), output.point());
    if challenge(input, public_key, output, &v_t, &w_t) == c { Ok(()) } else { Err(InvalidProof) }
}
