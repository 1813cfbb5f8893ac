//! When a replica next wants to be woken, if nothing else happens before.
//!
//! Kept here: time that passes without an event changes nothing before that. The simulator, which tells every replica the
//! time every few milliseconds, checks it; so an agent that sleeps until then does the same as one that looks at its
//! clock all the time.

use super::{Replica, State};
use crate::interface::Millis;

impl Replica {
    /// When it wants to hear [`crate::Event::Tick`]. Earlier is of no use, and later delays what it does.
    #[must_use]
    pub const fn deadline(&self) -> Millis {
        self.deadline
    }

    /// When there is next something to do.
    pub(super) fn due(&self) -> Millis {
        let now = self.cx.now;
        // What only a tick does may be overdue; what every step does is done, or waits for something else.
        let in_tick = self.clients.deadline().into_iter().chain(self.tick_due());
        let in_step = self.step_due().into_iter().flatten().filter(|at| *at > now);
        in_tick.chain(in_step).min().unwrap_or(Millis(u64::MAX)).max(now)
    }

    /// What [`Replica::step`] does only when time has passed.
    fn tick_due(&self) -> Option<Millis> {
        match &self.state {
            State::Witness => Some(self.turn.deadline().max(self.trouble.rests_until())),
            State::Leader(leader) => {
                let settings = &self.cx.settings;
                let silent = self.silence.deadline(&settings.hsm_silence_ms).filter(|_| !self.is_alone());
                silent.into_iter().chain(leader.tick_due(&self.cx, self.turn.back_off())).min()
            }
            State::Starting(_) | State::Candidate(_) | State::Faulted => None,
        }
    }

    /// What it does in any step once its time has come.
    fn step_due(&self) -> [Option<Millis>; 4] {
        let of_state = match &self.state {
            State::Faulted => return [Some(self.trouble.rests_until()), None, None, None],
            State::Starting(at) => return [*at, None, None, None],
            State::Witness => None,
            State::Candidate(candidate) => Some(candidate.not_before()),
            State::Leader(leader) => leader.step_due(&self.cx),
        };
        let late = self.too_late_ms();
        let settled = self.settling.deadline(late);
        [of_state, settled, self.catch_up.deadline(), self.capture.deadline()]
    }

    /// Whether nobody else could lead.
    pub(super) fn is_alone(&self) -> bool {
        self.cx.settings.group.members.len() == 1
    }
}
