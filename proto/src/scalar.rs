//! A secret scalar of ristretto255 (RFC 9496): an OPRF key, or a share of one or of an encryption key's scalar.

use core::fmt;
use curve25519_dalek::scalar::Scalar;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A secret scalar of ristretto255, canonical, possibly zero. Wiped when dropped; equality takes constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretScalar(Scalar);

impl SecretScalar {
    /// Takes 32 bytes, little-endian.
    ///
    /// # Errors
    /// They are not below the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidScalar> {
        Option::from(Scalar::from_canonical_bytes(*bytes)).map(Self).ok_or(InvalidScalar)
    }

    /// The 32 bytes, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Whether it is zero, which no key or share may be (section 13.3).
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&Scalar::ZERO).into()
    }

    /// Takes a scalar.
    // Secret: a copy that the caller holds on to is for the caller to wipe.
    #[must_use]
    pub const fn new(scalar: Scalar) -> Self {
        Self(scalar)
    }

    /// The scalar, to compute with.
    #[must_use]
    pub const fn scalar(&self) -> &Scalar {
        &self.0
    }
}

impl PartialEq for SecretScalar {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretScalar {}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(…)")
    }
}

/// The bytes are not a canonical scalar, or are zero where that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidScalar;

impl fmt::Display for InvalidScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a scalar that may be used: send it canonical and not zero")
    }
}

impl core::error::Error for InvalidScalar {}
