//! What a realm checks of a registration before it stores it (client protocol, sections 13.2 and 13.3).

use crate::client::Register2Request;
use core::fmt;

/// A registration that no recovery could use, or that is out of bounds. A realm answers `DecodingError` and leaves
/// the record as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidRegistration {
    /// `num_guesses` is 0 or above 255 (section 13.2).
    Policy,
    /// The public key is not that of the private key (section 13.3).
    PublicKey,
}

impl fmt::Display for InvalidRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "num_guesses is out of range: register with 1 to 255",
            Self::PublicKey => "the public key is not that of the private key: register again",
        })
    }
}

impl core::error::Error for InvalidRegistration {}

/// Checks what a realm must check in a decoded Register2 (section 13.2), and that its public key fits (13.3), before
/// storing it. The signature is left to the recovering client, which checks it: a wrong one harms only the user who
/// registered, and the vectors require a realm to store a key signed for another realm.
///
/// # Errors
/// See [`InvalidRegistration`].
pub fn verify_registration(registration: &Register2Request) -> Result<(), InvalidRegistration> {
    registration.policy.checked().map_err(|_| InvalidRegistration::Policy)?;
    let public_key = registration.oprf_private_key.public_key();
    if registration.oprf_signed_public_key.public_key == public_key {
        Ok(())
    } else {
        Err(InvalidRegistration::PublicKey)
    }
}
