//! Statements of realms: what they look like, who has to sign them, and what is refused.

mod common;

use common::key;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519};
use strongroom_proto::checkpoint::origin;
use strongroom_proto::enrolment::{CustodianKey, Founding, RealmPolicy};
use strongroom_proto::ids::{BuildDigest, Digest, Ed25519Public, GroupId, HsmId, RealmId, X25519Public};
use strongroom_tlog::note::NoteError;
use strongroom_tlog::statement::{MAX_BUILDS, StatementError};
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, KeyName, Note, RealmStatement, Signature, SignatureType, SigningKey,
    VerifierKey,
};

fn custodians() -> [Ed25519; 3] {
    [1, 2, 3].map(|seed| Ed25519::from_bytes(&[seed; 32]))
}

fn public(key: &Ed25519) -> CustodianKey {
    CustodianKey(Digest(key.verifying_key().to_bytes()))
}

fn realm_key() -> Ed25519 {
    Ed25519::from_bytes(&[4; 32])
}

fn witnesses() -> [SigningKey; 2] {
    [5, 6].map(|seed| key("example.com/witness", SignatureType::Cosignature, seed))
}

fn statement() -> RealmStatement {
    RealmStatement {
        realm: RealmId([0xab; 16]),
        version: 3,
        noise_key: X25519Public([7; 32]),
        checkpoint_key: Ed25519Public(realm_key().verifying_key().to_bytes()),
        policy: RealmPolicy {
            custodians: custodians().iter().map(public).collect(),
            threshold: 2,
            smallest_group: Some(3),
        },
        builds: vec![BuildDigest([8; 32]), BuildDigest([9; 32])],
        witnesses: witnesses().iter().map(|witness| witness.verifier().clone()).collect(),
        cosignatures: 1,
    }
}

fn signed(statement: &RealmStatement, by: &[&Ed25519]) -> Note {
    let text = statement.to_string();
    let sign =
        |key: &&Ed25519| statement.signature(&public(key), key.sign(text.as_bytes()).to_bytes()).unwrap();
    Note::new(text.clone(), by.iter().map(sign).collect()).unwrap()
}

#[test]
fn a_statement_is_the_text_that_its_documentation_shows() {
    let ab = "ab".repeat(16);
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [a, b, c] = custodians().map(|key| hex(&key.verifying_key().to_bytes()));
    let [v, w] = witnesses().map(|witness| witness.verifier().to_string());
    let lines = [
        format!("strongroom/{ab}/statement"),
        "version 3".into(),
        format!("noise-key {}", "07".repeat(32)),
        format!("checkpoint-key {}", hex(&realm_key().verifying_key().to_bytes())),
        format!("custodian {a}"),
        format!("custodian {b}"),
        format!("custodian {c}"),
        "threshold 2".into(),
        "smallest-group 3".into(),
        format!("build {}", "08".repeat(32)),
        format!("build {}", "09".repeat(32)),
        format!("witness {v}"),
        format!("witness {w}"),
        "cosignatures 1".into(),
    ];
    assert_eq!(statement().to_string(), lines.join("\n") + "\n");
}

#[test]
fn a_statement_counts_if_enough_of_its_custodians_signed_it() {
    let [a, b, c] = &custodians();
    for by in [&[a, b][..], &[c, a], &[a, b, c]] {
        let note = Note::parse(signed(&statement(), by).to_string().as_bytes()).unwrap();
        assert_eq!(RealmStatement::verify(&note), Ok(statement()));
    }
    let stranger = Ed25519::from_bytes(&[99; 32]);
    for by in [&[a][..], &[a, a], &[a, &stranger]] {
        let refused = RealmStatement::verify(&signed(&statement(), by));
        assert_eq!(refused, Err(StatementError::Unsigned { signed: 1, needed: 2 }));
    }
}

#[test]
fn a_signature_of_something_else_is_none_of_the_statement() {
    let [a, b, _] = &custodians();
    let good = signed(&statement(), &[a, b]);
    let newer = RealmStatement { version: 4, ..statement() };
    let moved = Note::new(newer.to_string(), good.signatures().to_vec()).unwrap();
    assert!(matches!(RealmStatement::verify(&moved), Err(StatementError::Note(NoteError::Bad { .. }))));
    // A custodian's line under the name of another log's key.
    let name = KeyName::new("strongroom/other").unwrap();
    let key =
        VerifierKey::new(name, SignatureType::Ed25519, &Ed25519Public(a.verifying_key().to_bytes())).unwrap();
    let text = statement().to_string();
    let line = Signature::new(&key, a.sign(text.as_bytes()).to_bytes());
    let note = Note::new(text, vec![line]).unwrap();
    assert_eq!(RealmStatement::verify(&note), Err(StatementError::Unsigned { signed: 0, needed: 2 }));
}

