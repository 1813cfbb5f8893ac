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
mod vectors;
#[cfg(feature = "outside")]
mod verify;

#[cfg(feature = "outside")]
pub use vectors::prove_with_nonce_as_drawn;
#[cfg(feature = "outside")]
pub use verify::{InvalidProof, verify};

const PROOF_PREFIX: &[u8] = b"Juicebox_DLEQ_2023_1;";
/// Only the prover computes this hash, so it is not part of the protocol.
const NONCE_PREFIX: &[u8] = b"Strongroom_DLEQ_nonce_1;";

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

/// A group element with its encoding; not the identity.
#[derive(Clone, Copy)]
struct Element {
    encoding: [u8; 32],
    point: RistrettoPoint,
}

impl Element {
    fn from_bytes(encoding: &[u8; 32]) -> Result<Self, InvalidElement> {
        let point = CompressedRistretto(*encoding).decompress().ok_or(InvalidElement)?;
        if point == RistrettoPoint::identity() {
            Err(InvalidElement)
        } else {
            Ok(Self { encoding: *encoding, point })
        }
    }

    fn from_point(point: RistrettoPoint) -> Result<Self, InvalidElement> {
        if point == RistrettoPoint::identity() {
            return Err(InvalidElement);
        }
        Ok(Self { encoding: point.compress().to_bytes(), point })
    }
}

macro_rules! element {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(Element);

        impl $name {
            /// Decodes 32 bytes (RFC 9496, section 4.3.1).
            ///
            /// # Errors
            /// They are not the encoding of an element, or that of the identity.
            pub fn from_bytes(encoding: &[u8; 32]) -> Result<Self, InvalidElement> {
                Element::from_bytes(encoding).map(Self)
            }

            /// Takes an element.
            ///
            /// # Errors
            /// It is the identity.
            pub fn from_point(point: RistrettoPoint) -> Result<Self, InvalidElement> {
                Element::from_point(point).map(Self)
            }

            /// The element.
            #[must_use]
            pub const fn point(&self) -> &RistrettoPoint {
                &self.0.point
            }

            /// The encoding.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0.encoding
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.encoding == other.0.encoding
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

element!(
    /// What a client asks to have evaluated: a valid element, not the identity.
    BlindedInput
);
element!(
    /// The evaluation of a [`BlindedInput`], by one realm or recombined: a valid element, not the identity.
    BlindedOutput
);

/// The bytes are not the encoding of a group element, or are that of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidElement;

impl fmt::Display for InvalidElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a group element that may be used: send its canonical encoding, and not the identity")
    }
}

impl core::error::Error for InvalidElement {}

/// Evaluates a blinded input. The realm's side; takes constant time.
///
/// # Errors
/// None: in a group of prime order, neither factor being zero, the product is not the identity.
#[expect(clippy::arithmetic_side_effects, reason = "arithmetic in a group has no overflow")]
pub fn evaluate(key: &PrivateKey, input: &BlindedInput) -> Result<BlindedOutput, InvalidElement> {
    BlindedOutput::from_point(input.point() * key.0.scalar())
}

/// Proof that one secret key leads from G to the public key and from the blinded input to the blinded output, without
/// disclosing the key: challenge and response, each a scalar of 32 bytes as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The challenge.
    pub c: [u8; 32],
    /// The response.
    pub beta_z: [u8; 32],
}

/// Proves an evaluation. Draws 64 bytes at once. The proof's nonce must be fresh and secret, or the key is disclosed;
/// so it is not the draw but a hash of the draw, the key, and what is proven. Then a generator that repeats itself, or
/// that somebody knows, discloses nothing: different evaluations have different nonces, and without the key none can be
/// computed. `public_key` is the one the record holds.
///
/// # Errors
/// The nonce is zero, which nobody can cause (2⁻²⁵²).
pub fn prove(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    output: &BlindedOutput,
    rng: &mut impl CryptoRng,
) -> Result<Proof, InvalidScalar> {
    let mut drawn = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *drawn);
    // Secret: by reference, so that no copy is left on the stack.
    let (drawn, secret) = (drawn.as_slice(), key.0.to_bytes());
    let hash = Sha512::new().chain_update(NONCE_PREFIX).chain_update(drawn).chain_update(secret.as_slice());
    let hash = hash.chain_update(public_key.0).chain_update(input.as_bytes()).chain_update(output.as_bytes());
    let wide: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
    prove_with(key, public_key, input, output, &SecretScalar::new(Scalar::from_bytes_mod_order_wide(&wide)))
}

#[expect(clippy::arithmetic_side_effects, reason = "arithmetic in a field or group has no overflow")]
fn prove_with(
    key: &PrivateKey,
    public_key: &PublicKey,
    input: &BlindedInput,
    output: &BlindedOutput,
    b: &SecretScalar,
) -> Result<Proof, InvalidScalar> {
    // Secret: a nonce of zero would disclose the key.
    if b.is_zero() {
        return Err(InvalidScalar);
    }
    let v_t = RistrettoPoint::mul_base(b.scalar());
    let w_t = input.point() * b.scalar();
    let c = challenge(input, public_key, output, &v_t, &w_t);
    let beta_z = b.scalar() + key.0.scalar() * c;
    Ok(Proof { c: c.to_bytes(), beta_z: beta_z.to_bytes() })
}

fn challenge(
    input: &BlindedInput,
    public_key: &PublicKey,
    output: &BlindedOutput,
    v_t: &RistrettoPoint,
    w_t: &RistrettoPoint,
) -> Scalar {
    let hash = Sha512::new().chain_update(PROOF_PREFIX);
    let hash = hash.chain_update(input.as_bytes()).chain_update(public_key.0).chain_update(output.as_bytes());
    let hash = hash.chain_update(v_t.compress().as_bytes()).chain_update(w_t.compress().as_bytes());
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}
