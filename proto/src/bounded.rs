//! Arrays that have no more items than the protocol allows.
//!
//! An item can take many times as many bytes in memory as on the wire, so the number is checked before the first item
//! is read. A message with too many items is distinguished from a malformed one: [`is_too_many`].

use alloc::vec::Vec;
use core::fmt;
use minicbor::bytes::ByteVec;
use minicbor::data::Type;
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
pub fn len_at_most<const MAX: usize>(d: &mut Decoder<'_>) -> Result<usize, DecodeError> {
    let at = d.position();
    let len = d.array()?.ok_or_else(|| DecodeError::message("expected an array of known length").at(at))?;
    usize::try_from(len).ok().filter(|len| *len <= MAX).ok_or_else(|| too_many(at))
}

/// Reads an array of at most `MAX` items. Memory is allocated as they arrive, because the number is only claimed.
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

/// Passes over one item, however deep, in constant memory, and returns the position after it. `None` if it is cut short
/// or malformed, or contains anything of indefinite length, which is never sent.
///
/// A derived decoder skips what it does not know with a stack that grows with the input. So hostile input is walked
/// over first.
#[must_use]
pub fn end_of_item(d: &mut Decoder<'_>) -> Option<usize> {
    let mut left = 1_u64;
    while left > 0 {
        left = pass_head(d, left.checked_sub(1)?)?;
    }
    Some(d.position())
}

/// Passes over an item's head, and returns how many items are still to come after it.
fn pass_head(d: &mut Decoder<'_>, left: u64) -> Option<u64> {
    let inside = match d.datatype().ok()? {
        Type::Array => d.array().ok()??,
        Type::Map => d.map().ok()??.checked_mul(2)?,
        Type::Tag => d.tag().map(|_| 1).ok()?,
        Type::Bytes => d.bytes().map(|_| 0).ok()?,
        Type::String => d.str().map(|_| 0).ok()?,
        Type::Bool => d.bool().map(|_| 0).ok()?,
        Type::Null => d.null().map(|()| 0).ok()?,
        Type::Undefined => d.undefined().map(|()| 0).ok()?,
        Type::Simple => d.simple().map(|_| 0).ok()?,
        Type::F16 => pass_bytes(d, 3)?,
        Type::F32 => pass_bytes(d, 5)?,
        Type::F64 => pass_bytes(d, 9)?,
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef => return None,
        Type::Break | Type::Unknown(_) => return None,
        _ => d.int().map(|_| 0).ok()?,
    };
    left.checked_add(inside)
}

fn pass_bytes(d: &mut Decoder<'_>, len: usize) -> Option<u64> {
    let end = d.position().checked_add(len).filter(|end| *end <= d.input().len())?;
    d.set_position(end);
    Some(0)
}

/// Reads a byte string of at most `MAX` bytes.
pub(crate) fn bytes_at_most<const MAX: usize, C>(
    d: &mut Decoder<'_>,
    _: &mut C,
) -> Result<ByteVec, DecodeError> {
    let at = d.position();
    let bytes = d.bytes()?;
    if bytes.len() > MAX { Err(too_many(at)) } else { Ok(bytes.to_vec().into()) }
}
