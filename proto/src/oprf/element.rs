//! Elements, as a client computes with them.

use super::{BlindedInput, BlindedOutput, InvalidElement, decode};
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::traits::Identity;

impl BlindedInput {
    /// Takes an element.
    ///
    /// # Errors
    /// It is the identity.
    pub fn from_point(point: RistrettoPoint) -> Result<Self, InvalidElement> {
        Ok(Self { encoding: encode(&point)?, point })
    }

    /// The element.
    #[must_use]
    pub const fn point(&self) -> &RistrettoPoint {
        &self.point
    }
}

impl BlindedOutput {
    /// Takes an element.
    ///
    /// # Errors
    /// It is the identity.
    pub fn from_point(point: &RistrettoPoint) -> Result<Self, InvalidElement> {
        encode(point).map(Self)
    }

    /// The element.
    #[must_use]
    pub fn point(&self) -> RistrettoPoint {
        let point = decode(&self.0);
        debug_assert!(point.is_ok(), "it was decoded, or encoded from an element");
        // The identity, which no proof verifies for and no input is.
        point.unwrap_or_default()
    }
}

fn encode(point: &RistrettoPoint) -> Result<[u8; 32], InvalidElement> {
    if *point == RistrettoPoint::identity() { Err(InvalidElement) } else { Ok(point.compress().to_bytes()) }
}
