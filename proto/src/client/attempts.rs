//! Which requests on a record counted: what a realm remembers of them, and says, signed, to whoever asks for the record. Not part of the
//! protocol of clients in the field (`docs/protocol.md`, section 17).

use super::cbor::Writer;
use super::fields::RegistrationVersion;
use crate::hash::{hash, label};
use crate::ids::{Digest, EntryHash, GroupId, Index, RealmId};
use alloc::vec::Vec;
use minicbor::bytes::ByteArray;

/// The most requests that are remembered one by one.
pub const MAX_ATTEMPTS: usize = 15;
/// Bytes of one of them.
pub const ATTEMPT_BYTES: usize = 16;
/// The version of [`AttemptsResponse::to_bytes`], its first byte.
pub(super) const VERSION: u8 = 1;

/// A request that counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The entry that it is counted in, of the group whose log it is.
    pub index: Index,
    /// When an agent saw it, in seconds since 1970, below 2^48: the host's word alone. 0 is unknown.
    pub time: u64,
    /// What came of it, as in events: 1 registered, 2 guess charged, 3 last guess charged, 4 recovered, 5 erased, 6 deleted,
    /// 7 staged, 8 activated.
    pub what: u8,
    /// How many guesses were left then.
    pub guesses_left: u8,
}

impl Attempt {
    /// `be8(index) ‖ be6(time) ‖ what ‖ guesses left`.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; ATTEMPT_BYTES] {
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.index.0.to_be_bytes();
        let [_, _, t0, t1, t2, t3, t4, t5] = self.time.to_be_bytes();
        [i0, i1, i2, i3, i4, i5, i6, i7, t0, t1, t2, t3, t4, t5, self.what, self.guesses_left]
    }

    /// Reads what [`Self::to_bytes`] writes, which is any 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; ATTEMPT_BYTES]) -> Self {
        let [i0, i1, i2, i3, i4, i5, i6, i7, t0, t1, t2, t3, t4, t5, what, guesses_left] = *bytes;
        let index = Index(u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]));
        let time = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
        Self { index, time, what, guesses_left }
    }
}

/// The head of the chain over a registration's requests, after this one, the `count`th in it.
#[must_use]
pub fn next_head(
    head: &Digest,
    version: &[u8; 16],
    count: u64,
    group: &GroupId,
    attempt: &Attempt,
) -> Digest {
    let fields: [&[u8]; 5] =
        [head.as_bytes(), version, &count.to_be_bytes(), group.as_bytes(), &attempt.to_bytes()];
    hash(label::ATTEMPT, &fields)
}

/// Answer to a request for the attempts on a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptsResponse {
    /// The group that has the record.
    pub group: GroupId,
    /// The committed entry that shows the record like this.
    pub index: Index,
    /// Its hash.
    pub hash: EntryHash,
    /// The registration that they were about; zeros if there never was one.
    pub version: RegistrationVersion,
    /// How many there were, that registration included.
    pub count: u64,
    /// [`next_head`] after each of them, from zeros on.
    pub head: Digest,
    /// The newest of them, the oldest first: at most [`MAX_ATTEMPTS`], and only those in this group.
    pub newest: Vec<Attempt>,
    /// The realm's checkpoint key over [`Self::digest`] (Ed25519).
    pub signature: ByteArray<64>,
}

impl AttemptsResponse {
    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self, realm: &RealmId) -> Digest {
        hash(label::ATTEMPTS, &[realm.as_bytes(), &self.unsigned()])
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut bytes = Vec::from([VERSION]);
        bytes.extend_from_slice(self.group.as_bytes());
        bytes.extend_from_slice(&self.index.0.to_be_bytes());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&self.version.0);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(self.head.as_bytes());
        self.newest.iter().for_each(|attempt| bytes.extend_from_slice(&attempt.to_bytes()));
        bytes
    }

    /// What is signed without the realm, and the signature: 177 to 417 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.unsigned(), &self.signature[..]].concat()
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.bytes(&self.to_bytes());
    }
}
