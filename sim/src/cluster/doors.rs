//! Where users knock: at the agents of one group, or at those of a realm with several.

use super::Cluster;
use super::journal::{Kind, Lane};
use super::pending::RequestId;
use strongroom_proto::hsm::BatchRequest;
use strongroom_proto::ids::HsmId;
use strongroom_replica::Answer;

/// All that a user sees of a realm.
pub trait Doors {
    /// Milliseconds since the start.
    fn now(&self) -> u64;

    /// Gives a user's message to an agent, with any number taken modulo the agents; or loses it, and then there is no
    /// answer.
    fn submit(&mut self, door: usize, handshake_only: bool, request: BatchRequest) -> RequestId;

    /// The answer to a request, once.
    fn take_answer(&mut self, id: RequestId) -> Option<Answer>;

    /// The agent beside this HSM.
    fn door_of(&self, hsm: &HsmId) -> usize;

    /// Writes down what happens now.
    fn note(&mut self, lane: Lane, kind: Kind, text: impl FnOnce() -> String);
}

impl Doors for Cluster {
    fn now(&self) -> u64 {
        Self::now(self)
    }

    fn submit(&mut self, door: usize, handshake_only: bool, request: BatchRequest) -> RequestId {
        Self::submit(self, door, handshake_only, request)
    }

    fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        Self::take_answer(self, id)
    }

    fn door_of(&self, hsm: &HsmId) -> usize {
        self.member_of(hsm)
    }

    fn note(&mut self, lane: Lane, kind: Kind, text: impl FnOnce() -> String) {
        Self::note(self, lane, kind, text);
    }
}
