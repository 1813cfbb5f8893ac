//! Requests to witnesses, and their answers.

mod common;

use common::{cut_and_trailed, defined, key, leaves, source};
use strongroom_tlog::add_checkpoint::{MAX_LEN, MAX_PROOF, RequestError, parse_cosignatures, parse_size};
use strongroom_tlog::note::MAX_SIGNATURES;
use strongroom_tlog::proof::prove_consistency;
use strongroom_tlog::{AddCheckpoint, Checkpoint, Note, SignatureType};

/// The request of the specification, with one of its signatures.
const PUBLISHED: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
    jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
    /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\nexample.com/behind-the-sofa\n20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

#[test]
fn the_published_request_is_read_and_written_as_it_is() {
    let request = AddCheckpoint::parse(PUBLISHED.as_bytes()).unwrap();
    assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
    assert_eq!(request.checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(request.to_string(), PUBLISHED);
    for bad in cut_and_trailed(PUBLISHED.as_bytes()) {
        assert!(AddCheckpoint::parse(&bad).is_err(), "{}", String::from_utf8_lossy(&bad));
    }
}

#[test]
fn a_request_is_read_as_it_was_made() {
    let log = key("log", SignatureType::Ed25519, 1);
    let leaves = leaves(20);
    let body = Checkpoint::new("log", 20, defined(&leaves)).unwrap().to_string();
    let note = Note::new(&*body, vec![log.sign(&body).unwrap()]).unwrap();
    for old in [0, 7, 20] {
        let proof = prove_consistency(old, 20, source(&leaves)).unwrap();
        let made = AddCheckpoint { old, proof, checkpoint: note.clone().try_into().unwrap() };
        assert_eq!(AddCheckpoint::parse(made.to_string().as_bytes()), Ok(made));
    }
}

#[test]
fn a_request_has_one_form_and_a_bound() {
    let wrong = [
        PUBLISHED.replace("old 2", "old 02"),
        PUBLISHED.replace("old 2", "old  2"),
        PUBLISHED.replace("old 2", "old -2"),
        PUBLISHED.replace("old 2", "Old 2"),
        PUBLISHED.replace("old ", ""),
        PUBLISHED.replace("old 20852014\n", ""),
        PUBLISHED.replace("old 20852014\n", "old 20852014\r\n"),
        PUBLISHED.replace("old 20852014\n", "old 20852014\nAAAA\n"),
        PUBLISHED.replace("old 20852014\n", "old 20852014\n\n"),
        PUBLISHED.replace("\n\nexample", "\nexample"),
    ];
    for text in wrong {
        assert!(AddCheckpoint::parse(text.as_bytes()).is_err(), "{text}");
    }
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let with =
        |count: usize| PUBLISHED.replace("old 20852014\n", &format!("old 20852014\n{}", hash.repeat(count)));
    assert!(AddCheckpoint::parse(with(MAX_PROOF - 4).as_bytes()).is_ok());
    assert_eq!(AddCheckpoint::parse(with(MAX_PROOF - 3).as_bytes()), Err(RequestError::TooLong));
    assert_eq!(AddCheckpoint::parse(&vec![b'o'; MAX_LEN + 1]), Err(RequestError::TooLong));
}

#[test]
fn the_answers_of_a_witness_are_read_whole_or_not_at_all() {
    let witness = key("example.com/w", SignatureType::Cosignature, 1);
    let signature = witness.cosign("text\n", 5).unwrap();
    let answer = format!("{signature}\n");
    assert_eq!(parse_cosignatures(answer.as_bytes()), Some(vec![signature.clone()]));
    assert_eq!(parse_cosignatures(answer.repeat(3).as_bytes()), Some(vec![signature.clone(); 3]));
    assert_eq!(
        parse_cosignatures(answer.repeat(MAX_SIGNATURES).as_bytes()).map(|found| found.len()),
        Some(MAX_SIGNATURES)
    );
    assert_eq!(parse_cosignatures(answer.repeat(MAX_SIGNATURES + 1).as_bytes()), None);
    for bad in cut_and_trailed(answer.as_bytes()) {
        assert_eq!(parse_cosignatures(&bad), None);
    }
    assert_eq!(parse_size(b"20852014\n"), Some(20_852_014));
    for bad in [&b""[..], b"\n", b"1", b"01\n", b"1\n\n", b" 1\n", b"-1\n", b"\xff\n"] {
        assert_eq!(parse_size(bad), None);
    }
}
