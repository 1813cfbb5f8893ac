//! How long the front door waits.

use std::time::Duration;

/// How long the front door waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake, or the head of a request.
    pub head: Duration,
    /// For the body of a request. A body has at most [`MAX_BODY`](super::MAX_BODY) bytes, so this also sets its slowest
    /// pace.
    pub body: Duration,
    /// For the backend. Shorter than the 30 s that clients wait.
    pub backend: Duration,
    /// For a request that passes the token check, on a connection that works on none. Nothing else keeps a connection
    /// open.
    pub idle: Duration,
    /// For the requests in flight when a connection is closed.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            backend: Duration::from_secs(25),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}
