//! Prefixes: the leading bits of record ids that a partition covers.
//!
//! A prefix has one form in memory and one on the wire: bits past its length are zero, so equal prefixes are equal
//! bytes, wherever they are hashed or compared.

use crate::ids::RecordId;
use alloc::vec::Vec;
use core::fmt;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Leading bits of record ids, 0 to 256 of them.
///
/// Ordered as the tree is walked: by place, and a prefix comes before those that it contains.
///
/// CBOR: `[bits, bytes]`, with as many bytes as the bits need, and zeros after the last bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bits: [u8; RecordId::LEN],
    len: u16,
}

impl Prefix {
    /// The prefix of no bits, which covers every record id.
    pub const WHOLE: Self = Self { bits: [0; RecordId::LEN], len: 0 };

    /// The longest prefix: every bit of a record id.
    pub const MAX_LEN: u16 = 256;

    /// The first `len` bits of a record id, or `None` if that is more than it has.
    #[must_use]
    pub fn of(id: &RecordId, len: u16) -> Option<Self> {
        if len > Self::MAX_LEN {
            return None;
        }
        let mut bits = id.0;
        let mut keep = u32::from(len);
        for byte in &mut bits {
            *byte &= !0xff_u8.checked_shr(keep).unwrap_or(0);
            keep = keep.saturating_sub(8);
        }
        Some(Self { bits, len })
    }

    /// How many bits it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // "empty" would say that it covers nothing; it covers everything
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// The bits, from the first, eight to a byte; all zero past the length.
    #[must_use]
    pub const fn bits(&self) -> &[u8; RecordId::LEN] {
        &self.bits
    }

    /// Whether the record id begins with these bits.
    #[must_use]
    pub fn contains(&self, id: &RecordId) -> bool {
        Self::of(id, self.len).as_ref() == Some(self)
    }

    /// The prefix that is one bit shorter; `None` at no bits.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        Self::of(&RecordId(self.bits), self.len.checked_sub(1)?)
    }

    /// Whether some record id begins with both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let len = self.len.min(other.len);
        Self::of(&RecordId(self.bits), len) == Self::of(&RecordId(other.bits), len)
    }

    /// The two prefixes that are one bit longer, the one that goes on with 0 first; `None` at 256 bits.
    #[must_use]
    pub fn children(&self) -> Option<(Self, Self)> {
        let left = Self { bits: self.bits, len: self.len.checked_add(1)? };
        let mut right = left;
        // There is no byte for a 257th bit.
        *right.bits.get_mut(usize::from(self.len >> 3))? |= mask(self.len);
        Some((left, right))
    }
}

/// The bit of `id` that says to which side of a node at `depth` it belongs: false is left.
#[must_use]
pub fn bit(id: &RecordId, depth: u16) -> bool {
    id.0.get(usize::from(depth >> 3)).is_some_and(|byte| byte & mask(depth) != 0)
}

fn mask(bit: u16) -> u8 {
    0x80_u8.checked_shr(u32::from(bit & 7)).unwrap_or(0)
}

/// The bits, as `0` and `1`; nothing for [`Prefix::WHOLE`].
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = RecordId(self.bits);
        (0..self.len).try_for_each(|at| f.write_str(if bit(&id, at) { "1" } else { "0" }))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

impl<C> Encode<C> for Prefix {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let bytes: Vec<u8> = self.bits.iter().copied().take(bytes_for(self.len)).collect();
        e.array(2)?.u16(self.len)?.bytes(&bytes)?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Prefix {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let refuse = |why| DecodeError::message(why).at(at);
        if d.array()? != Some(2) {
            return Err(refuse("expected a prefix: an array of 2"));
        }
        let len = d.u16()?;
        let bytes = d.bytes()?;
        if bytes.len() != bytes_for(len) {
            return Err(refuse("expected as many bytes as the prefix has bits"));
        }
        let mut id = RecordId([0; RecordId::LEN]);
        for (to, from) in id.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        let prefix = Self::of(&id, len).ok_or_else(|| refuse("a prefix has at most 256 bits"))?;
        if prefix.bits != id.0 {
            return Err(refuse("expected zeros after the last bit of a prefix"));
        }
        Ok(prefix)
    }
}

fn bytes_for(bits: u16) -> usize {
    usize::from(bits.div_ceil(8))
}
