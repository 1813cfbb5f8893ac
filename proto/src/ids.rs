//! Newtypes for every id, index, hash and MAC, with their CBOR form (a byte string of exactly their length).

use core::fmt;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use subtle::ConstantTimeEq;

#[cfg(feature = "outside")]
mod hex;

#[cfg(feature = "outside")]
pub use hex::ParseIdError;

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                <[u8; $len]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| DecodeError::message(concat!("expected ", $len, " bytes")).at(at))
            }
        }
    };
}

byte_id!(
    /// A realm: HSMs that share realm keys. Random, 16 bytes.
    RealmId,
    16
);
byte_id!(
    /// A group: the fixed set of members that replicate one log. Random, 16 bytes.
    GroupId,
    16
);
byte_id!(
    /// One HSM, for as long as its NVRAM lasts. Random, 16 bytes.
    HsmId,
    16
);
byte_id!(
    /// One user's key in the tree, 32 bytes. Derived by agents; an HSM trusts nothing about it.
    RecordId,
    32
);
byte_id!(
    /// One transfer of a prefix, drawn where it is to go. Random, 16 bytes.
    TransferId,
    16
);
byte_id!(
    /// One leadership, drawn at each `Lead`. Random, 16 bytes.
    Term,
    16
);
byte_id!(
    /// The hash of a log entry, 32 bytes ([`crate::entry`]). All zero stands for "before entry 1".
    EntryHash,
    32
);
byte_id!(
    /// A BLAKE2s-256 digest that is not an entry's, 32 bytes: tree nodes, event lists.
    Digest,
    32
);
byte_id!(
    /// A hash in the Merkle tree over a group's log, 32 bytes ([`crate::tlog`]): SHA-256, unlike all others.
    TreeHash,
    32
);
byte_id!(
    /// A nonce that an HSM drew and will accept once. Random, 16 bytes.
    Nonce,
    16
);
byte_id!(
    /// An X25519 public key, 32 bytes (RFC 7748).
    X25519Public,
    32
);
byte_id!(
    /// An Ed25519 public key, 32 bytes (RFC 8032).
    Ed25519Public,
    32
);
byte_id!(
    /// The digest of an HSM's code, as its build states it, 32 bytes.
    BuildDigest,
    32
);

impl EntryHash {
    /// What entry 1 has for `prev`.
    pub const ZERO: Self = Self([0; 32]);
}

impl Digest {
    /// The root of an empty subtree.
    pub const EMPTY: Self = Self([0; 32]);
}

/// A 32-byte BLAKE2s MAC. Equality takes the same time whatever the bytes.
#[derive(Clone, Copy, Debug, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Mac(#[n(0)] pub Digest);

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        self.0.0.ct_eq(&other.0.0).into()
    }
}

/// The place of an entry in a group's log. The first entry is 1; 0 is "before any entry".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct Index(#[n(0)] pub u64);

impl Index {
    /// Before any entry.
    pub const ZERO: Self = Self(0);

    /// The place after this one, or `None` at the end of 64 bits.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A session's number, chosen at random by its client. Unique only together with a record id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct SessionId(#[n(0)] pub u32);
