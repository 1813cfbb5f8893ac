//! The command as a process: what it does with its environment and with the reader of its output.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Makes a custodian's key, which needs no agent.
fn custodian(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
    command.args(["realm", "custodian", "--out"]).arg(folder.join("key.pem")).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program is built")
}

#[test]
fn output_that_is_not_read_is_not_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let output = run(custodian(folder.path()).stdout(closed()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Next: "), "it goes on: {said}");
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(custodian(folder.path()).stderr(closed()));
    assert!(output.status.success() && !output.stdout.is_empty());
    assert_eq!(
        run(custodian(folder.path()).stderr(closed())).status.code(),
        Some(1),
        "the key exists already"
    );
}

#[test]
fn an_empty_rust_log_is_like_none_and_a_wrong_one_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(custodian(folder.path()).env("RUST_LOG", "inof"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.starts_with("error: RUST_LOG: `inof` is not a level"), "{said}");
    assert!(run(custodian(folder.path()).env("RUST_LOG", "")).status.success());
}
