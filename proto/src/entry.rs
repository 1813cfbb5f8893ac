//! The log entry: what one step of a group's log says, its hash, and its MAC.
//!
//! An [`Entry`] is a claim until an HSM has verified its MAC with [`Entry::is_authentic`]. Hosts cannot; they follow
//! the chain by [`Entry::hash`] alone. The group of an entry is always read from the entry, never from the message
//! that carries it.

use crate::bounded::{at_most, len_at_most, too_many};
use crate::hash::{hash, label, mac};
use crate::ids::{Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, Term};
use crate::prefix::Prefix;
use crate::transfer::Transfer;
use alloc::vec::Vec;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The most prefixes that a group can own.
pub const MAX_PARTITIONS: usize = 16;
/// The most transfers that a group can have open. Each takes the place of a prefix too.
pub const MAX_OPEN: usize = 8;
/// The most of these that wait for a prefix.
pub const MAX_AWAITED: usize = 4;
/// The most bits of a prefix that a group can own. Records are spread evenly, so nobody needs more; and what is bounded
/// by it (an entry, a segment, a message) is shorter.
pub const MAX_PREFIX_BITS: u16 = 64;

/// What the hash of a group's last entry has behind its open transfers.
const LAST: u8 = 2;

/// One prefix that a group owns, and the root of the tree below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Partition {
    /// The leading bits.
    #[n(0)]
    pub prefix: Prefix,
    /// The root of the tree over the records under `prefix`.
    #[n(1)]
    pub root: Digest,
}

/// One step of a group's log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Entry {
    /// The realm.
    #[n(0)]
    pub realm: RealmId,
    /// The group whose log this is.
    #[n(1)]
    pub group: GroupId,
    /// Its place in the log, from 1.
    #[n(2)]
    pub index: Index,
    /// The hash of the entry before, all zero for entry 1.
    #[n(3)]
    pub prev: EntryHash,
    /// The HSM that made it.
    #[n(4)]
    pub leader: HsmId,
    /// The leadership in which it was made.
    #[n(5)]
    pub term: Term,
    /// What the group owns after this entry, in ascending order of prefix; at most [`MAX_PARTITIONS`].
    #[cbor(n(6), decode_with = "at_most::<MAX_PARTITIONS, _, _>")]
    pub partitions: Vec<Partition>,
    /// How many decisions about transfers the group has made.
    #[n(7)]
    pub transfers: u64,
    /// [`events_hash`] of the sealed events that belong to this entry.
    #[n(8)]
    pub events_hash: Digest,
    /// MAC over [`Self::hash`], under the realm's statement key.
    #[n(9)]
    pub mac: Mac,
    /// The transfers that are open after this entry, at most [`MAX_OPEN`] and [`MAX_AWAITED`]. Not encoded where there is
    /// none.
    #[cbor(
        n(10),
        encode_with = "encode_open",
        decode_with = "decode_open",
        is_nil = "is_nothing_open",
        nil = "nothing_open"
    )]
    pub open: Vec<Transfer>,
    /// The group has retired: no entry follows. Not encoded where it has not.
    #[cbor(n(11), skip_if = "core::ops::Not::not")]
    pub last: bool,
}

impl Entry {
    /// The hash over everything but the MAC.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        let partitions: Vec<u8> = self.partitions.iter().flat_map(Self::partition_bytes).collect();
        let mut open: Vec<u8> = self.open.iter().flat_map(Transfer::hashed).collect();
        // No transfer begins with this byte, so it can be told from one. Entries of before are hashed as they were.
        open.extend(self.last.then_some(LAST));
        let Digest(bytes) = hash(
            label::ENTRY,
            &[
                self.realm.as_bytes(),
                self.group.as_bytes(),
                &self.index.0.to_be_bytes(),
                self.prev.as_bytes(),
                self.leader.as_bytes(),
                self.term.as_bytes(),
                &partitions,
                &self.transfers.to_be_bytes(),
                &open,
                self.events_hash.as_bytes(),
            ],
        );
        EntryHash(bytes)
    }

    /// `be2(prefix length in bits) ‖ prefix padded to 32 bytes ‖ root`, 66 bytes.
    fn partition_bytes(p: &Partition) -> impl Iterator<Item = u8> + use<> {
        p.prefix.len().to_be_bytes().into_iter().chain(*p.prefix.bits()).chain(p.root.0)
    }

    /// The MAC that an HSM of the realm puts on an entry with this hash.
    #[must_use]
    pub fn mac_of(statement_key: &[u8; 32], hash: &EntryHash) -> Mac {
        mac(statement_key, label::ENTRY_MAC, &[hash.as_bytes()])
    }

    /// Whether an HSM that holds `statement_key` made this entry, whose hash is `hash`.
    #[must_use]
    pub fn is_authentic(&self, statement_key: &[u8; 32], hash: &EntryHash) -> bool {
        Self::mac_of(statement_key, hash) == self.mac
    }
}

fn encode_open<C, W: Write>(
    open: &[Transfer],
    e: &mut Encoder<W>,
    context: &mut C,
) -> Result<(), EncodeError<W::Error>> {
    open.encode(e, context)
}

/// Those that wait take the fewest bytes for what they take in memory, so there may be no more of them than in any entry
/// that an HSM makes.
fn decode_open<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Vec<Transfer>, DecodeError> {
    let at = d.position();
    let (mut open, mut awaited) = (Vec::new(), 0_usize);
    for _ in 0..len_at_most::<MAX_OPEN>(d)? {
        let transfer: Transfer = d.decode_with(context)?;
        awaited = awaited.saturating_add(usize::from(matches!(transfer, Transfer::Incoming { .. })));
        if awaited > MAX_AWAITED {
            return Err(too_many(at));
        }
        open.push(transfer);
    }
    Ok(open)
}

fn is_nothing_open(open: &[Transfer]) -> bool {
    open.is_empty()
}

#[allow(clippy::unnecessary_wraps)] // as the decoder wants it
fn nothing_open() -> Option<Vec<Transfer>> {
    Some(Vec::new())
}

/// The hash over an entry's sealed events, in order.
#[must_use]
pub fn events_hash<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let events: Vec<&[u8]> = events.into_iter().collect();
    hash(label::EVENTS, &events)
}
