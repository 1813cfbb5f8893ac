//! Where a client's request may go: who leads which records, by what the other agents say, and at which address that
//! HSM was found.
//!
//! What it costs to ask must not grow with the realm, so it can be asked apart from any connection, by a benchmark.

use super::found::Found;
use super::heard::Heard;
use crate::grpc::peer::Leading;
use std::time::Duration;
use strongroom_proto::ids::{HsmId, RecordId};

/// How long a peer's word about who leads counts.
const HEARD: Duration = Duration::from_millis(2_500);

/// What is known about the other agents. Clones share it.
#[derive(Clone, Default)]
pub struct Routes {
    pub(super) found: Found,
    pub(super) heard: Heard,
}

impl Routes {
    /// Nothing yet, about this many agents.
    #[must_use]
    pub fn new(peers: usize) -> Self {
        let routes = Self::default();
        (0..peers).for_each(|at| routes.heard.admit(at));
        routes
    }

    /// Records which HSM a peer has, by its certificate.
    pub fn found(&self, at: usize, hsm: HsmId) {
        self.found.put(at, hsm);
    }

    /// Records what a peer says about who leads the groups of its HSM.
    pub fn said(&self, at: usize, leads: &[Leading]) {
        self.heard.put(at, self.found.hsm(at), leads);
    }

    /// Who leads the group that covers a record, by what the peers have said recently; the likeliest first.
    #[must_use]
    pub fn leaders(&self, record: &RecordId) -> Vec<HsmId> {
        self.heard.leaders(record, HEARD)
    }

    /// Which peer has this HSM.
    #[must_use]
    pub fn place(&self, hsm: HsmId) -> Option<usize> {
        self.found.at(hsm)
    }
}
