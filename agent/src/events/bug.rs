//! Bugs that a test can plant in telling. Each leaves out one rule about who has written which page.
//!
//! Without the feature `planted-bugs` nothing can be planted.

/// One rule that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(unreachable_pub, reason = "public and planted only with the feature")
)]
pub enum Bug {
    /// A page that another leader wrote counts as this one's.
    OthersPageIsOwn,
    /// A page counts as written though the store did not say so.
    PageUnsettled,
    /// What was read counts as told before the page is written.
    ReadIsTold,
}
