//! Actions on their way out, and what each HSM call under way was for.

use super::interface::{Action, Answer, CallId, Ticket};
use crate::ask::{Ask, Asked};
use crate::peer::PeerMessage;
use crate::segment::SegmentName;
use crate::shared::Shared;
use std::collections::BTreeMap;
use strongroom_proto::ids::{HsmId, Nonce};

/// What an HSM call was for.
#[derive(Debug)]
pub(super) enum Call {
    Status,
    Capture,
    Jump,
    StepDown,
    Alive,
    Lead,
    Handshake(Ticket),
    Process,
    Change,
    Commit,
    DrawReadNonce,
    OwnFresh(Nonce),
    /// For another member.
    Fresh {
        by: HsmId,
    },
    Confirm,
}

#[derive(Default)]
pub(super) struct Outbox {
    actions: Vec<Action>,
    calls: BTreeMap<CallId, Call>,
    asked: Vec<CallId>,
    last_call: u64,
}

impl Outbox {
    pub(super) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn ask(&mut self, purpose: Call, ask: impl Ask) {
        self.hsm(purpose, Asked::new(ask));
    }

    pub(super) fn hsm(&mut self, purpose: Call, request: Asked) {
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.calls.insert(call, purpose);
        self.asked.push(call);
        self.push(Action::Hsm { call, request });
    }

    pub(super) fn write(&mut self, name: SegmentName, bytes: Shared) {
        self.push(Action::Write { name, bytes });
    }

    pub(super) fn send(&mut self, to: HsmId, message: PeerMessage) {
        self.push(Action::Send { to, message });
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.push(Action::Answer { ticket, answer });
    }

    /// The calls that leave with what is taken next.
    pub(super) fn take_asked(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.asked)
    }

    /// The calls whose replies still matter.
    pub(super) fn calls(&self) -> impl Iterator<Item = CallId> {
        self.calls.keys().copied()
    }

    /// What those calls are for.
    pub(super) fn purposes(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// What a call under way is for; `None` if its reply no longer matters.
    pub(super) fn purpose(&self, call: CallId) -> Option<&Call> {
        self.calls.get(&call)
    }

    /// What a reply is for; `None` if it no longer matters.
    pub(super) fn returned(&mut self, call: CallId) -> Option<Call> {
        self.calls.remove(&call)
    }

    /// From now on, replies to what only a leader asks no longer matter.
    pub(super) fn forget_leadership(&mut self) {
        self.calls.retain(|_, call| {
            matches!(call, Call::Status | Call::Capture | Call::Jump | Call::StepDown | Call::Fresh { .. })
        });
    }

    /// From now on, no reply under way matters, except to other members.
    pub(super) fn forget_calls(&mut self) {
        self.calls.retain(|_, call| matches!(call, Call::Fresh { .. }));
    }
}
