//! What goes into a replica and what comes out of it.

use crate::ask::Asked;
use crate::peer::PeerMessage;
use crate::segment::{BadSegment, SegmentName};
use crate::stored::{Advance, Loaded, Snapshot, TreeDamage, TreeFailure};
use std::ops::RangeInclusive;
use std::sync::Arc;
use strongroom_proto::hsm::{BatchRequest, Limits, NoiseReply, Refusal, Reply, SessionRefusal};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, RealmId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::GroupStatement;

/// What a replica is told once, when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HSM beside it.
    pub hsm: HsmId,
    /// The realm.
    pub realm: RealmId,
    /// The group, with its members.
    pub group: GroupStatement,
    /// What the HSM can take.
    pub limits: Limits,
    /// How long to hear nothing of a leader before trying to become one; drawn from this range each time.
    pub election_timeout_ms: RangeInclusive<u64>,
    /// How often a leader says that it leads.
    pub heartbeat_ms: u64,
    /// After how long without any answer of its HSM a leader gives way, by how quick its answers were: at least and at
    /// most. The link gives up a call after the latter.
    pub hsm_silence_ms: RangeInclusive<u64>,
    /// How often and how much a leader stores of what has changed.
    pub storage: Storage,
    /// Seeds the draws of election time-outs. Members of a group need different ones, and nothing else.
    pub seed: [u8; 32],
}

/// When a leader takes a snapshot, and when it deletes what that makes unnecessary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Storage {
    /// How long a committed change may wait for a snapshot.
    pub snapshot_after_ms: u64,
    /// How many changed records may wait for one. With four times as many, no request is served until one is taken.
    pub snapshot_records: usize,
    /// How many segments may follow one.
    pub snapshot_segments: usize,
    /// How long a segment is kept after a snapshot has made it unnecessary. Longer than a leader that nobody hears goes
    /// on, which is 640 s at most: otherwise it could write at a place where a segment was deleted. Whoever gets an
    /// answer to a write after half of this time does not rely on it.
    pub grace_ms: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            snapshot_after_ms: 30_000,
            snapshot_records: 4_096,
            snapshot_segments: 512,
            grace_ms: 15 * 60_000,
        }
    }
}

/// Milliseconds on a clock that never goes back; where it starts does not matter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The time `ms` later.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// One client request, unique for the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// One call of the HSM, unique for the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(pub u64);

/// One reading of paths from the stored tree, unique for the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LoadId(pub u64);

/// What has happened.
///
/// Every action that names an event ends in exactly one of that kind, also when it failed. There is never a second call
/// for one name, nor a second listing, snapshot, collection or opening, before that.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed. Wanted at least every 10 ms.
    Tick,
    /// A client's message. Ends in exactly one [`Action::Answer`].
    Client {
        /// Names the request in the answer.
        ticket: Ticket,
        /// Whether the message opens a session and carries no request.
        handshake_only: bool,
        /// The message.
        request: BatchRequest,
    },
    /// The HSM's reply, or `None` where it was lost: then the request may have been carried out.
    Hsm {
        /// Which call.
        call: CallId,
        /// The reply.
        reply: Option<Reply>,
    },
    /// What became of a write.
    Wrote {
        /// Which segment.
        name: SegmentName,
        /// What became of it.
        outcome: CreateOutcome,
    },
    /// The names asked for, ascending.
    Listed {
        /// All of them, or none.
        result: Result<Vec<SegmentName>, Unavailable>,
    },
    /// What was read.
    Read {
        /// Which segment.
        name: SegmentName,
        /// What was found.
        result: ReadOutcome,
    },
    /// The stored tree is open for writing, or not.
    TreeOpened {
        /// What it reaches; `None` while nothing has ever been stored.
        result: Result<Option<Snapshot>, TreeFailure>,
    },
    /// What the stored tree reaches was read.
    SnapshotRead {
        /// That; `None` while nothing has ever been stored.
        result: Result<Option<Snapshot>, TreeFailure>,
    },
    /// Paths were read.
    Loaded {
        /// Which.
        load: LoadId,
        /// What was found.
        result: Result<Loaded, TreeFailure>,
    },
    /// A snapshot was taken, durably, or not.
    Advanced {
        /// Whether. When it was not, and nobody else has opened the tree, the same may be tried again.
        result: Result<(), TreeFailure>,
    },
    /// Segments were deleted.
    Collected {
        /// How many; those that could not be deleted will be next time.
        deleted: usize,
    },
    /// A message of another member's agent.
    Peer {
        /// The member, as the link has authenticated it or as it says.
        from: HsmId,
        /// The message.
        message: PeerMessage,
    },
}

