//! `verify-receipt`: one verdict with the evidence, and the exit codes of `verify`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strongroom_proto::checkpoint::{CheckpointKey, origin};
use strongroom_proto::client::{Attempt, AttemptsResponse, MAX_ATTEMPTS, RegistrationVersion, next_head};
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, RealmId, X25519Public};
use strongroom_proto::tlog::leaf;
use strongroom_tlog::{
    Checkpoint, ClaimedReceipt, Edge, KeyName, Note, RealmStatement, SignatureType, SigningKey,
};

const REALM: RealmId = RealmId([1; 16]);
const GROUP: GroupId = GroupId([2; 16]);
const SEED: u8 = 7;

fn key(name: &str, kind: SignatureType, seed: u8) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32]).unwrap()
}

fn statement() -> String {
    let custodian = key(&RealmStatement::name(&REALM), SignatureType::Ed25519, 21);
    let statement = RealmStatement {
        realm: REALM,
        version: 3,
        noise_key: X25519Public([9; 32]),
        checkpoint_key: CheckpointKey::from_seed(&[SEED; 32]).public(),
        policy: RealmPolicy {
            custodians: vec![CustodianKey(Digest(custodian.verifier().public().0))],
            threshold: 1,
            smallest_group: None,
        },
        builds: vec![],
        witnesses: vec![key("witness.example", SignatureType::Cosignature, 11).verifier().clone()],
        cosignatures: 1,
    };
    let text = statement.to_string();
    Note::new(text.clone(), vec![custodian.sign(&text).unwrap()]).unwrap().to_string()
}

/// The receipt after so many tries, the first of them at this time, as of the only entry of the log.
fn receipt(tries: u64, from: u64, is_cosigned: bool) -> String {
    let (version, entry) = (RegistrationVersion([3; 16]), EntryHash([5; 32]));
    let (mut head, mut newest) = (Digest([0; 32]), Vec::new());
    for count in 1..=tries + 1 {
        let what = if count == 1 { 1 } else { 2 };
        let attempt =
            Attempt { index: Index(1), time: from + 60 * count, what, guesses_left: 20 - count as u8 };
        head = next_head(&head, &version.0, count, &GROUP, &attempt);
        newest.push(attempt);
    }
    let newest = newest.split_off(newest.len().saturating_sub(MAX_ATTEMPTS));
    let (index, count, signature) = (Index(1), tries + 1, [0; 64].into());
    let mut list =
        AttemptsResponse { group: GROUP, index, hash: entry, version, count, head, newest, signature };
    list.signature = CheckpointKey::from_seed(&[SEED; 32]).sign_digest(&list.digest(&REALM));

    let mut edge = Edge::default();
    let tiles = edge.append(&[leaf(&entry)]).unwrap();
    let log = origin(&REALM, &GROUP);
    let text = Checkpoint::new(log.clone(), 1, edge.root()).unwrap().to_string();
    let mut lines = vec![key(&log, SignatureType::Ed25519, SEED).sign(&text).unwrap()];
    if is_cosigned {
        let witness = key("witness.example", SignatureType::Cosignature, 11);
        lines.push(witness.cosign(&text, 1_764_597_900).unwrap());
    }
    let checkpoint = Note::new(text, lines).unwrap().try_into().unwrap();
    let fetch =
        |tile| tiles.iter().find(|made| made.tile == tile).map(|made| made.bytes.clone()).ok_or("none");
    ClaimedReceipt::make(&list, checkpoint, fetch).unwrap().to_string()
}

/// Tuesday, 1 December 2026, 14:00 UTC.
const TUESDAY: u64 = 1_796_133_600;

struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Exit code and standard output.
    fn verify(&self, receipt: &Path, more: &[&Path]) -> (i32, String) {
        let statement = self.write("statement", &statement());
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.arg("verify-receipt").arg(receipt).arg("--statement").arg(statement).args(more);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

#[test]
fn a_receipt_that_is_right_is_told_with_its_evidence() {
    let files = Files(tempfile::tempdir().unwrap());
    let good = files.write("good.tlog-proof", &receipt(3, TUESDAY, true));
    let (code, told) = files.verify(&good, &[]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "3 tries, Tuesday 2026-12-01 14:02 to 14:04 UTC by the realm's clock, none right; 16 guesses left",
        "cosigned by witness.example, 2025-12-01 14:05:00Z by its clock",
        "2026-12-01 14:03:00Z  a PIN was tried",
        "\nverified\n",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, line) = files.verify(&good, &[Path::new("--json")]);
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((code, &value["result"], &value["count"]), (0, &"verified".into(), &4.into()));
    assert_eq!(value["requests"][1]["time"], "2026-12-01T14:02:00Z");
}

#[test]
fn what_is_wrong_with_a_receipt_is_said_and_fails() {
    let files = Files(tempfile::tempdir().unwrap());
    let good = receipt(3, TUESDAY, true);
    let uncosigned = receipt(3, TUESDAY, false);
    let cut = good.replacen("\nextra ", "\nextra AAAA", 1);
    let cases = [
        (uncosigned.as_str(), "0 of the witnesses"),
        (cut.as_str(), "carries no list"),
        (&good[..40], "this is no proof"),
        ("", "this is no proof"),
    ];
    for (text, why) in cases {
        let (code, told) = files.verify(&files.write("bad.tlog-proof", text), &[]);
        assert!(told.contains("NOT verified: ") && told.contains(why), "{why}: {told}");
        assert_eq!(code, 10);
    }
    assert_eq!(files.verify(Path::new("/no/such/file"), &[]).0, 2);
}

#[test]
fn two_receipts_are_compared() {
    let files = Files(tempfile::tempdir().unwrap());
    let since = Path::new("--since");
    let made = |name: &str, tries, from| files.write(name, &receipt(tries, from, true));
    let (early, late, much_later) = (made("a", 1, TUESDAY), made("b", 3, TUESDAY), made("c", 18, TUESDAY));
    let other = made("d", 2, TUESDAY + 1);
    let (code, told) = files.verify(&late, &[since, &early]);
    assert!(code == 0 && told.contains("2 more have counted, all named; nothing is missing"), "{told}");
    let (code, told) = files.verify(&much_later, &[since, &early]);
    assert!(code == 11 && told.contains("cannot be told"), "{told}");
    let (code, told) = files.verify(&late, &[since, &other]);
    assert!(code == 10 && told.contains("two lists that do not fit together"), "{told}");
    let (code, told) = files.verify(&early, &[since, &late]);
    assert!(code == 10 && told.contains("the newer of the two"), "{told}");
}
