//! What goes into a replica and what comes out of it.

use crate::ask::Asked;
use crate::peer::PeerMessage;
use crate::segment::{BadSegment, SegmentName};
use crate::shared::Shared;
use crate::stored::{Advance, Loaded, Snapshot, TreeDamage, TreeFailure};
use std::ops::RangeInclusive;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::hsm::{BatchRequest, Limits, NoiseReply, Refusal, Reply, SessionRefusal};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, RealmId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::GroupStatement;
use strongroom_proto::transfer::Transfer;

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
    /// How long to hear nothing from a leader before trying to become one; drawn from this range each time.
    pub election_timeout_ms: RangeInclusive<u64>,
    /// How often a leader says that it leads.
    pub heartbeat_ms: u64,
    /// How long a leader goes on without any answer from its HSM before it steps down: at least and at most; in
    /// between, it depends on how quick the HSM's answers were. The link gives up a call after the longest time.
    pub hsm_silence_ms: RangeInclusive<u64>,
    /// How often a leader stores what has changed, and how much at a time.
    pub storage: Storage,
    /// Seeds the draws of election time-outs. Members of a group must have different seeds; nothing else is required of
    /// them.
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
    /// on, which is 640 s at most: otherwise it could write at a place where a segment was deleted. An answer to a
    /// write that comes after more than half of this time is not relied on.
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

/// Milliseconds on a clock that never goes backwards; where it starts does not matter.
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

/// What a call of the HSM is for, as far as clients' requests go. For what watches a replica; nothing in it depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To open the session of this request.
    Handshake(Ticket),
    /// To run so many requests as one batch; none makes the first entry of a leadership.
    Batch(usize),
    /// To have entries counted as committed, and let out the answers that wait for that.
    Commit,
    /// To let out the answers that no entry carries.
    Confirm,
    /// Anything else.
    Other,
}

/// One reading of paths from the stored tree, unique for the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LoadId(pub u64);

/// Whose request it is, as agents keep it for whoever tells tenants of it: sealed, and opaque here. Empty where nothing is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Owner(pub Vec<u8>);

/// The longest [`Owner`], in bytes.
pub const MAX_OWNER_BYTES: usize = 640;

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owner({} bytes)", self.0.len())
    }
}

/// What has happened.
///
/// Every action that names an event ends in exactly one event of that kind, even if it failed. Before that, there is
/// never a second call with the same name, nor a second listing, snapshot, collection or opening.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed. Wanted at [`crate::Replica::deadline`].
    Tick,
    /// A client's message. Ends in exactly one [`Action::Answer`].
    Client {
        /// Names the request in the answer.
        ticket: Ticket,
        /// Whether the message only opens a session and carries no request.
        handshake_only: bool,
        /// The message.
        request: BatchRequest,
        /// Whose it is.
        owner: Owner,
    },
    /// What an operator wants of the group. Ends in exactly one [`Action::Ordered`].
    Order {
        /// Names the order in its end. Unique among those of clients, too.
        ticket: Ticket,
        /// What it is.
        order: Box<Order>,
    },
    /// The HSM's reply, or `None` if it was lost: then the request may have been carried out.
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
    /// The stored tree is open for writing, or could not be opened.
    TreeOpened {
        /// What it reaches; `None` while nothing has ever been stored.
        result: Result<Option<Snapshot>, TreeFailure>,
    },
    /// What the stored tree reaches was read, or could not be.
    SnapshotRead {
        /// What it reaches; `None` while nothing has ever been stored.
        result: Result<Option<Snapshot>, TreeFailure>,
    },
    /// Paths were read.
    Loaded {
        /// Which reading.
        load: LoadId,
        /// What was found.
        result: Result<Loaded, TreeFailure>,
    },
    /// A snapshot was taken, durably, or failed.
    Advanced {
        /// Whether it was taken. If not, and nobody else has opened the tree, the same snapshot may be tried again.
        result: Result<(), TreeFailure>,
    },
    /// Segments were deleted.
    Collected {
        /// How many. Those that could not be deleted will be deleted next time.
        deleted: usize,
    },
    /// A message of another member's agent.
    Peer {
        /// The member, as authenticated by the link, or as the sender claims.
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
    /// The object is in the store with other bytes, forever.
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

/// What to do. In order; no action waits for another's result.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a request to the HSM. All requests go over one link, in this order.
    Hsm {
        /// Names the call in [`Event::Hsm`].
        call: CallId,
        /// The request.
        request: Asked,
    },
    /// Create this object only if it is absent. Ends in [`Event::Wrote`].
    Write {
        /// Its name.
        name: SegmentName,
        /// Its bytes.
        bytes: Shared,
    },
    /// List every segment of the group whose first index is `from` or more. Ends in [`Event::Listed`].
    List {
        /// The lowest first index.
        from: Index,
    },
    /// Read this object. Ends in [`Event::Read`].
    Read {
        /// Its name.
        name: SegmentName,
    },
    /// Open the stored tree for writing, which closes it for every other agent that had it open. Ends in
    /// [`Event::TreeOpened`].
    OpenTree,
    /// Close it, if it is open. Operations under way on it may fail.
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
        /// The lowest first index that stays.
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
    /// Tell whoever gave an order how it ended.
    Ordered {
        /// Which order.
        ticket: Ticket,
        /// How it ended.
        ordered: Ordered,
    },
    /// Tell the operator that the stored tree is damaged. Requests that need the damaged part are refused. If what has
    /// changed since the last snapshot needs it, no further snapshot can be taken, and eventually no request is served.
    TreeDamaged(TreeDamage),
    /// Tell the operator about a fault. Until [`Self::Mended`] the replica takes no part in its group, or, if only a
    /// leader needs what is wrong, it does not lead. It looks again by itself.
    Fault(Fault),
    /// Tell the operator that this fault is over: the replica goes on.
    Mended(Fault),
}

