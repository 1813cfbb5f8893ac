//! What only a client of Strongroom computes (client protocol, section 7): it stretches a PIN, blinds and unblinds, shares,
//! derives keys, encrypts the secret, and signs a registration.
//!
//! No I/O and no clock; randomness is passed in. Realms contain no code for any of it: what both sides must agree on is
//! in `strongroom-proto`. Everything that a realm answers is a claim until it is checked here or there.
#![forbid(unsafe_code)]

pub mod oprf;
pub mod pin;
pub mod registration;
pub mod sharing;
