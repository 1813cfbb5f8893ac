//! What an agent asks of its HSM, and what the HSM answers.
//!
//! These types are the specification: each request says what it checks and changes, each reply what the caller does
//! next, each [`Refusal`] what was wrong, and its `class` what to do about it. Everything is encoded as CBOR arrays. An
//! agent is free to lie in all of it, so the HSM takes every field as a mere claim; and a reply tells an agent nothing
//! that depends on a record before the entry that it belongs to is committed.

use crate::bounded::{at_most, bytes_at_most, too_many};
use crate::change::{Change, Retirement};
pub use crate::enrolment::{
    CustodianKey, CustodianSignature, ExportApproval, MAX_CUSTODIANS, RealmPolicy, SealedRealm,
};
use crate::entry::{Entry, MAX_PARTITIONS};
use crate::events::{MAX_EVENTS, SealedEvents, Settled, Telling};
use crate::ids::{EntryHash, GroupId, Nonce, RecordId, SessionId, Term, X25519Public};
use crate::prefix::Prefix;
use crate::statement::{
    Captured, Committed, Fresh, GroupStatement, Head, MAX_MEMBERS, MemberStatement, Past, Retired,
};
use crate::tree::{ClaimedTree, MAX_TREE_NODES};
use alloc::vec::Vec;
use core::fmt;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(feature = "outside")]
mod host;
mod refusal;
mod status;

#[cfg(feature = "outside")]
pub use host::record_id;
pub use refusal::Refusal;
#[cfg(feature = "outside")]
pub use refusal::RefusalClass;
pub use status::{DeviceStatus, GroupStatus, Limits, Origin, RealmStatus, Role, Wear};

/// The most groups that one HSM can be a member of at a time.
pub const MAX_GROUPS: usize = 16;
/// The most retired groups that one HSM can have left. It keeps their ids for good.
pub const MAX_RETIRED: usize = 64;
/// The most entries of one group in one [`Request::Capture`], and so the most that a segment may hold.
pub const MAX_CAPTURE_ENTRIES: usize = 64;
/// The most requests that a batch can have, at any HSM.
pub const MAX_BATCH_REQUESTS: usize = MAX_EVENTS;
/// The longest part of a client's Noise message, in bytes: far more than any request takes.
pub const MAX_NOISE_BYTES: usize = 2048;

/// One client message in a batch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct BatchRequest {
    /// The user's record. Claimed by the agent; sessions and sealed records are bound to it.
    #[n(0)]
    pub record: RecordId,
    /// The client's session.
    #[n(1)]
    pub session: SessionId,
    /// The client's Noise message, with a request inside.
    #[n(2)]
    pub message: NoiseMessage,
    /// When it came, in seconds since 1970: the agent's word alone, for the record's owner to read.
    #[n(3)]
    pub time: Option<u64>,
}

/// A client's Noise message as it came.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum NoiseMessage {
    /// First message of a handshake.
    #[n(0)]
    Handshake {
        /// The client's ephemeral key; anything but 32 bytes fails the session.
        #[cbor(n(0), decode_with = "bytes_at_most::<MAX_NOISE_BYTES, _>")]
        ephemeral: ByteVec,
        /// AEAD output over the payload.
        #[cbor(n(1), decode_with = "bytes_at_most::<MAX_NOISE_BYTES, _>")]
        ciphertext: ByteVec,
    },
    /// A message on a live session.
    #[n(1)]
    Transport {
        /// AEAD output over the payload.
        #[cbor(n(0), decode_with = "bytes_at_most::<MAX_NOISE_BYTES, _>")]
        ciphertext: ByteVec,
    },
}

/// The HSM's Noise message to a client.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum NoiseReply {
    /// Second message of a handshake.
    #[n(0)]
    Handshake {
        /// The HSM's ephemeral key.
        #[n(0)]
        ephemeral: X25519Public,
        /// AEAD output over the payload.
        #[n(1)]
        ciphertext: ByteVec,
    },
    /// A message on a live session.
    #[n(1)]
    Transport {
        /// AEAD output over the payload.
        #[n(0)]
        ciphertext: ByteVec,
    },
}

