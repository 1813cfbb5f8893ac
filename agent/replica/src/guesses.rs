//! Users who have guessed, and may ask for what their guess has opened.
//!
//! A client asks that once and in the session of its guess, which ends with the leadership; so a leader that may choose
//! when to end chooses a moment in which nobody is about to. Nothing but waiting depends on this: a request's length
//! shows what it is, and a client that deceives its agent with it hurts only itself.
//!
//! Kept here: one is open from the arrival of a guess to the next message of its session, and after its answer no longer
//! than users lately took to go on, twice.

use super::interface::{Millis, Ticket};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use strongroom_proto::hsm::{BatchRequest, NoiseMessage};
use strongroom_proto::ids::{RecordId, SessionId};

/// The lengths of a Recover2 and of a Recover3 in its session: 89 and 68 bytes, and a tag (client protocol, sections 5 and 6).
const GUESS_BYTES: usize = 89 + 16;
const NEXT_BYTES: usize = 68 + 16;
/// How long after its answer one is open: whatever users took lately, and as long as nobody has gone on. Those whose PIN
/// was wrong never do.
pub(super) const OPEN_MS: RangeInclusive<u64> = 50..=1_000;
const UNKNOWN_MS: u64 = 250;
/// How long "lately" is, at least; at most it is twice that.
const LATELY_MS: u64 = 60_000;
/// With more than this many, those that are over are dropped, now and then.
const MANY: usize = 1_024;

type Session = (RecordId, SessionId);

/// Whether a request looks like a guess.
pub(super) fn is_guess(request: &BatchRequest) -> bool {
    has_length(request, GUESS_BYTES)
}

fn has_length(request: &BatchRequest, bytes: usize) -> bool {
    matches!(&request.message, NoiseMessage::Transport { ciphertext } if ciphertext.len() == bytes)
}

/// The guesses of one leadership.
#[derive(Default)]
pub(super) struct Guesses {
    /// Those without an answer.
    asked: BTreeMap<Ticket, Session>,
    /// When the others were answered.
    answered: BTreeMap<Session, Millis>,
    dropped_at: Millis,
    pace: Pace,
}

/// How long users take to go on.
#[derive(Default)]
struct Pace {
    since: Millis,
    /// The longest since then, and in the time before.
    longest_ms: [Option<u64>; 2],
}

impl Pace {
    /// One has taken this long.
    fn took(&mut self, now: Millis, ms: u64) {
        if now >= self.since.after(LATELY_MS) {
            *self = Self { since: now, longest_ms: [None, self.longest_ms[0]] };
        }
        self.longest_ms[0] = self.longest_ms[0].max(Some(ms));
    }

    /// How long to wait for one.
    fn open_ms(&self) -> u64 {
        let longest = self.longest_ms.iter().flatten().max();
        longest.map_or(UNKNOWN_MS, |ms| ms.saturating_mul(2).clamp(*OPEN_MS.start(), *OPEN_MS.end()))
    }
}

impl Guesses {
    /// A request has come.
    pub(super) fn arrive(&mut self, now: Millis, ticket: Ticket, request: &BatchRequest) {
        let session = (request.record, request.session);
        if let Some(at) = self.answered.remove(&session).filter(|_| has_length(request, NEXT_BYTES)) {
            self.pace.took(now, now.0.saturating_sub(at.0));
        }
        if is_guess(request) {
            self.asked.insert(ticket, session);
        }
    }

    /// A request was answered, by the HSM or without it.
    pub(super) fn answer(&mut self, now: Millis, ticket: Ticket, by_hsm: bool) {
        let Some(session) = self.asked.remove(&ticket).filter(|_| by_hsm) else { return };
        self.answered.insert(session, now);
        let kept_ms = *OPEN_MS.end();
        if self.answered.len() > MANY && now >= self.dropped_at.after(kept_ms) {
            self.answered.retain(|_, at| now < at.after(kept_ms));
            self.dropped_at = now;
        }
    }

