//! What an HSM says about itself: its limits, its realm, its groups, its wear.

use crate::enrolment::{Attestation, RealmPolicy};
use crate::ids::{
    BuildDigest, Digest, Ed25519Public, EntryHash, GroupId, HsmId, Index, RealmId, Term, X25519Public,
};
use crate::statement::{GroupStatement, MemberStatement};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// What an HSM can take, fixed in its build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Limits {
    /// The longest request and the longest reply, in bytes.
    #[n(0)]
    pub max_frame_bytes: u32,
    /// The most requests in one [`Process`](super::Request::Process), at most [`MAX_BATCH_REQUESTS`](super::MAX_BATCH_REQUESTS).
    #[n(1)]
    pub max_batch_requests: u32,
    /// The most own entries that may wait for capture and commit before the HSM refuses to make another.
    #[n(2)]
    pub max_pending_entries: u32,
    /// The most replies that may wait for a commit before the HSM refuses to make more.
    #[n(3)]
    pub max_pending_replies: u32,
    /// The most client sessions. For one more, another gives way, by rules that keep recoveries going.
    #[n(4)]
    pub max_sessions: u32,
    /// The most nodes in the partial trees of one [`Process`](super::Request::Process), at most [`MAX_TREE_NODES`](crate::tree::MAX_TREE_NODES).
    #[n(5)]
    pub max_tree_nodes: u32,
}

/// What an HSM says about itself. Nothing here is secret.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct DeviceStatus {
    /// Its id.
    #[n(0)]
    pub hsm: HsmId,
    /// Seeds are sealed to this key.
    #[n(1)]
    pub device_key: X25519Public,
    /// What it runs, in words.
    #[n(2)]
    pub version: String,
    /// What it runs, as a digest.
    #[n(3)]
    pub build: BuildDigest,
    /// What it can take.
    #[n(4)]
    pub limits: Limits,
    /// Its realm, if it has one.
    #[n(5)]
    pub realm: Option<RealmStatus>,
    /// Its groups, in the order in which it joined them.
    #[n(6)]
    pub groups: Vec<GroupStatus>,
    /// How worn its NVRAM is.
    #[n(7)]
    pub wear: Wear,
    /// What its vendor attests about it, over [`DeviceIdentity::digest`](crate::enrolment::DeviceIdentity::digest).
    #[n(8)]
    pub attestation: Attestation,
    /// The retired groups that it has left.
    #[cbor(n(9), skip_if = "Vec::is_empty")]
    pub retired: Vec<GroupId>,
}

/// How worn an HSM's NVRAM is. Hosts could count this themselves: every write is caused by a request of theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Wear {
    /// Erase units in all.
    #[n(0)]
    pub units: u32,
    /// How many of them failed, and are no longer used.
    #[n(1)]
    pub bad_units: u32,
    /// How many more may fail before the HSM stops permanently.
    #[n(2)]
    pub spare_units: u32,
    /// How many erases there were, over all units, since the NVRAM began to count.
    #[n(3)]
    pub erases: u64,
}

/// What an HSM says about its realm.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RealmStatus {
    /// The realm.
    #[n(0)]
    pub realm: RealmId,
    /// The realm's Noise public key; clients have it in their configuration.
    #[n(1)]
    pub public_key: X25519Public,
    /// Who may approve an export.
    #[n(2)]
    pub policy: RealmPolicy,
    /// Whether the realm's first group is still to be made, here.
    #[n(3)]
    pub unassigned: bool,
    /// That this HSM holds the realm's keys.
    #[n(4)]
    pub member: MemberStatement,
    /// The key with which agents derive record ids (`record_id`). Known to hosts; keeps user names out of
    /// the store.
    #[n(5)]
    pub record_id_key: Digest,
    /// Where the seed came from.
    #[n(6)]
    pub origin: Origin,
    /// What the device's vendor attests about its having made this realm under this policy, over
    /// [`Founding::digest`](crate::enrolment::Founding::digest) with this HSM and its build. None if it was made
    /// elsewhere.
    #[n(7)]
    pub attestation: Attestation,
    /// What the realm's [checkpoints](crate::checkpoint) are signed with. None from an HSM that makes none.
    #[n(8)]
    pub checkpoint_key: Option<Ed25519Public>,
}

/// Where a realm's seed came from, as the HSM that holds it remembers. Kept in its NVRAM with the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Origin {
    /// The HSM got it before origins were recorded.
    #[n(0)]
    Unknown,
    /// The HSM drew it.
    #[n(1)]
    MadeHere,
    /// Another HSM gave it.
    #[n(2)]
    Imported {
        /// Which.
        #[n(0)]
        exporter: HsmId,
        /// Whose signatures of the approval were checked: bit `i` for the custodian at place `i` of the policy.
        #[n(1)]
        signers: u16,
    },
}

/// What an HSM says about one of its groups.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct GroupStatus {
    /// The group and its members.
    #[n(0)]
    pub statement: GroupStatement,
    /// What it does there.
    #[n(1)]
    pub role: Role,
    /// The captured entry; index 0 and a zero hash when there is none.
    #[n(2)]
    pub captured_index: Index,
    /// Its hash.
    #[n(3)]
    pub captured_hash: EntryHash,
}

/// What an HSM does in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Role {
    /// It only captures.
    #[n(0)]
    Witness,
    /// It makes entries.
    #[n(1)]
    Leader {
        /// Its leadership.
        #[n(0)]
        term: Term,
        /// The newest entry it made or began from.
        #[n(1)]
        newest: Index,
    },
    /// It makes no more entries, and keeps replies.
    #[n(2)]
    SteppingDown,
}
