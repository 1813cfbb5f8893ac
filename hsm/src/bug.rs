//! Bugs that a test can plant, each the absence of one rule.
//!
//! A checker that cannot fail checks nothing. Every rule of the core that an attack test or the simulator claims to
//! check asks here whether it is switched off. Without the feature `planted-bugs` the answer is a constant `false`,
//! and the set does not exist.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One rule that can be left out.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(
            not(feature = "planted-bugs"),
            allow(dead_code, unreachable_pub, reason = "public and planted only with the feature")
        )]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            #[cfg(feature = "planted-bugs")]
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// `Jump` takes a `Captured` statement for a `Committed` one.
    JumpOnCaptured,
    /// `Jump` goes to a lower index.
    JumpBackwards,
    /// `Jump` takes a statement of another entry.
    JumpToOther,
    /// `JoinGroup` takes a group statement without checking its MAC.
    JoinAnyMembers,
    /// `Capture` does not look at an entry's group.
    CaptureForeignGroup,
    /// `Capture` checks indexes only, not `prev`.
    CaptureWithoutPrev,
    /// `Capture` takes entries without checking their MAC.
    CaptureForged,
    /// `Capture` takes one group several times in one request.
    CaptureGroupTwice,
    /// `ExportRealm` does not count approvals.
    ExportUnapproved,
    /// `ExportRealm` accepts its nonce again.
    ExportNonceTwice,
    /// `ExportRealm` counts one custodian as often as it signed.
    CustodianTwice,
    /// `Captured` is stated even though the NVRAM write failed.
    StatementBeforeNvram,
    /// The newest NVRAM record is marked as superseded before the next one is written.
    MarkBeforeWrite,
    /// `Process` hands its replies out.
    ReplyBeforeCommit,
    /// An own entry that is beaten keeps its replies, and they are released by index.
    ReleaseByIndex,
    /// `Commit` counts one member as often as it stated.
    CountTwice,
    /// `Commit` counts statements of HSMs that are not members.
    CountStrangers,
    /// `Commit` counts the leader without its statement.
    LeaderCountsItself,
    /// `Commit` takes half of the members for a majority.
    HalfMajority,
    /// `Commit` counts statements by index, not by hash.
    CommitByIndex,
    /// `Lead` takes any entry.
    LeadForged,
    /// `Lead` keeps the sessions, with the replies in them.
    SessionsSurviveLead,
    /// Each request of a batch runs on the state before the batch.
    BatchOnStartingState,
    /// `Process` takes a partial tree of any root.
    StaleTree,
    /// `Process` reads a partial tree however deep it is.
    DeepTree,
    /// The entry of a batch carries the roots from before it.
    ChargeNotInEntry,
    /// A re-sent Recover2 is recognised by its version alone, and the new point is evaluated.
    ChargedOncePerVersion,
    /// A re-sent Recover2 is charged again.
    ResendCharged,
    /// One more evaluation than `num_guesses` is served.
    OneGuessMore,
    /// The last guess leaves the key material in the record as it was.
    SecretsStayAtZero,
    /// Recover3 does not look at the tag.
    AnyTag,
    /// Sessions are found by their id alone, whoever's they are.
    SessionAcrossRecords,
    /// Records are sealed without their record id as associated data.
    SealWithoutRecord,
    /// Recover2 on a missing record is answered at once, without keeping the reply.
    AbsentAnsweredAtOnce,
    /// Only a charged Recover2 reseals its leaf.
    ResealOnlyCharges,
    /// A second group of the realm starts with the whole space too.
    GenesisTwice,
    /// `Process` does not look at how much waits already.
    NoBounds,
    /// `Process` does not look at which prefix a partial tree is of.
    TreeWithoutPrefix,
    /// `Process` does not compare a partial tree's root with any.
    TreeOfAnyRoot,
    /// A record behind a stub is taken for absent.
    StubIsAbsent,
    /// `Commit` does not look at what the first entry of a chain follows.
    ChainWithoutPrev,
    /// `Commit` releases own entries past the one that the chain starts from.
    ReleasePastTheFork,
    /// `Lead` keeps the replies that wait.
    RepliesSurviveLead,
    /// `Jump` beside the own chain does not end the leadership.
    JumpKeepsLeadership,
    /// Every leadership of an HSM has the same term.
    SameTerm,
    /// A message that does not decrypt leaves the session as it was.
    SessionSurvivesBadMessage,
    /// Any request may ride in a handshake.
    RideAnything,
    /// Register2 is taken without looking at its policy and its public key.
    RegistrationUnverified,
    /// A message that is sent again is answered at once.
    ResentAnsweredAtOnce,
    /// Events are sealed only where something changed.
    EventsOnlyForChanges,
    /// Answers are as long as they are.
    AnswersUnpadded,
    /// A wrong tag ends the session, before any commit.
    WrongTagRefusedAtOnce,
    /// A wrong tag after the last guess erases nothing.
    WrongTagForgiven,
    /// The right tag does not give the guesses back.
    RecoveredKeepsCharges,
    /// Register2 takes over the charges of the registration that it replaces.
    RegisterKeepsCharges,
    /// Delete leaves the registration in place.
    DeleteKeepsRecord,
    /// The padding of a sealed record holds what the record held before.
    PaddingNotCleared,
    /// Recover2 and Recover3 do not look at the version.
    AnyVersion,
    /// `JoinRealm` lets the importer make a first group of the realm too.
    ImportedUnassigned,
    /// `NewGroup` clears `unassigned` in a write of its own, after that of the group.
    GenesisInTwoWrites,
    /// A leader that starts from nothing owns the whole space, whatever its group.
    EveryGroupOwnsAll,
    /// `JoinRealm` takes another seed.
    JoinRealmAgain,
    /// `JoinGroup` joins a group again, as if for the first time.
    JoinGroupAgain,
    /// `JoinGroup` joins a group that does not name this HSM.
    JoinUnnamed,
    /// `NewGroup` takes member statements without checking their MACs.
    AnyMemberStatement,
    /// `NewGroup` and `JoinGroup` take a list that names a member twice.
    RepeatedMembers,
    /// What a request has in it that is unknown is skipped with a stack that grows with it.
    UnknownItemsStacked,
    /// A message that is sent again counts as a use of its session.
    ResendCountsAsUse,
    /// `ExportRealm` takes an approval made out to another exporter.
    ExportForAnother,
    /// `ExportRealm` does not look at the nonce.
    ExportAnyNonce,
    /// `ExportRealm` counts signatures of keys that the policy does not name.
    CustodianStrangers,
    /// `Commit` panics where there is nothing to count.
    PanicsOnNoStatements,
    /// `JoinRealm` does not count approvals.
    ImportUnapproved,
    /// `JoinRealm` does not compare the seed's public key with the approved one.
    ImportOtherSeed,
    /// `JoinRealm` takes an approval made out to another device, key or build.
    ImportForAnother,
    /// `JoinRealm` does not look at the nonce.
    ImportAnyNonce,
    /// `JoinRealm` takes any policy.
    ImportAnyPolicy,
    /// `JoinRealm` takes a sealed realm of another version, or with more in it.
    SealedRealmLoose,
    /// `ExportRealm` seals to a device key of small order.
    ExportToSmallOrder,
    /// What is behind a state or a delta in NVRAM is not looked at.
    StateBytesLeftOver,
    /// The oldest version that may read an NVRAM is not looked at.
    MinimumIgnored,
    /// What is behind a record in its plaintext is not looked at.
    RecordBytesLeftOver,
    /// A record of any version is read as one of this build's.
    RecordOfAnyVersion,
    /// The session that was unused for longest gives way, charged or not.
    SessionsByUseAlone,
    /// A record has any number of sessions.
    SessionsWithoutBound,
    /// Every session of a record whose last request was a Recover2 is charged.
    RecordHoldsManyCharges,
    /// Charged sessions keep others out of the whole table.
    ChargedFillTheTable,
    /// A session is charged only if a guess was.
    ChargedByOutcome,
    /// The nonce of a proof is what the generator drew, and nothing else.
    NonceAsDrawn,
    /// Recover2 evaluates only where there is a key to evaluate with.
    NothingWithoutKey,
    /// `Jump` takes the statement of an HSM that is not a member.
    JumpByStranger,
    /// `Jump` does not check the statement's MAC.
    JumpOnForged,
    /// `Commit` does not check the MACs of statements.
    CommitOnForged,
    /// An HSM that has captured nothing states that.
    NothingStated,
    /// A leader goes on after capturing what others made after its newest entry.
    OvertakenLeads,
    /// A handshake without a request opens a session on a record of any group.
    HandshakeUncovered,
    /// A handshake without a request may have one.
    HandshakeWithPayload,
    /// Of the replies that wait, `Process` counts those of its own group.
    RepliesOfOneGroup,
    /// `Process` takes several trees of one prefix.
    TreeTwice,
    /// The stored answer survives the right tag.
    AnswerSurvivesTag,
    /// What is wrapped after the last guess is not bound to its realm.
    WrapWithoutRealm,
    /// What is wrapped after the last guess is not bound to its record.
    WrapWithoutRecord,
    /// What is wrapped after the last guess is not bound to its version.
    WrapWithoutVersion,
    /// Records are sealed without their realm id as associated data.
    SealWithoutRealm,
    /// Events are sealed without their realm id as associated data.
    EventWithoutRealm,
    /// Events are sealed without their group id as associated data.
    EventWithoutGroup,
    /// Whatever follows a request is ignored.
    TrailingBytes,
}

/// Which bugs are planted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Bugs {
    #[cfg(feature = "planted-bugs")]
    planted: [u128; 2],
}

impl Bugs {
    /// No rule is left out.
    pub(crate) const NONE: Self = Self {
        #[cfg(feature = "planted-bugs")]
        planted: [0; 2],
    };

    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub(crate) const fn has(self, bug: Bug) -> bool {
        let [low, high] = self.planted;
        let bug = bug as u32;
        let word = if bug < u128::BITS { low } else { high };
        (word >> (bug % u128::BITS)) & 1 == 1
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[must_use]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(crate) const fn has(self, _: Bug) -> bool {
        false
    }

    /// Leaves this rule out.
    #[cfg(feature = "planted-bugs")]
    pub(crate) const fn plant(&mut self, bug: Bug) {
        let [low, high] = &mut self.planted;
        let bug = bug as u32;
        let word = if bug < u128::BITS { low } else { high };
        *word |= 1 << (bug % u128::BITS);
    }
}