/// What an operator wants of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Show what is committed, and, if so wanted, store it before.
    Show {
        /// Whether a snapshot is to reach it first.
        stored: bool,
    },
    /// Own a prefix as its two halves.
    Split(Prefix),
    /// Own the two halves of this prefix as one.
    Merge(Prefix),
    /// Have another member lead, because this agent ends.
    Yield,
    /// One step of a transfer: any change but those above.
    Step(Box<Change>),
}

/// How an order ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ordered {
    /// It is done, as this shows: it is committed after whatever was done, and durable in the store.
    Done(Box<Evidence>),
    /// The HSM refused, and nothing changed.
    Refused(Refusal),
    /// Ask the leader, if it is known. Nothing was done.
    NotLeader(Option<HsmId>),
    /// Too many orders wait here. Nothing was done.
    Busy,
    /// It may have been carried out. Have it shown first, before it is asked for again.
    Unknown,
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

/// Why a replica cannot go on. Most of these need an operator. It looks again now and then, and goes on when all is
/// well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A segment in the store is not what an HSM made.
    #[error(
        "segment {object} is damaged at entry {index} ({damage}); restore that object: the agent reads it again by itself"
    )]
    Damaged {
        /// The segment.
        object: SegmentName,
        /// The first entry that is wrong, or the segment's first if that is not known.
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
        /// The segment that must follow the newest one read: it is missing or damaged, and it or a later one held the
        /// entry.
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
        /// The one before it, if that was read: if that one is damaged, it may name a successor that never existed.
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
        "the HSM is not a member of group {group}; join the group or correct the configuration: the agent asks again by itself"
    )]
    NotMember {
        /// The group.
        group: GroupId,
    },
    /// The HSM refuses something that is right as far as the agent knows.
    #[error("the HSM refuses to go on: {0}")]
    Hsm(Refusal),
}

impl Fault {
    /// The entry that it is about, if it is about one.
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
    /// What the group owns changed in a way that no HSM produces.
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
    /// The member's role.
    pub role: Role,
    /// The member that it takes to be the leader, which may be itself.
    pub leader: Option<HsmId>,
    /// What its HSM has captured; index 0 for nothing, or while that is not known.
    pub captured: Index,
    /// The newest entry that it knows to be in the store.
    pub tip: Index,
    /// The hash of that entry, all zeros for none.
    pub tip_hash: EntryHash,
    /// The newest entry that it made, while it leads; otherwise the same as `tip`.
    pub newest: Index,
    /// The newest entry of this leadership that it knows to be committed, 0 for none.
    pub committed: Index,
    /// How many entries its HSM still has to capture, as far as is known.
    pub behind: u64,
    /// How many entries it has read from the store since it started, not counting those that were pushed.
    pub from_store: u64,
    /// Whether it leads and has the tree, so that it can serve.
    pub serving: bool,
    /// What the newest snapshot known to this member reaches, 0 for none.
    pub snapshot: Index,
    /// Client requests not yet sent to the HSM.
    pub queued: usize,
    /// Client requests not yet answered, those in the queue included.
    pub waiting: usize,
    /// How many client requests it has answered without an entry since it started, and how many rounds among the
    /// members that took.
    pub reads: u64,
    /// See [`Self::reads`].
    pub read_rounds: u64,
    /// The prefixes that the group owns as of `tip`.
    pub prefixes: Vec<Prefix>,
    /// The transfers of the group that are open as of `tip`.
    pub open: Vec<Transfer>,
    /// Whether `tip` is the group's last entry: it has retired.
    pub retired: bool,
    /// What is wrong, if anything: why it stopped, or why it leaves leading to others.
    pub fault: Option<Fault>,
}

/// What a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It is asking its HSM what the HSM has captured.
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
