//! Bugs that a test can plant in publishing. Each leaves out one rule about the order of writes, or about what another publishes.
//!
//! Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(unreachable_pub, reason = "public and planted only with the feature")
)]
pub enum Bug {
    /// The checkpoint is in the store before the tiles under it.
    CheckpointFirst,
    /// A tile counts as written though the store did not say so.
    TilesUnsettled,
    /// How far it has come is kept before the tiles up to there.
    HeadFirst,
    /// Partial tiles are deleted before the full ones are written.
    TidiesFirst,
    /// A checkpoint is put into the store without a look at the one that is there.
    NobodyElsePublishes,
    /// What came to be there after that look is replaced as well.
    ReplacesUnseen,
    /// That an entry is gone from the log is believed at once.
    GoneAtOnce,
}
