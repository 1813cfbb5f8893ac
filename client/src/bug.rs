//! Bugs that a test can plant. Each leaves out one rule of the client.
//!
//! A checker that cannot fail checks nothing. Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "public and planted only with the feature")
)]
pub enum Bug {
    /// A realm that says nothing is taken for one that holds nothing.
    SilenceDenies,
    /// One realm whose guesses are used up speaks for all realms.
    OneLockedRealmDecides,
    /// The realm with the fewest guesses left decides how many there are.
    LeastGuessesDecide,
    /// A previous configuration is tried after any failure of the current one.
    FallBackOnSilence,
    /// A registration starts over up to three times.
    RestartThrice,
    /// A guess is spent whatever heads of logs are demanded.
    GuessWithoutHead,
    /// A Register2 or Recover3 is sent again in a different session.
    ResendInAnySession,
    /// A realm is asked although something that an earlier operation left there is under way.
    AskOutOfTurn,
    /// A guess is spent on a registration that too few realms hold.
    GuessBelowThreshold,
    /// A PIN is tried at every registration that enough realms hold.
    TryEveryRegistration,
    /// A registration whose activation has begun is tried before one that is present at enough realms.
    StagedFirst,
    /// The number of guesses is believed though too few realms name it.
    BelieveNumGuesses,
    /// Starting over, a PIN is tried again at a registration for which it was wrong.
    TryAgain,
    /// Operations of one client that replace registrations do not wait for each other.
    ReplaceAtOnce,
    /// A new registration is activated without asking whether it is still held.
    ActivateUnasked,
    /// A new registration is activated once one realm has staged it.
    ActivateEarly,
}

/// Which bug is planted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Bugs {
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<Bug>,
}

impl Bugs {
    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(crate) const fn has(self, _: Bug) -> bool {
        false
    }
}
