//! Why a check ended early.

use strongroom_replica::stored::{TreeDamage, TreeFailure};

/// Why a check ended early.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store.
    #[error("the object store did not answer; check `--store` and its options, and try again")]
    Store,
    /// The stored tree changes faster than it can be read.
    #[error("snapshots were taken while the stored tree was being read; try again when fewer requests come")]
    Moving,
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
