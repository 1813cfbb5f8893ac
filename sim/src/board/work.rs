//! Whether a board does the same work for a guess whatever the record holds: a host sees how long a batch takes, before
//! its commit.
//!
//! Counted in instructions, by an emulator that counts them. They are not cycles: work that takes a part a time that
//! depends on secrets is the responsibility of the part's builder.

use super::host::Host;
use super::play::Bench;
use crate::Error;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::Path;
use strongroom_client_crypto::oprf::blind;
use strongroom_proto::client::{RegistrationVersion, SecretsRequest, UnlockKeyTag};
use strongroom_proto::ids::{RecordId, SessionId};
use strongroom_proto::oprf::BlindedInput;

/// By how much the work may differ, in thousandths. A multiplication on the curve is a quarter of it, and wrapping the
/// secrets after a last guess 22 thousandths. What differs is the length of a record's state before it is padded.
const TOLERANCE: usize = 10;

const RECORD: RecordId = RecordId([0x5a; 32]);

/// A user of one record, on the way to the request that is measured.
struct User {
    host: Host,
    version: RegistrationVersion,
    rng: StdRng,
    sessions: u32,
}

impl User {
    fn point(&mut self) -> BlindedInput {
        blind(b"a PIN", &mut self.rng).1
    }

    /// Sends a request in a session of its own, and has its entry committed.
    fn ask(&mut self, request: &SecretsRequest) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.host.open(RECORD, session);
        self.host.request(RECORD, session, &request.to_cbor());
    }

    fn guess(&mut self) -> SecretsRequest {
        SecretsRequest::Recover2 { version: self.version, blinded_input: self.point() }
    }

    /// Charges the last guess, and sends a wrong tag.
    fn erase(&mut self) {
        let guesses = [self.guess(), self.guess()];
        guesses.iter().for_each(|guess| self.ask(guess));
        let (version, unlock_key_tag) = (self.version, UnlockKeyTag::new([0; 16]));
        self.ask(&SecretsRequest::Recover3 { version, unlock_key_tag });
    }
}

/// Prepares a record, and returns what to ask then.
type Case = fn(&mut User) -> SecretsRequest;

const CASES: [(&str, Case); 12] = [
    ("the first of two guesses", User::guess),
    ("the last guess", |user| {
        let first = user.guess();
        user.ask(&first);
        user.guess()
    }),
    ("the same point again", |user| {
        let guess = user.guess();
        user.ask(&guess);
        guess
    }),
    ("another version", |user| {
        let blinded_input = user.point();
        SecretsRequest::Recover2 { version: RegistrationVersion([0; 16]), blinded_input }
    }),
    ("a guess after the last", |user| {
        let guesses = [user.guess(), user.guess()];
        guesses.iter().for_each(|guess| user.ask(guess));
        user.guess()
    }),
    ("an erased record", |user| {
        user.erase();
        user.guess()
    }),
    ("a deleted record", |user| {
        user.ask(&SecretsRequest::Delete);
        user.guess()
    }),
    ("a guess beside a staged registration", |user| {
        user.host.stage(RECORD);
        user.guess()
    }),
    ("a guess at a staged registration", |user| {
        user.version = user.host.stage(RECORD);
        user.guess()
    }),
    ("the last guess, with the other place at its last", |user| {
        let last = [user.guess(), user.guess()];
        last.iter().for_each(|guess| user.ask(guess));
        user.version = user.host.stage(RECORD);
        let first = user.guess();
        user.ask(&first);
        user.guess()
    }),
    ("another version than the two there are", |user| {
        user.host.stage(RECORD);
        let blinded_input = user.point();
        SecretsRequest::Recover2 { version: RegistrationVersion([0; 16]), blinded_input }
    }),
    ("a staged registration that is erased", |user| {
        user.version = user.host.stage(RECORD);
        user.erase();
        user.guess()
    }),
];

/// Counts the instructions of a batch with one Recover2, for records of every kind, prints them, and fails if they
/// differ. `image` is one for measuring, made by `build.sh --marks`.
///
/// # Errors
/// The work differs; a request that evaluates nothing passes for one that does; or the board cannot be booted.
pub fn work(image: &Path) -> Result<(), Error> {
    let mut bench = Bench::counting(image.to_path_buf())?;
    let config = bench.config()?;
    let mut count = |what: &str, case: Case| {
        let mut host = Host::new(1, config.clone());
        let version = host.register(RECORD);
        let mut user = User { host, version, rng: StdRng::seed_from_u64(1), sessions: 0 };
        let request = case(&mut user);
        user.sessions += 1;
        let session = SessionId(user.sessions);
        user.host.open(RECORD, session);
        let message = user.host.message(RECORD, session, &request.to_cbor());
        user.host.process(vec![message]);
        if let Some(difference) = bench.play(user.host.tape().events())? {
            return Err(Error::from(format!("{what}: {difference}")));
        }
        let instructions = bench.marks()?.instructions;
        println!("{what}: {instructions} instructions");
        Ok(instructions)
    };
    let mut counted = Vec::new();
    for (what, case) in CASES {
        counted.push((what, count(what, case)?));
    }
    is_the_same(&counted)?;
    // Without an evaluation, the work is far from that.
    let without = count("a question that evaluates nothing", |_| SecretsRequest::Recover1)?;
    counted.push(("no evaluation", without));
    if is_the_same(&counted).is_ok() {
        return Err("work without an evaluation was taken for the same".into());
    }
    Ok(())
}

/// Whether these are the same, within the tolerance.
fn is_the_same(counted: &[(&str, usize)]) -> Result<(), String> {
    let by_count = |(_, instructions): &&(&str, usize)| *instructions;
    let (Some(least), Some(most)) =
        (counted.iter().min_by_key(by_count), counted.iter().max_by_key(by_count))
    else {
        return Err("nothing was counted".into());
    };
    if (most.1 - least.1) * 1000 <= most.1 * TOLERANCE {
        return Ok(());
    }
    let ((least, few), (most, many)) = (least, most);
    Err(format!("a host can tell from the time: {few} instructions for {least}, {many} for {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiplication_or_a_wrapping_more_is_noticed_and_a_few_bytes_are_not() {
        let three = 5_000_000;
        assert_eq!(is_the_same(&[("a", three), ("b", three + three * 5 / 1000)]), Ok(()));
        assert!(is_the_same(&[("a", three), ("b", three + three * 22 / 1000)]).is_err());
        assert!(is_the_same(&[("a", three), ("b", three / 5 * 6), ("c", three)]).is_err());
        assert!(is_the_same(&[("a", three), ("b", three), ("c", three / 5 * 4)]).is_err());
        assert!(is_the_same(&[]).is_err());
    }
}
