//! What this member is in its group, and how that changes: witness, candidate, leader.

use super::{Replica, State};
use crate::ask;
use crate::candidate::Candidate;
use crate::interface::{Action, Millis};
use crate::outbox::Call;

/// How long a leader that is out of step with its HSM waits, so that a lasting fault does not become a storm.
const LEAD_ANEW_MS: u64 = 10;
/// A leadership of at least this length counts as one that lasted.
const LASTING_MS: u64 = 60_000;

impl Replica {
    /// Whether it neither leads nor has asked its HSM to.
    pub(super) const fn is_following(&self) -> bool {
        match &self.state {
            State::Witness => true,
            State::Candidate(candidate) => !candidate.has_asked(),
            State::Starting(_) | State::Leader(_) | State::Faulted => false,
        }
    }

    /// Puts off the next attempt to lead.
    pub(super) fn put_off(&mut self) {
        self.turn.put_off(self.cx.now, &self.cx.settings.election_timeout_ms);
    }

    /// Waits for a leader, or for its own next attempt.
    pub(super) fn become_witness(&mut self) {
        self.cx.out.forget_leadership();
        self.state = State::Witness;
        self.following.forget_leader();
        self.put_off();
    }

    /// Tries to lead from this time on.
    pub(super) fn stand(&mut self, not_before: Millis) {
        self.following.forget_leader();
        self.state = State::Candidate(Candidate::new(not_before));
    }

    /// Ends this leadership because another has extended the log.
    pub(super) fn step_down(&mut self) {
        if let State::Leader(leader) = &self.state {
            let lasted = self.cx.now >= leader.since().after(LASTING_MS);
            self.turn.led(lasted);
        }
        self.end_leadership();
        self.become_witness();
        self.cx.out.ask(Call::StepDown, ask::StepDown(self.cx.settings.group.group));
        self.catch_up.want();
    }

    /// Ends this leadership because agent and HSM are out of step, and begins a new one as soon as it can.
    pub(super) fn lead_anew(&mut self) {
        self.end_leadership();
        self.cx.out.forget_leadership();
        self.stand(self.cx.now.after(LEAD_ANEW_MS));
    }

    /// Gives up everything that waits, but settles what was written.
    fn end_leadership(&mut self) {
        self.clients.give_up(&mut self.cx);
        if self.uses_tree() {
            self.cx.out.push(Action::CloseTree);
        }
        if let State::Leader(leader) = &mut self.state {
            leader.orders.give_up(&mut self.cx);
            self.settling.take_over(leader.flights());
        }
    }

    /// Whether the stored tree is open here, or will be.
    fn uses_tree(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.snapshots.is_used())
    }
}
