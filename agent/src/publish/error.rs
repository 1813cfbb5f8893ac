//! Why a log is not published any further.

use crate::segments::Unread;
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::Index;
use strongroom_replica::ask::Unanswered;

/// Why a log is not published any further. Nothing that is served depends on it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// The store did not answer, or another leader was faster. Try again.
    #[error("the object store does not answer")]
    Store,
    /// The HSM refused, or did not answer.
    #[error("the HSM does not sum up or sign the log: {0}")]
    Hsm(Unanswered),
    /// Another member leads by now.
    #[error("the group is not led here any more")]
    Deposed,
    /// The entry after this one is not in the store any more.
    #[error(
        "what follows entry {0} is not in the log any more, so the log cannot be published from its beginning; move what the group owns \
         to a new group"
    )]
    Gone(Index),
    /// A segment makes no sense.
    #[error("the segment with entry {0} cannot be read; run `strongroom-agent check`")]
    Segment(Index),
    /// An object of what is published is not what it was.
    #[error("{0} is not what was published there; restore it from the bucket's versions")]
    Damaged(String),
    /// Another object is where one belongs.
    #[error("{0} exists and is another; somebody else writes there, or the log was taken back")]
    Exists(String),
    /// The log is not the one that was published.
    #[error("entry {0} is not the one that was published; the log was taken back")]
    OtherLog(Index),
    /// The HSM sums up to another tree.
    #[error("the tree up to entry {0} is not the one that the HSM sums up; report this")]
    OtherTree(Index),
    /// Cosigning witnesses cannot be asked.
    #[error("the cosigning witnesses cannot be asked: {0}")]
    Witnesses(String),
    /// The checkpoint key cannot be used, or did not make the signature.
    #[error("the HSM's signature is not by the checkpoint key that it states; its version is another")]
    Key,
}

impl PublishError {
    /// Whether no later try can do better, if it comes again and again: then the log is not kept for it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Hsm(Unanswered::Refused(Refusal::Malformed)))
    }
}

impl From<Unread> for PublishError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Store => Self::Store,
            Unread::Gone(index) => Self::Gone(index),
            Unread::Damaged(_, index) => Self::Segment(index),
            Unread::OtherLog(index) => Self::OtherLog(index),
        }
    }
}
