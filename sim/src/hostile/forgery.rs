//! What a host writes itself: entries and statements that no HSM made, as data.

use minicbor::{Decode, Encode};

/// How an entry is forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Forgery {
    #[n(0)]
    OtherPrev,
    #[n(1)]
    NoPartitions,
    #[n(2)]
    LaterIndex,
    #[n(3)]
    OtherGroup,
    /// As it was, with a MAC under a key of the host's.
    #[n(4)]
    HostsMac,
    /// As it was, with the MAC of a statement about it.
    #[n(5)]
    StatementsMac,
    /// Of a group that waits: as if the other had let go, with nothing below.
    #[n(6)]
    LetGo,
    /// As it was, and owns everything, with nothing below.
    #[n(7)]
    OwnsAll,
}

impl Forgery {
    pub(super) const ALL: [Self; 8] = [
        Self::OtherPrev,
        Self::NoPartitions,
        Self::LaterIndex,
        Self::OtherGroup,
        Self::HostsMac,
        Self::StatementsMac,
        Self::LetGo,
        Self::OwnsAll,
    ];
}

/// How a statement about an entry is forged. Sent where one of capture is wanted, or one of commit, whichever it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Lie {
    /// Another entry, with the MAC as it was.
    #[n(0)]
    OtherEntry,
    /// Another HSM, with the MAC as it was.
    #[n(1)]
    OtherHsm,
    /// Another entry, with the MAC of that.
    #[n(2)]
    EntrysMac,
    /// Another entry, with a MAC under a key of the host's.
    #[n(3)]
    HostsMac,
}

impl Lie {
    pub(super) const ALL: [Self; 4] = [Self::OtherEntry, Self::OtherHsm, Self::EntrysMac, Self::HostsMac];
}
