//! What can go wrong: one error per operation, made of what each realm did.
//!
//! A recovery tells that the PIN is wrong or that nothing is registered only where this is certain. Otherwise an
//! operation fails with the least of its realms' causes, in the order of [`Cause`]: what the user can mend comes before
//! what takes time. Messages are for the person in front of the application or for its
//! developer; they hold no secrets and no tokens.

use strongroom_proto::ids::RealmId;
use strongroom_proto::pin::InputTooLong;

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
    #[error("the realm wants a newer client")]
    UpgradeRequired,
    /// The realm takes no more requests of this tenant for now.
    #[error("the tenant's rate is used up")]
    RateLimitExceeded,
    /// The realm holds another registration than most: it missed the last one.
    #[error("the realm holds another registration than the others")]
    OtherRegistration,
    /// The realm, or whoever answers in its place, broke the protocol. Says how.
    #[error("the realm broke the protocol: {0}")]
    Assertion(&'static str),
    /// The realm, or whoever answers in its place, has a certificate that is not accepted. Says why.
    #[error("the realm's certificate is not accepted: {0}")]
    Untrusted(String),
    /// The realm could not be reached or was not ready. Says why.
    #[error("the realm did not answer: {0}")]
    Transient(String),
    /// The realm may have acted, but its answer is lost and this request must not be sent again.
    #[error("the realm's answer was lost on the way")]
    Unsettled,
}

impl Cause {
    /// Whether the realm says something of the registration. Any other cause is silence about it.
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
            Self::OtherRegistration | Self::Assertion(_) | Self::Untrusted(_) => (5, 0),
            Self::Transient(_) | Self::Unsettled => (6, 0),
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
    /// A realm had another registration in this phase than in an earlier one.
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
}

/// Why nothing was registered. Some realms may hold the new registration all the same, and the former one may be
/// gone: until a registration succeeds, take it that neither can be recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A token is missing, expired, or not for this realm.
    #[error("not registered: an auth token is missing or was refused. Sign in again, then register again")]
    InvalidAuth {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// This client is too old.
    #[error("not registered: a realm wants a newer client. Update the application, then register again")]
    UpgradeRequired {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Too many requests for now.
    #[error("not registered: too many requests at the moment. Wait some minutes, then register again")]
    RateLimitExceeded {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Realms broke the protocol: the configuration does not fit them, or someone else answers in their place.
    #[error(
        "not registered: too many realms answer wrongly. Check the configuration's keys and addresses; \
         if they are right, report the realms to their operators"
    )]
    Assertion {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Too few realms could be reached.
    #[error("not registered: too few realms could be reached. Check the connection, then register again")]
    Unavailable {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// PIN or user info is 4 GiB or longer.
    #[error("not registered: {0}")]
    InputTooLong(#[from] InputTooLong),
}

/// Why the secret was not recovered.
///
/// [`RecoverError::InvalidPin`] and [`RecoverError::NotRegistered`] hold whatever the realms that are not heard would
/// say. All others decide nothing: the secret may well be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The PIN is wrong, or its guesses were used up before.
    #[error("{}", invalid_pin(*.guesses_remaining))]
    InvalidPin {
        /// How many guesses are left. At 0 the secret is gone for good.
        guesses_remaining: u16,
        /// What each realm that answered so, or failed, did.
        causes: Vec<RealmError>,
    },
    /// No configuration has a registration of this user that could be recovered.
    #[error(
        "nothing is registered for this user. Register first; if you did, add the configuration used then"
    )]
    NotRegistered {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// A token is missing, expired, or not for this realm.
    #[error("an auth token is missing or was refused. Sign in again, then try again")]
    InvalidAuth {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// This client is too old.
    #[error("a realm wants a newer client. Update the application, then try again")]
    UpgradeRequired {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Too many requests for now.
    #[error("too many requests at the moment. Wait some minutes, then try again")]
    RateLimitExceeded {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Realms broke the protocol: the configuration does not fit them, or someone else answers in their place.
    #[error(
        "too many realms answer wrongly. Check the configuration's keys and addresses; \
         if they are right, report the realms to their operators"
    )]
    Assertion {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Another device of the user registered anew during this recovery, and again when it was begun a second time.
    /// Nothing is wrong with the realms: recover again, with the PIN chosen there.
    #[error(
        "the secret was registered anew meanwhile, on another device. Recover it again, with the PIN chosen there"
    )]
    RegistrationChanged {
        /// What each realm did that is not part of the registration that was found first.
        causes: Vec<RealmError>,
    },
    /// Too few realms could be reached, and those that were do not decide without them.
    #[error(
        "too few realms could be reached: nothing was decided. Check the connection, then try again; do not register \
         anew for this. {}", cost(*.may_have_cost_a_guess)
    )]
    Unavailable {
        /// Whether the PIN was on its way already: a guess is charged as soon as it reaches a realm.
        may_have_cost_a_guess: bool,
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// PIN or user info is 4 GiB or longer.
    #[error("{0}")]
    InputTooLong(#[from] InputTooLong),
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
        0 => "no guesses are left: the secret cannot be recovered any more. Register a new one".to_owned(),
        1 => "the PIN is wrong. One guess is left; a wrong one destroys the secret".to_owned(),
        n => format!("the PIN is wrong. {n} guesses are left; try again"),
    }
}

