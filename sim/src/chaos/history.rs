//! What users asked, when, and the outcome.
//!
//! Times are in microseconds from the beginning of the run, all by one clock. An operation includes the phases that the
//! SDK reported, because each of them happens at a different time at the HSM, and the number of messages in each,
//! because each that was sent may have been carried out.

use serde::Serialize;

/// Microseconds from the beginning of the run.
pub type Micros = u64;

/// One operation of one user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Operation {
    /// Whose record it is about.
    pub user: String,
    /// What was asked.
    pub asked: Asked,
    /// When it was asked.
    pub began: Micros,
    /// The phases that it reached, in order.
    pub phases: Vec<Phase>,
    /// When the answer came.
    pub ended: Micros,
    /// The outcome.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Asked {
    /// A registration. No two have the same secret.
    Register {
        /// The PIN.
        pin: String,
        /// The secret.
        secret: String,
        /// The guesses that are allowed.
        guesses: u16,
    },
    /// A recovery with this PIN.
    Recover {
        /// The PIN.
        pin: String,
    },
    /// A deletion.
    Delete,
}

/// A phase of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Phase {
    /// Which.
    pub step: Step,
    /// When it began.
    pub at: Micros,
    /// How many messages were sent in it that may have reached an HSM.
    pub sent: u32,
}

/// The phases that matter to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Step {
    /// Looks at what is there, before a registration.
    Register1,
    /// Registers; a second one in an operation registers again.
    Register2,
    /// Looks which registration is there. A second one in an operation starts the recovery over.
    Recover1,
    /// Guesses.
    Recover2,
    /// Shows that the guess was right.
    Recover3,
    /// Deletes.
    Delete,
}

/// The outcome of an operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Outcome {
    /// It is done: registered, or deleted.
    Done,
    /// Recovered this secret.
    Secret(String),
    /// The PIN is wrong, or no guesses are left.
    Wrong {
        /// The guesses left.
        left: u16,
    },
    /// Nothing is registered.
    NotRegistered,
    /// Another registration was there in the middle of the recovery.
    Changed,
    /// It may have been done, wholly or in part, or may still be done. Says why.
    Unknown(String),
    /// The SDK says that the realm broke the protocol. This is as good as unknown, and is also a fault in itself.
    Broken(String),
}
