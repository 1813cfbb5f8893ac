//! Why tenants are not told any further.

use crate::segments::Unread;
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::Index;
use strongroom_replica::ask::Unanswered;

/// Why tenants are not told any further. Nothing that is served depends on it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TellError {
    /// The store did not answer. Try again.
    #[error("the object store does not answer")]
    Store,
    /// The HSM refused, or did not answer.
    #[error("the HSM does not tell what happened: {0}")]
    Hsm(Unanswered),
    /// Another member leads by now.
    #[error("the group is not led here any more")]
    Deposed,
    /// Another leader has written the next page. Go on after it.
    #[error("another leader wrote page {0} first")]
    Overtaken(String),
    /// The entry after this one is not in the store any more.
    #[error(
        "what follows entry {0} is not in the log any more: tenants are told from the oldest entry on that is there"
    )]
    Gone(Index),
    /// A segment, or a page, makes no sense.
    #[error("{0} cannot be read; run `strongroom-agent check`")]
    Damaged(String),
    /// The log is not the one of which tenants were told.
    #[error("entry {0} is not the one of which tenants were told; the log was taken back")]
    OtherLog(Index),
}

impl TellError {
    /// Whether the HSM's build tells nothing to anybody.
    #[must_use]
    pub const fn is_unknown_to_hsm(&self) -> bool {
        matches!(self, Self::Hsm(Unanswered::Refused(Refusal::Malformed)))
    }
}

impl From<Unread> for TellError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Store => Self::Store,
            Unread::Gone(index) => Self::Gone(index),
            Unread::Damaged(name, _) => Self::Damaged(name),
            Unread::OtherLog(index) => Self::OtherLog(index),
        }
    }
}
