//! The transcript of the ceremony, as commands write it: that a step begins, and what came of it.

use super::arguments::TranscriptArguments;
use super::error::CliError;
use super::marker::{At, check};
use crate::admin::{AdminError, sign};
use crate::clock::system_clock;
use crate::transcript::{Event, Fault, Outcome, Step, TranscriptError, TranscriptFile, Wrong};
use ed25519_dalek::SigningKey;

/// A step that was begun in the transcript.
pub(super) struct Record {
    file: TranscriptFile,
    /// The transcript could not be written after the step was done. What it made must still reach the person.
    failed: Option<TranscriptError>,
}

/// Sees that what is to be a rehearsal's takes place where one is.
pub(super) fn check_place(arguments: &TranscriptArguments, at: At<'_>) -> Result<(), CliError> {
    if arguments.rehearsal { check(at) } else { Ok(()) }
}

/// Opens the transcript for what takes place there, and begins one where there is none.
fn open(arguments: &TranscriptArguments, at: At<'_>) -> Result<TranscriptFile, CliError> {
    check_place(arguments, at)?;
    let TranscriptArguments { transcript, rehearsal } = arguments;
    Ok(TranscriptFile::open(transcript, *rehearsal, now())?)
}

/// Opens the transcript that a custodian signs there.
pub(super) fn existing(arguments: &TranscriptArguments, at: At<'_>) -> Result<TranscriptFile, CliError> {
    check_place(arguments, at)?;
    let TranscriptArguments { transcript, rehearsal } = arguments;
    Ok(TranscriptFile::existing(transcript, *rehearsal)?)
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

    /// Writes what came of the step: this outcome, or why it failed, or that it may have been done.
    pub(super) fn settle<T>(
        &mut self,
        result: Result<T, CliError>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<T, CliError> {
        let event = match &result {
            Ok(value) => Event::Done(outcome(value)),
            Err(error) if is_nothing_done(error) => failure(&error.to_string()),
            Err(error) => unknown(&error.to_string()),
        };
        if let Err(error) = self.file.append(event, now()) {
            // The file must not look as if the step were still going on, nor as if it had done nothing.
            let _ = self.file.append(unknown(&error.to_string()), now());
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
            Some(error @ TranscriptError::Senseless { .. }) => Err(CliError::Contradicted(error)),
            Some(error) => Err(CliError::NotRecorded(error)),
            None => Ok(()),
        }
    }
}

fn failure(why: &str) -> Event {
    Event::Failed { why: short(why) }
}

fn unknown(why: &str) -> Event {
    Event::Unknown { why: short(why) }
}

fn short(why: &str) -> String {
    why.chars().take(2000).collect()
}

/// Whether a step that ended like this did nothing: somebody refused, or it was not asked for yet. Of anything else the answer
/// may have been lost.
const fn is_nothing_done(error: &CliError) -> bool {
    let is_refused = matches!(
        error,
        CliError::OtherWords { .. }
            | CliError::NotDrawnHere
            | CliError::Founding(_)
            | CliError::Admin(AdminError::Refused(_) | AdminError::NoRealm)
    );
    // The console could not be read, or the store not opened.
    let is_early =
        matches!(error, CliError::System(_) | CliError::NoConfig(_) | CliError::File(_) | CliError::Store(_));
    is_refused || is_early
}

/// Has a custodian sign a transcript as far as it goes.
pub(super) fn sign_head(file: &mut TranscriptFile, key: &SigningKey) -> Result<(), TranscriptError> {
    // Nobody may believe to have signed what has no head.
    let fault = Fault { entry: 1, wrong: Wrong::Empty };
    let empty = || TranscriptError::Damaged { path: file.path().into(), fault };
    let head = file.story().head_to_sign().ok_or_else(empty)?;
    file.append(Event::Signed((&sign(key, &head)).into()), now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Hex, Rules};
    use strongroom_proto::hsm::Refusal;

    /// What is in a transcript after a step that ended like this.
    fn recorded(error: CliError) -> String {
        let folder = tempfile::tempdir().unwrap();
        let transcript = folder.path().join("ceremony.jsonl");
        let arguments = TranscriptArguments { transcript: transcript.clone(), rehearsal: false };
        let at = At::Custodian(std::slice::from_ref(&transcript));
        let mut record = Record::start(&arguments, at, Step::Request {}).unwrap();
        assert!(record.settle(Err::<(), _>(error), |()| unreachable!("there is no outcome")).is_err());
        record.close().unwrap();
        std::fs::read_to_string(transcript).unwrap().lines().last().unwrap().to_owned()
    }

    #[test]
    fn what_was_done_and_contradicts_the_transcript_is_no_failure_and_is_not_called_good() {
        let folder = tempfile::tempdir().unwrap();
        let transcript = folder.path().join("ceremony.jsonl");
        let arguments = TranscriptArguments { transcript: transcript.clone(), rehearsal: false };
        let rules = Rules { custodians: vec![], threshold: 0, smallest_group: None };
        let mut record = Record::start(&arguments, At::Custodian(&[]), Step::Create(rules)).unwrap();
        // Another kind of outcome than a realm's making has.
        assert!(record.settle(Ok(()), |()| Outcome::Exported(Hex([1; 32]))).is_ok());
        let said = record.close().unwrap_err();
        assert!(matches!(said, CliError::Contradicted(_)), "{said}");
        assert!(said.to_string().contains("IT IS DONE") && !said.to_string().contains("is good"), "{said}");
        let text = std::fs::read_to_string(&transcript).unwrap();
        assert!(text.lines().last().unwrap().contains("{\"unknown\":{\"why\":"), "{text}");
        assert!(!text.contains("\"failed\""), "{text}");
    }

    #[test]
    fn a_step_whose_answer_was_lost_is_not_recorded_as_one_that_failed() {
        let lost = [
            AdminError::Unreachable("agent.sock".into()),
            AdminError::Agent("the HSM did not answer".into()),
            AdminError::Unexpected,
        ];
        for error in lost.map(CliError::from).into_iter().chain([CliError::FoundingNotKept]) {
            let said = error.to_string();
            let line = recorded(error);
            assert!(line.contains("{\"unknown\":{\"why\":"), "{said}: {line}");
        }
        for error in [
            AdminError::Refused(Refusal::HasRealm).into(),
            CliError::NotDrawnHere,
            CliError::Founding("too few custodians"),
        ] {
            let line = recorded(error);
            assert!(line.contains("{\"failed\":{\"why\":"), "{line}");
        }
    }
}
