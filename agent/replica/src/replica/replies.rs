//! What the HSM's replies and refusals mean.

use super::chain::STATUS_RETRY_MS;
use super::{Replica, State};
use crate::ask::{self, Unanswered, read};
use crate::bug::Bug;
use crate::capture::Forged;
use crate::interface::{CallId, Damage, Fault, Ticket};
use crate::leader::Leader;
use crate::outbox::Call;
use strongroom_proto::hsm::{DeviceStatus, Made, Outcome, ReadReply, Refusal, RefusalClass, Reply};
use strongroom_proto::ids::{Nonce, Term};
use strongroom_proto::statement::{Captured, Fresh};

impl Replica {
    /// Handles a reply, or the loss of one.
    pub(super) fn hsm(&mut self, call: CallId, reply: Option<Reply>) {
        let Some(purpose) = self.cx.out.returned(call) else { return };
        match purpose {
            Call::Status => self.status_reply(read::<ask::Status>(reply)),
            Call::Capture => self.capture_reply(read::<ask::Capture>(reply)),
            Call::Jump => self.jump_reply(read::<ask::Jump>(reply)),
            Call::StepDown => {}
            Call::Alive => self.alive_reply(read::<ask::Capture>(reply)),
            Call::Lead => self.lead_reply(read::<ask::Lead>(reply)),
            Call::Handshake(ticket) => self.handshake_reply(ticket, read::<ask::Handshake>(reply)),
            Call::Process => self.process_reply(read::<ask::Process>(reply)),
            Call::Change => self.change_reply(read::<ask::Change>(reply)),
            Call::Commit => self.commit_reply(read::<ask::Commit>(reply)),
            Call::DrawReadNonce => self.nonce_reply(read::<ask::DrawReadNonce>(reply)),
            Call::OwnFresh(nonce) => self.own_fresh_reply(nonce, read::<ask::Fresh>(reply)),
            Call::Fresh { by } => self.freshness.answered(&mut self.cx, by, read::<ask::Fresh>(reply)),
            Call::Confirm => self.confirm_reply(read::<ask::Confirm>(reply)),
        }
    }

    fn status_reply(&mut self, reply: Result<DeviceStatus, Unanswered>) {
        match reply {
            Ok(status) => self.begin(&status),
            Err(_) => self.state = State::Starting(Some(self.cx.now.after(STATUS_RETRY_MS))),
        }
    }

    /// Now that it knows what the HSM has captured, begins as a witness that reads the log.
    fn begin(&mut self, status: &DeviceStatus) {
        let group = self.cx.settings.group.group;
        let Some(of_group) = status.groups.iter().find(|g| g.statement == self.cx.settings.group) else {
            return self.fault(Fault::NotMember { group });
        };
        let captured = (of_group.captured_index, of_group.captured_hash);
        self.become_witness();
        self.track(captured);
    }

    fn capture_reply(&mut self, reply: Result<Captured, Unanswered>) {
        match reply {
            Ok(statement) => {
                if statement.index > self.capture.captured().0 {
                    self.following.captured(statement.index);
                    self.standings.shown(statement.index);
                }
                // Asked for before the search began again: the entry that is looked for is not the newest, and may be
                // gone.
                if self.search.is_for_one_before(statement.index) {
                    self.track((statement.index, statement.hash));
                }
                if let Some(name) = self.capture.stated(statement) {
                    self.trouble.rereads.well_until(name);
                }
                self.state_captured();
            }
            Err(Unanswered::Refused(Refusal::NvramFailed)) => {
                self.capture.retry(self.cx.now);
                if matches!(self.state, State::Leader(_)) {
                    self.step_down();
                }
            }
            Err(Unanswered::Refused(Refusal::NotAuthentic)) => {
                if let Some(forged) = self.capture.forged() {
                    self.forged(&forged);
                }
            }
            Err(Unanswered::Refused(Refusal::NotConsecutive | Refusal::NothingCaptured)) => {
                self.start_over();
            }
            Err(Unanswered::Refused(refusal)) => self.fault(Fault::Hsm(refusal)),
            Err(Unanswered::Senseless | Unanswered::Lost) => self.capture.retry(self.cx.now),
        }
    }

    /// No HSM made this entry. If it is in the store, the store is damaged; if it was pushed, the store has the last
    /// word.
    fn forged(&mut self, forged: &Forged) {
        let (object, index) = (forged.name, forged.name.first);
        match forged.by {
            Some(_) if self.cx.bugs.has(Bug::PushedForgeryIsFault) => {
                self.fault(Fault::Damaged { object, index, damage: Damage::NotAuthentic });
            }
            Some(by) => {
                self.lied(by);
                self.track(self.capture.captured());
            }
            None => self.unproven(object),
        }
    }

