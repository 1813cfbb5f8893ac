//! The oblivious PRF of the client protocol, section 7: 2HashDH over ristretto255 (RFC 9496), with a proof that the
//! right key was used. Shaped as the OPRF of RFC 9497, with other hashes.
//!
//! This is what a realm computes, and the proof that both sides know: blinding and unblinding are the client's alone.
//! The realm learns nothing of the input; the client learns one output per evaluation and believes it only with its
//! proof. A key and a proof's nonce are never zero, a [`BlindedInput`] or [`BlindedOutput`] is never the identity
//! (13.3): holding one proves it.

use crate::scalar::{InvalidScalar, SecretScalar};
use core::fmt;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

#[cfg(feature = "outside")]
mod element;
#[cfg(feature = "outside")]
mod vectors;
#[cfg(feature = "outside")]
mod verify;

#[cfg(feature = "outside")]
pub use vectors::evaluate_with_nonce_as_drawn;
#[cfg(feature = "outside")]
pub use verify::{InvalidProof, verify};

const PROOF_PREFIX: &[u8] = b"Juicebox_DLEQ_2023_1;";
/// Only the prover computes this hash, so it is not part of the protocol.
const NONCE_PREFIX: &[u8] = b"Strongroom_DLEQ_nonce_2;";

/// An OPRF key, or a realm's share of one; never zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrivateKey(SecretScalar);

impl PrivateKey {
    /// Takes a scalar.
    ///
    /// # Errors
    /// It is zero.
    pub fn new(scalar: SecretScalar) -> Result<Self, InvalidScalar> {
        if scalar.is_zero() { Err(InvalidScalar) } else { Ok(Self(scalar)) }
    }

    /// Takes 32 bytes, little-endian.
    ///
    /// # Errors
    /// They are not below the group's order, or zero.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidScalar> {
        SecretScalar::from_bytes(bytes).and_then(Self::new)
    }

    /// The scalar, to share it or to store it.
    #[must_use]
    pub const fn scalar(&self) -> &SecretScalar {
        &self.0
    }

    /// The public key, k·G.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(RistrettoPoint::mul_base(self.0.scalar()).compress().to_bytes())
    }
}

/// An OPRF public key as sent, 32 bytes. It may not be a valid element: `verify` finds out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// What a client asks to have evaluated: a valid element, not the identity.
#[derive(Clone, Copy)]
pub struct BlindedInput {
    encoding: [u8; 32],
    point: RistrettoPoint,
}

impl BlindedInput {
    /// Decodes 32 bytes (RFC 9496, section 4.3.1).
    ///
    /// # Errors
    /// They are not the encoding of an element, or that of the identity.
    pub fn from_bytes(encoding: &[u8; 32]) -> Result<Self, InvalidElement> {
        Ok(Self { encoding: *encoding, point: decode(encoding)? })
    }

    /// The encoding.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.encoding
    }
}

impl PartialEq for BlindedInput {
    fn eq(&self, other: &Self) -> bool {
        self.encoding == other.encoding
    }
}

impl Eq for BlindedInput {}

impl fmt::Debug for BlindedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedInput(…)")
    }
}

/// The evaluation of a [`BlindedInput`], by one realm or recombined: a valid element, not the identity. Only its
/// encoding is held, because a realm does nothing else with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlindedOutput([u8; 32]);

impl BlindedOutput {
    /// Takes 32 bytes that somebody sent (RFC 9496, section 4.3.1).
    ///
    /// # Errors
    /// They are not the encoding of an element, or that of the identity.
    pub fn from_bytes(encoding: &[u8; 32]) -> Result<Self, InvalidElement> {
        decode(encoding).map(|_| Self(*encoding))
    }

    /// Takes back the bytes of what [`evaluate`] returned, from where nobody else can have put them. They are not decoded.
    #[must_use]
    pub const fn evaluated(encoding: [u8; 32]) -> Self {
        Self(encoding)
    }

    /// The encoding.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BlindedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedOutput(…)")
    }
}

/// The element that these bytes encode, if they do, and it is not the identity.
fn decode(encoding: &[u8; 32]) -> Result<RistrettoPoint, InvalidElement> {
    let point = CompressedRistretto(*encoding).decompress().ok_or(InvalidElement)?;
    if point == RistrettoPoint::identity() { Err(InvalidElement) } else { Ok(point) }
}

