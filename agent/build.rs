//! Tells the program which commit it was built from: by `STRONGROOM_COMMIT`, for builds from an archive, or else by git. Not if
//! it is not optimised: each commit would compile it anew.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=STRONGROOM_COMMIT");
    let given = std::env::var("STRONGROOM_COMMIT").ok().filter(|commit| !commit.is_empty());
    let profile = std::env::var("PROFILE").unwrap_or_default();
    let commit = given.or_else(|| if profile == "release" { by_git() } else { None });
    println!("cargo::rustc-env=STRONGROOM_COMMIT={}", commit.as_deref().unwrap_or("commit unknown"));
    println!("cargo::rustc-env=STRONGROOM_PROFILE={profile}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn by_git() -> Option<String> {
    // Not the repository of somebody who keeps this as an archive within another.
    let folder = git(&["rev-parse", "--show-toplevel"])?;
    let ours = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).parent()?.canonicalize().ok()?;
    if Path::new(&folder).canonicalize().ok()? != ours {
        return None;
    }
    // A commit moves the head, or what it refers to, and each is written to its log.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    Some(if is_changed { format!("{commit}-modified") } else { commit })
}
