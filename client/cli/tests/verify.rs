//! `strongroom verify`, run as auditors run it, on a folder.

#[allow(unused_imports, reason = "the tests of the checks themselves use the rest")]
#[path = "../../../agent/verify/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{COSIGNED, GROUP, Scene, claimed, tlog};
use tempfile::TempDir;
use tokio::process::Command;

/// A folder with a statement, and a store that holds what the scene does.
async fn folder_of(scene: &Scene) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("statement"), &scene.statement).unwrap();
    for name in scene.names("").await {
        put(folder.path(), &name, &scene.get(&name).await);
    }
    folder
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join("store").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

async fn verify(folder: &Path, more: &[&str]) -> Output {
    let store = format!("file://{}", folder.join("store").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(["verify", "--realm", "statement", "--store", &store]).args(more);
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test]
async fn a_realm_is_verified_and_what_was_verified_is_kept_for_the_next_time() {
    let scene = Scene::new().await;
    let folder = folder_of(&scene).await;
    let first = verify(folder.path(), &["--save", "kept"]).await;
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let last = said(&first).lines().last().unwrap().to_owned();
    assert!(
        last.starts_with(&format!("verified; not checked: consistency of group {GROUP}, build of")),
        "{last}"
    );
    let sources = scene.sources.path().to_str().unwrap();
    let second = verify(folder.path(), &["--since", "kept", "--save", "kept", "--rebuild", sources]).await;
    assert_eq!(second.status.code(), Some(0), "{}", said(&second));
    assert_eq!(said(&second).lines().last(), Some("verified"));
    for name in
        ["statement", "founding", "checkpoint", "cosignatures", "tiles", "consistency", "segments", "build"]
    {
        let passed = |line: &str| line.trim_start().starts_with(name) && line.contains(" passed ");
        assert!(said(&second).lines().any(passed), "{name}: {}", said(&second));
    }
    let json = verify(folder.path(), &["--json", "--since", "kept"]).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["result"], "verified");
    assert_eq!(json["checks"][5]["outcome"], "passed");
}

#[tokio::test]
async fn a_log_that_went_back_is_not_verified_and_what_it_was_is_not_forgotten() {
    let scene = Scene::new().await;
    let folder = folder_of(&scene).await;
    let earlier = scene.keys.checkpoint(&GROUP, &scene.hashes()[..602]);
    let kept = strongroom_verify::write_checkpoints(&[claimed(&earlier)]);
    fs::write(folder.path().join("kept"), &kept).unwrap();
    let output = verify(folder.path(), &["--since", "kept", "--save", "kept"]).await;
    assert_eq!(output.status.code(), Some(10), "{}", said(&output));
    let text = said(&output);
    assert!(text.lines().last().unwrap().starts_with("NOT verified: consistency of group"), "{text}");
    // Both checkpoints, as they were signed.
    for line in earlier.to_string().lines().filter(|line| !line.is_empty()) {
        assert!(text.contains(&format!("| {line}\n")), "{text}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("kept")).unwrap(), kept);
}

#[tokio::test]
async fn what_cannot_be_checked_has_an_exit_code_of_its_own() {
    let folder = folder_of(&Scene::new().await).await;
    fs::remove_dir_all(folder.path().join(format!("store/{}", tlog(&GROUP)))).unwrap();
    let output = verify(folder.path(), &["--save", "kept"]).await;
    assert_eq!(output.status.code(), Some(11), "{}", said(&output));
    assert!(said(&output).contains("NOT verified, it could not be checked: checkpoint of group"));
    assert!(!folder.path().join("kept").exists());
}

#[tokio::test]
async fn cosignatures_of_years_ago_are_too_old() {
    let folder = folder_of(&Scene::new().await).await;
    let output = verify(folder.path(), &["--max-age", "0s", "--json"]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // Unless the clock says that they are of this minute.
    if now.abs_diff(COSIGNED) > 300 {
        assert_eq!(output.status.code(), Some(10), "{}", said(&output));
    }
}

#[tokio::test]
async fn usage_errors_are_said_before_anything_is_read() {
    let folder = folder_of(&Scene::new().await).await;
    for (more, wanted) in [
        (&["--since", "nothing"][..], "nothing cannot be read"),
        (&["--since", "statement"], "no signed checkpoint"),
        (&["--store-option", "s3cret"], "NAME=VALUE"),
        (&["--store-option", "region=s3cret"], "has no option"),
        (&["--group", "x"], "invalid value"),
        (&["--max-age", "1"], "a number and a unit"),
    ] {
        let output = verify(folder.path(), more).await;
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", said(&output));
        assert!(said(&output).contains(wanted), "{more:?}: {}", said(&output));
        assert!(!said(&output).contains("s3cret"));
    }
}
