//! Which rule of publishing or of telling a test has left out. Without the feature `planted-bugs` it is always none.

/// At most one of the bugs `B`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planted<B> {
    #[cfg(feature = "planted-bugs")]
    pub(crate) bug: Option<B>,
    #[cfg(not(feature = "planted-bugs"))]
    none: std::marker::PhantomData<B>,
}

impl<B: Copy + PartialEq> Planted<B> {
    /// Every rule is kept.
    pub(crate) const fn none() -> Self {
        #[cfg(feature = "planted-bugs")]
        return Self { bug: None };
        #[cfg(not(feature = "planted-bugs"))]
        return Self { none: std::marker::PhantomData };
    }

    /// Whether this rule is left out.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(self, bug: B) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this rule is left out: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(crate) const fn has(self, _: B) -> bool {
        false
    }
}