    fn lead_reply(&mut self, reply: Result<Term, Unanswered>) {
        let State::Candidate(candidate) = &mut self.state else { return };
        match reply {
            Ok(term) => {
                let leader = Leader::new(&self.cx, term, &self.log);
                if leader.is_elected() {
                    self.following.follow((self.cx.settings.hsm, term));
                    self.turn.forget_sayers();
                }
                self.state = State::Leader(Box::new(leader));
            }
            Err(Unanswered::Refused(Refusal::NotCaptured)) => self.start_over(),
            Err(Unanswered::Lost) => candidate.retry(self.cx.now),
            Err(Unanswered::Refused(_) | Unanswered::Senseless) => self.become_witness(),
        }
    }

    /// The answer to an idle leader's check that its HSM is there.
    fn alive_reply(&mut self, reply: Result<Captured, Unanswered>) {
        let answers = matches!(reply, Ok(_) | Err(Unanswered::Refused(Refusal::NothingCaptured)));
        if !answers && matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
    }

    fn handshake_reply(&mut self, ticket: Ticket, reply: Result<Outcome, Unanswered>) {
        let outcome = match reply {
            Ok(outcome) => Some(outcome),
            Err(Unanswered::Refused(refusal)) if !shows_another_state(refusal) => None,
            _ => return self.lead_anew(),
        };
        if let State::Leader(leader) = &mut self.state {
            leader.handshaken(&mut self.cx, ticket, outcome, &mut self.clients);
        }
    }

    fn process_reply(&mut self, reply: Result<ask::Processed, Unanswered>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Ok(ask::Processed { outcomes, made }) => {
                let done = leader.processed(&mut self.cx, outcomes, made, &mut self.clients);
                if done.is_err() {
                    self.lead_anew();
                }
            }
            Err(Unanswered::Refused(refusal)) => match refusal.class() {
                RefusalClass::TryAgain => leader.busy(self.cx.now),
                RefusalClass::CallerIsWrong if leader.is_elected() => {
                    leader.refused(&mut self.cx, &mut self.clients);
                }
                RefusalClass::CallerIsWrong | RefusalClass::StartAnew => self.lead_anew(),
                RefusalClass::DeviceFailed => self.step_down(),
            },
            Err(Unanswered::Senseless | Unanswered::Lost) => self.lead_anew(),
        }
    }

    fn change_reply(&mut self, reply: Result<Made, Unanswered>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Ok(made) => {
                if leader.changed(self.cx.now, made).is_err() {
                    self.lead_anew();
                }
            }
            Err(Unanswered::Refused(refusal)) => match refusal.class() {
                RefusalClass::TryAgain | RefusalClass::CallerIsWrong => {
                    leader.unchanged(&mut self.cx, refusal);
                }
                RefusalClass::StartAnew => self.lead_anew(),
                RefusalClass::DeviceFailed => self.step_down(),
            },
            Err(Unanswered::Senseless | Unanswered::Lost) => self.lead_anew(),
        }
    }

    fn commit_reply(&mut self, reply: Result<ask::Committed, Unanswered>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Ok(ask::Committed { statement, released }) => {
                leader.released(&mut self.cx, statement, released, &mut self.clients);
            }
            Err(Unanswered::Refused(refusal)) if !shows_another_state(refusal) => {
                if self.cx.bugs.has(Bug::BadStatementCostsAll) {
                    leader.forget_statements();
                } else if let Some(liar) = leader.uncommitted(refusal) {
                    self.lied(liar);
                }
            }
            _ => self.lead_anew(),
        }
    }
}

/// Answers that no entry carries.
impl Replica {
    fn nonce_reply(&mut self, reply: Result<Nonce, Unanswered>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Ok(nonce) => leader.reads.drawn(&mut self.cx, nonce),
            Err(Unanswered::Refused(refusal)) if !shows_another_state(refusal) => {
                leader.reads.undrawn(self.cx.now);
            }
            _ => self.lead_anew(),
        }
    }

    /// This member counts by its own HSM's statement, like any other. Without one it is asked again.
    fn own_fresh_reply(&mut self, nonce: Nonce, reply: Result<Fresh, Unanswered>) {
        if let (State::Leader(leader), Ok(statement)) = (&mut self.state, reply) {
            leader.reads.stated(&self.cx, self.cx.settings.hsm, nonce, statement);
        }
    }

    fn confirm_reply(&mut self, reply: Result<Vec<ReadReply>, Unanswered>) {
        let State::Leader(leader) = &mut self.state else { return };
        match reply {
            Ok(replies) => leader.reads.confirmed(&mut self.cx, replies, &mut self.clients),
            Err(Unanswered::Refused(refusal)) if !shows_another_state(refusal) => {
                if let Some(liar) = leader.reads.unconfirmed(self.cx.now, refusal) {
                    self.lied(liar);
                }
            }
            _ => self.lead_anew(),
        }
    }
}

/// Whether a refusal says that the HSM is not where this agent believes it to be, so that it must start a new
/// leadership. Other refusals are about the request alone.
const fn shows_another_state(refusal: Refusal) -> bool {
    matches!(refusal.class(), RefusalClass::StartAnew | RefusalClass::DeviceFailed)
}
