//! What can go wrong: the operation, the kind of its failure, and what each realm did.
//!
//! A recovery says that the PIN is wrong or that nothing is registered only where this is certain. Otherwise an
//! operation fails with the least of its realms' causes, in the order of [`Cause`]: what the user can mend comes before
//! what takes time. Messages are for the person in front of the application or for its developer; they hold no secrets
//! and no tokens.

use strongroom_proto::ids::RealmId;

use crate::heads::HeadError;

/// Why one realm did not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The PIN is wrong; or, with none left, the guesses are used up, whatever the PIN.
    #[error("{}", wrong_or_gone(*.guesses_remaining))]
    InvalidPin {
        /// How many guesses this realm still allows.
        guesses_remaining: u16,
    },
    /// There is nothing registered for this user.
    #[error("nothing is registered for this user")]
    NotRegistered,
    /// The realm refused the auth token, or there was none to send.
    #[error("the auth token is missing or was refused")]
    InvalidAuth,
    /// The realm no longer serves this version of the client.
    #[error("the realm requires a newer client")]
    UpgradeRequired,
    /// The realm accepts no more requests of this tenant for now.
    #[error("the tenant has used up its rate limit")]
    RateLimitExceeded,
    /// The realm did not show the head of its log that the application demands, so it was not asked to evaluate the PIN.
    #[error("the realm was not asked to evaluate the PIN: {0}")]
    Head(HeadError),
    /// The realm does not offer what an operation needs of it, such as a list of the requests that counted: it runs older software, or is
    /// no realm of HSMs.
    #[error("the realm does not offer what is asked; its operator can update it")]
    Unsupported,
    /// A change of the PIN is not finished at the realm: it holds the registration only beside another one, or still another beside it.
    #[error("a change of the PIN is not finished at the realm")]
    Unfinished,
    /// The realm holds a different registration from most: it missed the last one.
    #[error("the realm holds a different registration from the others")]
    OtherRegistration,
    /// The realm, or what answers in its place, broke the protocol. Says how.
    #[error("the realm broke the protocol: {0}")]
    Assertion(&'static str),
    /// The realm, or what answers in its place, has a certificate that is not accepted. Says why.
    #[error("the realm's certificate is not accepted: {0}")]
    Untrusted(String),
    /// The realm could not be reached or was not ready. Says why.
    #[error("the realm did not answer: {0}")]
    Transient(String),
    /// The realm may have acted, but its answer is lost, and this request must not be sent again.
    #[error("the realm's answer was lost on the way")]
    Unsettled,
}

impl Cause {
    /// Whether the realm says anything about the registration. Any other cause is silence about it.
    pub(crate) fn is_word(&self) -> bool {
        matches!(self, Self::InvalidPin { .. } | Self::NotRegistered | Self::OtherRegistration)
    }

    /// Whether the realm is asked nothing more in this recovery: it does not hold the registration, or is not to evaluate the PIN.
    pub(crate) fn is_out(&self) -> bool {
        self.is_word() || matches!(self, Self::Head(_))
    }

    /// How many guesses this realm still allows, where it said so.
    #[must_use]
    pub const fn guesses_remaining(&self) -> Option<u16> {
        match self {
            Self::InvalidPin { guesses_remaining } => Some(*guesses_remaining),
            _ => None,
        }
    }

    /// Whether this realm may do its part if it is asked the same again later, with nothing changed by anybody.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::RateLimitExceeded | Self::Head(_) | Self::Transient(_) | Self::Unsettled)
    }

    /// The name of the variant: how clients in other languages name this cause.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InvalidPin { .. } => "InvalidPin",
            Self::NotRegistered => "NotRegistered",
            Self::InvalidAuth => "InvalidAuth",
            Self::UpgradeRequired => "UpgradeRequired",
            Self::RateLimitExceeded => "RateLimitExceeded",
            Self::Head(_) => "Head",
            Self::Unsupported => "Unsupported",
            Self::Unfinished => "Unfinished",
            Self::OtherRegistration => "OtherRegistration",
            Self::Assertion(_) => "Assertion",
            Self::Untrusted(_) => "Untrusted",
            Self::Transient(_) => "Transient",
            Self::Unsettled => "Unsettled",
        }
    }

    fn rank(&self) -> (u8, u16) {
        match self {
            Self::InvalidPin { guesses_remaining } => (0, *guesses_remaining),
            Self::NotRegistered => (1, 0),
            Self::InvalidAuth => (2, 0),
            Self::UpgradeRequired => (3, 0),
            Self::RateLimitExceeded => (4, 0),
            Self::Head(_) => (5, 0),
            Self::Unsupported | Self::Unfinished => (6, 0),
            Self::OtherRegistration | Self::Assertion(_) | Self::Untrusted(_) => (6, 0),
            Self::Transient(_) | Self::Unsettled => (7, 0),
        }
    }
}

