//! A transcript in a file: what is added to it, and what is not.

use crate::{Put, approval, begun, birth, chained, event, public, rules, text};
use strongroom_agent::transcript::{
    Approval, Birth, Event, Fault, Hex, Outcome, Rules, Step, TranscriptError, TranscriptFile, Wrong,
};

#[test]
fn a_step_that_contradicts_the_file_does_not_begin_and_one_that_was_done_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ceremony.jsonl");
    let mut file = TranscriptFile::open(&path, false, 1).unwrap();
    file.start(Step::Create(rules()), 2).unwrap();
    file.append(Event::Done(Outcome::Created(birth())), 3).unwrap();
    let before = TranscriptFile::bytes(&path).unwrap();
    let founding = Birth { public_key: Hex([99; 32]), ..birth() };
    let under_other = Approval { public_key: Hex([99; 32]), ..approval() };
    for step in [
        Step::SignFounding { custodian: public(1), founding: founding.clone() },
        Step::Found { founding, signatures: vec![] },
        Step::Approve { custodian: public(1), founding: birth(), approval: under_other.clone() },
        Step::Export { approval: under_other, signatures: vec![] },
    ] {
        let said = file.start(step.clone(), 4).unwrap_err();
        assert!(matches!(said, TranscriptError::Unfit { .. }), "{step:?}: {said}");
        assert!(said.to_string().contains("nothing was done"), "{said}");
    }
    assert_eq!(TranscriptFile::bytes(&path).unwrap(), before);
    // A step that failed says nothing about the realm.
    let other = folder.path().join("other.jsonl");
    let mut file = TranscriptFile::open(&other, false, 1).unwrap();
    let founding = Birth { realm: Hex([99; 16]), ..birth() };
    file.start(Step::SignFounding { custodian: public(1), founding }, 2).unwrap();
    file.append(Event::Failed { why: "other words".into() }, 3).unwrap();
    assert_eq!(file.story().realm(), None);
    // What came of it contradicts what was asked for.
    file.start(Step::Create(rules()), 4).unwrap();
    let weak = Birth { policy: Rules { threshold: 1, ..rules() }, ..birth() };
    let said = file.append(Event::Done(Outcome::Created(weak)), 5).unwrap_err();
    assert!(matches!(said, TranscriptError::Senseless { .. }), "{said}");
    file.append(Event::Unknown { why: said.to_string() }, 6).unwrap();
}

#[test]
fn a_file_goes_on_only_as_what_it_was_begun_as() {
    let folder = tempfile::tempdir().unwrap();
    for begun_as in [true, false] {
        let file = folder.path().join(format!("{begun_as}.jsonl"));
        drop(TranscriptFile::open(&file, begun_as, 1).unwrap());
        let said = TranscriptFile::open(&file, !begun_as, 2).unwrap_err();
        assert!(matches!(said, TranscriptError::Rehearsal { rehearsal, .. } if rehearsal == begun_as));
        assert!(TranscriptFile::open(&file, begun_as, 2).is_ok());
    }
}

/// A file of this many entries, and what its steps say why they failed.
fn long(path: &std::path::Path, entries: usize, why: &str) {
    let step = [Event::Started(Step::Request {}), Event::Failed { why: why.into() }].map(event);
    let puts: Vec<Put> =
        std::iter::once(begun(false)).chain(step.into_iter().cycle()).take(entries).collect();
    std::fs::write(path, text(&chained(&puts, 1))).unwrap();
}

#[test]
fn no_step_begins_where_its_outcome_and_the_end_would_not_fit_and_the_end_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.jsonl");
    let start = |file: &mut TranscriptFile| file.start(Step::Request {}, 1);
    long(&path, 9_983, "so");
    let mut file = TranscriptFile::open(&path, false, 1).unwrap();
    start(&mut file).unwrap();
    start(&mut file).unwrap();
    assert!(matches!(start(&mut file), Err(TranscriptError::Full(_))));
    for n in 9_986..=10_000 {
        file.append(Event::Ended {}, 1).unwrap_or_else(|error| panic!("entry {n}: {error}"));
    }
    // What would be read as too long is not written.
    let before = TranscriptFile::bytes(&path).unwrap();
    assert!(file.append(Event::Ended {}, 1).is_err());
    assert_eq!(TranscriptFile::bytes(&path).unwrap(), before);
    drop(file);
    assert!(TranscriptFile::open(&path, false, 1).is_ok());

    // Eight megabytes, of which 16 lines of 32 KiB must be left.
    long(&path, 501, &"a".repeat(30_000));
    let mut file = TranscriptFile::open(&path, false, 1).unwrap();
    start(&mut file).unwrap();
    drop(file);
    long(&path, 531, &"a".repeat(30_000));
    let mut file = TranscriptFile::open(&path, false, 1).unwrap();
    assert!(matches!(start(&mut file), Err(TranscriptError::Full(_))));
    file.append(Event::Ended {}, 1).unwrap();
}

#[test]
fn where_there_is_no_transcript_there_is_none_to_sign_and_none_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ceremony.jsonl");
    let said = TranscriptFile::existing(&path, false).unwrap_err();
    assert!(matches!(said, TranscriptError::System { .. }) && !path.exists(), "{said}");
    std::fs::write(&path, "").unwrap();
    let said = TranscriptFile::existing(&path, false).unwrap_err();
    let empty = Fault { entry: 1, wrong: Wrong::Empty };
    assert!(matches!(said, TranscriptError::Damaged { fault, .. } if fault == empty));
    assert!(std::fs::read(&path).unwrap().is_empty());
    drop(TranscriptFile::open(&path, true, 1).unwrap());
    assert!(TranscriptFile::existing(&path, true).unwrap().story().head_to_sign().is_some());
    assert!(matches!(TranscriptFile::existing(&path, false), Err(TranscriptError::Rehearsal { .. })));
}

#[test]
fn a_pipe_is_refused_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // To open it for reading would wait for a writer.
    let said = [
        TranscriptFile::bytes(&pipe).map(drop).unwrap_err(),
        TranscriptFile::open(&pipe, false, 1).map(drop).unwrap_err(),
        TranscriptFile::existing(&pipe, false).map(drop).unwrap_err(),
    ];
    for said in said {
        assert!(said.to_string().contains("it is not a file"), "{said}");
    }
}
