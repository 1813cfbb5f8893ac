//! How what a step makes is named.

/// The number of the step that made it.
pub(super) type Made = u32;