/// A [`Cause`], and the realm it concerns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("realm {realm}: {cause}")]
pub struct RealmError {
    /// The realm.
    pub realm: RealmId,
    /// What happened there.
    pub cause: Cause,
}

/// A phase that too many realms failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The least of the causes.
    pub(crate) cause: Cause,
    pub(crate) causes: Vec<RealmError>,
    /// A realm had a different registration in this phase from an earlier one.
    pub(crate) changed: bool,
    /// Realms tell of registrations, and what is staged there could be enough of one.
    pub(crate) held: bool,
}

impl Failed {
    /// Fails with this cause.
    pub(crate) fn with(cause: Cause, causes: Vec<RealmError>) -> Self {
        Self { cause, causes, changed: false, held: false }
    }

    /// Fails with the least of `causes`, which must not be empty.
    pub(crate) fn least(causes: Vec<RealmError>) -> Self {
        let least = causes.iter().map(|error| &error.cause).min_by_key(|cause| cause.rank());
        let cause = least.cloned().expect("a phase fails by at least one realm");
        Self::with(cause, causes)
    }

    /// The error of `operation` that this leads to. `asked`: whether the PIN was on its way.
    pub(crate) fn end(self, operation: Operation, asked: bool) -> Error {
        let kind = match self.cause {
            // What was staged, or was to be replaced, is no longer there.
            Cause::OtherRegistration if matches!(operation, Operation::ChangePin | Operation::Repair) => {
                ErrorKind::RegistrationChanged
            }
            // Only a recovery asks the questions that these three answer.
            Cause::InvalidPin { .. } | Cause::NotRegistered | Cause::OtherRegistration
                if operation != Operation::Recover =>
            {
                ErrorKind::Assertion
            }
            Cause::InvalidPin { guesses_remaining } => ErrorKind::InvalidPin { guesses_remaining },
            Cause::NotRegistered => ErrorKind::NotRegistered,
            Cause::OtherRegistration => ErrorKind::RegistrationChanged,
            Cause::InvalidAuth => ErrorKind::InvalidAuth,
            Cause::UpgradeRequired => ErrorKind::UpgradeRequired,
            Cause::RateLimitExceeded => ErrorKind::RateLimitExceeded,
            Cause::Head(_) => ErrorKind::HeadRefused,
            Cause::Unsupported => ErrorKind::Unsupported,
            Cause::Assertion(_) | Cause::Untrusted(_) | Cause::Unfinished => ErrorKind::Assertion,
            Cause::Transient(_) | Cause::Unsettled => ErrorKind::Unavailable { may_have_cost_a_guess: asked },
        };
        Error::new(operation, kind, self.causes)
    }
}

/// The operation that the application called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Client::register`](crate::Client::register). If it fails, some realms may still hold the new registration, and
    /// the previous one may be gone. Until a registration succeeds, assume that neither can be recovered.
    Register,
    /// [`Client::recover`](crate::Client::recover).
    Recover,
    /// [`Client::status`](crate::Client::status), which does not fail, but may not
    /// [tell](crate::Status::undecided) what is registered.
    Status,
    /// [`Client::delete`](crate::Client::delete). If it fails, some realms may still hold their records.
    Delete,
    /// [`Client::change_pin`](crate::Client::change_pin). If it fails, the secret can be recovered with the old PIN or with the new one,
    /// unless no guesses are left.
    ChangePin,
    /// [`Client::repair`](crate::Client::repair). If it fails, the secret can be recovered as before.
    Repair,
}

impl Operation {
    /// The name of the variant: how clients in other languages name this operation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "Register",
            Self::Recover => "Recover",
            Self::Status => "Status",
            Self::Delete => "Delete",
            Self::ChangePin => "ChangePin",
            Self::Repair => "Repair",
        }
    }
}

