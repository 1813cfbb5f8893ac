//! Becoming the leader.
//!
//! There is no lease and no vote: the member whose segment is created next leads. Two members that lead at once are
//! safe: one of their writes is lost, and the member that wrote it steps down.

use super::{Replica, State};
use crate::ask;
use crate::bug::Bug;
use crate::interface::Millis;
use crate::outbox::Call;
use crate::peer::PeerMessage;
use crate::under_way::Why;
use strongroom_proto::ids::{HsmId, Term};

/// How long to wait for others to say whether they hear a leader.
const SEEK_HEARTBEATS: u64 = 2;

impl Replica {
    /// The next step to becoming the leader: settle, read to the end, capture all of it, ask the HSM.
    pub(super) fn advance_candidate(&mut self) {
        let State::Candidate(candidate) = &mut self.state else { return };
        if !candidate.is_due(self.cx.now) || !self.settling.is_empty() {
            return;
        }
        let Some(walk) = candidate.walk() else {
            candidate.begin(self.catch_up.want());
            return self.follow_log();
        };
        let at_end = self.catch_up.has_done(walk)
            && self.capture.is_done()
            && self.capture.captured() == self.log.position();
        if at_end && self.log.has_ended() && !candidate.is_wanted() && !self.cx.bugs.has(Bug::EndLedForEver) {
            // Nothing follows the group's last entry. If that is stored as committed, whoever needs the proof finds it there,
            // and nobody has to lead any more; if not, whoever leads next states it.
            if !self.under_way.is_asking() {
                self.ask_snapshot(Why::Ended);
            }
        } else if at_end {
            candidate.ask();
            let entry = self.log.tip().map(|tip| tip.entry.clone());
            self.cx.out.ask(Call::Lead, ask::Lead(self.cx.settings.group.group, entry));
        } else if self.catch_up.has_done(walk) && self.capture.captured().0 > self.log.position().0 {
            candidate.retry(self.cx.now);
        }
    }

    /// Takes note of the time. A member that did not run when it wanted to, for as long as an election takes, has heard
    /// nobody, and that is not the leader's fault: first it reads the messages that wait.
    pub(super) fn wake_at(&mut self, now: Millis) {
        let (least, most) = self.cx.settings.election_timeout_ms.clone().into_inner();
        let slept = now >= self.cx.now.after(most).max(self.deadline.after(least));
        self.cx.now = self.cx.now.max(now);
        if self.turn.woke(slept) && matches!(self.state, State::Witness) {
            self.turn.wait_anew(self.cx.now, &self.cx.settings.election_timeout_ms);
        }
    }

    /// Once a leader that ends has nothing under way any more, or at the latest when it must, it has the member lead that has
    /// stated the most.
    pub(super) fn yield_if_due(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.orders.look(&self.cx, &self.clients.guesses);
        if !leader.may_yield(self.cx.now) {
            return;
        }
        let (term, group) = (leader.term(), self.cx.settings.group.group);
        if let Some(to) = leader.nearest() {
            self.cx.out.send(to, PeerMessage::Yield { group, term });
        }
        self.step_down();
    }

    /// The leader that this member follows leads no longer, and says that it is this member's turn.
    pub(super) fn take_turn(&mut self, from: HsmId, term: Term) {
        let follows = self.following.leader() == Some(from) && self.made_newest(from, term);
        let may = matches!(self.state, State::Witness) && !self.trouble.rests(self.cx.now);
        if follows && may && !self.cx.bugs.has(Bug::YieldUnheard) {
            self.following.yielded(self.cx.now, (from, term));
            self.stand(self.cx.now);
        }
    }

    /// It is time to try to lead, but the last attempt got nothing done, or this member has followed nobody yet: asks
    /// whether the others hear a leader that it does not hear. Returns whether to wait for what they say.
    pub(super) fn seeks_first(&mut self) -> bool {
        let follows = self.following.leader().is_some() || self.is_alone();
        if !self.turn.asks_first(follows) || self.cx.bugs.has(Bug::NobodyAsked) {
            return false;
        }
        self.turn.wait_for_sayers(self.cx.now.after(SEEK_HEARTBEATS * self.cx.settings.heartbeat_ms));
        let group = self.cx.settings.group.group;
        for to in self.cx.settings.group.members.iter().filter(|to| **to != self.cx.settings.hsm) {
            self.cx.out.send(*to, PeerMessage::Seek { group });
        }
        true
    }
}
