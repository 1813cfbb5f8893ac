//! How long agents wait for one another.

use std::time::Duration;

/// How long calls to another agent may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a heartbeat or a statement.
    pub urgent: Duration,
    /// For a segment.
    pub bulk: Duration,
    /// For a client's request. Longer than a leader lets one wait before it answers `Unavailable` itself.
    pub forward: Duration,
    /// For a greeting, and for a status.
    pub hello: Duration,
    /// For an invitation to a group.
    pub invite: Duration,
    /// For making a connection.
    pub connect: Duration,
    /// For the handshake of a connection from another agent.
    pub handshake: Duration,
    /// After this long without a sign of life, whoever made a connection asks for one, and then gives it the same time
    /// again. Whoever accepted it has nothing to lose by it, and waits ten times as long before asking.
    pub keep_alive: Duration,
}

impl Timeouts {
    /// The same for everything.
    #[must_use]
    pub const fn all(limit: Duration) -> Self {
        Self {
            urgent: limit,
            bulk: limit,
            forward: limit,
            hello: limit,
            invite: limit,
            connect: limit,
            handshake: limit,
            keep_alive: limit,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            urgent: Duration::from_secs(1),
            bulk: Duration::from_secs(10),
            forward: Duration::from_secs(12),
            hello: Duration::from_secs(1),
            invite: Duration::from_secs(8),
            connect: Duration::from_secs(1),
            handshake: Duration::from_secs(5),
            keep_alive: Duration::from_secs(2),
        }
    }
}
