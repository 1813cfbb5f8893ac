//! What is handed down to whoever decides something: the time, the settings, and where actions go.

use super::bug::Bugs;
use super::interface::{Millis, Settings};
use super::outbox::Outbox;

/// The surroundings of one step.
pub(super) struct Context {
    /// The time of the present event, never earlier than that of the one before.
    pub(super) now: Millis,
    /// What the replica was told when it started.
    pub(super) settings: Settings,
    /// Actions on their way out.
    pub(super) out: Outbox,
    /// Rules that a test leaves out.
    pub(super) bugs: Bugs,
}

impl Context {
    pub(super) fn new(now: Millis, settings: Settings) -> Self {
        Self { now, settings, out: Outbox::default(), bugs: Bugs::default() }
    }
}
