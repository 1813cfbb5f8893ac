//! What a group does with the prefixes that it owns: splitting, merging, and moving them to another group.
//!
//! A prefix moves in four steps, each an entry of one group that rests on a committed entry of the other
//! (`docs/protocol.md`, section 14). Hosts carry the evidence and decide nothing: [`Evidence`] is a claim until an HSM
//! has checked it.

use crate::entry::Entry;
use crate::ids::TransferId;
use crate::prefix::Prefix;
use crate::statement::{Committed, Retired};
use crate::tree::ClaimedTree;
use alloc::boxed::Box;
use minicbor::{Decode, Encode};

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

/// That a group has retired, as a host brings it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Retirement {
    /// Its last entry.
    #[n(0)]
    Entry(#[n(0)] Box<Evidence>),
    /// What an HSM states that was a member of it.
    #[n(1)]
    Stated(#[n(0)] Retired),
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
    /// Make the group's last entry. It owns nothing, and has no transfer open.
    #[n(8)]
    Retire,
    /// Have this transfer open no longer, because the group on the other side has retired: neither can it let go any more, nor
    /// does it wait.
    #[n(9)]
    End(#[n(0)] TransferId, #[n(1)] Retired),
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
            | Self::Close(..)
            | Self::Retire
            | Self::End(..) => 0,
        }
    }
}