/// Why an operation failed. Its text says what to do next; an application acts by [`Error::kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message(*.operation, *.kind))]
#[non_exhaustive]
pub struct Error {
    /// What was called.
    pub operation: Operation,
    /// What went wrong.
    pub kind: ErrorKind,
    /// What each realm did that failed or gave this answer, in the order the client learnt it. After a deletion or a
    /// status, in the order of the realms' ids.
    pub causes: Vec<RealmError>,
}

impl Error {
    /// An error, for an application's own tests.
    #[must_use]
    pub const fn new(operation: Operation, kind: ErrorKind, causes: Vec<RealmError>) -> Self {
        Self { operation, kind, causes }
    }

    /// As [`ErrorKind::guesses_remaining`].
    #[must_use]
    pub const fn guesses_remaining(&self) -> Option<u16> {
        self.kind.guesses_remaining()
    }

    /// As [`ErrorKind::retryable`].
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.kind.retryable()
    }

    /// As [`ErrorKind::may_have_cost_a_guess`].
    #[must_use]
    pub const fn may_have_cost_a_guess(&self) -> Option<bool> {
        self.kind.may_have_cost_a_guess()
    }
}

/// What went wrong.
///
/// [`ErrorKind::InvalidPin`] and [`ErrorKind::NotRegistered`] hold no matter what the silent realms would have said.
/// The others decide nothing: the secret may well exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The PIN is wrong, or its guesses were used up before. Only from a recovery, and from what begins with one.
    InvalidPin {
        /// How many guesses are left. At 0 the secret is gone forever.
        guesses_remaining: u16,
    },
    /// No configuration has a registration of this user that could be recovered. Only from a recovery, and from what begins with one.
    NotRegistered,
    /// A token is missing, expired, or not for this realm.
    InvalidAuth,
    /// This client is too old.
    UpgradeRequired,
    /// Too many requests for now.
    RateLimitExceeded,
    /// Realms broke the protocol: the configuration does not match them, or something else answers in their place.
    Assertion,
    /// Too few realms showed the head of their log that the application demands ([`HeadError`](crate::HeadError) says what each
    /// did), so the PIN was not sent. Only from a recovery and what begins with one, and only with
    /// [`ClientBuilder::demand_heads`](crate::ClientBuilder::demand_heads).
    HeadRefused,
    /// Another device of the user registered during this recovery, and again after the client had started over. Nothing
    /// is wrong with the realms: recover again, with the PIN chosen there. From a change of the PIN or a repair: another device did so, or
    /// did the same, meanwhile. Only from these three.
    RegistrationChanged,
    /// Too few realms could be reached to decide.
    Unavailable {
        /// Whether a recovery had sent the PIN: a realm charges a guess as soon as it arrives.
        may_have_cost_a_guess: bool,
    },
    /// Too few realms offer what the operation needs: they run older software. Only from a change of the PIN and a repair.
    Unsupported,
    /// PIN or user info is 4 GiB or longer.
    InputTooLong,
}

impl ErrorKind {
    /// How many guesses are left, where that is known; at 0 the secret is gone. `None` says nothing about them; what single realms
    /// said of theirs is in [`Error::causes`].
    #[must_use]
    pub const fn guesses_remaining(self) -> Option<u16> {
        match self {
            Self::InvalidPin { guesses_remaining } => Some(guesses_remaining),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, with nothing changed by the user, the application or its developer. Let a
    /// person decide about a recovery that [may have cost a guess](Self::may_have_cost_a_guess): one that is repeated by a
    /// program could use them all up.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded
                | Self::HeadRefused
                | Self::RegistrationChanged
                | Self::Unavailable { .. }
        )
    }

    /// Whether a guess may have been spent although nothing was decided; `None` where the kind says what was decided, or that
    /// a realm refused.
    #[must_use]
    pub const fn may_have_cost_a_guess(self) -> Option<bool> {
        match self {
            Self::Unavailable { may_have_cost_a_guess } => Some(may_have_cost_a_guess),
            _ => None,
        }
    }

    /// The name of the variant: how clients in other languages name this kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidPin { .. } => "InvalidPin",
            Self::NotRegistered => "NotRegistered",
            Self::InvalidAuth => "InvalidAuth",
            Self::UpgradeRequired => "UpgradeRequired",
            Self::RateLimitExceeded => "RateLimitExceeded",
            Self::Assertion => "Assertion",
            Self::HeadRefused => "HeadRefused",
            Self::RegistrationChanged => "RegistrationChanged",
            Self::Unavailable { .. } => "Unavailable",
            Self::Unsupported => "Unsupported",
            Self::InputTooLong => "InputTooLong",
        }
    }
}

