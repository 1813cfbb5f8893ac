//! What a group may be asked to do with what it owns, as data.

use minicbor::{Decode, Encode};

/// What a group is asked to do with what it owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum What {
    #[n(0)]
    Split,
    #[n(1)]
    Merge,
    #[n(2)]
    In,
    #[n(3)]
    Out,
    #[n(4)]
    Refuse,
    #[n(5)]
    Take,
    #[n(6)]
    GiveUp,
    #[n(7)]
    Close,
    #[n(8)]
    Retire,
    #[n(9)]
    End,
}

impl What {
    pub(super) const ALL: [Self; 10] = [
        Self::Split,
        Self::Merge,
        Self::In,
        Self::Out,
        Self::Refuse,
        Self::Take,
        Self::GiveUp,
        Self::Close,
        Self::Retire,
        Self::End,
    ];

    /// Those of episodes in which no group retires.
    pub(super) const MOVES: usize = 8;
}

/// A prefix: the first bits of a user's record, or the same with the last of them the other way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) struct Place {
    #[n(0)]
    pub(super) user: u8,
    #[n(1)]
    pub(super) bits: u16,
    #[n(2)]
    pub(super) beside: bool,
}

/// How much a tree shows that a change brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Opening {
    /// Its root, and what is beside the root's way.
    #[n(0)]
    Once,
    /// A stub of the right digest.
    #[n(1)]
    Hidden,
    /// All of it.
    #[n(2)]
    All,
}
