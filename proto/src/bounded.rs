//! Arrays that have no more items than the protocol allows.
//!
//! An item can take many times as many bytes in memory as on the wire, so the number is looked at before the first is read.
//! Whether a message had too many is told apart from whether it was malformed: [`is_too_many`].

use alloc::vec::Vec;
use core::fmt;
use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder};

/// An array has more items than the protocol allows.
#[derive(Debug)]
struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more items than the protocol allows")
    }
}

impl core::error::Error for TooMany {}

/// The error for an array at `position` with too many items.
pub(crate) fn too_many(position: usize) -> DecodeError {
    DecodeError::custom(TooMany).at(position)
}

/// Whether decoding failed because an array had more items than the protocol allows. Send fewer.
#[must_use]
pub fn is_too_many(error: &DecodeError) -> bool {
    error.is_custom()
}

/// Reads how many items an array has, at most `MAX`. One of indefinite length is refused.
pub(crate) fn len_at_most<const MAX: usize>(d: &mut Decoder<'_>) -> Result<usize, DecodeError> {
    let at = d.position();
    let len = d.array()?.ok_or_else(|| DecodeError::message("expected an array of known length").at(at))?;
    usize::try_from(len).ok().filter(|len| *len <= MAX).ok_or_else(|| too_many(at))
}

/// Reads an array of at most `MAX` items. Memory is taken as they arrive, for the number is only claimed.
pub fn at_most<'b, const MAX: usize, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, DecodeError> {
    let len = len_at_most::<MAX>(d)?;
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(d.decode_with(context)?);
    }
    Ok(items)
}
