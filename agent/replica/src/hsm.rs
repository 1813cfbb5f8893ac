//! What the HSM's replies and refusals mean.

use super::bug::Bug;
use super::capture::Forged;
use super::interface::{CallId, Damage, Fault, Ticket};
use super::leader::Leader;
use super::outbox::Call;
use super::{Replica, STATUS_RETRY_MS, State};
use strongroom_proto::hsm::{DeviceStatus, Refusal, Reply};

impl Replica {
    /// Takes a reply, or the loss of one.
    pub(super) fn hsm(&mut self, call: CallId, reply: Option<Reply>) {
        let Some(purpose) = self.out.returned(call) else { return };
        // A replica captures for its own group only.
        let reply = reply.map(Reply::of_one_group);
        match purpose {
            Call::Status => self.status_reply(reply),
            Call::Capture => self.capture_reply(reply),
            Call::Jump => self.jump_reply(reply),
            Call::StepDown => {}
            Call::Alive => self.alive_reply(reply.as_ref()),
            Call::Lead => self.lead_reply(reply),
            Call::Handshake(ticket) => self.handshake_reply(ticket, reply),
            Call::Process => self.process_reply(reply),
            Call::Commit => self.commit_reply(reply),
        }
    }

    fn status_reply(&mut self, reply: Option<Reply>) {
        match reply {
            Some(Reply::Device(status)) => self.begin(&status),
            _ => self.state = State::Starting(Some(self.now.after(STATUS_RETRY_MS))),
        }
    }

    /// Knows what the HSM has captured, and begins as a witness that reads the log.
    fn begin(&mut self, status: &DeviceStatus) {
        let group = self.settings.group.group;
        let Some(of_group) = status.groups.iter().find(|g| g.statement == self.settings.group) else {
            return self.fault(Fault::NotMember { group });
        };
        let captured = (of_group.captured_index, of_group.captured_hash);
        self.become_witness();
        self.track(captured);
    }

    fn capture_reply(&mut self, reply: Option<Reply>) {
        match reply {
            Some(Reply::Captured(statement)) => {
                if statement.index > self.capture.captured().0 {
                    self.following.captured(statement.index);
                }
                // Asked for before the log was sought anew: the entry that is sought is not the newest, and may be gone.
                if self.seeks_before(statement.index) {
                    self.track((statement.index, statement.hash));
                }
                if let Some(name) = self.capture.stated(statement) {
                    self.rereads.well_until(name);
                }
                self.state_captured();
            }
            Some(Reply::Refused(Refusal::NvramFailed)) => {
                self.capture.retry(self.now);
                if matches!(self.state, State::Leader(_)) {
                    self.step_down();
                }
            }
            Some(Reply::Refused(Refusal::NotAuthentic)) => {
                if let Some(forged) = self.capture.forged() {
                    self.forged(&forged);
                }
            }
            Some(Reply::Refused(Refusal::NotConsecutive | Refusal::NothingCaptured)) => {
                self.start_over();
            }
            Some(Reply::Refused(refusal)) => self.fault(Fault::Hsm(refusal)),
            _ => self.capture.retry(self.now),
        }
    }

    /// No HSM made this. If the store has it, it is damaged; if somebody pushed it, the store has the last word.
    fn forged(&mut self, forged: &Forged) {
        let (object, index) = (forged.name, forged.name.first);
        match forged.by {
            Some(_) if self.bugs.has(Bug::PushedForgeryIsFault) => {
                self.fault(Fault::Damaged { object, index, damage: Damage::NotAuthentic });
            }
            Some(by) => {
                self.lied(by);
                self.track(self.capture.captured());
            }
            None => self.unproven(object),
        }
    }

    /// The HSM has captured something else than this agent believes: asks it, and reads the log anew.
    pub(super) fn start_over(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
        self.out.forget_calls();
        self.forget_tracking();
        self.seek = None;
        self.leader = None;
        self.state = State::Starting(Some(self.now.after(STATUS_RETRY_MS)));
    }

    fn lead_reply(&mut self, reply: Option<Reply>) {
        let State::Candidate(candidate) = &mut self.state else { return };
        match reply {
            Some(Reply::Leading(term)) => {
                let leader = Leader::new(self.now, term, &self.log, &self.settings);
                self.state = State::Leader(Box::new(leader));
            }
            Some(Reply::Refused(Refusal::NotCaptured)) => self.start_over(),
            Some(_) => self.become_witness(),
            None => candidate.retry(self.now),
        }
    }

    /// An idle leader asked its HSM whether it is there.
    fn alive_reply(&mut self, reply: Option<&Reply>) {
        let answers = matches!(reply, Some(Reply::Captured(_) | Reply::Refused(Refusal::NothingCaptured)));
        if !answers && matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
    }

    fn handshake_reply(&mut self, ticket: Ticket, reply: Option<Reply>) {
        let outcome = match reply {
            Some(Reply::Handshaken(outcome)) => Some(outcome),
            Some(Reply::Refused(refusal)) if !shows_another_state(refusal) => None,
            _ => return self.lead_anew(),
        };
        if let State::Leader(leader) = &mut self.state {
            leader.handshaken(self.now, ticket, outcome, &mut self.clients, &mut self.out);
        }
    }

    fn process_reply(&mut self, reply: Option<Reply>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Some(Reply::Processed { outcomes, made }) => {
                let done = leader.processed(self.now, outcomes, made, &mut self.clients, &mut self.out);
                if done.is_err() {
                    self.lead_anew();
                }
            }
            Some(Reply::Refused(Refusal::Busy)) => leader.busy(self.now),
            Some(Reply::Refused(refusal)) if !shows_another_state(refusal) && leader.is_elected() => {
                leader.refused(&mut self.clients, &mut self.out);
            }
            Some(Reply::Refused(Refusal::NvramFailed | Refusal::Exhausted)) => self.step_down(),
            _ => self.lead_anew(),
        }
    }

    fn commit_reply(&mut self, reply: Option<Reply>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Some(Reply::Committed { statement, released }) => {
                leader.released(self.now, statement, released, &mut self.clients, &mut self.out);
            }
            Some(Reply::Refused(refusal)) if !shows_another_state(refusal) => {
                if self.bugs.has(Bug::BadStatementCostsAll) {
                    leader.forget_statements();
                } else if let Some(liar) = leader.uncommitted(refusal) {
                    self.lied(liar);
                }
            }
            _ => self.lead_anew(),
        }
    }
}

/// Whether a refusal says that the HSM is not where this agent believes it to be, so that it must lead anew. Others
/// are about the request alone.
const fn shows_another_state(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NotLeader
            | Refusal::StaleTree
            | Refusal::NotMember
            | Refusal::NvramFailed
            | Refusal::Exhausted
    )
}
