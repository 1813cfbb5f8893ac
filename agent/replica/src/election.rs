//! Becoming the leader, and ceasing to be it.
//!
//! There is no lease and no vote: whoever's segment is created next leads. Two members that lead at once are safe; one
//! of their writes is lost, and its member steps down.

use super::ask;
use super::bug::Bug;
use super::catch_up::Walk;
use super::interface::{Action, Millis};
use super::outbox::Call;
use super::{Replica, State};
use crate::peer::PeerMessage;

/// First and longest pause after the HSM did not answer a candidate.
const BACK_OFF_MS: (u64, u64) = (100, 5_000);

/// How long a leader waits that lost step with its HSM, so that a fault that stays does not become a storm.
const LEAD_ANEW_MS: u64 = 10;

/// How long to wait for what others say of a leader.
const SEEK_HEARTBEATS: u64 = 2;
/// A leadership of this length was none in vain.
const LASTING_MS: u64 = 60_000;

/// A member that tries to lead.
pub(super) struct Candidate {
    not_before: Millis,
    back_off_ms: u64,
    /// Reads the log to its end, once the writes of an earlier leadership are settled.
    walk: Option<Walk>,
    /// Whether the HSM is asked.
    asked: bool,
}

impl Candidate {
    pub(super) const fn new(not_before: Millis) -> Self {
        Self { not_before, back_off_ms: 0, walk: None, asked: false }
    }

    /// Tries again later, from the start.
    pub(super) fn retry(&mut self, now: Millis) {
        let (first, longest) = BACK_OFF_MS;
        let back_off_ms = self.back_off_ms.saturating_mul(2).clamp(first, longest);
        *self = Self { back_off_ms, ..Self::new(now.after(back_off_ms)) };
    }
}

impl Replica {
    /// Goes on with becoming the leader: settle, read to the end, capture all of it, ask the HSM.
    pub(super) fn advance_candidate(&mut self) {
        let State::Candidate(candidate) = &mut self.state else { return };
        if candidate.asked || self.now < candidate.not_before || !self.settling.is_empty() {
            return;
        }
        let Some(walk) = candidate.walk else {
            candidate.walk = Some(self.catch_up.want());
            return self.follow_log();
        };
        let at_end = self.catch_up.has_done(walk)
            && self.capture.is_done()
            && self.capture.captured() == self.log.position();
        if at_end {
            candidate.asked = true;
            let entry = self.log.tip().map(|tip| tip.entry.clone());
            self.out.ask(Call::Lead, ask::Lead(self.settings.group.group, entry));
        } else if self.catch_up.has_done(walk) && self.capture.captured().0 > self.log.position().0 {
            candidate.retry(self.now);
        }
    }

    /// Takes note of the time. Who was not run for as long as an election takes has heard nobody for no fault of the
    /// leader's: what waits to be heard comes first.
    pub(super) fn wake_at(&mut self, now: Millis) {
        let slept = now >= self.now.after(*self.settings.election_timeout_ms.end());
        self.now = self.now.max(now);
        if self.turn.woke(slept) && matches!(self.state, State::Witness) {
            self.put_off();
        }
    }

    /// It is time to try to lead, but the last time was in vain: asks whether others hear a leader whom this member does
    /// not. Whether to wait for what they say.
    pub(super) fn seeks_first(&mut self) -> bool {
        if !self.turn.asks_first() || self.bugs.has(Bug::NobodyAsked) {
            return false;
        }
        self.turn.wait_for_sayers(self.now.after(SEEK_HEARTBEATS * self.settings.heartbeat_ms));
        let group = self.settings.group.group;
        for to in self.settings.group.members.iter().filter(|to| **to != self.settings.hsm) {
            self.out.send(*to, PeerMessage::Seek { group });
        }
        true
    }

    /// Whether it neither leads nor has asked its HSM to.
    pub(super) const fn is_following(&self) -> bool {
        match &self.state {
            State::Witness => true,
            State::Candidate(candidate) => !candidate.asked,
            State::Starting(_) | State::Leader(_) | State::Faulted => false,
        }
    }

    /// Puts off the next attempt to lead.
    pub(super) fn put_off(&mut self) {
        self.turn.put_off(self.now, &self.settings.election_timeout_ms);
    }

    /// Whether the stored tree is open here, or will be.
    pub(super) fn uses_tree(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.snapshots.is_used())
    }

    /// Waits for a leader, or for the next attempt.
    pub(super) fn become_witness(&mut self) {
        self.out.forget_leadership();
        self.state = State::Witness;
        self.leader = None;
        self.put_off();
    }

    /// Ends this leadership because another has extended the log.
    pub(super) fn step_down(&mut self) {
        if let State::Leader(leader) = &self.state {
            let lasted = self.now >= leader.since().after(LASTING_MS);
            self.turn.led(lasted);
        }
        self.end_leadership();
        self.become_witness();
        self.out.ask(Call::StepDown, ask::StepDown(self.settings.group.group));
        self.catch_up.want();
    }

    /// Ends this leadership because agent and HSM are out of step, and begins another as soon as it can.
    pub(super) fn lead_anew(&mut self) {
        self.end_leadership();
        self.out.forget_leadership();
        self.leader = None;
        self.state = State::Candidate(Candidate::new(self.now.after(LEAD_ANEW_MS)));
    }

    /// Gives up on everything that waits, but settles what was written.
    fn end_leadership(&mut self) {
        self.clients.give_up(&mut self.out);
        if self.uses_tree() {
            self.out.push(Action::CloseTree);
        }
        if let State::Leader(leader) = &mut self.state {
            self.settling.take_over(leader.flights());
        }
    }
}