/// What became of a create-only write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateOutcome {
    /// The object is in the store, durable, with exactly the bytes given.
    Created,
    /// The object is in the store with other bytes, for ever.
    Lost,
    /// Could not be settled now. It may be in the store, or get there later.
    Unknown,
}

/// What was found under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// The object's bytes.
    Found(Vec<u8>),
    /// There is no such object.
    Absent,
    /// The store did not answer.
    Unavailable,
}

/// The store did not answer. Nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the object store did not answer")]
pub struct Unavailable;

/// What to do. In order; none waits for another's result.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a request to the HSM; all on one link, in this order.
    Hsm {
        /// Names the call in [`Event::Hsm`].
        call: CallId,
        /// The request.
        request: Asked,
    },
    /// Create this object, only if it is absent. Ends in [`Event::Wrote`].
    Write {
        /// Its name.
        name: SegmentName,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// List every segment of the group whose first index is `from` or more. Ends in [`Event::Listed`].
    List {
        /// The least first index.
        from: Index,
    },
    /// Read this object. Ends in [`Event::Read`].
    Read {
        /// Its name.
        name: SegmentName,
    },
    /// Open the stored tree for writing, which closes it to everybody else who did. Ends in [`Event::TreeOpened`].
    OpenTree,
    /// Close it, if it is open. What is under way with it may fail.
    CloseTree,
    /// Read what the stored tree reaches, without opening it for writing. Ends in [`Event::SnapshotRead`].
    ReadSnapshot,
    /// Read the paths to these records from the stored tree, which is open. Ends in [`Event::Loaded`].
    Load {
        /// Names the reading.
        load: LoadId,
        /// The records, each with the prefix of its group that covers it.
        records: Vec<(Prefix, RecordId)>,
    },
    /// Take a snapshot: store all of this in one atomic step. The tree is open. Ends in [`Event::Advanced`].
    Advance(Box<Advance>),
    /// Delete every segment of the group whose first index is less than `before`. Ends in [`Event::Collected`].
    Collect {
        /// The least first index that stays.
        before: Index,
    },
    /// Send a message to another member's agent. It may be lost.
    Send {
        /// The member.
        to: HsmId,
        /// The message.
        message: PeerMessage,
    },
    /// Answer a client.
    Answer {
        /// Which request.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Tell the operator that the stored tree is damaged. Requests that need the damaged part are refused. Where what has
    /// changed since the last snapshot needs it, no further snapshot can be taken, and in the end nobody is served.
    TreeDamaged(TreeDamage),
    /// Tell the operator. Until [`Self::Mended`] the replica takes no part in its group, or does not lead where only a leader
    /// needs what is wrong; it looks again by itself.
    Fault(Fault),
    /// Tell the operator that this is over: the replica goes on.
    Mended(Fault),
}

/// How a client's request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Send this to the client.
    Reply(NoiseReply),
    /// The client's message was wrong.
    Refused(SessionRefusal),
    /// Try again later. The request may have been carried out.
    Unavailable,
    /// Too many requests wait here. Nothing was done; asking again at once, or elsewhere, would not help.
    Busy,
    /// Ask the leader, if it is known. Nothing was done.
    NotLeader(Option<HsmId>),
    /// The group does not own the record. Nothing was done.
    NotCovered,
}