/// What became of one [`BatchRequest`]. Tells only what a host may know before commit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Outcome {
    /// Done; the reply stays in the HSM until the entry of this batch is committed, and then comes with
    /// [`Reply::Committed`].
    #[n(0)]
    Kept,
    /// Done, with nothing to write; the reply stays in the HSM under this number until a majority has said that it is not
    /// out of date, and then comes with [`Reply::Confirmed`].
    #[n(3)]
    Read(#[n(0)] u64),
    /// The reply depends on no record. Send it to the client.
    #[n(1)]
    Answered(#[n(0)] NoiseReply),
    /// The client's message was wrong. Tell the client; nothing was done.
    #[n(2)]
    Refused(#[n(0)] SessionRefusal),
}

/// Why a client's message was not accepted. Each is the client protocol's answer of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum SessionRefusal {
    /// No such session on this record: the client opens a new one.
    #[n(0)]
    MissingSession,
    /// The message does not decrypt, or may not come in this form. The session is gone.
    #[n(1)]
    SessionError,
    /// The message decrypts to something that is not a request. The session is gone.
    #[n(2)]
    DecodingError,
}

/// A record that a batch changed, sealed afresh.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SealedLeaf {
    /// The record.
    #[n(0)]
    pub record: RecordId,
    /// Its sealed state; all have one size.
    #[n(1)]
    pub sealed: ByteVec,
}

/// The entry that a batch made, and what belongs to it in the store.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Made {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// Every record that the batch changed, once each, ascending.
    #[n(1)]
    pub leaves: Vec<SealedLeaf>,
    /// One sealed event for each kept reply, in order; all have one size.
    #[n(2)]
    pub events: Vec<ByteVec>,
}

/// What one group is to capture.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct GroupEntries {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// Whole segments that the store has acknowledged, in order; at most [`MAX_CAPTURE_ENTRIES`] entries. None, or none
    /// that is new, asks for the statement again.
    #[cbor(n(1), decode_with = "at_most::<MAX_CAPTURE_ENTRIES, _, _>")]
    pub entries: Vec<Entry>,
}

