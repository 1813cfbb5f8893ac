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

    fn rank(&self) -> (u8, u16) {
        match self {
            Self::InvalidPin { guesses_remaining } => (0, *guesses_remaining),
            Self::NotRegistered => (1, 0),
            Self::InvalidAuth => (2, 0),
            Self::UpgradeRequired => (3, 0),
            Self::RateLimitExceeded => (4, 0),
            Self::Head(_) => (5, 0),
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
}

impl Failed {
    /// Fails with this cause.
    pub(crate) fn with(cause: Cause, causes: Vec<RealmError>) -> Self {
        Self { cause, causes, changed: false }
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
            Cause::Assertion(_) | Cause::Untrusted(_) => ErrorKind::Assertion,
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
}

/// What went wrong.
///
/// [`ErrorKind::InvalidPin`] and [`ErrorKind::NotRegistered`] hold no matter what the silent realms would have said.
/// The others decide nothing: the secret may well exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The PIN is wrong, or its guesses were used up before. Only from a recovery.
    InvalidPin {
        /// How many guesses are left. At 0 the secret is gone forever.
        guesses_remaining: u16,
    },
    /// No configuration has a registration of this user that could be recovered. Only from a recovery.
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
    /// did), so the PIN was not sent. Only from a recovery, and only with
    /// [`ClientBuilder::demand_heads`](crate::ClientBuilder::demand_heads).
    HeadRefused,
    /// Another device of the user registered during this recovery, and again after the client had started over. Nothing
    /// is wrong with the realms: recover again, with the PIN chosen there. Only from a recovery.
    RegistrationChanged,
    /// Too few realms could be reached to decide.
    Unavailable {
        /// Whether a recovery had sent the PIN: a realm charges a guess as soon as it arrives.
        may_have_cost_a_guess: bool,
    },
    /// PIN or user info is 4 GiB or longer.
    InputTooLong,
}

fn message(operation: Operation, kind: ErrorKind) -> String {
    let (failed, again) = match operation {
        Operation::Register => ("not registered: ", "register again"),
        Operation::Recover | Operation::Status => ("", "try again"),
        Operation::Delete => ("not deleted everywhere: ", "delete again"),
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
            ErrorKind::InputTooLong,
        ];
        let advice = ["again", "Register", "report", "destroys", "keep each below"];
        for operation in [Operation::Register, Operation::Recover, Operation::Status, Operation::Delete] {
            for kind in kinds {
                let text = Error::new(operation, kind, Vec::new()).to_string();
                assert!(advice.iter().any(|advice| text.contains(advice)), "{text}");
                assert!(!text.contains("  ") && !text.ends_with('.'), "{text}");
            }
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
        }
    }
}
