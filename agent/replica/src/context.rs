//! What is handed down to the code that decides: the time, the settings, and where actions go.

use super::bug::Bugs;
use super::interface::{Millis, Settings};
use super::outbox::Outbox;

/// The surroundings of one step.
pub(super) struct Context {
    /// The time of the current event, never earlier than that of the previous one.
    pub(super) now: Millis,
    /// What the replica was told when it started.
    pub(super) settings: Settings,
    /// Actions on their way out.
    pub(super) out: Outbox,
    /// The rules that a test leaves out.
    pub(super) bugs: Bugs,
}

impl Context {
    pub(super) fn new(now: Millis, settings: Settings) -> Self {
        Self { now, settings, out: Outbox::default(), bugs: Bugs::default() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::interface::Storage;
    use strongroom_proto::hsm::Limits;
    use strongroom_proto::ids::{Digest, GroupId, HsmId, Mac, RealmId};
    use strongroom_proto::statement::GroupStatement;

    /// The surroundings of the first of three members, at 1 s.
    pub(crate) fn context() -> Context {
        let (members, mac) = ([3, 4, 5].map(|id| HsmId([id; 16])), Mac(Digest([6; 32])));
        let limits = Limits {
            max_frame_bytes: 65_536,
            max_batch_requests: 64,
            max_pending_entries: 64,
            max_pending_replies: 64,
            max_sessions: 64,
            max_tree_nodes: 4_096,
        };
        let settings = Settings {
            hsm: HsmId([3; 16]),
            realm: RealmId([1; 16]),
            group: GroupStatement { group: GroupId([2; 16]), members: members.to_vec(), genesis: true, mac },
            limits,
            election_timeout_ms: 150..=300,
            heartbeat_ms: 50,
            hsm_silence_ms: 300..=2_000,
            storage: Storage::default(),
            seed: [7; 32],
        };
        Context::new(Millis(1_000), settings)
    }
}