/// The bytes are not the encoding of a group element, or are that of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidElement;

impl fmt::Display for InvalidElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a group element that may be used: send its canonical encoding, and not the identity")
    }
}

impl core::error::Error for InvalidElement {}

/// Proof that one secret key leads from G to the public key and from the blinded input to the blinded output, without
/// disclosing the key: challenge and response, each a scalar of 32 bytes as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The challenge.
    pub c: [u8; 32],
    /// The response.
    pub beta_z: [u8; 32],
}

/// Evaluates a blinded input and proves it. The realm's side; takes constant time. Draws 64 bytes at once. `public_key` is
/// the one the record holds.
///
/// The proof's nonce must be fresh and secret, or the key is disclosed; so it is not the draw but a hash of the draw, the
/// key, and what is proven. Then a generator that repeats itself, or that somebody knows, discloses nothing: different
/// evaluations have different nonces, and without the key none can be computed. The output is not hashed: it follows from
/// the key and the input.
///
/// # Errors
/// The nonce is zero, which nobody can cause (2⁻²⁵²).
pub fn evaluate(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    rng: &mut impl CryptoRng,
) -> Result<(BlindedOutput, Proof), InvalidScalar> {
    let mut drawn = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *drawn);
    // Secret: by reference, so that no copy is left on the stack.
    let (drawn, secret) = (drawn.as_slice(), key.0.to_bytes());
    let hash = Sha512::new().chain_update(NONCE_PREFIX).chain_update(drawn).chain_update(secret.as_slice());
    let hash = hash.chain_update(public_key.0).chain_update(input.as_bytes());
    let wide: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
    evaluate_with(key, public_key, input, &SecretScalar::new(Scalar::from_bytes_mod_order_wide(&wide)))
}

/// Encoding an element takes a division in the field, which is most of the work. `double_and_compress_batch` encodes the
/// doubles of several elements with one division, in constant time. So every scalar is halved here: the group's order is
/// odd, hence each scalar s has exactly one half s/2 with s/2 + s/2 = s, and the double of (s/2)·P is s·P itself, whose
/// encoding depends on nothing but the element.
#[expect(clippy::arithmetic_side_effects, reason = "arithmetic in a field or group has no overflow")]
fn evaluate_with(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    b: &SecretScalar,
) -> Result<(BlindedOutput, Proof), InvalidScalar> {
    // Secret: a nonce of zero would disclose the key.
    if b.is_zero() {
        return Err(InvalidScalar);
    }
    // Secret: a half is worth as much as its scalar, and coordinates may tell of the scalar that led to them. What the
    // batch keeps on the heap meanwhile, a device wipes as it is freed (docs/porting.md).
    let half_key = SecretScalar::new(key.0.scalar().div_by_2());
    let half_b = SecretScalar::new(b.scalar().div_by_2());
    let halves = Zeroizing::new([
        input.point * half_key.scalar(),
        RistrettoPoint::mul_base(half_b.scalar()),
        input.point * half_b.scalar(),
    ]);
    let encodings = RistrettoPoint::double_and_compress_batch(halves.iter());
    let [output, v_t, w_t] = encodings.as_slice() else {
        debug_assert!(false, "as many are encoded as were given");
        return Err(InvalidScalar);
    };
    let output = BlindedOutput(output.to_bytes());
    debug_assert!(
        output.0 != [0; 32],
        "in a group of prime order, neither factor being zero, the product is not"
    );
    let c = challenge(input, public_key, &output, v_t, w_t);
    let beta_z = b.scalar() + key.0.scalar() * c;
    Ok((output, Proof { c: c.to_bytes(), beta_z: beta_z.to_bytes() }))
}

fn challenge(
    input: &BlindedInput,
    public_key: &PublicKey,
    output: &BlindedOutput,
    v_t: &CompressedRistretto,
    w_t: &CompressedRistretto,
) -> Scalar {
    let hash = Sha512::new().chain_update(PROOF_PREFIX);
    let hash = hash.chain_update(input.as_bytes()).chain_update(public_key.0).chain_update(output.as_bytes());
    let hash = hash.chain_update(v_t.as_bytes()).chain_update(w_t.as_bytes());
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}
