//! Why a head is refused.

/// Two checkpoints of one log that do not fit together, each as its realm signed it and witnesses cosigned it: whoever has the
/// realm's statement can verify both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The one that was shown before.
    pub remembered: String,
    /// The one that is shown now.
    pub shown: String,
}

/// Why no guess was spent at a realm, though it holds the registration: it did not show a head of its log as the application demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// It shows no checkpoint.
    #[error("it shows no checkpoint of its log; its operator switched that off, or runs an older agent")]
    Unpublished,
    /// What it shows is no checkpoint of this realm, or not signed with the key in its statement. Says how.
    #[error("it shows no checkpoint that the realm in its statement has signed: {0}")]
    NotOfRealm(String),
    /// Too few witnesses have cosigned it, whenever.
    #[error("{found} of its witnesses have cosigned the checkpoint, and {needed} must")]
    NotCosigned {
        /// How many have.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// Too few witnesses have cosigned it lately.
    #[error("{fresh} of its witnesses have cosigned the checkpoint within {max_age_s} s, and {needed} must")]
    TooOld {
        /// How many have.
        fresh: usize,
        /// How many must.
        needed: usize,
        /// How long ago is lately, in seconds.
        max_age_s: u64,
    },
    /// Cosignatures that are needed are from later than this device's clock says, by more than [`CLOCK_SKEW`](crate::CLOCK_SKEW).
    #[error(
        "witnesses have cosigned its checkpoint {ahead_s} s from now; set this device's clock, and try again"
    )]
    FromTheFuture {
        /// By how many seconds the earliest of them is ahead.
        ahead_s: u64,
    },
    /// Its log has become shorter since this user saw it.
    #[error("its log went back since it was last seen: keep both checkpoints, and ask its operator")]
    WentBack(Box<Evidence>),
    /// Its log is another than this user saw.
    #[error(
        "its log is another than the one that was last seen: keep both checkpoints, and ask its operator"
    )]
    Forked(Box<Evidence>),
    /// It does not show that its log goes on from what this user saw. Says why.
    #[error("it does not show that its log goes on from what was last seen: {0}")]
    Unproven(String),
    /// The application's [`HeadMemory`](crate::HeadMemory) failed, or has something else in it. Says how.
    #[error("what was last seen of its log cannot be remembered: {0}")]
    Memory(String),
    /// The application's [`Transport`](crate::Transport) has no [`get`](crate::Transport::get).
    #[error("the transport cannot read with GET, which a demand for heads needs: implement Transport::get")]
    CannotGet,
}

impl HeadError {
    /// The two checkpoints that do not fit together, if that is what is wrong.
    #[must_use]
    pub const fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::WentBack(evidence) | Self::Forked(evidence) => Some(evidence),
            _ => None,
        }
    }

    /// Whether another host, or the same a moment later, may do better: it may have read something old.
    pub(crate) const fn may_pass(&self) -> bool {
        !matches!(self, Self::Memory(_) | Self::CannotGet)
    }
}
