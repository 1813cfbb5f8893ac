//! Ids as people write them.

use super::{
    BuildDigest, Digest, Ed25519Public, EntryHash, GroupId, HsmId, Nonce, RealmId, RecordId, Term,
    X25519Public,
};
use core::fmt;
use core::str::FromStr;

/// A text was not hexadecimal of the length asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError {
    /// How many hexadecimal digits were expected.
    pub expected_digits: usize,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.expected_digits)
    }
}

impl core::error::Error for ParseIdError {}

macro_rules! from_hex {
    ($($name:ident),+) => {$(
    impl FromStr for $name {
        type Err = ParseIdError;

        /// Parses hexadecimal of either case; dashes are skipped.
        fn from_str(s: &str) -> Result<Self, ParseIdError> {
            let mut out = [0; Self::LEN];
            parse_hex(s, &mut out).map(|()| Self(out))
        }
    }
    )+};
}
from_hex!(
    RealmId,
    GroupId,
    HsmId,
    RecordId,
    Term,
    EntryHash,
    Digest,
    Nonce,
    X25519Public,
    Ed25519Public,
    BuildDigest
);

fn parse_hex(s: &str, out: &mut [u8]) -> Result<(), ParseIdError> {
    let bad = ParseIdError { expected_digits: out.len().saturating_mul(2) };
    let mut digits = s.bytes().filter(|b| *b != b'-').map(|b| (b as char).to_digit(16));
    let mut next = || digits.next().flatten().ok_or(bad);
    for byte in out.iter_mut() {
        *byte = next()?.wrapping_mul(16).wrapping_add(next()?) as u8;
    }
    if digits.next().is_some() { Err(bad) } else { Ok(()) }
}
