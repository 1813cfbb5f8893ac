//! The transcript of the ceremony, as commands write it: that a step begins, and what came of it.

use super::arguments::TranscriptArguments;
use super::error::CliError;
use super::marker::{At, check};
use crate::admin::sign;
use crate::clock::system_clock;
use crate::transcript::{Event, Outcome, Step, TranscriptError, TranscriptFile};
use ed25519_dalek::SigningKey;

/// A step that was begun in the transcript.
pub(super) struct Record {
    file: TranscriptFile,
    /// The transcript could not be written after the step was done. What it made must still reach the person.
    failed: Option<TranscriptError>,
}

/// Opens the transcript for what takes place there, and begins one where there is none.
pub(super) fn open(arguments: &TranscriptArguments, at: At<'_>) -> Result<TranscriptFile, CliError> {
    let TranscriptArguments { transcript, rehearsal } = arguments;
    if *rehearsal {
        check(at)?;
    }
    Ok(TranscriptFile::open(transcript, *rehearsal, now())?)
}

pub(super) fn now() -> u64 {
    system_clock()()
}

impl Record {
    /// Writes that a step begins. If that cannot be written, it must not begin.
    pub(super) fn start(arguments: &TranscriptArguments, at: At<'_>, step: Step) -> Result<Self, CliError> {
        let mut file = open(arguments, at)?;
        file.start(step, now())?;
        Ok(Self { file, failed: None })
    }

    /// Writes what came of the step: this outcome, or why it failed.
    pub(super) fn settle<T>(
        &mut self,
        result: Result<T, CliError>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<T, CliError> {
        let event = match &result {
            Ok(value) => Event::Done(outcome(value)),
            Err(error) => failure(&error.to_string()),
        };
        if let Err(error) = self.file.append(event, now()) {
            // The file must not look as if the step were still going on.
            let _ = self.file.append(failure(&error.to_string()), now());
            self.failed = Some(error);
        }
        result
    }

    /// Has a custodian sign what is written so far.
    pub(super) fn sign_head(&mut self, key: &SigningKey) {
        if self.failed.is_none() {
            self.failed = sign_head(&mut self.file, key).err();
        }
    }

    /// Ends the command: with an error if the transcript lacks what was done.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self.failed {
            Some(error) => Err(CliError::NotRecorded(error)),
            None => Ok(()),
        }
    }
}

fn failure(why: &str) -> Event {
    Event::Failed { why: why.chars().take(2000).collect() }
}

/// Has a custodian sign a transcript as far as it goes.
pub(super) fn sign_head(file: &mut TranscriptFile, key: &SigningKey) -> Result<(), TranscriptError> {
    let Some(head) = file.story().head_to_sign() else { return Ok(()) };
    file.append(Event::Signed((&sign(key, &head)).into()), now())
}