fn message(operation: Operation, kind: ErrorKind) -> String {
    let (failed, again) = match operation {
        Operation::Register => ("not registered: ", "register again"),
        Operation::Recover | Operation::Status => ("", "try again"),
        Operation::Delete => ("not deleted everywhere: ", "delete again"),
        Operation::ChangePin => {
            ("not finished, but the old PIN or the new one still opens the secret: ", "change the PIN again")
        }
        Operation::Repair => ("not repaired: ", "repair again"),
    };
    match (kind, operation) {
        (ErrorKind::InvalidPin { guesses_remaining }, _) => invalid_pin(guesses_remaining),
        (ErrorKind::NotRegistered, _) => {
            "nothing is registered for this user. Register first; if you did, add the \
                                          configuration used then"
                .to_owned()
        }
        (ErrorKind::InvalidAuth, _) => {
            format!("{failed}an auth token is missing or was refused. Sign in again, then {again}")
        }
        (ErrorKind::UpgradeRequired, _) => {
            format!("{failed}a realm requires a newer client. Update the application, then {again}")
        }
        (ErrorKind::RateLimitExceeded, _) => {
            format!("{failed}too many requests right now. Wait a few minutes, then {again}")
        }
        (ErrorKind::Assertion, Operation::Delete) => format!(
            "{failed}a realm gave an invalid answer. Check the configuration's keys and addresses; if they are right, \
             report the realm to its operator"
        ),
        (ErrorKind::Assertion, _) => format!(
            "{failed}too many realms gave invalid answers. Check the configuration's keys and addresses; if they are \
             right, report the realms to their operators"
        ),
        (ErrorKind::HeadRefused, _) => "too few realms could show that their logs are whole and watched, so the PIN was not \
                                        sent to them. Try again later; if it stays so, report the realms with what is \
                                        said of each, and do not register a new secret because of this"
            .to_owned(),
        (ErrorKind::RegistrationChanged, _) => {
            "another device has just registered a new secret. Recover again, with the PIN chosen there"
                .to_owned()
        }
        (ErrorKind::Unavailable { .. }, Operation::Register) => {
            format!("{failed}too few realms could be reached. Check the connection, then {again}")
        }
        (ErrorKind::Unavailable { .. }, Operation::Delete) => {
            format!("{failed}a realm could not be reached. Check the connection, then {again}")
        }
        (ErrorKind::Unavailable { .. }, Operation::Status) => format!(
            "too few realms could tell what is registered: nothing was decided. Check the connection, then {again}; do \
             not register a new secret because of this"
        ),
        (ErrorKind::Unavailable { may_have_cost_a_guess }, Operation::Recover) => format!(
            "too few realms could be reached: nothing was decided. Check the connection, then {again}; do not register \
             a new secret because of this. {}",
            cost(may_have_cost_a_guess)
        ),
        (ErrorKind::Unavailable { may_have_cost_a_guess }, Operation::ChangePin | Operation::Repair) => {
            let cost = cost(may_have_cost_a_guess);
            format!("{failed}too few realms could be reached. Check the connection, then {again}. {cost}")
        }
        (ErrorKind::Unsupported, _) => format!(
            "{failed}too few realms offer it. Their operators can update them; until then, recover the secret and \
             register it again"
        ),
        (ErrorKind::InputTooLong, _) => {
            format!("{failed}the PIN or the user info is too long: keep each below 4 GiB")
        }
    }
}

fn wrong_or_gone(guesses_remaining: u16) -> String {
    match guesses_remaining {
        0 => "no guesses are left".to_owned(),
        n => format!("the PIN is wrong; guesses left: {n}"),
    }
}

const fn cost(may_have_cost_a_guess: bool) -> &'static str {
    if may_have_cost_a_guess { "The attempt may have cost a guess" } else { "No guess was spent" }
}

