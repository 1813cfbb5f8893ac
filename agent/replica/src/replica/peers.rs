//! What the other members' agents say, and how much of it counts.
//!
//! A message proves nothing about what it says, and may be a lie. Kept here: what a peer says never becomes a fault of
//! ours; the leader is the member that made the newest entry, as the store shows it; only what the leader pushes of its
//! own leadership is captured before it is read from the store; and a leader that gets nothing done while clients wait
//! is not followed.

use super::{Replica, State};
use crate::ahead::Push;
use crate::bug::Bug;
use crate::interface::Fault;
use crate::peer::{PeerMessage, paths_from_bytes};
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use crate::turn::MAX_SILENT_MS;
use strongroom_proto::ids::{HsmId, Index, Nonce, Term};
use strongroom_proto::statement::Fresh;

impl Replica {
    /// Handles a message from another member's agent.
    pub(super) fn peer(&mut self, from: HsmId, message: PeerMessage) {
        if message.group() != self.cx.settings.group.group || !self.standings.may_speak(from, self.cx.now) {
            return;
        }
        match message {
            PeerMessage::Heartbeat { term, newest, snapshot, silent_ms, .. } => {
                self.state_end(from, newest);
                if self.hear_leader(from, term, newest) && self.made_newest(from, term) {
                    self.log.stored(snapshot);
                    self.grant(silent_ms);
                }
            }
            PeerMessage::Push { first, prev, segment, paths, .. } => {
                let name = SegmentName::new(self.cx.settings.group.group, first, &prev);
                self.pushed(from, name, segment, &paths);
            }
            PeerMessage::Captured { statement, .. } => {
                let State::Leader(leader) = &mut self.state else { return };
                if statement.hsm != from {
                    return;
                }
                if statement.index > leader.newest() {
                    return self.look(from, statement.index);
                }
                if leader.is_beaten_by(statement.index, &statement.hash) {
                    if self.cx.bugs.has(Bug::FalseHashDeposes) {
                        return self.step_down();
                    }
                    // No entry that the store shows could settle this claim, so it never counts as confirmed.
                    return self.look(from, Index(u64::MAX));
                }
                leader.stated(&mut self.cx, from, statement, &self.log);
            }
            PeerMessage::Follows { leader, term, newest, .. } => {
                self.hear_of_leader(from, leader, term, newest)
            }
            PeerMessage::Seek { .. } => {
                self.tell_leader(from);
                if let State::Leader(leader) = &mut self.state {
                    leader.asked_who_leads(&self.cx);
                }
            }
            PeerMessage::Yield { term, .. } => self.take_turn(from, term),
            PeerMessage::StateFresh { nonce, .. } => self.freshness.asked(&mut self.cx, from, nonce),
            PeerMessage::Fresh { nonce, statement, .. } => self.stated_fresh(from, nonce, statement),
        }
    }

    /// Another member leads from the group's last entry, and has no entry of its own that would have others state theirs.
    fn state_end(&mut self, to: HsmId, newest: Index) {
        let end = self.log.position().0;
        let statement = self.capture.statement().filter(|statement| statement.index == end);
        if self.log.has_ended()
            && newest == end
            && let Some(statement) = statement
        {
            let group = self.cx.settings.group.group;
            self.cx.out.send(to, PeerMessage::Captured { group, statement });
        }
    }

    /// Another member has stated what its HSM has captured, for answers that no entry carries. An entry that this
    /// leadership has not made is looked for like one in any other statement.
    fn stated_fresh(&mut self, from: HsmId, nonce: Nonce, statement: Fresh) {
        let State::Leader(leader) = &mut self.state else { return };
        if statement.index > leader.newest() {
            self.look(from, statement.index);
        } else if leader.is_beaten_by(statement.index, &statement.hash) {
            self.look(from, Index(u64::MAX));
        } else {
            leader.reads.stated(&self.cx, from, nonce, statement);
        }
    }

