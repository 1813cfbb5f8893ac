//! `verify-receipt`: one verdict with the evidence, and the exit codes of `verify`.

#[allow(dead_code, reason = "the command's own tests use the rest")]
#[path = "../src/kept/made.rs"]
mod made;

use made::{receipt, statement};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

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
