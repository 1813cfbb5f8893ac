//! Whether what users were told could have come from a realm that keeps its promise.
//!
//! Each user is checked alone, because a record is one user's: is there an order of events at the HSM, each at a time
//! when it can have happened, that gives every answer as it was given? Messages whose answers were lost may have been
//! carried out at any time since, or not at all; see `case.rs`. If there is no such order, something acknowledged was
//! lost, a guess was gained or lost, or a secret was given that is not the newest. If the search takes too long,
//! nothing is known, and that is an error as well.

mod case;
mod record;
mod search;
#[cfg(test)]
mod tests;

use super::history::{Asked, Micros, Operation, Outcome};
use case::Case;
use search::{Found, search};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// How many states the search for one user may visit: some 100 MiB.
pub const LIMIT: usize = 500_000;

/// What is wrong with a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// No realm that keeps its promise answers like this.
    Impossible {
        /// Whose record it is about.
        user: String,
        /// The first answer that nothing explains, and everything before it.
        told: String,
    },
    /// The search was given up. Nothing is known.
    Undecided {
        /// Whose record it is about.
        user: String,
        /// How many states were visited.
        states: usize,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible { user, told } => {
                write!(
                    f,
                    "no realm that keeps its promise told {user} this; the last line cannot be:\n{told}"
                )
            }
            Self::Undecided { user, states } => write!(
                f,
                "undecided: whether {user} was told what can be is not known after {states} states; the history is too long \
                 for the search"
            ),
        }
    }
}

/// Checks a history. Visits at most `limit` states for each user.
///
/// # Errors
/// What is wrong with each user's part of it.
pub fn check(history: &[Operation], limit: usize) -> Result<(), Vec<Wrong>> {
    let mut users: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        users.entry(&operation.user).or_default().push(operation);
    }
    let wrong: Vec<_> = users
        .into_iter()
        .filter_map(|(user, operations)| check_user(user, operations, limit).err())
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn check_user(user: &str, mut operations: Vec<&Operation>, limit: usize) -> Result<(), Wrong> {
    operations.sort_by_key(|operation| (operation.ended, operation.began));
    let found = |now| search(&Case::new(operations.iter().copied(), now), limit);
    match found(Micros::MAX) {
        Found::Order => return Ok(()),
        Found::Undecided => return Err(Wrong::Undecided { user: user.to_owned(), states: limit }),
        Found::None => {}
    }
    // The shortest beginning that is impossible.
    let last = operations.iter().position(|operation| found(operation.ended) == Found::None);
    let told = operations.iter().take(last.map_or(usize::MAX, |last| last + 1));
    let mut lines = String::new();
    for operation in told {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "  {}", line(operation));
    }
    Err(Wrong::Impossible { user: user.to_owned(), told: lines.trim_end().to_owned() })
}

/// An operation in one line.
#[must_use]
pub fn line(operation: &Operation) -> String {
    let asked = match &operation.asked {
        Asked::Register { pin, secret, guesses } => {
            format!("register {secret} under {pin}, {guesses} guesses")
        }
        Asked::Recover { pin } => format!("recover with {pin}"),
        Asked::Delete => "delete".to_owned(),
    };
    let outcome = match &operation.outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Secret(secret) => format!("recovered {secret}"),
        Outcome::Wrong { left } => format!("wrong PIN, {left} guesses left"),
        Outcome::NotRegistered => "not registered".to_owned(),
        Outcome::Changed => "another registration in the middle of it".to_owned(),
        Outcome::Unknown(why) => format!("unknown ({why})"),
        Outcome::Broken(why) => format!("protocol broken ({why})"),
    };
    let phases: Vec<_> =
        operation.phases.iter().map(|phase| format!("{:?} x{}", phase.step, phase.sent)).collect();
    let seconds = |micros: Micros| micros as f64 / 1e6;
    let (from, to) = (seconds(operation.began), seconds(operation.ended));
    format!("{from:>9.3} to {to:>9.3} s  {asked} [{}]: {outcome}", phases.join(", "))
}