    /// Tells another member who leads: this one, or the leader that it follows and has just heard. A higher tip wins.
    fn tell_leader(&mut self, to: HsmId) {
        let newest = self.log.position().0;
        let (leader, term) = match (&self.state, self.following.leader(), self.log.tip()) {
            (State::Leader(leader), _, _) if leader.is_elected() => (self.cx.settings.hsm, leader.term()),
            (State::Witness, Some(leader), Some(tip)) if tip.entry.leader == leader => {
                (leader, tip.entry.term)
            }
            _ => return,
        };
        let least = *self.cx.settings.election_timeout_ms.start();
        let is_heard = self.turn.has_heard(self.cx.now, least);
        if leader != to && (leader == self.cx.settings.hsm || is_heard) {
            let group = self.cx.settings.group.group;
            self.cx.out.send(to, PeerMessage::Follows { group, leader, term, newest });
        }
    }

    /// Another member says whom it follows. A leader that too few still follow for a majority steps down, even if it
    /// cannot read why. A member that asked before trying to lead keeps waiting if enough others say so that one of
    /// them must be right: as many as a majority has besides itself.
    fn hear_of_leader(&mut self, from: HsmId, of: HsmId, term: Term, newest: Index) {
        let members = &self.cx.settings.group.members;
        if of == self.cx.settings.hsm || !members.contains(&of) {
            return;
        }
        if let State::Leader(leader) = &mut self.state {
            if newest <= leader.newest() || self.cx.bugs.has(Bug::RivalUnheard) {
                return;
            }
            let is_left = leader.is_left_by(&self.cx, from);
            self.look(from, newest);
            if is_left {
                self.step_down();
            }
        } else if let Some(sayers) = self.turn.said(from) {
            let enough = sayers >= members.len() / 2;
            if enough && self.may_follow(from, (of, term), newest) {
                self.wait_for((of, term));
            }
        }
    }

    /// Whether the newest entry that is known was made by this HSM in this leadership.
    pub(super) fn made_newest(&self, from: HsmId, term: Term) -> bool {
        self.log.tip().is_some_and(|tip| (tip.entry.leader, tip.entry.term) == (from, term))
    }

    fn pushed(&mut self, from: HsmId, name: SegmentName, bytes: Shared, paths: &[u8]) {
        let Ok(segment) = Segment::decode(&bytes) else { return };
        let (term, last) = (segment.last().term, segment.last().index);
        let its_own =
            |made: &crate::segment::SegmentEntry| (made.entry.leader, made.entry.term) == (from, term);
        if segment.name() != name || !segment.entries().iter().all(its_own) {
            return;
        }
        if !self.hear_leader(from, term, last) {
            return;
        }
        if last <= self.log.position().0 {
            return self.state_captured();
        }
        // Before the captured entry is found, there is nothing to continue from. Another leadership counts only once
        // the store shows it: otherwise two members could capture two different entries at one place.
        let goes_on =
            !self.search.is_on() && (self.made_newest(from, term) || self.cx.bugs.has(Bug::PushElects));
        let goes_on = goes_on || self.cx.bugs.has(Bug::PushedForkIsFault);
        let goes_on = goes_on && self.log.next_name() == Some(name);
        let Ok(paths) = paths_from_bytes(paths) else { return };
        let push = Push { from, segment, bytes, paths };
        if !goes_on || !self.capture.has_room() {
            if !self.cx.bugs.has(Bug::AheadIsLost) {
                self.ahead.put(push);
            }
            return self.look(from, last);
        }
        self.take_push(push);
    }

    /// Takes a push that continues the log within the leadership of its sender.
    fn take_push(&mut self, push: Push) {
        let Push { from, segment, bytes, paths } = push;
        match self.take(segment.name(), &segment, bytes, Some((from, paths))) {
            Ok(()) => {}
            Err(fault @ Fault::Forked { .. }) if self.cx.bugs.has(Bug::PushedForkIsFault) => {
                self.fault(fault)
            }
            Err(_) => {
                self.lied(from);
                self.look(from, segment.last().index);
            }
        }
    }

    /// Takes what was pushed before its turn, as far as its turn has come.
    pub(super) fn take_ahead(&mut self) {
        while !self.search.is_on() && self.is_following() && self.capture.has_room() {
            let next = self.log.next_name();
            let Some(push) = next.and_then(|name| self.ahead.next(name)) else { return };
            if self.made_newest(push.from, push.segment.last().term) {
                self.take_push(push);
            }
        }
    }

