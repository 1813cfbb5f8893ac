//! The rules of transfers and of retirement, by name.

/// One rule. Each can be left out, to see what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// An id of a transfer is drawn inside the HSM that begins it; a host cannot choose one that was there before.
    IdIsDrawnInside,
    /// A group takes in nothing from itself.
    SourceIsOther,
    /// A transfer begins with evidence that the source owned exactly this prefix.
    InNeedsExactPrefix,
    /// A prefix leaves only for a transfer that names this group as its source.
    OutNamesSource,
    /// A prefix leaves only while the source's count is the one that the transfer names.
    OutNeedsCount,
    /// Whoever gives a prefix away counts up.
    OutCountsUp,
    /// Whoever gives a prefix away no longer owns it.
    OutRemovesPrefix,
    /// A prefix leaves only on evidence that is committed.
    OutNeedsCommitted,
    /// A transfer that is given away takes a place in the entry, as a prefix does.
    OutTakesPlace,
    /// Refusing is counting up: the same count that step 2 looks at.
    RefuseCountsUp,
    /// A group gives away and refuses whatever else it has open.
    DecidesWhileBusy,
    /// A prefix is taken only for a transfer that waits.
    TakeNeedsIncoming,
    /// And with what was given away for that very transfer.
    TakeMatchesId,
    /// It is taken with the root that was given away.
    TakeGivenRoot,
    /// A transfer that was taken no longer waits.
    TakeRemovesIncoming,
    /// Whoever takes a prefix counts up.
    TakeCountsUp,
    /// A prefix is taken only on evidence that is committed.
    TakeNeedsCommitted,
    /// A transfer is dropped only on evidence of its source.
    DropNeedsEvidence,
    /// That evidence has a higher count than the transfer names.
    DropNeedsNewer,
    /// And does not say that the prefix was given away.
    DropNeedsNoOutgoing,
    /// Whoever drops a transfer counts up.
    DropCountsUp,
    /// What was given away is forgotten only on evidence of the destination.
    CloseNeedsEvidence,
    /// That evidence has a higher count than the evidence on which it was given away.
    CloseNeedsNewer,
    /// And the transfer waits there no longer.
    CloseNeedsNoIncoming,
    /// What was given away is never taken back.
    NeverTakenBack,
    /// Each entry repeats what is open in the one before it.
    OpenIsRepeated,
    /// A group that retires owns nothing.
    RetireOwnsNothing,
    /// A group that retires waits for nothing.
    RetireWithoutIncoming,
    /// A group that retires has given nothing away that is still open.
    RetireWithoutOutgoing,
    /// Whoever retires counts up.
    RetireCountsUp,
    /// A retired group makes no more entries.
    RetiredIsLast,
    /// A retired group is never joined again.
    RetiredForGood,
    /// Whoever has left a retired group can still state that it is retired.
    RetiredIsStated,
    /// A member leaves when the retiring entry is committed.
    LeaveNeedsCommitted,
    /// By a statement about that very entry.
    LeaveNeedsExact,
    /// A member leaves wherever it is, on a longer fork too.
    LeaveFromAnywhere,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::IdIsDrawnInside,
        Self::SourceIsOther,
        Self::InNeedsExactPrefix,
        Self::OutNamesSource,
        Self::OutNeedsCount,
        Self::OutCountsUp,
        Self::OutRemovesPrefix,
        Self::OutNeedsCommitted,
        Self::OutTakesPlace,
        Self::RefuseCountsUp,
        Self::DecidesWhileBusy,
        Self::TakeNeedsIncoming,
        Self::TakeMatchesId,
        Self::TakeGivenRoot,
        Self::TakeRemovesIncoming,
        Self::TakeCountsUp,
        Self::TakeNeedsCommitted,
        Self::DropNeedsEvidence,
        Self::DropNeedsNewer,
        Self::DropNeedsNoOutgoing,
        Self::DropCountsUp,
        Self::CloseNeedsEvidence,
        Self::CloseNeedsNewer,
        Self::CloseNeedsNoIncoming,
        Self::NeverTakenBack,
        Self::OpenIsRepeated,
        Self::RetireOwnsNothing,
        Self::RetireWithoutIncoming,
        Self::RetireWithoutOutgoing,
        Self::RetireCountsUp,
        Self::RetiredIsLast,
        Self::RetiredForGood,
        Self::RetiredIsStated,
        Self::LeaveNeedsCommitted,
        Self::LeaveNeedsExact,
        Self::LeaveFromAnywhere,
    ];
}
