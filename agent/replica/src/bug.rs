//! Bugs that a test can plant in a replica. Each leaves out one rule about what the store or other members' agents say,
//! or about an HSM or a leader that is silent, or about reads that no entry carries.
//!
//! Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A pushed entry that no HSM made is a fault at once, without a look at the store.
    PushedForgeryIsFault,
    /// A push that does not fit what the HSM has captured is a fault at once.
    PushedForkIsFault,
    /// A sender that pushed a forgery is heard again at once.
    LiarsKeepTheirTurn,
    /// A guess that waits for the next leader counts as its session going on.
    HeldGoesOn,
    /// Segments are captured from a push even where it begins another leadership.
    PushElects,
    /// Any member that says it leads is followed, no matter who made the newest entry.
    ClaimElects,
    /// A leader is followed for as long as it is heard, even if its clients get nowhere.
    FollowedForEver,
    /// A statement about any entry other than the leader's deposes the leader.
    FalseHashDeposes,
    /// Where the HSM does not count the statements, all of them are forgotten.
    BadStatementCostsAll,
    /// What came by push is written to the store although no HSM has captured it.
    ForgeryRestored,
    /// A leader whose HSM does not answer goes on.
    SilentHsmLeads,
    /// A leader does not hear that others follow another one.
    RivalUnheard,
    /// A deposed leader, or a member that has just started, tries to lead without asking whether others hear a leader.
    NobodyAsked,
    /// What is pushed before its turn is lost.
    AheadIsLost,
    /// One read that does not verify is a fault at once.
    BadReadIsFault,
    /// A member that has stopped never looks again.
    FaultForGood,
    /// Members that do not answer for a read are never asked again.
    RoundAskedOnce,
    /// Every read waits for a commit, even where what it tells of is committed.
    ReadsAwaitCommit,
    /// The answer to a read goes to another client's request.
    ReadAnswersAnother,
    /// What a member did not get is not sent to it again.
    PushedOnce,
    /// A slow member is sent everything again before it can have stated it.
    AgainTooSoon,
    /// A member is sent everything at once, whether or not it has stated anything.
    SentWithoutRoom,
    /// A member does not hear that it is its turn.
    YieldUnheard,
    /// A leader that ends does not wait for users who have guessed and may go on.
    GuessesCut,
    /// A prefix leaves at once, whoever is in a session about it.
    LeavesAtOnce,
    /// What the group has let go of is not stored once more.
    LeftUnstored,
    /// The tops of trees that were merged are closed before they are stored.
    MergedTopsClosed,
    /// A leader that has nothing to do speaks as often as one that has.
    IdleChatter,
    /// A leader that hears of a client stays silent for as long as it said.
    SilentAtWork,
    /// What a leader says about its silence is not heard.
    SilenceUnheard,
    /// A leader is granted as much silence as it likes.
    SilenceAtWill,
    /// While a leader may be silent, a member's clients wait like everybody.
    ClientsWaitForSilence,
    /// Whoever leads from a group's last entry does not have it committed.
    EndUnstated,
    /// Members of a group that has ended go on trying to lead it.
    EndLedForEver,
}

/// Which bugs are planted.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bugs {
    #[cfg(feature = "planted-bugs")]
    planted: u64,
}

impl Bugs {
    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(super) const fn has(self, bug: Bug) -> bool {
        self.planted >> bug as u64 & 1 == 1
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(super) const fn has(self, _: Bug) -> bool {
        false
    }

    /// Whether any rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(super) const fn any(self) -> bool {
        self.planted != 0
    }

    /// Whether any rule is left out: none is.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(super) const fn any(self) -> bool {
        false
    }

    /// Leaves this rule out.
    #[cfg(feature = "planted-bugs")]
    pub(super) const fn plant(&mut self, bug: Bug) {
        self.planted |= 1 << bug as u64;
    }
}
