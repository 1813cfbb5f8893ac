//! What is checked, and what came of it.

use crate::failure::{Failure, Fault};
use std::fmt;

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Check {
    /// Enough custodians have signed the statement.
    Statement,
    /// The founding is signed, and says the same as the statement.
    Founding,
    /// The realm has signed the checkpoint of a group.
    Checkpoint,
    /// Enough witnesses have cosigned it.
    Cosignatures,
    /// Every tile and every bundle of entries leads to its root.
    Tiles,
    /// The log goes on where an earlier checkpoint ended.
    Consistency,
    /// The segments that are still there are those of the tree.
    Segments,
    /// Sources make the images that the statement names.
    Build,
}

impl Check {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 8] = [
        Self::Statement,
        Self::Founding,
        Self::Checkpoint,
        Self::Cosignatures,
        Self::Tiles,
        Self::Consistency,
        Self::Segments,
        Self::Build,
    ];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Founding => "founding",
            Self::Checkpoint => "checkpoint",
            Self::Cosignatures => "cosignatures",
            Self::Tiles => "tiles",
            Self::Consistency => "consistency",
            Self::Segments => "segments",
            Self::Build => "build",
        }
    }

    /// One line.
    #[must_use]
    pub const fn asks(self) -> &'static str {
        match self {
            Self::Statement => "have enough custodians signed the statement of the realm?",
            Self::Founding => "is the founding signed, and does it say the same as the statement?",
            Self::Checkpoint => "has the realm signed the checkpoint of the group's log?",
            Self::Cosignatures => "have as many witnesses cosigned it as the statement asks for?",
            Self::Tiles => "does every tile, and every entry under it, lead to the checkpoint's root?",
            Self::Consistency => "does the log go on where the earlier checkpoint ended?",
            Self::Segments => "are the segments that are still stored those of the tree?",
            Self::Build => "do the sources make an image that the statement names?",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is so; with numbers.
    Passed(String),
    /// It is not so.
    Failed(Failure),
    /// There was nothing to check, or nobody asked; and why.
    Skipped(String),
    /// It cannot be told, and why.
    Unknown(String),
}

impl Outcome {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "not checked",
            Self::Unknown(_) => "UNKNOWN",
        }
    }

    /// The numbers, or why.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Passed(told) | Self::Skipped(told) | Self::Unknown(told) => told.clone(),
            Self::Failed(failure) => failure.to_string(),
        }
    }

    /// Whether it is so.
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }
}

impl From<Result<String, Fault>> for Outcome {
    fn from(result: Result<String, Fault>) -> Self {
        match result {
            Ok(told) => Self::Passed(told),
            Err(Fault::Failed(failure)) => Self::Failed(failure),
            Err(Fault::Unknown(why)) => Self::Unknown(why),
        }
    }
}

/// One check of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// Of what: `realm`, `group <id>`, a digest, a folder.
    pub about: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What else the reader should know. No verdict rests on it.
    pub notes: Vec<String>,
}

impl Finding {
    pub(crate) fn new(check: Check, about: impl Into<String>, outcome: impl Into<Outcome>) -> Self {
        Self { check, about: about.into(), outcome: outcome.into(), notes: Vec::new() }
    }

    pub(crate) fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}