/// Why not every realm deleted its record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// A token is missing, expired, or not for this realm.
    #[error(
        "not deleted everywhere: an auth token is missing or was refused. Sign in again, then delete again"
    )]
    InvalidAuth {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// This client is too old.
    #[error(
        "not deleted everywhere: a realm wants a newer client. Update the application, then delete again"
    )]
    UpgradeRequired {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// Too many requests for now.
    #[error("not deleted everywhere: too many requests at the moment. Wait some minutes, then delete again")]
    RateLimitExceeded {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// A realm broke the protocol.
    #[error(
        "not deleted everywhere: a realm answers wrongly. Check the configuration's keys and addresses; \
         if they are right, report the realm to its operator"
    )]
    Assertion {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
    /// A realm could not be reached.
    #[error("not deleted everywhere: a realm could not be reached. Check the connection, then delete again")]
    Unavailable {
        /// What each failing realm did.
        causes: Vec<RealmError>,
    },
}

impl RegisterError {
    /// What each failing realm did, in the order it was learnt.
    #[must_use]
    pub fn causes(&self) -> &[RealmError] {
        match self {
            Self::InvalidAuth { causes }
            | Self::UpgradeRequired { causes }
            | Self::RateLimitExceeded { causes }
            | Self::Assertion { causes }
            | Self::Unavailable { causes } => causes,
            Self::InputTooLong(_) => &[],
        }
    }
}

impl RecoverError {
    /// What each failing realm did, in the order it was learnt.
    #[must_use]
    pub fn causes(&self) -> &[RealmError] {
        match self {
            Self::InvalidPin { causes, .. }
            | Self::NotRegistered { causes }
            | Self::InvalidAuth { causes }
            | Self::UpgradeRequired { causes }
            | Self::RateLimitExceeded { causes }
            | Self::Assertion { causes }
            | Self::RegistrationChanged { causes }
            | Self::Unavailable { causes, .. } => causes,
            Self::InputTooLong(_) => &[],
        }
    }

    /// What a phase came to. `asked`: whether the PIN was on its way.
    pub(crate) fn of(Failed { cause, causes, .. }: Failed, asked: bool) -> Self {
        match cause {
            Cause::InvalidPin { guesses_remaining } => Self::InvalidPin { guesses_remaining, causes },
            Cause::NotRegistered => Self::NotRegistered { causes },
            Cause::InvalidAuth => Self::InvalidAuth { causes },
            Cause::UpgradeRequired => Self::UpgradeRequired { causes },
            Cause::RateLimitExceeded => Self::RateLimitExceeded { causes },
            Cause::OtherRegistration => Self::RegistrationChanged { causes },
            Cause::Assertion(_) | Cause::Untrusted(_) => Self::Assertion { causes },
            Cause::Transient(_) | Cause::Unsettled => {
                Self::Unavailable { may_have_cost_a_guess: asked, causes }
            }
        }
    }
}

impl DeleteError {
    /// What each failing realm did, in order of the realms' ids.
    #[must_use]
    pub fn causes(&self) -> &[RealmError] {
        match self {
            Self::InvalidAuth { causes }
            | Self::UpgradeRequired { causes }
            | Self::RateLimitExceeded { causes }
            | Self::Assertion { causes }
            | Self::Unavailable { causes } => causes,
        }
    }
}

impl From<Failed> for RegisterError {
    fn from(Failed { cause, causes, .. }: Failed) -> Self {
        match cause {
            Cause::InvalidAuth => Self::InvalidAuth { causes },
            Cause::UpgradeRequired => Self::UpgradeRequired { causes },
            Cause::RateLimitExceeded => Self::RateLimitExceeded { causes },
            // No answer to a registration says the first three.
            Cause::InvalidPin { .. }
            | Cause::NotRegistered
            | Cause::OtherRegistration
            | Cause::Assertion(_)
            | Cause::Untrusted(_) => Self::Assertion { causes },
            Cause::Transient(_) | Cause::Unsettled => Self::Unavailable { causes },
        }
    }
}

impl From<Failed> for DeleteError {
    fn from(Failed { cause, causes, .. }: Failed) -> Self {
        match cause {
            Cause::InvalidAuth => Self::InvalidAuth { causes },
            Cause::UpgradeRequired => Self::UpgradeRequired { causes },
            Cause::RateLimitExceeded => Self::RateLimitExceeded { causes },
            // No answer to a deletion says the first three.
            Cause::InvalidPin { .. }
            | Cause::NotRegistered
            | Cause::OtherRegistration
            | Cause::Assertion(_)
            | Cause::Untrusted(_) => Self::Assertion { causes },
            Cause::Transient(_) | Cause::Unsettled => Self::Unavailable { causes },
        }
    }
}