/// What an agent asks.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Request {
    /// Who are you? → [`Reply::Device`]. Changes nothing.
    #[n(0)]
    DeviceStatus,
    /// Make a realm; its id and seed are drawn inside. Needs an HSM without one. → [`Reply::Device`].
    #[n(1)]
    NewRealm(#[n(0)] RealmPolicy),
    /// Draw the nonce for one export; a later one replaces it. → [`Reply::ExportNonce`].
    #[n(2)]
    ExportNonce,
    /// Give the seed to another device. Needs the open nonce and enough custodians. → [`Reply::Exported`].
    #[n(3)]
    ExportRealm(
        #[n(0)] ExportApproval,
        #[cbor(n(1), decode_with = "at_most::<MAX_CUSTODIANS, _, _>")] Vec<CustodianSignature>,
    ),
    /// Take a seed sealed to this device. Needs an HSM without a realm, whose open nonce custodians approved with its
    /// id, key and build, and with the public key of this very seed. → [`Reply::Device`].
    #[n(4)]
    JoinRealm(#[n(0)] SealedRealm),
    /// Make a group of these members, this HSM among them, and join it. The realm's first group, made by the HSM that
    /// made the realm, starts with the whole space of record ids. → [`Reply::Group`].
    #[n(5)]
    NewGroup(#[cbor(n(0), decode_with = "at_most::<MAX_MEMBERS, _, _>")] Vec<MemberStatement>),
    /// Join a group that names this HSM. → [`Reply::Group`].
    #[n(6)]
    JoinGroup(#[n(0)] GroupStatement),
    /// For each of these groups, each named once, put the last of its entries into NVRAM, all in one write. Wrong
    /// entries for one group do not cause another's to be refused. → [`Reply::Captures`].
    #[n(7)]
    Capture(#[cbor(n(0), decode_with = "at_most::<MAX_GROUPS, _, _>")] Vec<GroupEntries>),
    /// Make a committed entry the captured one, without the entries between. → [`Reply::Captured`].
    #[n(8)]
    Jump(#[n(0)] Entry, #[n(1)] Committed),
    /// Begin a leadership at the captured entry, or at nothing when nothing is captured. Drops everything that an
    /// earlier one left. → [`Reply::Leading`].
    #[n(9)]
    Lead(#[n(0)] GroupId, #[n(1)] Option<Entry>),
    /// Make no more entries. Kept replies stay until their entry commits or is beaten. → [`Reply::Done`].
    #[n(10)]
    StepDown(#[n(0)] GroupId),
    /// Open a client session that carries no request. → [`Reply::Handshaken`].
    #[n(11)]
    Handshake(#[n(0)] GroupId, #[n(1)] BatchRequest),
    /// Run a batch. `trees` hold one partial tree for each prefix that the batch needs. An empty batch makes an entry
    /// that changes no record. → [`Reply::Processed`].
    #[n(12)]
    Process {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// Partial trees, each for one prefix of the group.
        #[cbor(n(1), decode_with = "decode_trees")]
        trees: Vec<PrefixTree>,
        /// The requests, in the order in which they are to be run.
        #[cbor(n(2), decode_with = "at_most::<MAX_BATCH_REQUESTS, _, _>")]
        requests: Vec<BatchRequest>,
    },
    /// Count statements about own entries, and release what they commit. → [`Reply::Committed`].
    #[n(13)]
    Commit {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// Statements of members.
        #[cbor(n(1), decode_with = "at_most::<MAX_MEMBERS, _, _>")]
        statements: Vec<Captured>,
        // 2 is skipped: older agents send an empty list there.
    },
    /// What the realm's agents recognise each other by in this epoch. Needs a realm. → [`Reply::AgentSecret`]. Changes
    /// nothing.
    #[n(14)]
    AgentSecret(#[n(0)] u32),
    /// Draw the nonce for one import; a later one replaces it. Needs an HSM without a realm. → [`Reply::ImportNonce`].
    #[n(15)]
    ImportNonce,
    /// State with a leader's nonce what is captured. → [`Reply::Fresh`]. Changes nothing.
    #[n(16)]
    Fresh(#[n(0)] GroupId, #[n(1)] Nonce),
    /// Draw the nonce for every answer that waits as an [`Outcome::Read`]; a later one replaces it.
    /// → [`Reply::ReadNonce`].
    #[n(17)]
    DrawReadNonce(#[n(0)] GroupId),
    /// Count statements with the open nonce, and release the answers that it covers and whose records' last change is
    /// committed. The nonce is used up. → [`Reply::Confirmed`].
    #[n(18)]
    Confirm {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// Statements of members.
        #[cbor(n(1), decode_with = "at_most::<MAX_MEMBERS, _, _>")]
        statements: Vec<Fresh>,
    },
    /// Make an entry that changes what the group owns. → [`Reply::Processed`], without outcomes.
    #[n(19)]
    Change(#[n(0)] GroupId, #[n(1)] Change),
    /// Leave a group that has retired, and keep nothing of it but its id. Whoever has left it says so again, with or without
    /// a proof. → [`Reply::Retired`].
    #[n(20)]
    Leave(#[n(0)] GroupId, #[n(1)] Option<Retirement>),
    /// Sum up the chain that these entries continue: that of a head stated before, or, without one, the one that begins with
    /// entry 1. Whether they are the group's is not looked at. → [`Reply::Head`]. Changes nothing.
    #[n(21)]
    ExtendHead {
        /// A head that any HSM of the realm stated.
        #[n(0)]
        from: Option<Head>,
        /// The entries that follow, at most [`MAX_CAPTURE_ENTRIES`].
        #[cbor(n(1), decode_with = "at_most::<MAX_CAPTURE_ENTRIES, _, _>")]
        entries: Vec<Entry>,
    },
    /// Sign the checkpoint of a head whose entry is committed. → [`Reply::Checkpoint`]. Changes nothing.
    #[n(22)]
    SignHead {
        /// A head that any HSM of the realm stated.
        #[n(0)]
        head: Head,
        /// That exactly its entry is committed.
        #[n(1)]
        committed: Committed,
    },
    /// State that an entry is in the past of one that is committed, and seal events of it, and of those that follow it here, to
    /// a tenant. → [`Reply::Told`].
    /// Changes nothing.
    #[n(23)]
    Tell {
        /// That the last of the entries is committed.
        #[n(0)]
        settled: Settled,
        /// The entry, and those that follow it up to the one that is known to be committed; at most [`MAX_CAPTURE_ENTRIES`].
        #[cbor(n(1), decode_with = "at_most::<MAX_CAPTURE_ENTRIES, _, _>")]
        entries: Vec<Entry>,
        /// Which events to seal, and for whom.
        #[n(2)]
        telling: Option<Telling>,
    },
}

/// How many nodes these trees claim in all.
#[must_use]
pub fn tree_nodes(trees: &[PrefixTree]) -> usize {
    trees.iter().fold(0, |nodes, tree| nodes.saturating_add(tree.tree.nodes()))
}

/// Decodes the trees of one message: no more than a group can have prefixes, and no more nodes in all than any batch
/// needs.
///
/// # Errors
/// Anything but trees, or more than that.
pub fn decode_trees<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Vec<PrefixTree>, DecodeError> {
    let at = d.position();
    let trees = at_most::<MAX_PARTITIONS, _, _>(d, context)?;
    if tree_nodes(&trees) > MAX_TREE_NODES { Err(too_many(at)) } else { Ok(trees) }
}

/// The partial tree of one prefix.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PrefixTree {
    /// Which of the group's prefixes it is for.
    #[n(0)]
    pub prefix: Prefix,
    /// What the batch needs of its tree.
    #[n(1)]
    pub tree: ClaimedTree,
}

/// What an HSM answers.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Reply {
    /// The request was wrong, and nothing changed.
    #[n(0)]
    Refused(#[n(0)] Refusal),
    /// To [`Request::DeviceStatus`], [`Request::NewRealm`], [`Request::JoinRealm`].
    #[n(1)]
    Device(#[n(0)] DeviceStatus),
    /// Have custodians sign an [`ExportApproval`] with this nonce.
    #[n(2)]
    ExportNonce(#[n(0)] Nonce),
    /// Give this to the importer's [`Request::JoinRealm`].
    #[n(3)]
    Exported(#[n(0)] SealedRealm),
    /// Give this to every other member's [`Request::JoinGroup`].
    #[n(4)]
    Group(#[n(0)] GroupStatement),
    /// To [`Request::Jump`]: give this to the leader.
    #[n(5)]
    Captured(#[n(0)] Captured),
    /// Make an entry with [`Request::Process`], and write it to the store.
    #[n(6)]
    Leading(#[n(0)] Term),
    /// Nothing more to say.
    #[n(7)]
    Done,
    /// Send this to the client.
    #[n(8)]
    Handshaken(#[n(0)] Outcome),
    /// Write the entry to the store; answer the clients whose outcome is neither [`Outcome::Kept`] nor
    /// [`Outcome::Read`].
    #[n(9)]
    Processed {
        /// One for each request, in order.
        #[n(0)]
        outcomes: Vec<Outcome>,
        /// The entry; absent when no request of a non-empty batch may have changed a record.
        #[n(1)]
        made: Option<Made>,
    },
    /// Send the replies to the clients; keep the statement.
    #[n(10)]
    Committed {
        /// That a majority has captured its entry.
        #[n(0)]
        statement: Committed,
        /// Replies of every own entry up to that one which were not released before.
        #[n(1)]
        released: Vec<Released>,
    },
    /// To [`Request::Capture`]: one for each group, in order.
    #[n(11)]
    Captures(#[n(0)] Vec<CaptureOutcome>),
    /// Derive the certificate authority of the realm's agents from this, and wipe it. Never pass it on.
    #[n(12)]
    AgentSecret(#[n(0)] AgentSecret),
    /// Have custodians sign an [`ExportApproval`] with this nonce as the importer's.
    #[n(13)]
    ImportNonce(#[n(0)] Nonce),
    /// To [`Request::Fresh`]: give this to the leader.
    #[n(14)]
    Fresh(#[n(0)] Fresh),
    /// Have a majority of the members state this with [`Request::Fresh`].
    #[n(15)]
    ReadNonce(#[n(0)] Nonce),
    /// Send the answers to the clients. What still waits needs another nonce.
    #[n(16)]
    Confirmed(#[n(0)] Vec<ReadReply>),
    /// To [`Request::Leave`]: give this to every other member's, and to groups that have a transfer open with this one.
    #[n(17)]
    Retired(#[n(0)] Retired),
    /// To [`Request::ExtendHead`]: extend it further, or have it signed.
    #[n(18)]
    Head(#[n(0)] Head),
    /// To [`Request::SignHead`]: the signature (Ed25519, RFC 8032) over the [body](crate::checkpoint::body) with the head's index
    /// as the size, and its root. Publish both.
    #[n(19)]
    Checkpoint(#[n(0)] ByteArray<64>),
    /// To [`Request::Tell`]: keep the statement to go further back; give the tenant what is sealed.
    #[n(20)]
    Told {
        /// That the first entry comes before one that is committed.
        #[n(0)]
        past: Past,
        /// The events.
        #[n(1)]
        sealed: Option<SealedEvents>,
    },
}

/// What the agents of a realm recognise each other by, in one epoch; the same at every HSM of the realm. Whoever has it
/// can speak as any of them. Wiped when dropped, and never shown.
// Secret: compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Encode, Decode)]
#[cbor(transparent)]
pub struct AgentSecret(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Debug for AgentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentSecret(…)")
    }
}

impl PartialEq for AgentSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for AgentSecret {}

/// What became of one group's capture.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum CaptureOutcome {
    /// Give this to the group's leader.
    #[n(0)]
    Captured(#[n(0)] Captured),
    /// Nothing of this group was captured.
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

/// The replies of one committed entry.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Released {
    /// The entry.
    #[n(0)]
    pub entry: EntryHash,
    /// One for each [`Outcome::Kept`] of its batch, in order.
    #[n(1)]
    pub replies: Vec<NoiseReply>,
}

/// The reply to one read.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ReadReply {
    /// The number that [`Outcome::Read`] gave it.
    #[n(0)]
    pub number: u64,
    /// The reply.
    #[n(1)]
    pub reply: NoiseReply,
}
