//! What a caller should do about a refusal: for programs its class, for people a sentence.

use super::Refusal;
use core::fmt;

/// What a caller should do about a refusal. Nothing changed, whatever the class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalClass {
    /// The request is wrong, however often it is sent. Send a different one, or give up.
    CallerIsWrong,
    /// The same request can succeed later.
    TryAgain,
    /// The HSM is not where the caller believes it to be. Find out where it is, and start anew from there.
    StartAnew,
    /// The device can no longer do this. Use another one, or restart it.
    DeviceFailed,
}

impl Refusal {
    /// What the caller should do about it.
    #[must_use]
    pub const fn class(self) -> RefusalClass {
        match self {
            Self::Malformed
            | Self::TooLarge
            | Self::NoRealm
            | Self::HasRealm
            | Self::BadPolicy
            | Self::NotApproved
            | Self::NotForThisDevice
            | Self::BadMembers
            | Self::AlreadyJoined
            | Self::NoRoomForGroup
            | Self::NotAuthentic
            | Self::NotCommitted
            | Self::NotCovered
            | Self::NotOpened
            | Self::BadRecord
            | Self::OtherVersion
            | Self::OtherSeed
            | Self::TooManyTransfers
            | Self::NoTransfer
            | Self::NotEvident
            | Self::NoRoomForPrefix
            | Self::Retired
            | Self::InUse
            | Self::NotRetired
            | Self::NoRoomToLeave
            | Self::TooFewMembers => RefusalClass::CallerIsWrong,
            Self::Busy | Self::NoMajority => RefusalClass::TryAgain,
            Self::StaleNonce
            | Self::NoNonce
            | Self::NotMember
            | Self::NotConsecutive
            | Self::Backwards
            | Self::NotCaptured
            | Self::NotLeader
            | Self::StaleTree
            | Self::NothingCaptured => RefusalClass::StartAnew,
            Self::NvramFailed | Self::Exhausted => RefusalClass::DeviceFailed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the HSM could not read the request; check that agent and HSM have matching versions",
            Self::TooLarge => "the request is larger than the HSM's limits; send fewer requests or entries",
            Self::NoRealm => "the HSM has no realm yet; make one or join one",
            Self::HasRealm => "the HSM has a realm already and never gets another; use an HSM with empty NVRAM",
            Self::BadPolicy => {
                "the policy is not valid; name 1 to 9 different keys and a threshold among them, or none, and groups of 1 to 9"
            }
            Self::StaleNonce => {
                "the approval is used already, or from before one of the two HSMs restarted or made another request or offer; make a \
                 new request and offer, and have that signed"
            }
            Self::NotApproved => {
                "too few custodians signed this approval, or it is not for this realm and these HSMs as they are now; collect \
                 more signatures over it, or make a new offer"
            }
            Self::NotForThisDevice => {
                "the sealed realm is not for this device and its build, or of another version; export it again for this HSM, as it is"
            }
            Self::NotMember => "the HSM is not a member of this group",
            Self::BadMembers => "a group needs 1 to 9 different members, this HSM among them",
            Self::AlreadyJoined => "the HSM has joined this group already; nothing to do",
            Self::NoRoomForGroup => "the HSM is a member of as many groups as it can be; use another HSM",
            Self::NotAuthentic => "a statement or entry was not made by an HSM of this realm for this purpose",
            Self::NotConsecutive => "the entries do not follow the captured one; send those between, or jump",
            Self::NotCommitted => "the statement does not say that exactly this entry is committed",
            Self::Backwards => "the entry is older than the captured one; nothing to do",
            Self::NotCaptured => "the entry is not the captured one; capture up to the tip, then lead from it",
            Self::NotLeader => "the HSM does not lead this group; ask its leader",
            Self::NotCovered => "the group does not own this record",
            Self::StaleTree => "the partial tree is not of the newest root; load the paths again",
            Self::NotOpened => "the partial tree does not open a record of the batch; load its path",
            Self::Busy => "too many entries wait for a commit; deliver statements first",
            Self::NoMajority => "fewer than a majority of the members have captured; wait for more statements",
            Self::BadRecord => "a record in the tree was not sealed by this realm; the store is damaged",
            Self::NvramFailed => "the HSM's NVRAM failed; restart it, and replace it if that does not help",
            Self::Exhausted => "a counter of the HSM is at its end",
            Self::OtherSeed => {
                "the sealed realm holds another seed than custodians approved; do not use where it came from"
            }
            Self::NoNonce => "no nonce is open for reads; draw one, and gather statements that name it",
            Self::TooManyTransfers => "the group has as many transfers open as it can; finish one of them",
            Self::NoTransfer => "the group has no open transfer of this id that the step goes on with",
            Self::NotEvident => {
                "the other group's committed entry does not show what this step needs, or the prefix is here already; bring a later \
                 entry, or do without the step"
            }
            Self::NoRoomForPrefix => {
                "the group owns as many prefixes as it can, or this one is as long as one can be; merge some, or move one to another \
                 group"
            }
            Self::Retired => "the group has made its last entry; once that is committed, leave it with `group retire`",
            Self::InUse => {
                "the group owns a prefix or has a transfer open, so it cannot retire; move that away, or bring it to its end"
            }
            Self::NotRetired => {
                "nothing shows that the group has retired; bring its last entry, committed, or what a member states that has left"
            }
            Self::NoRoomToLeave => {
                "the HSM keeps the ids of as many retired groups as it can, and stays a member of this one; use another HSM for new \
                 groups"
            }
            Self::TooFewMembers => "the realm's policy asks for more members in each group; name more HSMs",
            Self::NothingCaptured => "the HSM has captured nothing in this group yet; lead without an entry",
            Self::OtherVersion => {
                "a record was sealed by a newer build of the HSM; install that build, or a later one, on this HSM too"
            }
        })
    }
}

impl core::error::Error for Refusal {}
