//! Bugs that a test can plant in the world around the HSMs, each the absence of one rule of it.
//!
//! What the simulator checks of agents and of the store it must be able to find missing. Rules of the HSMs are left
//! out with `strongroom_hsm_planted::Bug`. Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostBug {
    /// The store lets a second writer have a name that is taken.
    CreateReplaces,
    /// An agent answers each request twice.
    AnswerTwice,
    /// An answer goes to whoever asked last.
    AnswerAnother,
    /// An agent never answers a request that it has taken.
    NeverAnswer,
    /// A leader does not say that it leads.
    SilentLeader,
    /// An agent takes a snapshot of an entry that no HSM has stated as committed.
    SnapshotUnproven,
    /// An agent deletes segments when it begins to take a snapshot, not after the snapshot is durable.
    CollectEarly,
    /// The tree takes pages and leaves without the snapshot that belongs to them.
    AdvanceTorn,
    /// The tree takes a snapshot from a writer that others have shut out.
    FenceIgnored,
    /// The tree gives the sealed bytes that a record had before.
    OlderLeaf,
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
