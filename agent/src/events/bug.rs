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

/// Which bug is planted.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bugs {
    #[cfg(feature = "planted-bugs")]
    pub(super) planted: Option<Bug>,
}

impl Bugs {
    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(super) const fn has(self, _: Bug) -> bool {
        false
    }
}
