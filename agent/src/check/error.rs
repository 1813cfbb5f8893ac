//! Why a check ended early.

use strongroom_replica::stored::{TreeDamage, TreeFailure};

/// Why a check ended early.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store.
    #[error("the object store did not answer; check `--store` and its options, and try again")]
    Store,
    /// The stored tree changes faster than it can be read, and cannot be held.
    #[error(
        "a leader merged and deleted files of the stored tree before they were read, and could not be told to keep them; \
         let the check write to the store, or try again when fewer requests come"
    )]
    Moving,
    /// What is read is wrong each time, and each time otherwise.
    #[error(
        "what was read twice was wrong both times, and not in the same way; try again, and if that goes on see whether the store is well"
    )]
    Varies,
    /// The store holds nothing that belongs to a group.
    #[error("the store holds no group; check that `--store` names the realm's prefix, as in agent.toml")]
    Empty,
    /// The HSM or its agent.
    #[error("the HSM cannot be asked: {0}")]
    Hsm(String),
}

/// Damage is a finding; everything else ends the check.
pub(super) fn failed(failure: TreeFailure) -> Result<TreeDamage, CheckError> {
    match failure {
        TreeFailure::Unavailable | TreeFailure::Fenced => Err(CheckError::Store),
        TreeFailure::Damaged(damage) => Ok(damage),
    }
}
