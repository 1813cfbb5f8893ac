//! A prefix on its way from one group to another, as every entry of both repeats it until it has arrived.

use crate::ids::{Digest, GroupId, TransferId};
use crate::prefix::Prefix;
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

    /// The group on the other side.
    #[must_use]
    pub const fn other(&self) -> GroupId {
        match self {
            Self::Incoming { source: other, .. } | Self::Outgoing { destination: other, .. } => *other,
        }
    }

    /// What is to move.
    #[must_use]
    pub const fn prefix(&self) -> Prefix {
        match self {
            Self::Incoming { prefix, .. } | Self::Outgoing { prefix, .. } => *prefix,
        }
    }

    /// The bytes that an entry's hash covers: a byte for the kind (2 is taken, by a group's last entry), then the fields, each of a fixed length.
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
