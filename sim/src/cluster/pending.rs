//! What will happen in a cluster, but has not happened yet.

use super::store::StoreRequest;
use std::sync::Arc;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::SegmentName;
use strongroom_replica::{CallId, Event as Input};

/// One client request, unique in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// Something that will happen.
pub(super) enum Pending {
    Tick {
        member: usize,
        life: u64,
    },
    ToHsm {
        member: usize,
        life: u64,
        boot: u64,
        call: CallId,
        request: Vec<u8>,
    },
    ToStore {
        member: usize,
        life: u64,
        request: StoreRequest,
    },
    /// A write whose caller no longer waits is carried out.
    Lands {
        name: SegmentName,
        bytes: Arc<[u8]>,
    },
    /// To one life of a replica; with `None`, to whichever one is alive.
    ToReplica {
        member: usize,
        life: Option<u64>,
        event: Box<Input>,
    },
}

impl Pending {
    /// Whether it recurs, whatever else happens.
    pub(super) fn is_routine(&self) -> bool {
        match self {
            Self::Tick { .. } => true,
            Self::ToReplica { event, .. } => {
                matches!(**event, Input::Peer { message: PeerMessage::Heartbeat { .. }, .. })
            }
            Self::ToHsm { .. } | Self::ToStore { .. } | Self::Lands { .. } => false,
        }
    }
}
