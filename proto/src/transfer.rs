//! What a group does with the prefixes that it owns: splitting, merging, and moving them to another group.
//!
//! A prefix moves in four steps, each an entry of one group that rests on a committed entry of the other
//! (`docs/protocol.md`, section 14). Hosts carry the evidence and decide nothing: [`Evidence`] is a claim until an HSM
//! has checked it.

use crate::entry::Entry;
use crate::ids::{Digest, GroupId, TransferId};
use crate::prefix::Prefix;
use crate::statement::Committed;
use crate::tree::ClaimedTree;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// What an entry repeats until it is closed: the group's part in moving one prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Transfer {
    /// The prefix is to come from another group. It takes up the place of one that is owned.
    #[n(0)]
    Incoming {
        /// Drawn in the HSM that made the entry.
        #[n(0)]
        id: TransferId,
        /// The group that owns the prefix.
        #[n(1)]
        source: GroupId,
        /// The prefix.
        #[n(2)]
        prefix: Prefix,
        /// How many decisions the source had made. It gives the prefix away only while it has made no other.
        #[n(3)]
        decisions: u64,
    },
    /// The prefix has left, and only the destination can take it.
    #[n(1)]
    Outgoing {
        /// The id that the destination drew.
        #[n(0)]
        id: TransferId,
        /// The group that is to own the prefix.
        #[n(1)]
        destination: GroupId,
        /// The prefix.
        #[n(2)]
        prefix: Prefix,
        /// The root of the tree below it when it left.
        #[n(3)]
        root: Digest,
        /// How many decisions the destination had made.
        #[n(4)]
        decisions: u64,
    },
}

impl Transfer {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> TransferId {
        match self {
            Self::Incoming { id, .. } | Self::Outgoing { id, .. } => *id,
        }
    }

    /// What is to move.
    #[must_use]
    pub const fn prefix(&self) -> Prefix {
        match self {
            Self::Incoming { prefix, .. } | Self::Outgoing { prefix, .. } => *prefix,
        }
    }

    /// The bytes that an entry's hash covers: a byte for the kind, then the fields, each of a fixed length.
    pub(crate) fn hashed(&self) -> Vec<u8> {
        let (kind, id, group, prefix, root, decisions) = match self {
            Self::Incoming { id, source, prefix, decisions } => (0_u8, id, source, prefix, None, decisions),
            Self::Outgoing { id, destination, prefix, root, decisions } => {
                (1, id, destination, prefix, Some(root), decisions)
            }
        };
        let mut bytes = Vec::from([kind]);
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(group.as_bytes());
        bytes.extend_from_slice(&prefix.len().to_be_bytes());
        bytes.extend_from_slice(prefix.bits());
        bytes.extend(root.iter().flat_map(|root| root.0));
        bytes.extend_from_slice(&decisions.to_be_bytes());
        bytes
    }
}

/// A committed entry of another group, as a host brings it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Evidence {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// That exactly this entry is committed. Only a member of the entry's group states so, and only of an entry that it
    /// made, or had captured after it had checked its MAC.
    #[n(1)]
    pub committed: Committed,
}

/// One change of what a group owns. Each makes an entry, which does nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Change {
    /// Own a prefix as its two halves. The tree opens its root, as far as one node below.
    #[n(0)]
    Split(#[n(0)] Prefix, #[n(1)] ClaimedTree),
    /// Own the two halves of this prefix as one. The trees open their roots, the half that goes on with 0 first.
    #[n(1)]
    Merge(#[n(0)] Prefix, #[n(1)] ClaimedTree, #[n(2)] ClaimedTree),
    /// Step 1, in the destination: wait for a prefix that the source owns.
    #[n(2)]
    In(#[n(0)] Prefix, #[n(1)] Evidence),
    /// Step 2, in the source: let go of the prefix that the destination waits for under this id.
    #[n(3)]
    Out(#[n(0)] TransferId, #[n(1)] Evidence),
    /// Instead of step 2, in the source: nothing that waits now will ever be let go.
    #[n(4)]
    Refuse,
    /// Step 3, in the destination: own what the source let go.
    #[n(5)]
    Take(#[n(0)] TransferId, #[n(1)] Evidence),
    /// Instead of step 3, in the destination: wait no longer, because the source has decided otherwise.
    #[n(6)]
    GiveUp(#[n(0)] TransferId, #[n(1)] Evidence),
    /// Step 4, in the source: the destination waits no longer.
    #[n(7)]
    Close(#[n(0)] TransferId, #[n(1)] Evidence),
}

impl Change {
    /// The most nodes of a tree in it: a root, and its two sides.
    pub const MAX_NODES: usize = 3;

    /// How many nodes its trees claim, in the largest of them.
    #[must_use]
    pub fn nodes(&self) -> usize {
        match self {
            Self::Split(_, tree) => tree.nodes(),
            Self::Merge(_, left, right) => left.nodes().max(right.nodes()),
            Self::In(..)
            | Self::Out(..)
            | Self::Refuse
            | Self::Take(..)
            | Self::GiveUp(..)
            | Self::Close(..) => 0,
        }
    }
}