    /// Something that this sender said did not verify.
    pub(super) fn lied(&mut self, from: HsmId) {
        if self.cx.bugs.has(Bug::LiarsKeepTheirTurn) {
            return;
        }
        self.standings.lied(from, self.cx.now);
        if self.following.leader() == Some(from) {
            self.following.forget_leader();
        }
    }

    /// A member says that the log goes further than this member knows, or goes elsewhere. The store decides.
    pub(super) fn look(&mut self, from: HsmId, claimed: Index) {
        if self.standings.may_look(from, claimed, self.cx.now) {
            self.catch_up.want_until(claimed);
        }
    }

    /// A member says that it leads, and how far the log goes. Returns whether to wait for it.
    fn hear_leader(&mut self, from: HsmId, term: Term, newest: Index) -> bool {
        match &self.state {
            State::Leader(leader) => {
                if newest > leader.newest() {
                    self.look(from, newest);
                } else if leader.is_elected() {
                    self.tell_leader(from);
                }
                return false;
            }
            State::Starting(_) | State::Faulted => return false,
            State::Witness | State::Candidate(_) => {}
        }
        let (known, _) = self.log.position();
        if newest < known {
            // It was deposed and does not know. A statement of something newer tells it.
            if let Some(statement) = self.capture.statement().filter(|s| s.index > newest) {
                let group = self.cx.settings.group.group;
                self.cx.out.send(from, PeerMessage::Captured { group, statement });
            }
            self.tell_leader(from);
            return false;
        }
        if !self.may_follow(from, (from, term), newest) {
            return false;
        }
        if self.made_newest(from, term) || self.cx.bugs.has(Bug::ClaimElects) {
            self.standings.confirmed(from);
            self.turn.hear(self.cx.now, newest);
        }
        self.wait_for((from, term));
        true
    }

    /// The leader says how long it may be silent.
    fn grant(&mut self, silent_ms: u32) {
        let most = if self.cx.bugs.has(Bug::SilenceAtWill) { u64::MAX } else { MAX_SILENT_MS };
        if !self.cx.bugs.has(Bug::SilenceUnheard) {
            self.turn.grant(u64::from(silent_ms).min(most));
        }
    }

    /// A member says that somebody leads, and how far the log goes. Returns whether to wait for that leader.
    fn may_follow(&mut self, from: HsmId, (leader, term): (HsmId, Term), newest: Index) -> bool {
        let known = self.log.position().0;
        if self.made_newest(leader, term) || self.cx.bugs.has(Bug::ClaimElects) {
            return newest >= known && !self.following.has_left(leader, term, self.cx.now);
        }
        // This is either a new leader or no leader. One that leads from the group's last entry makes none of its own.
        let leads_from_end = newest == known && self.log.has_ended();
        if leads_from_end && !self.following.has_left(leader, term, self.cx.now) {
            return self.standings.has_credit(from, self.cx.now);
        }
        if newest <= known {
            return false;
        }
        self.look(from, newest);
        self.standings.has_credit(from, self.cx.now)
    }

    /// Waits for a leader, or for what the store says about it.
    fn wait_for(&mut self, (leader, term): (HsmId, Term)) {
        if matches!(self.state, State::Candidate(_)) {
            self.become_witness();
        }
        if self.made_newest(leader, term) || self.cx.bugs.has(Bug::ClaimElects) {
            self.following.follow((leader, term));
        }
        self.put_off();
    }

    /// A client is sent to the leader. Leaves the leader if that has led to nothing for too long, unless this member cannot
    /// do better.
    ///
    /// A leader that hears of a client is not silent: from now on it is waited for no longer than at its usual pace.
    pub(super) fn sent_away(&mut self) {
        if matches!(self.state, State::Witness) && !self.cx.bugs.has(Bug::ClientsWaitForSilence) {
            self.turn.expect(self.cx.now, &self.cx.settings.election_timeout_ms);
        }
        let (State::Witness, Some(leader)) = (&self.state, self.following.leader()) else { return };
        if self.trouble.rests(self.cx.now) {
            return;
        }
        if !self.following.sends_in_vain(self.cx.now) || self.cx.bugs.has(Bug::FollowedForEver) {
            return;
        }
        let term = self.log.tip().map_or(Term([0; 16]), |tip| tip.entry.term);
        self.following.leave(self.cx.now, (leader, term), self.capture.captured().0);
        self.stand(self.cx.now);
    }
}
