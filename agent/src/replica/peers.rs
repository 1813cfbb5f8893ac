//! What the other members' agents say, and what of it counts.
//!
//! A message is its sender's and may be a lie. Kept here: what a peer says is never a fault of ours; who leads is who
//! made the newest entry, as the store shows it; only what the leader pushes of its own leadership is captured before it
//! is read from the store; and a leader under whom nothing happens while clients wait is not followed.

use super::bug::Bug;
use super::election::{Candidate, MAX_BACK_OFF};
use super::interface::{Fault, Millis};
use super::{Replica, State};
use crate::segment::{Segment, SegmentName};
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::{HsmId, Index, Term};
use strongroom_proto::peer::PeerMessage;

/// For how long a leader is followed under whom nothing happens while clients wait; then the same time not at all. Longer
/// than it takes such a leader to give way by itself. Twice as long each time that it was in vain.
const IN_VAIN_MS: u64 = 12_000;
/// After so long without one, clients do not wait.
const NOBODY_ASKS_MS: u64 = 4_000;
/// How many entries show that leading is not in vain: a new leader makes one in any case, and may race another.
const PROGRESS: u64 = 3;

/// What becomes of clients that are sent to the leader.
#[derive(Default)]
pub(super) struct Following {
    /// Since when and when last clients were sent away, and nothing has been captured since.
    waiting: Option<(Millis, Millis)>,
    /// The leadership that is not followed before this time.
    left: Option<(HsmId, Term, Millis)>,
    /// How often in a row a leader was left, and what was captured then.
    in_vain: u32,
    left_at: Option<Index>,
}

impl Following {
    /// How long to follow a leader under whom nothing happens.
    fn patience_ms(&self) -> u64 {
        IN_VAIN_MS << self.in_vain.min(MAX_BACK_OFF)
    }

    /// Something new is captured.
    pub(super) fn captured(&mut self, index: Index) {
        self.waiting = None;
        if self.left_at.is_none_or(|at| index.0 >= at.0.saturating_add(PROGRESS)) {
            self.in_vain = 0;
        }
    }

    fn has_left(&self, leader: HsmId, term: Term, now: Millis) -> bool {
        self.left.is_some_and(|(of, its, until)| (of, its) == (leader, term) && now < until)
    }
}

impl Replica {
    /// Takes a message of another member's agent.
    pub(super) fn peer(&mut self, from: HsmId, message: PeerMessage) {
        if message.group() != self.settings.group.group || !self.standings.may_speak(from, self.now) {
            return;
        }
        match message {
            PeerMessage::Heartbeat { term, newest, snapshot, .. } => {
                if self.hear_leader(from, term, newest) && self.made_newest(from, term) {
                    self.log.stored(snapshot);
                }
            }
            PeerMessage::Push { first, prev, segment, paths, .. } => {
                let name = SegmentName::new(self.settings.group.group, first, &prev);
                self.pushed(from, name, &segment, paths);
            }
            PeerMessage::Captured { statement, .. } => {
                let State::Leader(leader) = &mut self.state else { return };
                if statement.hsm != from {
                    return;
                }
                if statement.index > leader.newest() {
                    return self.look(from, statement.index);
                }
                if leader.is_beaten_by(&statement) {
                    if self.bugs.has(Bug::FalseHashDeposes) {
                        return self.step_down();
                    }
                    // Nothing that the store shows of others says when this is borne out.
                    return self.look(from, Index(u64::MAX));
                }
                leader.stated(from, statement, &self.log);
            }
        }
    }

    /// Whether the newest entry that is known was made by this HSM in this leadership.
    fn made_newest(&self, from: HsmId, term: Term) -> bool {
        self.log.tip().is_some_and(|tip| (tip.entry.leader, tip.entry.term) == (from, term))
    }

