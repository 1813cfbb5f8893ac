//! A client's request, as agents pass it on.

use strongroom_proto::hsm::BatchRequest;
use strongroom_replica::Owner;

/// A client's request, as agents pass it on.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub request: BatchRequest,
    /// Whether it only opens a session.
    pub handshake_only: bool,
    /// Whose it is, for whoever tells tenants of it.
    pub owner: Owner,
}

impl From<BatchRequest> for Sent {
    /// One that may do anything, and of which nothing is kept.
    fn from(request: BatchRequest) -> Self {
        Self { request, handshake_only: false, owner: Owner::default() }
    }
}
