//! Bugs that a test can plant in the world around the HSMs. Each leaves out one of its rules.
//!
//! Whatever the simulator checks about agents and the store, it must notice when it is missing. Rules of the HSMs are
//! left out with `strongroom_hsm_planted::Bug`. Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostBug {
    /// The store lets a second writer have a name that is taken.
    CreateReplaces,
    /// An agent answers each request twice.
    AnswerTwice,
    /// An answer goes to the client that asked last.
    AnswerAnother,
    /// An agent never answers a request that it has accepted.
    NeverAnswer,
    /// A leader does not say that it leads.
    SilentLeader,
    /// An agent takes a snapshot of an entry that no HSM has stated as committed.
    SnapshotUnproven,
    /// An agent deletes segments when it begins to take a snapshot, not after the snapshot is durable.
    CollectEarly,
    /// The tree stores pages and leaves without the snapshot that belongs to them.
    AdvanceTorn,
    /// The tree accepts a snapshot from a writer that others have shut out.
    FenceIgnored,
    /// The tree returns the sealed bytes that a record had before.
    OlderLeaf,
    /// A copy of another group's tree lacks the first thing that is to be written.
    CopySkips,
    /// What has changed since a prefix was first copied is not copied.
    CopiedOnce,
    /// A group deletes what has left it with the next snapshot, whether or not it has arrived.
    LeftForgotten,
    /// What has left is deleted while the transfer is open.
    SweptOpen,
    /// An agent asks the group that had a record first, for ever.
    FormerOwnerAsked,
}

/// Which bug is planted.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct HostBugs {
    #[cfg(feature = "planted-bugs")]
    planted: Option<HostBug>,
}

impl HostBugs {
    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(self, bug: HostBug) -> bool {
        self.planted == Some(bug)
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(super) const fn has(self, _: HostBug) -> bool {
        false
    }

    /// Leaves this rule out.
    #[cfg(feature = "planted-bugs")]
    pub(super) const fn plant(&mut self, bug: HostBug) {
        self.planted = Some(bug);
    }
}