#[test]
fn every_line_has_its_place_and_one_spelling() {
    let text = statement().to_string();
    assert_eq!(RealmStatement::parse(&text), Ok(statement()));
    let lines: Vec<&str> = text.lines().collect();
    for i in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(i);
        let parsed = RealmStatement::parse(&(without.join("\n") + "\n"));
        // One custodian, build or witness less is another statement, and so is no smallest group; all others are none.
        match lines[i].split(' ').next() {
            Some("custodian" | "build" | "witness" | "smallest-group") => assert_ne!(parsed, Ok(statement())),
            _ => assert!(parsed.is_err(), "without {}", lines[i]),
        }
        let mut twice = lines.clone();
        twice.insert(i, lines[i]);
        let parsed = RealmStatement::parse(&(twice.join("\n") + "\n"));
        if !lines[i].starts_with("build") {
            assert!(parsed.is_err(), "twice {}", lines[i]);
        }
        for other in [lines[i].to_uppercase(), format!("{} ", lines[i]), format!(" {}", lines[i])] {
            let mut changed: Vec<&str> = lines.clone();
            changed[i] = &other;
            assert!(RealmStatement::parse(&(changed.join("\n") + "\n")).is_err(), "{other:?}");
        }
    }
    for end in 0..text.len() {
        assert!(RealmStatement::parse(&text[..end]).is_err(), "cut after {end} bytes");
    }
    assert!(RealmStatement::parse(&(text.clone() + "\n")).is_err());
    assert!(RealmStatement::parse(&(text.clone() + "build 00\n")).is_err());
    assert!(RealmStatement::parse(&text.replace("version 3", "version 03")).is_err());
    assert!(RealmStatement::parse(&text.replace("threshold 2", "threshold 258")).is_err());
    assert!(RealmStatement::parse(&text.replace("abab", "ab-ab")).is_err());
}

#[test]
fn a_statement_that_makes_no_sense_is_refused() {
    let change = |change: fn(&mut RealmStatement)| {
        let mut changed = statement();
        change(&mut changed);
        RealmStatement::parse(&changed.to_string()).expect_err("it makes no sense")
    };
    assert_eq!(change(|s| s.policy.threshold = 4), StatementError::BadPolicy);
    assert_eq!(change(|s| s.policy.threshold = 0), StatementError::BadPolicy);
    assert_eq!(change(|s| s.policy = RealmPolicy::closed()), StatementError::BadPolicy);
    assert_eq!(change(|s| s.policy.smallest_group = Some(10)), StatementError::BadPolicy);
    assert_eq!(change(|s| s.policy.custodians[1] = s.policy.custodians[0]), StatementError::BadPolicy);
    assert!(matches!(change(|s| s.checkpoint_key = Ed25519Public([0; 32])), StatementError::Key(_)));
    assert!(matches!(change(|s| s.cosignatures = 3), StatementError::Checkpoints(_)));
    assert!(matches!(change(|s| s.witnesses.push(s.witnesses[0].clone())), StatementError::Checkpoints(_)));
    let many = change(|s| s.builds = vec![BuildDigest([8; 32]); MAX_BUILDS + 1]);
    assert!(matches!(many, StatementError::Line(_)));
}

#[test]
fn people_compare_a_statement_with_what_every_console_of_the_realm_shows() {
    let statement = statement();
    let RealmStatement { realm, noise_key, checkpoint_key, policy, .. } = statement.clone();
    let (hsm, build) = (HsmId([0x3c; 16]), BuildDigest([0x3d; 32]));
    let founding =
        Founding { realm, public_key: noise_key, policy, hsm, build, checkpoint_key: Some(checkpoint_key) };
    assert_eq!(statement.parts(), founding.parts()[3..]);
    let names: Vec<&str> = statement.parts().iter().map(|part| part.name).collect();
    assert_eq!(names, ["public key", "policy", "checkpoint key"]);
    let changes: [fn(&mut RealmStatement); 3] = [
        |s| s.noise_key = X25519Public([9; 32]),
        |s| s.policy.threshold = 1,
        |s| s.checkpoint_key = Ed25519Public([9; 32]),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut other = statement.clone();
        change(&mut other);
        let differ: Vec<bool> =
            other.parts().iter().zip(statement.parts()).map(|(a, b)| a.words != b.words).collect();
        assert_eq!(differ, [0, 1, 2].map(|at| at == i));
    }
}

#[test]
fn a_statement_says_whose_checkpoints_of_a_group_to_believe() {
    let (statement, group) = (statement(), GroupId([0xcd; 16]));
    let log = origin(&statement.realm, &group);
    let text = Checkpoint::new(log.clone(), 5, strongroom_proto::ids::TreeHash([1; 32])).unwrap().to_string();
    let hsm = SigningKey::from_seed(KeyName::new(log).unwrap(), SignatureType::Ed25519, &[4; 32]).unwrap();
    let policy = statement.policy_of(&group).unwrap();
    let [witness, _] = witnesses();
    let alone = vec![hsm.sign(&text).unwrap()];
    let both = [&alone[..], &[witness.cosign(&text, 77).unwrap()]].concat();
    let claimed = |lines| ClaimedCheckpoint::try_from(Note::new(text.clone(), lines).unwrap()).unwrap();
    assert!(claimed(alone).verify(&policy).is_err());
    let verified = claimed(both).verify(&policy).unwrap();
    assert_eq!((verified.checkpoint().size(), verified.witnesses().len()), (5, 1));
    assert!(
        statement
            .policy_of(&GroupId([0xce; 16]))
            .is_ok_and(|other| { claimed(vec![hsm.sign(&text).unwrap()]).verify(&other).is_err() })
    );
}
