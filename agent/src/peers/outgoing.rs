//! A message on its way to a peer, and the request that delivers it.

use crate::grpc::peer::DeliverRequest;
use bytes::Bytes;
use std::time::Duration;
use strongroom_proto::ids::HsmId;
use strongroom_replica::peer::PeerMessage;
use tokio::time::Instant;

/// A message on its way to a peer.
pub(super) struct Outgoing {
    pub(super) since: Instant,
    from: HsmId,
    pub(super) to: HsmId,
    message: PeerMessage,
}

impl Outgoing {
    /// A message that begins to wait now.
    pub(super) fn new(from: HsmId, to: HsmId, message: PeerMessage) -> Self {
        Self { since: Instant::now(), from, to, message }
    }

    /// Whether it has waited for longer than this.
    pub(super) fn is_stale(&self, patience: Duration) -> bool {
        self.since.elapsed() > patience
    }
}

/// The request that delivers a message. The long parts of it are not copied.
pub(super) fn wire(outgoing: Outgoing) -> DeliverRequest {
    let Outgoing { from, to, message, .. } = outgoing;
    let (message, segment, paths) = message.split();
    DeliverRequest {
        from: from.0.to_vec().into(),
        to: to.0.to_vec().into(),
        message: message.to_bytes().into(),
        segment: Bytes::from_owner(segment),
        paths: Bytes::from_owner(paths),
    }
}
