//! The end of a leadership that is handed over.
//!
//! It ends when no user has guessed and may still ask for what that has opened: see [`Guesses`]. With few users such a
//! moment comes by itself; with many, no user begins for a moment, and all who have begun end. Where that takes long,
//! because some are far away or had a wrong PIN, those who wait are let in, and it is tried again later.
//!
//! Kept here: nobody is kept from beginning for longer than [`CLOSED_MS`], but for the last time; and then no longer than
//! guesses are open.

use super::guesses::Guesses;
use super::interface::Millis;

/// For how long everybody is served as ever, while the moment may come by itself: at first, and each time after that.
const OPEN_MS: (u64, u64) = (50, 150);
/// For how long nobody begins, at most. Together with the time that the next leader takes, it is what users wait.
const CLOSED_MS: u64 = 60;
/// After how long it is the last time.
const LAST_MS: u64 = 2_000;
/// How long what is under way may take to end.
const ENDING_MS: u64 = 2_000;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Everybody is served, at least until then.
    Open(Millis),
    /// Since then, nobody begins.
    Closed(Millis),
    /// Since then, nothing is taken.
    Ending(Millis),
}

/// A leadership that is to end.
pub(super) struct Yielding {
    since: Millis,
    stage: Stage,
    /// When the guesses that were answered are over.
    over_at: Option<Millis>,
}

impl Yielding {
    /// It is to end from now on.
    pub(super) const fn new(now: Millis) -> Self {
        Self { since: now, stage: Stage::Open(now.after(OPEN_MS.0)), over_at: None }
    }

    /// Goes on, if it is time to.
    pub(super) fn look(&mut self, now: Millis, guesses: &Guesses) {
        self.over_at = guesses.over_at();
        let is_last = now >= self.since.after(LAST_MS);
        self.stage = match self.stage {
            Stage::Ending(since) => Stage::Ending(since),
            _ if guesses.are_over(now) => Stage::Ending(now),
            Stage::Open(until) if now >= until => Stage::Closed(now),
            Stage::Closed(since) if now >= since.after(CLOSED_MS) && !is_last => {
                Stage::Open(now.after(OPEN_MS.1))
            }
            stage => stage,
        };
    }

    /// Whether nobody is to begin.
    pub(super) const fn is_closed(&self) -> bool {
        !matches!(self.stage, Stage::Open(_))
    }

    /// Whether nothing more is taken.
    pub(super) const fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_))
    }

    /// Whether it must end now, whatever is under way.
    pub(super) fn must_end(&self, now: Millis) -> bool {
        matches!(self.stage, Stage::Ending(since) if now >= since.after(ENDING_MS))
    }

    /// When there is something to do, if that is after now.
    pub(super) fn due(&self, now: Millis) -> Option<Millis> {
        let next = match self.stage {
            Stage::Open(until) => until,
            Stage::Closed(since) => since.after(CLOSED_MS),
            Stage::Ending(since) => since.after(ENDING_MS),
        };
        [Some(next), self.over_at].into_iter().flatten().filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guesses;
    use crate::interface::Ticket;
    use strongroom_proto::hsm::{BatchRequest, NoiseMessage};
    use strongroom_proto::ids::{RecordId, SessionId};

    fn guess(session: u32) -> BatchRequest {
        let message = NoiseMessage::Transport { ciphertext: vec![0; 105].into() };
        BatchRequest { record: RecordId([1; 32]), session: SessionId(session), message, time: None }
    }

    #[test]
    fn without_guesses_it_ends_at_once() {
        let mut yielding = Yielding::new(Millis(5));
        yielding.look(Millis(5), &Guesses::default());
        assert!(yielding.is_ending() && !yielding.must_end(Millis(4 + ENDING_MS)));
        assert_eq!(yielding.due(Millis(5)), Some(Millis(5 + ENDING_MS)));
        assert!(yielding.must_end(Millis(5 + ENDING_MS)));
    }

    #[test]
    fn with_guesses_all_the_time_nobody_waits_long_and_it_ends_all_the_same() {
        let mut guesses = Guesses::default();
        let mut yielding = Yielding::new(Millis(0));
        let (mut closed, mut longest) = (0, 0);
        for now in (0..).map(Millis) {
            // Wrong PINs: one every 20 ms while they are let in.
            if now.0 % 20 == 0 && !yielding.is_closed() {
                guesses.arrive(now, Ticket(now.0), &guess(now.0 as u32));
                guesses.answer(now, Ticket(now.0), true);
            }
            yielding.look(now, &guesses);
            if yielding.is_ending() {
                assert!(now.0 <= LAST_MS + CLOSED_MS + OPEN_MS.1 + guesses::OPEN_MS.end(), "{now:?}");
                break;
            }
            assert!(yielding.due(now).is_some_and(|at| at > now));
            closed = if yielding.is_closed() { closed + 1 } else { 0 };
            if now.0 < LAST_MS {
                longest = longest.max(closed);
            }
        }
        assert!(longest <= CLOSED_MS, "{longest}");
    }

    #[test]
    fn one_that_goes_on_in_time_is_waited_for() {
        let mut guesses = Guesses::default();
        guesses.arrive(Millis(0), Ticket(1), &guess(1));
        let mut yielding = Yielding::new(Millis(0));
        yielding.look(Millis(40), &guesses);
        assert!(!yielding.is_closed());
        yielding.look(Millis(50), &guesses);
        assert!(yielding.is_closed() && !yielding.is_ending());
        guesses.answer(Millis(60), Ticket(1), true);
        yielding.look(Millis(60), &guesses);
        assert!(!yielding.is_ending());
        let message = NoiseMessage::Transport { ciphertext: vec![0; 84].into() };
        guesses.arrive(Millis(61), Ticket(2), &BatchRequest { message, ..guess(1) });
        yielding.look(Millis(61), &guesses);
        assert!(yielding.is_ending());
    }
}
