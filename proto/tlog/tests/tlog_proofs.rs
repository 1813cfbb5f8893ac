//! Proofs to keep, verified offline.

mod common;

use common::{cut_and_trailed, defined, entries, key, leaves, source};
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::proof::{MAX_INCLUSION, ProofError, prove_inclusion};
use strongroom_tlog::tlog_proof::{MAX_EXTRA, MAX_LEN, TlogProofError};
use strongroom_tlog::{Checkpoint, ClaimedCheckpoint, Note, Policy, SignatureType, TlogProof};

const ORIGIN: &str = "strongroom/00000000000000000000000000000001/00000000000000000000000000000002";

/// The proof of an entry of a log that a witness watches, and whom to believe.
fn proof(index: u64, size: u64) -> (TlogProof, Policy) {
    let log = key(ORIGIN, SignatureType::Ed25519, 1);
    let witness = key("example.com/witness", SignatureType::Cosignature, 2);
    let leaves = leaves(size);
    let body = Checkpoint::new(ORIGIN, size, defined(&leaves)).unwrap().to_string();
    let note =
        Note::new(&*body, vec![log.sign(&body).unwrap(), witness.cosign(&body, 1000).unwrap()]).unwrap();
    let hashes = prove_inclusion(index, size, source(&leaves)).unwrap();
    let proof = TlogProof::new(index, hashes, note.try_into().unwrap()).unwrap();
    let policy = Policy::of_log(ORIGIN, vec![log.verifier().clone()]).unwrap();
    (proof, policy.with_witnesses(vec![witness.verifier().clone()], 1).unwrap())
}

#[test]
fn a_proof_convinces_who_reads_it_later() {
    for (index, size) in [(0, 1), (0, 2), (6, 7), (100, 256), (299, 300)] {
        let (made, policy) = proof(index, size);
        let text = made.to_string();
        assert!(text.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")));
        let read = TlogProof::parse(text.as_bytes()).unwrap();
        assert_eq!(read, made);
        let entry = entries(size)[index as usize];
        let verified = read.verify(&entry, &policy).unwrap();
        assert_eq!((verified.checkpoint().size(), verified.witnesses().len()), (size, 1));
        let other = entries(size + 1)[size as usize];
        assert_eq!(read.verify(&other, &policy), Err(ProofError::Root.into()));
    }
}

#[test]
fn extra_data_is_carried_along() {
    let (made, policy) = proof(3, 5);
    for extra in [&b"x"[..], b"age-v1.2.1", &[0xff; MAX_EXTRA]] {
        let made = made.clone().with_extra(extra.into()).unwrap();
        let read = TlogProof::parse(made.to_string().as_bytes()).unwrap();
        assert_eq!(read.extra(), extra);
        assert!(read.verify(&entries(5)[3], &policy).is_ok());
    }
    assert_eq!(made.with_extra(vec![0; MAX_EXTRA + 1]), Err(TlogProofError::TooLong));
}

#[test]
fn a_proof_that_is_cut_or_goes_on_is_refused() {
    let log = key(ORIGIN, SignatureType::Ed25519, 1);
    let (made, _) = proof(3, 5);
    // With one signature: a line of several may be left out.
    let text = made.checkpoint().note().text();
    let note = Note::new(text, vec![log.sign(text).unwrap()]).unwrap();
    let made = TlogProof::new(3, made.hashes().to_vec(), note.try_into().unwrap()).unwrap();
    for made in [made.clone(), made.with_extra(b"extra".into()).unwrap()] {
        for bad in cut_and_trailed(made.to_string().as_bytes()) {
            assert!(TlogProof::parse(&bad).is_err(), "{}", String::from_utf8_lossy(&bad));
        }
    }
}

#[test]
fn a_proof_has_one_form() {
    let (made, _) = proof(3, 5);
    let good = made.clone().with_extra(b"extra".into()).unwrap().to_string();
    assert!(TlogProof::parse(good.as_bytes()).is_ok());
    let wrong = [
        good.replace("@v1", "@v2"),
        good.replace("@v1\n", "@v1\r\n"),
        good.replace("@v1\n", "@v1\n\n"),
        good.replace("index 3", "index 03"),
        good.replace("index 3", "index  3"),
        good.replace("index 3\n", ""),
        good.replace("extra ZXh0cmE=", "extra "),
        good.replace("extra ZXh0cmE=", "extra"),
        good.replace("extra ZXh0cmE=", "extra ZXh0cmF="),
        good.replace("extra ZXh0cmE=", "extra ZXh0cmE=\nextra ZXh0cmE="),
        good.replace("extra ZXh0cmE=\nindex 3", "index 3\nextra ZXh0cmE="),
        good.replace("index 3\n", "index 3\nAAAA\n"),
        good.replace("\n\nstrongroom", "\n\n\nstrongroom"),
        good.replace("\n\nstrongroom", "\nstrongroom"),
        format!(" {good}"),
    ];
    for text in wrong {
        assert_ne!(text, good);
        assert!(TlogProof::parse(text.as_bytes()).is_err(), "{text}");
    }
    let many = |count| {
        good.replace(
            "index 3\n",
            &format!("index 3\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(count)),
        )
    };
    assert!(TlogProof::parse(many(MAX_INCLUSION - made.hashes().len()).as_bytes()).is_ok());
    assert_eq!(TlogProof::parse(many(MAX_INCLUSION).as_bytes()), Err(TlogProofError::TooLong));
    assert_eq!(TlogProof::parse(&vec![b'a'; MAX_LEN + 1]), Err(TlogProofError::TooLong));
}

#[test]
fn a_proof_is_worth_what_its_signers_are() {
    let (made, policy) = proof(3, 5);
    let entry = entries(5)[3];
    let log_only = key(ORIGIN, SignatureType::Ed25519, 1);
    let text = made.checkpoint().note().text();
    let uncosigned: ClaimedCheckpoint =
        Note::new(text, vec![log_only.sign(text).unwrap()]).unwrap().try_into().unwrap();
    let uncosigned = TlogProof::new(3, made.hashes().to_vec(), uncosigned).unwrap();
    let too_few = CheckpointError::Witnesses { found: 0, needed: 1 };
    assert_eq!(uncosigned.verify(&entry, &policy), Err(too_few.into()));
    let elsewhere = TlogProof::new(2, made.hashes().to_vec(), made.checkpoint().clone()).unwrap();
    assert_eq!(elsewhere.verify(&entry, &policy), Err(ProofError::Root.into()));
    let outside = TlogProof::new(5, made.hashes().to_vec(), made.checkpoint().clone()).unwrap();
    assert_eq!(outside.verify(&entry, &policy), Err(ProofError::Index { index: 5, size: 5 }.into()));
}