/// Why a replica cannot go on, most often without an operator. It looks again now and then, and goes on when all is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A segment in the store is not what an HSM made.
    #[error(
        "segment {object} is damaged at entry {index} ({damage}); restore that object: the agent reads it again by itself"
    )]
    Damaged {
        /// The segment.
        object: SegmentName,
        /// The first entry that is wrong, or the segment's first where that is not known.
        index: Index,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The HSM has captured an entry that the store does not hold.
    #[error(
        "the store lacks entry {index} (hash {hash}), which this HSM has captured{}: it is not the store of this group, \
         or it has lost objects; restore them: the agent looks again by itself",
        most_likely(object.as_ref())
    )]
    Missing {
        /// The captured entry.
        index: Index,
        /// Its hash.
        hash: EntryHash,
        /// The segment that follows the newest one before it: missing or damaged, it or one after it held the entry.
        object: Option<SegmentName>,
    },
    /// The store lacks a segment between the stored tree and the end of the log.
    #[error(
        "the store lacks segment {object}, which must follow what the stored tree has{}; restore what is missing or \
         damaged: the agent looks again by itself",
        or_before(before.as_ref())
    )]
    Gap {
        /// The segment.
        object: SegmentName,
        /// The one before it, where that was read: if it is damaged, it asks for one that never was.
        before: Option<SegmentName>,
    },
    /// The store's log has another entry where the HSM has captured one.
    #[error(
        "the store has another entry {index} than the one that this HSM has captured (hash {hash}): its log was \
         rewritten, or it is the store of another group; give the agent the right store"
    )]
    Forked {
        /// The captured entry.
        index: Index,
        /// The hash that it has in the HSM.
        hash: EntryHash,
    },
    /// The HSM does not know the group.
    #[error(
        "the HSM is not a member of group {group}; join it, or correct the configuration: the agent asks again by itself"
    )]
    NotMember {
        /// The group.
        group: GroupId,
    },
    /// The HSM refuses what is right by all that the agent knows.
    #[error("the HSM refuses to go on: {0}")]
    Hsm(Refusal),
}

impl Fault {
    /// The entry that it is about, where it is about one.
    #[must_use]
    pub const fn index(&self) -> Option<Index> {
        match self {
            Self::Damaged { index, .. } | Self::Missing { index, .. } | Self::Forked { index, .. } => {
                Some(*index)
            }
            Self::Gap { object, .. } => Some(object.first),
            Self::NotMember { .. } | Self::Hsm(_) => None,
        }
    }
}

fn most_likely(object: Option<&SegmentName>) -> String {
    object
        .map(|object| {
            format!(", and segment {object}, which is to hold it or lead to it, is missing or damaged")
        })
        .unwrap_or_default()
}

fn or_before(before: Option<&SegmentName>) -> String {
    before.map(|before| format!(", or the one before it is damaged, {before}")).unwrap_or_default()
}

/// What is wrong with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// Its bytes.
    #[error("it {0}")]
    Segment(#[from] BadSegment),
    /// It is of another realm or group, or does not follow the entry before it.
    #[error("it does not continue the log")]
    Chain,
    /// What the group owns changed in a way that no HSM makes.
    #[error("it changes the group's partitions")]
    Partitions,
    /// The leaves do not give the entry's roots.
    #[error("its leaves do not give its roots")]
    Roots,
    /// The HSM says that no HSM of the realm made the entry.
    #[error("no HSM of this realm made it")]
    NotAuthentic,
}

/// What a replica is doing: for logs, for `group status`, for tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// The member that it takes for the leader, itself included.
    pub leader: Option<HsmId>,
    /// What its HSM has captured; index 0 for nothing or not known yet.
    pub captured: Index,
    /// The newest entry that it knows to be in the store.
    pub tip: Index,
    /// The hash of that entry, all zero for none.
    pub tip_hash: EntryHash,
    /// The newest entry that it made, while it leads; otherwise as `tip`.
    pub newest: Index,
    /// The newest entry of this leadership that it knows to be committed, 0 for none.
    pub committed: Index,
    /// How many entries its HSM has yet to capture, as far as is known.
    pub behind: u64,
    /// How many entries it has read from the store since it started, beside those that were pushed.
    pub from_store: u64,
    /// Whether it leads and has the tree, so that it can serve.
    pub serving: bool,
    /// What the newest snapshot reaches that this member knows of, 0 for none.
    pub snapshot: Index,
    /// Client requests not yet with the HSM.
    pub queued: usize,
    /// Client requests not yet answered, those in the queue included.
    pub waiting: usize,
    /// The prefixes that the group owns as of `tip`.
    pub prefixes: Vec<Prefix>,
    /// What is wrong, if something is: why it stopped, or why it leaves leading to others.
    pub fault: Option<Fault>,
}

/// What a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It asks its HSM what that has captured.
    Starting,
    /// It captures what the leader pushes, or reads the log to get there.
    Witness,
    /// It tries to become the leader.
    Candidate,
    /// It makes entries.
    Leader {
        /// Its leadership.
        term: Term,
    },
    /// It has stopped: see [`Status::fault`].
    Faulted,
}

impl Role {
    /// What it is called in reports and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Witness => "witness",
            Self::Candidate => "candidate",
            Self::Leader { .. } => "leader",
            Self::Faulted => "stopped",
        }
    }
}
