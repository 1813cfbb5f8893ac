//! Which clients' requests a call of the HSM, or a write, is for: for logs, metrics and traces. Nothing here decides.

use super::{Replica, State};
use crate::interface::{CallId, Purpose, Ticket};
use crate::leader::Leader;
use crate::outbox::Call;
use crate::segment::SegmentName;

impl Replica {
    /// What a call is for whose reply has not come; `None` if its reply no longer matters.
    #[must_use]
    pub fn purpose(&self, call: CallId) -> Option<Purpose> {
        Some(match self.cx.out.purpose(call)? {
            Call::Handshake(ticket) => Purpose::Handshake(*ticket),
            Call::Process => Purpose::Batch(self.leader().map_or(0, |leader| leader.batch().len())),
            Call::Commit => Purpose::Commit,
            Call::Confirm => Purpose::Confirm,
            Call::Status
            | Call::Capture
            | Call::Jump
            | Call::StepDown
            | Call::Alive
            | Call::Lead
            | Call::Change
            | Call::DrawReadNonce
            | Call::OwnFresh(_)
            | Call::Fresh { .. } => Purpose::Other,
        })
    }

    /// The requests of the batch that is with the HSM.
    pub fn batch(&self) -> impl Iterator<Item = Ticket> {
        let leader = self.leader().into_iter();
        leader.flat_map(|leader| leader.batch().iter().map(|queued| queued.ticket))
    }

    /// The requests whose answers wait for a segment, which is being written.
    pub fn kept_in(&self, name: &SegmentName) -> impl Iterator<Item = Ticket> {
        self.leader().into_iter().flat_map(move |leader| leader.kept_in(name))
    }

    fn leader(&self) -> Option<&Leader> {
        match &self.state {
            State::Leader(leader) => Some(leader),
            _ => None,
        }
    }
}
