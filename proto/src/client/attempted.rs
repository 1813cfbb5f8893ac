//! The client's side of [`super::attempts`]: it reads what a realm says of the requests that counted.

use super::attempts::{ATTEMPT_BYTES, Attempt, AttemptsResponse, MAX_ATTEMPTS, VERSION, next_head};
use super::fields::RegistrationVersion;
use crate::ids::{Digest, EntryHash, GroupId, Index};

impl AttemptsResponse {
    /// Reads what [`Self::to_bytes`] writes. None for anything else, for more attempts than there are in all, and for a chain that these
    /// attempts, if they are all there were, do not make. Says nothing of the signature.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (group, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (registration, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (head, rest) = rest.split_first_chunk()?;
        let (newest, signature) = rest.split_last_chunk::<64>()?;
        let (newest, []) = newest.as_chunks::<ATTEMPT_BYTES>() else { return None };
        let read = Self {
            group: GroupId(*group),
            index: Index(u64::from_be_bytes(*index)),
            hash: EntryHash(*hash),
            version: RegistrationVersion(*registration),
            count: u64::from_be_bytes(*count),
            head: Digest(*head),
            newest: newest.iter().map(Attempt::from_bytes).collect(),
            signature: (*signature).into(),
        };
        let few = read.newest.len() <= MAX_ATTEMPTS;
        let listed = u64::try_from(read.newest.len()).is_ok_and(|listed| listed <= read.count);
        (*version == VERSION && few && listed && read.follows(0, &Digest([0; 32])) != Some(false))
            .then_some(read)
    }

    /// Whether this list goes on from an earlier one's count and head, in the same registration and group: nothing was left out between.
    /// None if too many came between to tell.
    #[must_use]
    pub fn follows(&self, count: u64, head: &Digest) -> Option<bool> {
        let new = self.count.checked_sub(count).map(usize::try_from);
        let Some(new) = new else { return Some(false) };
        let from = self.newest.len().checked_sub(new.ok()?)?;
        let next = |(count, head): (u64, Digest), attempt| {
            let number = count.saturating_add(1);
            (number, next_head(&head, &self.version.0, number, &self.group, attempt))
        };
        let (_, head) = self.newest.get(from..)?.iter().fold((count, *head), next);
        Some(head == self.head)
    }
}
