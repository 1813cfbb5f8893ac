//! The tree over a group's log, for the public: summing a chain up, and signing what is committed.
//!
//! The core holds nothing of it. A host brings the [`Head`] that an HSM stated before, and the entries that follow: what is
//! stated is true of the chain that they are, whoever made them. Whether a chain is the group's is looked at when it is
//! signed: then its last entry is stated as committed, and that entry's hash covers all before it.

use crate::core::Core;
use crate::state::Position;
use strongroom_proto::checkpoint;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Refusal, Reply};
use strongroom_proto::statement::{Committed, Head};
use strongroom_proto::tlog::{CompactRange, leaf};

impl Core {
    /// States what the tree is after these entries, which follow those of `from`, or begin with entry 1.
    pub(crate) fn extend_head(&self, from: Option<Head>, entries: &[Entry]) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let (group, mut at, mut range) = match from {
            Some(head) if head.is_authentic(&keys.statements, &keys.realm) => {
                (head.group, Position { index: head.index, hash: head.hash }, head.range)
            }
            Some(_) => return Err(Refusal::NotAuthentic),
            None => {
                let first = entries.first().ok_or(Refusal::Malformed)?;
                (first.group, Position::NOTHING, CompactRange::default())
            }
        };
        for entry in entries {
            if !self.follows(entry, at) {
                return Err(Refusal::NotConsecutive);
            }
            let hash = entry.hash();
            if !range.append(at.index.0, leaf(&hash)) {
                debug_assert!(false, "a stated range has as many hashes as its size asks for");
                return Err(Refusal::Malformed);
            }
            at = Position { index: entry.index, hash };
        }
        let head = Head::new(&keys.statements, &keys.realm, group, (at.index, at.hash), range);
        Ok(Reply::Head(head))
    }

    /// Signs the checkpoint of a head whose entry is committed. Who stated that is not looked at, nor that the head's entries are
    /// of its group: no core states it but of an entry that it made in that group, or began to lead from, and the entry's hash
    /// covers the rest.
    pub(crate) fn sign_head(&self, head: &Head, committed: &Committed) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        if !head.is_authentic(&keys.statements, &keys.realm) {
            return Err(Refusal::NotAuthentic);
        }
        if !committed.is_authentic(&keys.statements, &keys.realm, &head.group) {
            return Err(Refusal::NotAuthentic);
        }
        if (committed.index, committed.hash) != (head.index, head.hash) {
            return Err(Refusal::NotCommitted);
        }
        let body = checkpoint::body(&keys.realm, &head.group, head.index, &head.range.root());
        Ok(Reply::Checkpoint(keys.checkpoints.sign(&body)))
    }
}
