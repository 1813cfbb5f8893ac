//! `realm transcript`: custodians sign it, and anybody checks it, without an agent.

use super::arguments::{SignTranscript, TranscriptCommand, VerifyTranscript};
use super::error::CliError;
use super::keys::read_key;
use super::marker::At;
use super::record::{check_place, existing, now, sign_head};
use crate::admin::custodian_key;
use crate::transcript::{Chain, Event, Expected, Hex, Story, TranscriptFile};

pub(super) fn execute(command: &TranscriptCommand) -> Result<(), CliError> {
    match command {
        TranscriptCommand::Sign(arguments) => sign(arguments),
        TranscriptCommand::Verify(arguments) => verify(arguments),
    }
}

fn sign(arguments: &SignTranscript) -> Result<(), CliError> {
    let at = At::Custodian(arguments.key.files());
    // Before anybody types a secret.
    check_place(&arguments.record, at)?;
    let key = read_key(&arguments.key)?;
    let mut file = existing(&arguments.record, at)?;
    if !file.story().has_custodian(Hex(custodian_key(&key).0.0)) {
        return Err(CliError::Arguments(
            "this key is not a custodian's of the realm in that transcript: give the key of a custodian, and the transcript of their \
             realm",
        ));
    }
    hint!("{}", file.story());
    if !file.story().is_ended() {
        file.append(Event::Ended {}, now())?;
    }
    sign_head(&mut file, &key)?;
    hintln!(
        "You signed all of the above. Write down the head below: nobody can take entries off, or add any, without changing it."
    );
    let chain = read(&TranscriptFile::bytes(file.path())?, &arguments.record.transcript)?;
    out!("{}", chain.head_text());
    hintln!("Next, once each custodian has signed: strongroom-agent realm transcript verify FILE");
    Ok(())
}

pub(super) fn verify(arguments: &VerifyTranscript) -> Result<(), CliError> {
    let VerifyTranscript { file, realm, public_key, custodians, threshold, head, closed } = arguments;
    let chain = read(&TranscriptFile::bytes(file)?, file)?;
    let wrong = |fault| CliError::Transcript { path: file.clone(), fault };
    let story = Story::of(&chain).map_err(wrong)?;
    out!("{story}{}", chain.head_text());
    let expected = Expected {
        realm: *realm,
        public_key: *public_key,
        custodians: custodians.iter().map(|key| Hex(key.0.0)).collect(),
        threshold: *threshold,
        head: head.clone(),
        closed: *closed,
    };
    story.whole(&chain, &expected).map_err(wrong)?;
    outln!("{}", story.verdict(&expected));
    hintln!(
        "Compare the custodians' keys, the builds and the head with what was written down at the ceremony."
    );
    Ok(())
}

fn read(bytes: &[u8], path: &std::path::Path) -> Result<Chain, CliError> {
    Chain::read(bytes).map_err(|fault| CliError::Transcript { path: path.into(), fault })
}
