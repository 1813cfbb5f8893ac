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
    found: Found,
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

    /// Records which HSM a peer has, by its certificate. Returns whether that is news.
    #[allow(clippy::must_use_candidate)] // most know already
    pub fn found(&self, at: usize, hsm: HsmId) -> bool {
        self.heard.knows(at) && self.found.put(at, hsm)
    }

    /// A peer with this HSM has answered: that is where it is, unless it is with another peer.
    pub(super) fn still_has(&self, at: usize, hsm: HsmId) {
        if self.found.at(hsm).is_none_or(|elsewhere| !self.heard.knows(elsewhere)) {
            self.found(at, hsm);
        }
    }

    /// There is no such peer any more.
    pub(super) fn forget(&self, at: usize) {
        self.heard.forget(at);
        self.found.forget(at);
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

    /// The same, by what they have ever said.
    pub(super) fn told(&self, record: &RecordId) -> Vec<HsmId> {
        self.heard.leaders(record, Duration::MAX)
    }

    /// Which HSM a peer has.
    pub(super) fn hsm(&self, at: usize) -> Option<HsmId> {
        self.found.hsm(at)
    }

    /// Which peer has this HSM.
    #[must_use]
    pub fn place(&self, hsm: HsmId) -> Option<usize> {
        self.found.at(hsm)
    }
}
