//! Why an HSM refused.

use minicbor::{Decode, Encode};

#[cfg(feature = "outside")]
mod advice;

#[cfg(feature = "outside")]
pub use advice::RefusalClass;

/// Why an HSM refused. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// The bytes are not a request. Check the versions of agent and HSM.
    #[n(0)]
    Malformed,
    /// More bytes, requests or entries than [`Limits`](super::Limits) allow. Send fewer.
    #[n(1)]
    TooLarge,
    /// This HSM has no realm yet. Make or join one.
    #[n(2)]
    NoRealm,
    /// This HSM has a realm already; it never gets another.
    #[n(3)]
    HasRealm,
    /// The policy makes no sense: see
    /// [`RealmPolicy::is_valid`](crate::enrolment::RealmPolicy::is_valid).
    #[n(4)]
    BadPolicy,
    /// Not the nonce that this HSM drew for this export, or already used. Ask for a new one.
    #[n(5)]
    StaleNonce,
    /// Too few custodians of the policy have signed exactly this approval.
    #[n(6)]
    NotApproved,
    /// The sealed realm was not sealed to this device, or was altered.
    #[n(7)]
    NotForThisDevice,
    /// This HSM is not a member of the group.
    #[n(8)]
    NotMember,
    /// No members, too many or repeated ones, or this HSM is not among them.
    #[n(9)]
    BadMembers,
    /// This HSM has joined the group before.
    #[n(10)]
    AlreadyJoined,
    /// This HSM is already a member of as many groups as it can ever be.
    #[n(11)]
    NoRoomForGroup,
    /// A statement or entry that no HSM of this realm made, or made for something else.
    #[n(12)]
    NotAuthentic,
    /// Entries that do not follow one another, or do not follow the captured one. Send the ones between, or jump.
    #[n(13)]
    NotConsecutive,
    /// The statement is not about exactly this entry.
    #[n(14)]
    NotCommitted,
    /// The entry is older than the captured one.
    #[n(15)]
    Backwards,
    /// Not the captured entry. Capture up to the tip, then lead from it.
    #[n(16)]
    NotCaptured,
    /// This HSM does not lead the group.
    #[n(17)]
    NotLeader,
    /// The group does not own the record, or no tree was given for it.
    #[n(18)]
    NotCovered,
    /// The partial tree does not have the newest root. Patch it with the leaves of every batch since.
    #[n(19)]
    StaleTree,
    /// The partial tree does not open what the batch needs.
    #[n(20)]
    NotOpened,
    /// Too many entries or replies are waiting for capture or commit. Deliver statements first.
    #[n(21)]
    Busy,
    /// Fewer than a majority of the members have stated that they captured an own entry.
    #[n(22)]
    NoMajority,
    // 23 stays unused: older HSMs refused with it entries in a `Commit` that led nowhere.
    /// A record does not open under this realm's key: the tree holds something that no HSM of it sealed.
    #[n(24)]
    BadRecord,
    /// NVRAM failed. The HSM makes no more statements until it is restarted.
    #[n(25)]
    NvramFailed,
    /// A counter has reached its end.
    #[n(26)]
    Exhausted,
    /// Nothing is captured yet, and there is no statement that says so. Lead without an entry.
    #[n(27)]
    NothingCaptured,
    /// A record was sealed by a build that writes another version of records. Nothing of it was read, and it is not
    /// overwritten. Install that build or a later one.
    #[n(28)]
    OtherVersion,
    /// The seed is not the one behind the public key that custodians approved.
    #[n(29)]
    OtherSeed,
    /// No nonce is open for reads.
    #[n(30)]
    NoNonce,
    /// The group has as many transfers open as it can. Finish one of them.
    #[n(31)]
    TooManyTransfers,
    /// The group has no open transfer of this id that the step goes on with.
    #[n(32)]
    NoTransfer,
    /// The other group's committed entry does not show what this step needs, or the prefix is here already. Bring a later
    /// entry, or do without the step.
    #[n(33)]
    NotEvident,
    /// The group owns as many prefixes as it can, counting transfers, or this one is as long as one can be. Merge some, or
    /// move one away.
    #[n(34)]
    NoRoomForPrefix,
    /// The group has made its last entry here: it makes no more. Once that is committed, leave the group; it is never joined
    /// again. Only a statement that a member has left, or the last entry, committed, shows that it is over.
    #[n(35)]
    Retired,
    /// The group owns a prefix, or has a transfer open, so it cannot retire. Move that away, or bring it to its end.
    #[n(36)]
    InUse,
    /// Nothing shows that the group has retired. Bring its last entry, committed, or what a member states that has left.
    #[n(37)]
    NotRetired,
    /// This HSM keeps the ids of as many retired groups as it ever can. It stays a member of this one.
    #[n(38)]
    NoRoomToLeave,
    /// The realm's policy asks for more members in each group. Name more HSMs.
    #[n(39)]
    TooFewMembers,
}
