//! A cluster writes down what happens in it, if it keeps a journal.

use super::Cluster;
use super::journal::{Journal, Kind, Lane};
use super::store::StoreRequest;
use strongroom_proto::hsm::{Reply, Request};
use strongroom_replica::Event as Input;
use strongroom_replica::peer::PeerMessage;

impl Cluster {
    /// From now on, writes everything down.
    pub fn keep_journal(&mut self) {
        self.journal = Some(Journal::default());
    }

    /// What was written down, if anything was.
    #[must_use]
    pub const fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Hands over what was written down.
    pub const fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    /// Writes down what happens now.
    pub fn note(&mut self, lane: Lane, kind: Kind, text: impl FnOnce() -> String) {
        if let Some(journal) = &mut self.journal {
            journal.note(self.now, lane, kind, text());
        }
    }

    pub(super) fn note_exchange(
        &mut self,
        member: usize,
        request: &Request,
        bytes: [&[u8]; 2],
        reply: &Reply,
    ) {
        if let Some(journal) = &mut self.journal {
            journal.exchange(self.now, member, request, bytes, reply);
        }
    }

    pub(super) fn note_message(&mut self, from: usize, to: usize, message: &PeerMessage, delays: &[u64]) {
        if let Some(journal) = &mut self.journal {
            journal.message(self.now, from, to, message, delays);
        }
    }

    pub(super) fn note_store(&mut self, member: usize, request: &StoreRequest, event: &Input) {
        if let Some(journal) = &mut self.journal {
            journal.store(self.now, member, request, event);
        }
    }

    pub(super) fn note_answer(&mut self, answer: &str) {
        if let Some(journal) = &mut self.journal {
            journal.bytes(self.now, Lane::World, Kind::Answer, answer.as_bytes());
        }
    }

    /// Writes down the role of a member's agent if it has changed.
    pub(super) fn note_role(&mut self, member: usize) {
        let role = self.status(member).map(|status| status.role);
        if let Some(journal) = &mut self.journal {
            journal.role(self.now, member, role);
        }
    }

    pub(super) fn note_power_cut(&mut self, member: usize) {
        self.note(Lane::Member(member), Kind::PowerCut, || {
            "power is lost in the middle of a write to NVRAM".into()
        });
    }
}
