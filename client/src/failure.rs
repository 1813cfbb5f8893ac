//! Why one attempt at a realm failed, as far as the next one needs to know.

use crate::error::Cause;
use crate::heads::HeadError;
use crate::transport::NetworkError;

/// Why one attempt failed.
pub(crate) enum Failure {
    /// The realm, or something before it, says that it cannot serve at the moment.
    Refused(String),
    /// No answer came. The realm may have acted.
    Lost(String),
    /// The realm does not know the session.
    MissingSession,
    /// The realm destroyed the session.
    SessionError,
    Fatal(Cause),
}

impl Failure {
    pub(crate) const fn assertion(reason: &'static str) -> Self {
        Self::Fatal(Cause::Assertion(reason))
    }

    /// The failure, if the session was opened a moment ago and its loss breaks the protocol.
    pub(crate) fn on_new_session(self) -> Self {
        match self {
            Self::MissingSession => Self::assertion("it lost a session that it had just opened"),
            other => other,
        }
    }

    /// The cause, if nothing more can be tried.
    pub(crate) fn into_cause(self) -> Cause {
        match self {
            Self::Refused(why) | Self::Lost(why) => Cause::Transient(why),
            Self::MissingSession => Cause::Transient("it lost the session".to_owned()),
            Self::SessionError => Cause::Assertion("it refused the session's message"),
            Self::Fatal(cause) => cause,
        }
    }

    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Lost(_))
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Untrusted(why) => Self::Fatal(Cause::Untrusted(why)),
            NetworkError::CannotGet => Self::Fatal(Cause::Head(HeadError::CannotGet)),
            NetworkError::Lost(why) => Self::Lost(why),
        }
    }
}