    /// Whether none is open.
    pub(super) fn are_over(&self, now: Millis) -> bool {
        self.asked.is_empty() && self.over_at().is_none_or(|at| now >= at)
    }

    /// When those that were answered are over, whatever happens.
    pub(super) fn over_at(&self) -> Option<Millis> {
        self.answered.values().max().map(|at| at.after(self.pace.open_ms()))
    }

    /// None is open any more.
    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.answered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::client::{RegistrationVersion, SecretsRequest, UnlockKeyTag};
    use strongroom_proto::oprf::BlindedInput;

    fn sent(session: u32, plaintext: usize) -> BatchRequest {
        let message = NoiseMessage::Transport { ciphertext: vec![0; plaintext + 16].into() };
        BatchRequest { record: RecordId([1; 32]), session: SessionId(session), message, time: None }
    }

    #[test]
    fn a_guess_is_told_by_its_length() {
        let version = RegistrationVersion([1; 16]);
        // The first even number that is an element (RFC 9496).
        let mut elements = (2..=u8::MAX).step_by(2).map(|first| {
            let mut encoding = [0; 32];
            encoding[0] = first;
            BlindedInput::from_bytes(&encoding)
        });
        let blinded_input = elements.find_map(Result::ok).expect("about one of eight is");
        let guess = SecretsRequest::Recover2 { version, blinded_input };
        let unlock_key_tag = UnlockKeyTag::new([3; 16]);
        let others = [
            SecretsRequest::Recover3 { version, unlock_key_tag },
            SecretsRequest::Recover1,
            SecretsRequest::Register1,
            SecretsRequest::Delete,
        ];
        assert!(is_guess(&sent(1, guess.to_cbor().len())));
        assert!(others.iter().all(|other| !is_guess(&sent(1, other.to_cbor().len()))));
    }

    #[test]
    fn one_is_open_until_its_session_goes_on_or_it_has_taken_too_long() {
        let mut guesses = Guesses::default();
        let (now, guess) = (Millis(1_000), 89);
        for session in 1..=2 {
            guesses.arrive(now, Ticket(session.into()), &sent(session, guess));
        }
        assert!(!guesses.are_over(Millis(9_000)), "one without an answer is open for as long as it takes");
        guesses.answer(now, Ticket(1), true);
        guesses.answer(now, Ticket(2), true);
        assert_eq!(guesses.over_at(), Some(now.after(UNKNOWN_MS)));
        guesses.arrive(now.after(40), Ticket(3), &sent(1, 68));
        assert!(!guesses.are_over(now.after(79)), "of two, one has gone on");
        assert!(guesses.are_over(now.after(80)), "and the other has taken twice as long");
        guesses.arrive(now, Ticket(4), &sent(2, 9));
        assert!(guesses.are_over(now));
        guesses.arrive(now, Ticket(5), &sent(2, guess));
        guesses.answer(now, Ticket(5), false);
        assert!(guesses.are_over(now), "one that the HSM did not take opens nothing");
    }

    #[test]
    fn what_users_took_long_ago_is_forgotten() {
        let mut pace = Pace::default();
        pace.took(Millis(0), 9_000);
        assert_eq!(pace.open_ms(), *OPEN_MS.end());
        pace.took(Millis(LATELY_MS), 1);
        assert_eq!(pace.open_ms(), *OPEN_MS.end());
        pace.took(Millis(2 * LATELY_MS), 1);
        assert_eq!(pace.open_ms(), *OPEN_MS.start());
    }

    #[test]
    fn those_that_are_over_are_not_kept() {
        let mut guesses = Guesses::default();
        for number in 0..20_000 {
            let now = Millis(10_000 + u64::from(number));
            guesses.arrive(now, Ticket(number.into()), &sent(number, 89));
            guesses.answer(now, Ticket(number.into()), true);
        }
        assert!(guesses.answered.len() <= 2 * MANY);
    }
}
