//! Where requests for a group go, as its replica reports it.

use strongroom_proto::ids::HsmId;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::{Role, Status};

/// Where requests for a group go. Changes rarely, unlike the rest of what a replica reports, so only of this is told
/// those that wait.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(super) role: Role,
    pub(super) leader: Option<HsmId>,
    pub(super) prefixes: Vec<Prefix>,
}

impl Whereabouts {
    pub(super) fn of(status: &Status) -> Self {
        Self { role: status.role, leader: status.leader, prefixes: status.prefixes.clone() }
    }

    pub(super) fn are_of(&self, status: &Status) -> bool {
        (self.role, self.leader) == (status.role, status.leader) && self.prefixes == status.prefixes
    }
}
