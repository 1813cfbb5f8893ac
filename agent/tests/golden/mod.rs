//! Transcripts that are files, made by another program (`make.py`): a form that is read years later, by any version from this
//! one on, and what each comes to.

use crate::{text, verdict, whole};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"].iter().collect()
}

#[test]
fn each_transcript_of_before_comes_to_what_it_came_to() {
    let names = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: BTreeSet<String> = names.filter(|name| name.ends_with(".jsonl")).collect();
    for line in fs::read_to_string(folder().join("verdicts")).unwrap().lines() {
        let (name, wanted) = line.split_once(' ').unwrap();
        assert!(files.remove(name), "{name} is there, once");
        let said = verdict(&fs::read(folder().join(name)).unwrap());
        let said = said.map_or_else(|fault| fault.to_string(), |()| "OK".to_owned());
        assert!(said.starts_with(wanted), "{name}: {said}");
    }
    assert!(files.is_empty(), "without a verdict: {files:?}");
}

#[test]
fn a_whole_one_is_written_today_byte_for_byte() {
    assert_eq!(fs::read_to_string(folder().join("checkpoint-key.jsonl")).unwrap(), text(&whole()));
}