    fn pushed(&mut self, from: HsmId, name: SegmentName, bytes: &[u8], paths: Vec<PrefixTree>) {
        let Ok(segment) = Segment::decode(bytes) else { return };
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
        // Before the captured entry is found, there is nothing to go on from. Another leadership is one only once the
        // store shows it: otherwise two members could capture two entries in one place.
        let goes_on = self.seek.is_none() && (self.made_newest(from, term) || self.bugs.has(Bug::PushElects));
        let goes_on = goes_on || self.bugs.has(Bug::PushedForkIsFault);
        if !goes_on || self.log.next_name() != Some(name) || !self.capture.has_room() {
            return self.look(from, last);
        }
        match self.take(name, &segment, bytes, Some((from, paths))) {
            Ok(()) => {}
            Err(fault @ Fault::Forked { .. }) if self.bugs.has(Bug::PushedForkIsFault) => self.fault(fault),
            Err(_) => {
                self.lied(from);
                self.look(from, last);
            }
        }
    }

    /// Something that this sender said did not verify.
    pub(super) fn lied(&mut self, from: HsmId) {
        if self.bugs.has(Bug::LiarsKeepTheirTurn) {
            return;
        }
        self.standings.lied(from, self.now);
        if self.leader == Some(from) {
            self.leader = None;
        }
    }

    /// Somebody says that the log goes further, or otherwise, than this member knows. The store decides.
    pub(super) fn look(&mut self, from: HsmId, claimed: Index) {
        if self.standings.may_look(from, claimed, self.now) {
            self.catch_up.want_any();
        }
    }

    /// Somebody says that they lead, and how far the log goes. Whether to wait for them.
    fn hear_leader(&mut self, from: HsmId, term: Term, newest: Index) -> bool {
        match &self.state {
            State::Leader(leader) => {
                if newest > leader.newest() {
                    self.look(from, newest);
                }
                return false;
            }
            State::Starting(_) | State::Faulted(_) => return false,
            State::Witness | State::Candidate(_) => {}
        }
        let (known, _) = self.log.position();
        if newest < known {
            // It was deposed and does not know. A statement of something newer tells it.
            if let Some(statement) = self.capture.statement().filter(|s| s.index > newest) {
                let group = self.settings.group.group;
                self.out.send(from, PeerMessage::Captured { group, statement });
            }
            return false;
        }
        let leads = self.made_newest(from, term) || self.bugs.has(Bug::ClaimElects);
        if !leads {
            // A leader that is new, or none.
            if newest == known {
                return false;
            }
            self.look(from, newest);
            if !self.standings.has_credit(from, self.now) {
                return false;
            }
        } else if self.following.has_left(from, term, self.now) {
            return false;
        }
        if matches!(self.state, State::Candidate(_)) {
            self.become_witness();
        }
        if leads {
            self.standings.confirmed(from);
            self.leader = Some(from);
            self.deposed = 0;
        }
        self.put_off();
        true
    }

    /// A client is sent to the leader. Leaves it if nothing has come of that for too long.
    pub(super) fn sent_away(&mut self) {
        let (State::Witness, Some(leader)) = (&self.state, self.leader) else { return };
        let (since, last) = self.following.waiting.unwrap_or((self.now, self.now));
        let since = if self.now > last.after(NOBODY_ASKS_MS) { self.now } else { since };
        self.following.waiting = Some((since, self.now));
        let patience_ms = self.following.patience_ms();
        if self.now < since.after(patience_ms) || self.bugs.has(Bug::FollowedForEver) {
            return;
        }
        let term = self.log.tip().map_or(Term([0; 16]), |tip| tip.entry.term);
        self.following = Following {
            waiting: None,
            left: Some((leader, term, self.now.after(patience_ms))),
            in_vain: self.following.in_vain.saturating_add(1),
            left_at: Some(self.capture.captured().0),
        };
        self.leader = None;
        self.state = State::Candidate(Candidate::new(self.now));
    }

    /// Tells the leader what this member has captured: the HSM that made the newest entry, whoever else says that it
    /// leads.
    pub(super) fn state_captured(&mut self) {
        let maker = self.log.tip().map(|tip| tip.entry.leader);
        if let (Some(to), Some(statement)) = (maker.or(self.leader), self.capture.statement())
            && to != self.settings.hsm
        {
            self.out.send(to, PeerMessage::Captured { group: self.settings.group.group, statement });
        }
    }
}
