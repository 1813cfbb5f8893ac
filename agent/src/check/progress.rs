//! How far a long walk has come.

/// An observer of how far a long walk has come.
pub trait Progress: Sync {
    /// A part of the walk begins, over this many things if that is known.
    fn begin(&self, what: &'static str, of: Option<u64>);
    /// This many more things are done.
    fn done(&self, more: u64);
}

/// No observer.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn begin(&self, _: &'static str, _: Option<u64>) {}
    fn done(&self, _: u64) {}
}
