//! How custodians keep their keys: in a file in PEM, in the same file under a passphrase, or on cards with words, of which some
//! are enough (decision 45).
//!
//! Pure: nothing here reads a file, and nothing draws randomness. Who holds the machine on which a custodian signs has that
//! custodian's key, however it is kept.

pub mod age;
pub mod card;
mod shamir;
mod words;