fn invalid_pin(guesses_remaining: u16) -> String {
    match guesses_remaining {
        0 => "no guesses are left: the secret can no longer be recovered. Register a new one".to_owned(),
        1 => "the PIN is wrong. One guess is left; a wrong one destroys the secret".to_owned(),
        n => format!("the PIN is wrong. {n} guesses are left; try again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do_next() {
        let kinds = [
            ErrorKind::InvalidPin { guesses_remaining: 0 },
            ErrorKind::InvalidPin { guesses_remaining: 1 },
            ErrorKind::InvalidPin { guesses_remaining: 2 },
            ErrorKind::NotRegistered,
            ErrorKind::InvalidAuth,
            ErrorKind::UpgradeRequired,
            ErrorKind::RateLimitExceeded,
            ErrorKind::Assertion,
            ErrorKind::HeadRefused,
            ErrorKind::RegistrationChanged,
            ErrorKind::Unavailable { may_have_cost_a_guess: false },
            ErrorKind::Unsupported,
            ErrorKind::InputTooLong,
        ];
        let advice = ["again", "Register", "report", "destroys", "keep each below"];
        let operations = [
            Operation::Register,
            Operation::Recover,
            Operation::Status,
            Operation::Delete,
            Operation::ChangePin,
            Operation::Repair,
        ];
        for operation in operations {
            for kind in kinds {
                let text = Error::new(operation, kind, Vec::new()).to_string();
                assert!(advice.iter().any(|advice| text.contains(advice)), "{text}");
                assert!(!text.contains("  ") && !text.ends_with('.'), "{text}");
            }
        }
    }

    #[test]
    fn what_an_application_branches_on_is_data() {
        let unavailable = |may_have_cost_a_guess| ErrorKind::Unavailable { may_have_cost_a_guess };
        let told = |kind: ErrorKind| {
            let error = Error::new(Operation::Recover, kind, Vec::new());
            (error.guesses_remaining(), error.retryable(), error.may_have_cost_a_guess())
        };
        assert_eq!(told(ErrorKind::InvalidPin { guesses_remaining: 2 }), (Some(2), false, None));
        assert_eq!(told(unavailable(true)), (None, true, Some(true)));
        assert_eq!(told(unavailable(false)), (None, true, Some(false)));
        let others = [
            (ErrorKind::NotRegistered, false),
            (ErrorKind::InvalidAuth, false),
            (ErrorKind::UpgradeRequired, false),
            (ErrorKind::RateLimitExceeded, true),
            (ErrorKind::Assertion, false),
            (ErrorKind::HeadRefused, true),
            (ErrorKind::RegistrationChanged, true),
            (ErrorKind::Unsupported, false),
            (ErrorKind::InputTooLong, false),
        ];
        for (kind, retryable) in others {
            assert_eq!(told(kind), (None, retryable, None));
            assert!(format!("{kind:?}").starts_with(kind.name()));
        }
        let causes = [
            (Cause::InvalidPin { guesses_remaining: 1 }, Some(1), false),
            (Cause::NotRegistered, None, false),
            (Cause::InvalidAuth, None, false),
            (Cause::UpgradeRequired, None, false),
            (Cause::RateLimitExceeded, None, true),
            (Cause::OtherRegistration, None, false),
            (Cause::Assertion("x"), None, false),
            (Cause::Untrusted("x".into()), None, false),
            (Cause::Transient("x".into()), None, true),
            (Cause::Unsettled, None, true),
            (Cause::Unsupported, None, false),
            (Cause::Unfinished, None, false),
        ];
        for (cause, guesses, retryable) in causes {
            assert_eq!((cause.guesses_remaining(), cause.retryable()), (guesses, retryable), "{cause:?}");
            assert!(format!("{cause:?}").starts_with(cause.name()));
        }
    }

    #[test]
    fn only_a_recovery_says_that_the_pin_is_wrong_or_that_nothing_is_registered() {
        for cause in
            [Cause::InvalidPin { guesses_remaining: 1 }, Cause::NotRegistered, Cause::OtherRegistration]
        {
            let failed = || Failed::with(cause.clone(), Vec::new());
            assert_eq!(failed().end(Operation::Register, false).kind, ErrorKind::Assertion);
            assert_eq!(failed().end(Operation::Delete, false).kind, ErrorKind::Assertion);
            assert_ne!(failed().end(Operation::Recover, false).kind, ErrorKind::Assertion);
            for operation in [Operation::ChangePin, Operation::Repair] {
                let changed = failed().end(operation, false).kind == ErrorKind::RegistrationChanged;
                assert_eq!(changed, cause == Cause::OtherRegistration);
            }
        }
    }
}
