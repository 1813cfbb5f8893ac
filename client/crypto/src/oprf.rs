//! The client's side of the oblivious PRF (client protocol, section 7): a key to share, blinding, unblinding.
//!
//! A blinding factor is never zero, so no input is blinded to something that a realm refuses. What a realm computes,
//! and the proof that makes a client believe it, is in [`strongroom_proto::oprf`].

use core::fmt;
use curve25519_dalek::ristretto::RistrettoPoint;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use strongroom_proto::oprf::{BlindedInput, BlindedOutput, PrivateKey};
use strongroom_proto::scalar::SecretScalar;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

const OUTPUT_PREFIX: &[u8] = b"Juicebox_OPRF_2023_1;";

/// Draws a key: 64 bytes at once.
///
/// # Panics
/// If the generator is broken and draws zero.
pub fn random_key(rng: &mut impl CryptoRng) -> PrivateKey {
    PrivateKey::new(random_nonzero(rng)).expect("it is not zero")
}

/// Draws as [`SecretScalar::random`] does.
///
/// # Panics
/// If the scalar is zero, which a working generator never draws (2⁻²⁵²). Going on would disclose a key.
fn random_nonzero(rng: &mut impl CryptoRng) -> SecretScalar {
    let scalar = SecretScalar::random(rng);
    assert!(!scalar.is_zero(), "the generator is broken: it drew a zero scalar");
    scalar
}

/// What hides an input from the realms; never zero.
#[derive(Clone)]
pub struct BlindingFactor(SecretScalar);

/// The OPRF's output, 64 bytes. Equality takes constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct OprfOutput([u8; 64]);

impl OprfOutput {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for OprfOutput {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for OprfOutput {}

impl fmt::Debug for OprfOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OprfOutput(…)")
    }
}

/// Maps an input to the group: the one-way map of RFC 9496, section 4.3.4, of SHA-512, without a domain tag.
#[must_use]
pub fn hash_to_group(input: &[u8]) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&Sha512::digest(input).into())
}

/// Blinds an input. Draws 64 bytes at once.
///
/// # Panics
/// If the generator is broken and draws zero.
pub fn blind(input: &[u8], rng: &mut impl CryptoRng) -> (BlindingFactor, BlindedInput) {
    let factor = random_nonzero(rng);
    let blinded = BlindedInput::from_point(hash_to_group(input) * factor.scalar());
    // No input is known to map to the identity, and finding one would take inverting SHA-512.
    let blinded = blinded.expect("a hash does not map to the identity");
    (BlindingFactor(factor), blinded)
}

/// Unblinds an evaluation, recombined if the key was shared, and hashes it to the output.
#[must_use]
pub fn finalize(input: &[u8], factor: &BlindingFactor, output: &BlindedOutput) -> OprfOutput {
    let inverse = SecretScalar::new(factor.0.scalar().invert());
    hash_output(input, &(output.point() * inverse.scalar()))
}

/// The output computed with the key at hand, as a registering client does.
#[must_use]
pub fn unoblivious_output(key: &PrivateKey, input: &[u8]) -> OprfOutput {
    hash_output(input, &(hash_to_group(input) * key.scalar().scalar()))
}

fn hash_output(input: &[u8], result: &RistrettoPoint) -> OprfOutput {
    let hash = Sha512::new().chain_update(OUTPUT_PREFIX).chain_update(input);
    OprfOutput(hash.chain_update(result.compress().as_bytes()).finalize().into())
}
