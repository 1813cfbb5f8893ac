//! Which requests on a record counted, kept in the record, so that its owner can be told, and shown that nothing is left out.
//!
//! A list changes in the entry that the request is counted in, and is read as any other read (invariant 4). What is stated of it is signed, as
//! of the newest entry of the leader's chain, and leaves only when that is committed.

use crate::keys::Keys;
use crate::state::Position;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use strongroom_proto::client::{
    ATTEMPT_BYTES, Attempt, AttemptsResponse, MAX_ATTEMPTS, RegistrationVersion, next_head,
};
use strongroom_proto::ids::{Digest, GroupId};

/// Bits of a time: more are not kept.
const TIME_BITS: u64 = (1 << 48) - 1;

/// The requests on a record that counted since it was registered.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Attempts {
    #[n(0)]
    version: ByteArray<16>,
    #[n(1)]
    count: u64,
    #[n(2)]
    head: Digest,
    /// The newest ones, the oldest first; all in the group that last sealed the record.
    #[n(3)]
    newest: ByteVec,
}

impl Attempts {
    /// Of a registration of this version there are none yet.
    pub(crate) fn of(version: [u8; 16]) -> Self {
        Self { version: version.into(), count: 0, head: Digest([0; 32]), newest: ByteVec::from([].to_vec()) }
    }

    /// Of a record that this group last sealed. Positions in another's log are none here: only their count and their chain stay.
    pub(crate) fn in_group(mut self, group: GroupId, last: Option<GroupId>) -> Self {
        if last != Some(group) {
            self.newest.clear();
        }
        self
    }

    /// One more, counted in an entry of this group.
    #[must_use]
    pub(crate) fn with(mut self, group: &GroupId, attempt: Attempt) -> Self {
        let attempt = Attempt { time: attempt.time & TIME_BITS, ..attempt };
        self.count = self.count.saturating_add(1);
        self.head = next_head(&self.head, &self.version, self.count, group, &attempt);
        self.newest.extend_from_slice(&attempt.to_bytes());
        let over = self.newest.len().saturating_sub(MAX_ATTEMPTS * ATTEMPT_BYTES);
        self.newest.drain(..over);
        self
    }

    /// What the realm says of them, as of this entry.
    pub(crate) fn stated(&self, keys: &Keys, group: GroupId, at: Position) -> AttemptsResponse {
        let (newest, _) = self.newest.as_chunks();
        let mut stated = AttemptsResponse {
            group,
            index: at.index,
            hash: at.hash,
            version: RegistrationVersion(*self.version),
            count: self.count,
            head: self.head,
            newest: newest.iter().map(Attempt::from_bytes).collect(),
            signature: [0; 64].into(),
        };
        stated.signature = keys.checkpoints.sign_digest(&stated.digest(&keys.realm));
        stated
    }
}
